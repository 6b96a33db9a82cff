r"""Coverage is a power law in the number of samples, and 64 samples tell its exponent.

  python -m experiments.study --config=configs/studies/coverage.py --workdir=runs/coverage \
    --config.starts.countdown='runs/quickstart:reward'
"""

from ml_collections import ConfigDict

from configs.studies import base


def get_config(argument: str = '') -> ConfigDict:
  """1,024 samples a problem; `:smoke` has 128."""
  smoke = argument == 'smoke'
  c = base.study(
    argument,
    claim='Coverage is a power law in the number of samples',
    source='arXiv:2407.21787, arXiv:2502.17578',
    criterion='R² of log(-log coverage) against log k at least 0.98 over 2 decades; exponent '
    'forecast from the distribution of pass@1 within 20 %',
    judge=dict(
      name='power_law',
      few=16 if smoke else 64,  # samples that the forecast sees
      least=1 if smoke else 10,  # the two decades
      most=100 if smoke else 1000,
      fit=0.98,
      apart=0.2,
    ),
    # A tree of 1,024 chains would be large. So 64 are drawn 16 times.
    searches=dict(
      chains=dict(
        method='best_of_n', units=(64,), most=64, choices=('first',), draws=tuple(range(16))
      )
    ),
  )
  c.evaluate.splits = ('test',)  # nothing is chosen
  if smoke:
    c.evaluate.searches.chains.draws = (0, 1)
  return c
