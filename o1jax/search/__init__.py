"""Chapter 3, search: rules for which nodes to expand, and which finished solution to answer with.

`SEARCHES` is the table of searches: another one is a file beside these, which holds its row, and a
line.
"""

from o1jax.search import (
  ab_mcts,
  backtrack,
  beam,
  best_first,
  best_of_n,
  bisection,
  budget_forcing,
  lookahead,
  mcts,
  mctsr,
  rejection,
  revision,
  sequential,
  smc,
  without_replacement,
)
from o1jax.search.budget import Budget as Budget
from o1jax.search.choose import CHOICES as CHOICES
from o1jax.search.method import Method
from o1jax.search.method import run as run
from o1jax.search.stop import STOPS as STOPS

SEARCHES: dict[str, Method] = {
  'best_of_n': best_of_n.METHOD,
  'gumbel': mcts.GUMBEL,
  'puct': mcts.PUCT,
  'beam': beam.BEAM,
  'dvts': beam.DVTS,
  'ab_mcts': ab_mcts.METHOD,
  'without_replacement': without_replacement.METHOD,
  'rejection': rejection.METHOD,
  'best_first': best_first.METHOD,
  'lookahead': lookahead.METHOD,
  'smc': smc.METHOD,
  'backtrack': backtrack.METHOD,
  'sequential': sequential.METHOD,
  'bisection': bisection.METHOD,
  'budget_forcing': budget_forcing.METHOD,
  'revision': revision.METHOD,
  'mctsr': mctsr.METHOD,
}
