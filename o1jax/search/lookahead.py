"""Lookahead search (arXiv:2408.03314): beam search whose candidates are judged by where they
lead."""

import itertools

import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.decode.grow import Grow
from o1jax.search import beam, blocks
from o1jax.search.method import BRANCHES, Look, Method
from o1jax.search.room import Room, check_range
from o1jax.types import Array, Tree, TreeCache


def lookahead(
  grow: Grow,
  tree: Tree,
  cache: TreeCache,
  keys: Array,
  *,
  units: Array | int,
  ahead: int = 2,
  aggregate: str = 'last',
) -> Tree:
  """Beam search in which each candidate is continued by a sampled chain of `ahead` steps, and has
  the score of that chain's end in place of its own.

  A beam goes on from its candidate, not from the chain. The chains stand in the tree: they are
  billed, and one that finishes is a solution to choose. The paper continues greedily; `Grow` has
  one temperature, so here it is a sample.

  Args:
    grow: the policy.
    tree: empty, [B, X, A, L], with room for the most beams.
    cache: of the slots of beams.
    keys: [B] one key a problem.
    units: [] beams.
    ahead: steps of a chain, which ends before where a solution does; 0 = plain beam search.
    aggregate: how step values make a score, see `reward.process.solution_score`.

  Returns:
    The tree: K*R slots of beams as in `beam`, then the chains of each depth.
  """
  slots, candidates = tree.mask.shape[1:]
  depths = tree.path.shape[-1]
  width = next(n for n in itertools.count(1) if _slots(n, candidates, depths, ahead) == slots)
  chains = blocks.padded(width * candidates)

  def roll(tree, cache, ids, depth):
    """Continues the candidates [B, K*A] of a depth, -1 = none. Returns where each ends."""
    slot = width * depths + (depth - 1) * chains * ahead
    more = ((0, 0), (0, chains - ids.shape[1]))
    parents = jnp.pad(ids, more, constant_values=tree_lib.NONE)
    tree, _ = blocks.grow_in_blocks(grow, tree, cache, keys, parents, slot=slot, steps=ahead)
    made = blocks.step_ids(slot, chains, ahead, candidates)[:, : ids.shape[1]]
    made = jnp.broadcast_to(made, (ids.shape[0], *made.shape))
    # The steps of a chain have ascending ids.
    end = jnp.max(jnp.where(tree_lib.pick(tree.mask, made), made, tree_lib.NONE), axis=1)
    return tree, jnp.where(end > 0, end, ids)

  settings = dict(width=width, aggregate=aggregate, roll=roll if ahead else None)
  return beam.beams(grow, tree, cache, keys, units, beam.best, **settings)


def room(units: int, *, candidates: int, max_steps: int, ahead: int, aggregate: str) -> Room:
  """The slots of beams, and those of a chain for each candidate above the deepest.

  Raises:
    ValueError: a setting is out of range.
  """
  check_range(0, whole=True, ahead=ahead)
  own = beam.room(units, candidates=candidates, max_steps=max_steps, aggregate=aggregate)
  slots = _slots(units, candidates, max_steps, ahead)
  return own._replace(slots=slots, last=slots - own.slots)


def _slots(units: int, candidates: int, max_steps: int, ahead: int) -> int:
  """Of beams, and of a chain for each candidate above the deepest."""
  return units * max_steps + (max_steps - 1) * blocks.padded(units * candidates) * ahead


def _steps(units, *, candidates, max_steps, ahead, aggregate):
  del aggregate
  return units * candidates * max_steps * (1 + ahead)


METHOD = Method(
  lookahead,
  room,
  'lookahead search',
  Look('pink', 'h'),
  unit='beams',
  steps=_steps,
  settings=dict(ahead=2, aggregate='last'),
  least=2,
  several=True,
  provides=BRANCHES,
)
