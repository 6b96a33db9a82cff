r"""PUCT gets worse with its budget, and Gumbel does not: fixed width and length, 4 to 256
simulations.

  python -m experiments.study --config=configs/studies/budget.py --workdir=runs/budget \
    --config.starts.countdown='runs/seed-{seed}:reward' --seeds=5
"""

from ml_collections import ConfigDict

from configs.studies import base


def get_config(argument: str = '') -> ConfigDict:
  """Both searches at powers of two; `:smoke` up to 8 simulations."""
  units = (2, 4, 8) if argument == 'smoke' else (4, 8, 16, 32, 64, 128, 256)
  asked = dict(units=units, most=units[-1], candidates=4, choices=('weighted',))
  c = base.study(
    argument,
    claim='PUCT gets worse with its budget, Gumbel does not',
    source='arXiv:2603.21162',
    criterion="PUCT's slope minus Gumbel's below 0 (interval); Gumbel's interval not below 0",
    judge=dict(name='slopes', falling='puct', rising='gumbel'),
    searches=dict(puct=dict(method='puct', **asked), gumbel=dict(method='gumbel', **asked)),
  )
  c.evaluate.splits = ('test',)  # nothing is chosen
  return c
