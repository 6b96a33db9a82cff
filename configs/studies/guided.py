r"""Guided search pays: a tree without replacement against majority vote and critic-weighted
best-of-N at equal FLOPs.

The settings of the tree were chosen on validation problems. Gumbel MCTS was behind the vote, and
beam search on one seed of two (experiments/LOG.md); configs/searches.py asks them and all others.

  python -m experiments.study --config=configs/studies/guided.py --workdir=runs/guided --seeds=5 \
    --config.starts.countdown='runs/three-{seed}:reward' \
    --config.starts.countdown_4='runs/four-{seed}:reward'

It takes two tasks for the claim to hold. experiments/rows/README.md says how to train the starts.
"""

from ml_collections import ConfigDict

from configs import searches
from configs.studies import base

TOKENS = (200, 400, 800, 1600)
WEIGH = 'prm * likelihood'  # how all arms weigh solutions: the best way for sampling, too


def get_config(argument: str = '') -> ConfigDict:
  """The tree, and chains; `:smoke` is tiny. A start that is left '' is not measured, and counts as
  undecided."""
  smoke = argument == 'smoke'
  asked = dict(units=(1, 2), most=2) if smoke else dict(tokens=TOKENS, most=192)
  tree = searches.get_config().evaluate.searches.tree.to_dict()
  # One chain at a time, as on validation problems. On the test two at once were as good.
  rows = dict(tree=tree | asked | dict(at_once=1, weigh=WEIGH))
  # From below what a search spends to above.
  spends = dict(units=(1, 2, 4, 8)) if smoke else dict(tokens=(100, *TOKENS, 2400))
  rows['chains'] = dict(
    method='best_of_n',
    choices=('majority', 'weighted', 'best'),
    guide=WEIGH,
    most=8 if smoke else 36,
    **spends,
  )
  return base.study(
    argument,
    claim='Guided search pays',
    source='arXiv:2412.14135; contested by arXiv:2510.20272',
    # The critic's own choice stands among the rest, which is stricter than the first wording.
    criterion="better than the best of majority vote, critic-weighted vote and the critic's "
    'choice by at least 3 points, interval above 0, at 3 of 4 budgets, on at least 2 tasks, at '
    'equal FLOPs',
    judge=dict(name='leads', budgets=2 if smoke else 3, starts=2),
    searches=rows,
    starts=dict(countdown='runs/quickstart:reward', countdown_4='', another=''),
  )
