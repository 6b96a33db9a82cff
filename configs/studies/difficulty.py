r"""The best method depends on the difficulty of a problem, predicted by the critic from 16 chains.

  python -m experiments.study --config=configs/studies/difficulty.py --workdir=runs/difficulty \
    --config.starts.countdown='runs/seed-{seed}:reward' --seeds=5
"""

from ml_collections import ConfigDict

from configs import quickstart
from configs.studies import base


def get_config(argument: str = '') -> ConfigDict:
  """Best-of-N, and beam, DVTS, lookahead and the tree; `:smoke` has the first two."""
  smoke = argument == 'smoke'
  # Less than half of the last before it, so that a choice by bins has room to spend unevenly.
  asked = dict(units=(1, 2)) if smoke else dict(tokens=(400, 700, 1600))
  around = dict(units=(1, 2, 8)) if smoke else dict(tokens=(200, *asked['tokens'], 2400))
  rows = dict(
    # Another draw: problems whose own samples went well would count as easy.
    predict=dict(method='best_of_n', units=(16,), most=16, choices=('first',), draws=(1,)),
    chains=dict(method='best_of_n', most=8 if smoke else 36, choices=('weighted',), **around),
    beam=dict(method='beam', candidates=4, most=2 if smoke else 8, **asked),
  )
  if not smoke:
    rows['dvts'] = dict(method='dvts', candidates=4, most=8, **asked)
    rows['lookahead'] = dict(method='lookahead', candidates=4, most=4, **asked)
    rows['tree'] = dict(quickstart.TREE, most=192, **asked)
  return base.study(
    argument,
    claim='Which method is best depends on how difficult the problem is',
    source='arXiv:2408.03314',
    criterion='interaction above 0 (easy: sampling; hard: search); lookahead not the best; the '
    'compute-optimal choice matches the best fixed method at no more than half its tokens',
    judge=dict(
      name='bins',
      predict='predict',
      sampling='chains',
      not_best='' if smoke else 'lookahead',
      match=0.03,
    ),
    searches=rows,
  )
