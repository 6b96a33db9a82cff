r"""A tree pays only with a good verifier: exact verdicts, flipped at times, guide trees and
re-ranking.

  python -m experiments.study --config=configs/studies/verifier.py --workdir=runs/verifier \
    --config.starts.countdown='runs/quickstart:reward'
"""

from ml_collections import ConfigDict

from configs import quickstart
from configs.studies import base

FLIPS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)


def get_config(argument: str = '') -> ConfigDict:
  """Three trees and chains at each chance of a flip; `:smoke` has two chances and one tree."""
  smoke, rows = argument == 'smoke', {}
  for flips in (0.0, 0.4) if smoke else FLIPS:
    guided = dict(guide='oracle', flips=flips, choices=('best', 'weighted'))
    asked = dict(units=(2,)) if smoke else dict(tokens=(800,))
    name = f'{100 * flips:02.0f}'
    rows[f'gumbel{name}'] = dict(method='gumbel', candidates=4, most=2 if smoke else 64) | guided
    rows[f'gumbel{name}'] |= asked
    if not smoke:
      rows[f'ab_mcts{name}'] = dict(method='ab_mcts', most=20, **asked) | guided
      rows[f'tree{name}'] = dict(quickstart.TREE, most=128, **asked) | guided
    # From below what a tree spends to above.
    spends = dict(units=(1, 2, 6)) if smoke else dict(tokens=(400, 800, 1600))
    rows[f'chains{name}'] = dict(method='best_of_n', most=6 if smoke else 24, **spends) | guided
  return base.study(
    argument,
    claim='A tree pays only with a good verifier',
    source='arXiv:2402.10890',
    criterion='one crossing; the smallest accuracy at which tree minus re-ranking is above 0 lies '
    'in 0.80 to 0.97; report where',
    judge=dict(name='crossing', low=0.8, high=0.97),
    searches=rows,
  )
