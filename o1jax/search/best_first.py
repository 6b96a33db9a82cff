"""Best-first search: a queue of all nodes that can still grow, of which the one of highest priority
is expanded next (Koh et al. 2024, arXiv:2407.01476)."""

import jax
import jax.numpy as jnp

from o1jax import keys as streams
from o1jax import tree as tree_lib
from o1jax.decode.grow import Grow
from o1jax.search.finish import finish, still_open
from o1jax.search.method import BRANCHES, Look, Method
from o1jax.search.room import Room, check_range
from o1jax.types import Array, Tree, TreeCache


def best_first(
  grow: Grow,
  tree: Tree,
  cache: TreeCache,
  keys: Array,
  *,
  units: Array | int,
  depth_weight: float = 0.0,
  uncertainty_weight: float = 0.0,
  width: int = 1,
) -> Tree:
  """Expands the open node of highest priority until the budget is spent.

  The priority is `guide + depth_weight * depth / R + uncertainty_weight * guide * (1 - guide)`. So
  a depth weight above 0 follows a path to its end, one below 0 goes wide, and an uncertainty weight
  looks first where the guide cannot tell right from wrong. If nothing is finished then, a chain
  finishes the likeliest leaf.

  Args:
    grow: the policy.
    tree: empty, [B, X, A, L], with room for the most expansions.
    cache: its.
    keys: [B] one key a problem.
    units: [] expansions, the root's included.
    depth_weight: see above.
    uncertainty_weight: see above.
    width: W, nodes that are expanded at once, the best of the queue. More waste less time and
      choose by less.
  """
  batch, slots, _ = tree.mask.shape
  filled = slots - tree.path.shape[-1] + 1
  root = jnp.full((batch, 1), tree_lib.ROOT)
  tree, cache = grow(tree, cache, streams.of_slot(keys, 0), root, slot=0, depth=0)

  def expand(turn, carry):
    tree, cache = carry
    slot = 1 + turn * width
    priority = _priority(tree, depth_weight, uncertainty_weight)
    queue = jnp.where(still_open(tree), priority, -jnp.inf).reshape(batch, -1)
    best, which = jax.lax.top_k(queue, width)
    taken = (best > -jnp.inf) & (slot + jnp.arange(width) < units)
    parents = jnp.where(taken, 1 + which, tree_lib.NONE)
    return grow(tree, cache, streams.of_slot(keys, slot), parents, slot=slot)

  turns = (units + width - 2) // width
  # The name tells how often the loop runs at most, which a reader of the program could not see.
  with jax.named_scope(f'expansions/turns_{(filled - 1) // width}'):
    tree, cache = jax.lax.fori_loop(0, turns, expand, (tree, cache))
  return finish(grow, tree, cache, streams.of_slot(keys, units), filled)


def room(units: int, *, candidates: int, max_steps: int, width: int, **settings) -> Room:
  """A slot for each expansion, and those of the last chain.

  Raises:
    ValueError: a setting is out of range.
  """
  del settings
  check_range(1, whole=True, width=width)
  slots = 1 + -(-(units - 1) // width) * width
  return Room(slots + max_steps - 1, candidates, last=max_steps - 1, width=width)


def _priority(tree: Tree, depth_weight: float, uncertainty_weight: float) -> Array:
  """Of all candidates, [B, X, A]."""
  guide = tree_lib.guide(tree)
  depth = (1 + tree_lib.parent_depth(tree)) / tree.path.shape[-1]
  return guide + depth_weight * depth[..., None] + uncertainty_weight * guide * (1 - guide)


def _steps(units, *, candidates, max_steps, **settings):
  del settings
  return units * candidates + max_steps / 2


METHOD = Method(
  best_first,
  room,
  'best-first search',
  Look('sky', 's'),
  unit='expansions',
  steps=_steps,
  settings=dict(depth_weight=0.0, uncertainty_weight=0.0, width=1),
  least=2,
  several=True,
  provides=BRANCHES,
)
