"""Search and learn from the start that another run has trained, with another objective.

  python -m experiments.o1 --config=configs/quickstart.py --workdir=runs/quickstart
  for objective in clone gradient clone_gradient; do
    python -m experiments.o1 --config=configs/ablation.py:$objective --workdir=runs/$objective
  done

The start is shared and not copied: the parameters after the stage reward, the tokenizer and the
data are read from runs/quickstart. `--config.learn.start=FOLDER:STAGE` names another.
"""

from ml_collections import ConfigDict

from configs import quickstart

OBJECTIVES = {
  'clone': dict(clone=1.0),
  'gradient': dict(gradient=1.0),
  'clone_gradient': dict(gradient=1.0, clone=1.0),
}


def get_config(argument: str = 'gradient') -> ConfigDict:
  """`:clone`, `:gradient` or `:clone_gradient`; `:smoke` is tiny, for tests."""
  if argument not in (*OBJECTIVES, 'smoke'):
    known = ', '.join((*OBJECTIVES, 'smoke'))
    raise ValueError(f'the argument {argument!r} is unknown: give one of {known}')
  smoke = argument == 'smoke'
  c = quickstart.get_config('smoke' if smoke else '')
  c.stages = ('learn', 'evaluate', 'report')
  c.learn.start = 'runs/quickstart:reward'
  c.learn.weights = quickstart.losses(**OBJECTIVES['gradient' if smoke else argument])
  del c.learn.warmup_weights  # the objective is the same from the first update
  del c.control, c.control_flops
  c.evaluate.policies = ConfigDict(
    dict(learned=dict(stages=('learn',), searches=() if smoke else ('chains', 'gumbel')))
  )
  if not smoke:
    c.evaluate.searches.gumbel.tokens = (1000,)
  return c
