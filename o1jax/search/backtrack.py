"""Backtracking: depth-first search that gives up a branch which has become worse than it began."""

import jax
import jax.numpy as jnp

from o1jax import keys as streams
from o1jax import tree as tree_lib
from o1jax.decode.grow import Grow
from o1jax.search.finish import finish, still_open
from o1jax.search.method import BRANCHES, Look, Method
from o1jax.search.room import Room, check_range
from o1jax.types import Array, Tree, TreeCache


def backtrack(
  grow: Grow,
  tree: Tree,
  cache: TreeCache,
  keys: Array,
  *,
  units: Array | int,
  give_up: float = 0.5,
) -> Tree:
  """Follows a branch from its best candidate to the best of that one's, until it gives it up.

  A branch is given up where all candidates are finished, too deep, or of a guide below `give_up`
  times that of the node from which the branch set out. The search then goes back: of the candidates
  on the way up that were not taken, the best begins a branch, which sets out from its parent. Where
  none is left there, the best is taken up again of all that were given up, and where there is none
  either, the root is expanded anew. If nothing is finished when the budget is spent, a chain
  finishes the likeliest leaf.

  It is the depth-first search of arXiv:2305.10601 (algorithm 2). Its threshold is relative, since a
  hard problem has low values everywhere.

  Args:
    grow: the policy.
    tree: empty, [B, X, A, L], with room for the most expansions.
    cache: its.
    keys: [B] one key a problem.
    units: [] expansions, those of the root included.
    give_up: share of the guide where it set out, below which a branch is given up; 0 = never before
      its end.
  """
  batch, slots, _ = tree.mask.shape
  filled = slots - tree.path.shape[-1] + 1

  def expand(slot, carry):
    tree, cache, floor, node, start = carry
    tree, cache = grow(tree, cache, streams.of_slot(keys, slot), node[:, None], slot=slot)
    least = give_up * _guide_at(tree, start[:, None])
    floor = jax.lax.dynamic_update_slice_in_dim(floor, least, slot, axis=1)
    return tree, cache, floor, *_next(tree, floor, slot, start, give_up)

  root = jnp.full(batch, tree_lib.ROOT)
  carry = tree, cache, jnp.zeros((batch, slots)), root, root
  # The name tells how often the loop runs at most, which a reader of the program could not see.
  with jax.named_scope(f'expansions/turns_{filled}'):
    tree, cache, *_ = jax.lax.fori_loop(0, units, expand, carry)
  return finish(grow, tree, cache, streams.of_slot(keys, units), filled)


def room(units: int, *, candidates: int, max_steps: int, give_up: float) -> Room:
  """A slot for each expansion, and those of the last chain.

  Raises:
    ValueError: a setting is out of range.
  """
  check_range(0, give_up=give_up)
  return Room(units + max_steps - 1, candidates, last=max_steps - 1)


def _next(tree: Tree, floor: Array, slot: Array, start: Array, give_up: float):
  """What is expanded after a slot [], and from where its branch set out, [B] each.

  floor [B, X]: the guide that candidates of a slot must have for their branch to go on.
  """
  batch, _, width = tree.mask.shape
  guide = tree_lib.guide(tree)
  left = still_open(tree)
  good = left & (guide >= floor[..., None])
  here = good & (jnp.arange(good.shape[1]) == slot)[:, None]
  path = jax.lax.dynamic_index_in_dim(tree.path, slot, axis=1)
  above = jnp.any((tree.expanded[..., None] == path) & (path >= 0), axis=-1)[..., None]
  above &= good & (guide >= give_up * _guide_at(tree, tree.expanded)[..., None])
  node, begins = jnp.full(batch, tree_lib.ROOT), jnp.ones(batch, bool)
  for some, new in ((left, True), (above, True), (here, False)):  # the last that has any decides
    best = 1 + jnp.argmax(jnp.where(some, guide, -jnp.inf).reshape(batch, -1), axis=-1)
    there = jnp.any(some, axis=(1, 2))
    node, begins = jnp.where(there, best, node), jnp.where(there, new, begins)
  parent = jnp.take_along_axis(tree.expanded, (jnp.maximum(node - 1, 0) // width)[:, None], axis=1)
  parent = jnp.where(node > 0, parent[:, 0], tree_lib.ROOT)
  return node, jnp.where(begins, parent, start)


def _guide_at(tree: Tree, ids: Array) -> Array:
  """Of nodes [B, N], the root included."""
  root = tree_lib.root_guide(tree)[:, None]
  return jnp.where(ids == tree_lib.ROOT, root, tree_lib.pick(tree_lib.guide(tree), ids))


def _steps(units, *, candidates, max_steps, give_up):
  del give_up
  return units * candidates + max_steps / 2


METHOD = Method(
  backtrack,
  room,
  'backtracking',
  Look('orange', 'v'),
  unit='expansions',
  steps=_steps,
  settings=dict(give_up=0.5),
  least=2,
  several=True,
  provides=BRANCHES,
)
