"""The supervised control at a share of instruction tuning's rates, to choose the quickstart's by.

  python -m experiments.o1 --config=configs/quickstart.py --workdir=runs/quickstart
  for share in 0.0078125 0.015625 0.03125 0.0625 0.125 0.25; do
    python -m experiments.o1 --config=configs/control.py:$share --workdir=runs/control-$share
  done

Each starts from the parameters of runs/quickstart after its stage reward, and is measured on the
validation set alone: `validation_accuracy` in metrics.jsonl.
"""

from ml_collections import ConfigDict

from configs import quickstart


def get_config(argument: str) -> ConfigDict:
  """The share, such as `:0.25`."""
  try:
    share = float(argument)
  except ValueError:
    raise ValueError(f'the argument {argument!r} is no number: give a share, as 0.25') from None
  c = quickstart.get_config()
  c.stages = ('control', 'report')
  quickstart.controls(c, share=share)
  c.control.start = 'runs/quickstart:reward'
  del c.control_flops, c.evaluate.policies.control_flops
  return c
