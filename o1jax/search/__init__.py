"""Chapter 3, search: rules for which nodes to expand, and which finished solution to answer with.

`SEARCHES` is the table of searches: another one is a file beside these, and a row.
"""

from o1jax.search import ab_mcts, beam, best_of_n, mcts
from o1jax.search.budget import Budget as Budget
from o1jax.search.choose import CHOICES as CHOICES
from o1jax.search.method import Look, Method
from o1jax.search.method import run as run

_BRANCHES = frozenset({'solutions', 'siblings'})
_MCTS = dict(
  room=mcts.room,
  unit='simulations',
  steps=lambda units, *, candidates, max_steps: (1 + units) * candidates + max_steps / 2,
  least=2,
  several=True,
  provides=_BRANCHES | {'improved'},
)
_BEAMS = dict(
  room=beam.room,
  unit='beams',
  steps=lambda units, *, candidates, max_steps: units * candidates * max_steps,
  settings=dict(aggregate='last'),
  least=2,
  several=True,
  provides=_BRANCHES,
)

SEARCHES: dict[str, Method] = {
  'best_of_n': Method(
    best_of_n.best_of_n,
    best_of_n.room,
    'best-of-N',
    Look('green', '^'),
    unit='chains',
    steps=lambda units, *, candidates, max_steps: units * max_steps,
    independent=True,
    provides=frozenset({'solutions'}),
  ),
  'gumbel': Method(
    mcts.gumbel,
    words='Gumbel MCTS',
    look=Look('blue', 'o'),
    settings=dict(gumbel_scale=1.0),
    quiet=dict(gumbel_scale=0.0),
    **_MCTS,
  ),
  'puct': Method(
    mcts.puct,
    words='PUCT MCTS',
    look=Look('sky', 'v'),
    settings=dict(exploration=1.25, dirichlet_fraction=0.25),
    quiet=dict(dirichlet_fraction=0.0),
    **_MCTS,
  ),
  'beam': Method(beam.beam, words='beam search', look=Look('pink', 'P'), **_BEAMS),
  'ab_mcts': Method(
    ab_mcts.ab_mcts,
    ab_mcts.room,
    'AB-MCTS',
    Look('blue', 'D'),
    unit='chains',
    # A chain begins at any depth.
    steps=lambda units, *, candidates, max_steps: (1 + units) * max_steps / 2,
    settings=dict(prior=1.0),
    several=True,
    provides=frozenset({'solutions'}),
  ),
  'dvts': Method(
    beam.dvts, words='diverse verifier tree search', look=Look('orange', 'h'), **_BEAMS
  ),
}
