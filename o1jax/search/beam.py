"""Beam search over reasoning steps (arXiv:2408.03314), and diverse verifier tree search, which
keeps each beam in a subtree of its own."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from o1jax import keys as streams
from o1jax import tree as tree_lib
from o1jax.decode.grow import Grow
from o1jax.reward.process import AGGREGATES, solution_score
from o1jax.search.method import BRANCHES, Look, Method
from o1jax.search.room import Room, check_choice
from o1jax.types import Array, Tree, TreeCache


def beam(
  grow: Grow,
  tree: Tree,
  cache: TreeCache,
  keys: Array,
  *,
  units: Array | int,
  aggregate: str = 'last',
) -> Tree:
  """Keeps the K = `units` best of all candidates at each depth, and expands each into A.

  The root is expanded K times, so there are K*A candidates at every depth. A finished solution
  among the best keeps its place. So a problem ends with K beams, whatever their lengths.

  Args:
    grow: the policy.
    tree: empty, [B, K*R, A, L], with room for the most beams.
    cache: of the tree.
    keys: [B] one key a problem.
    units: [] K; beams beyond it are not expanded.
    aggregate: how step values make the score of a beam, see `reward.process.solution_score`.
  """
  width = tree.mask.shape[1] // tree.path.shape[-1]
  return beams(grow, tree, cache, keys, units, best, width=width, aggregate=aggregate)


def dvts(
  grow: Grow,
  tree: Tree,
  cache: TreeCache,
  keys: Array,
  *,
  units: Array | int,
  aggregate: str = 'last',
) -> Tree:
  """Diverse verifier tree search: K = `units` searches of beam width one, each from a root
  expansion of its own (Beeching et al. 2024, "Scaling test-time compute with open models").

  Arguments as in `beam`. A subtree ends when its best candidate is finished.
  """

  def keep(score, places):
    """The best candidate of each slot [B, W, A]."""
    del places
    best, width = jnp.argmax(score, axis=-1), score.shape[-1]
    which = jnp.arange(score.shape[1]) * width + best
    return jnp.where(jnp.max(score, axis=-1) > -jnp.inf, which, -1)

  width = tree.mask.shape[1] // tree.path.shape[-1]
  settings = dict(width=width, aggregate=aggregate, distinct=False)
  return beams(grow, tree, cache, keys, units, keep, **settings)


def best(score: Array, places: Array) -> Array:
  """The best `places` [B] of all candidates [B, W, A]: which, in order, [B, W] of W*A; -1 =
  none."""
  width = score.shape[1]
  found, which = jax.lax.top_k(score.reshape(score.shape[0], -1), width)
  return jnp.where((jnp.arange(width) < places[:, None]) & (found > -jnp.inf), which, -1)


def room(units: int, *, candidates: int, max_steps: int, aggregate: str) -> Room:
  """A slot for each beam at each depth. ValueError for an aggregate that there is not."""
  check_choice(AGGREGATES, aggregate=aggregate)
  return Room(slots=units * max_steps, candidates=candidates, width=units)


def beams(
  grow: Grow,
  tree: Tree,
  cache: TreeCache,
  keys: Array,
  units: Array | int,
  keep: Callable,
  *,
  width: int,
  aggregate: str,
  distinct: bool = True,
  roll: Callable | None = None,
) -> Tree:
  """Beams that go from depth to depth, in slots `depth * width` and on.

  Args:
    grow, tree, cache, keys, units: see `beam`.
    keep: (score [B, W, A], places [B]) -> which of the W*A candidates go on, [B, W], -1 = none.
    width: W, the most beams.
    aggregate: see `beam`.
    distinct: no candidate of the same parent and tokens goes on twice.
    roll: (tree, cache, ids [B, W*A], depth) -> tree, ids of the nodes by which candidates are
      judged; None = by themselves. An id of -1 is no candidate.
  """
  batch, _, candidates = tree.mask.shape
  steps = tree.path.shape[-1]
  taken = jnp.arange(width) < units
  roots = jnp.broadcast_to(jnp.where(taken, tree_lib.ROOT, tree_lib.NONE), (batch, width))
  tree, cache = grow(tree, cache, streams.of_slot(keys, 0), roots, slot=0, depth=0)

  def frontier(tree, slot):
    """The candidates in slots `slot` and on, [B, W*A], -1 = none."""
    ids = 1 + slot * candidates + jnp.arange(width * candidates)
    ids = jnp.broadcast_to(ids, (batch, width * candidates))
    real = tree_lib.pick(tree.mask, ids, fill=False)
    if distinct:
      real &= ~_twins(tree, slot, width)
    return jnp.where(real, ids, tree_lib.NONE)

  def step(carry):
    depth, tree, cache, places, _ = carry
    ids = frontier(tree, (depth - 1) * width)
    tree, ends = roll(tree, cache, ids, depth) if roll else (tree, ids)
    score = jnp.where(ids > 0, solution_score(tree, ends, aggregate=aggregate), -jnp.inf)
    score = score.reshape(batch, width, candidates)
    which = keep(score, places)
    kept = jnp.where(which >= 0, jnp.take_along_axis(ids, jnp.maximum(which, 0), axis=1), -1)
    done = tree_lib.pick(tree.terminal, kept, fill=False)
    parents = jnp.where(done, tree_lib.NONE, kept)
    slot = depth * width
    tree, cache = grow(tree, cache, streams.of_slot(keys, slot), parents, slot=slot)
    return depth + 1, tree, cache, places - done.sum(-1), jnp.any(parents > 0)

  def goes_on(carry):
    return (carry[0] < steps) & carry[-1]

  places = jnp.broadcast_to(jnp.asarray(units, jnp.int32), (batch,))
  carry = jnp.int32(1), tree, cache, places, jnp.bool_(True)
  with jax.named_scope(f'depths/turns_{steps - 1}'):
    return jax.lax.while_loop(goes_on, step, carry)[1]


def _twins(tree: Tree, slot, width: int) -> Array:
  """Candidates of slots `slot` and on that repeat an earlier one under the same parent, [B, W*A].
  The root fills several slots, and a beam must not be kept twice."""
  part = lambda x: jax.lax.dynamic_slice_in_dim(x, slot, width, axis=1)
  tokens, mask = part(tree.tokens), part(tree.mask)
  parent = jnp.broadcast_to(part(tree.expanded)[..., None], mask.shape)
  batch = tokens.shape[0]
  tokens, parent, mask = (x.reshape(batch, -1, *x.shape[3:]) for x in (tokens, parent, mask))
  equal = jnp.all(tokens[:, :, None] == tokens[:, None], axis=-1)
  equal &= (parent[:, :, None] == parent[:, None]) & mask[:, None]
  return jnp.any(jnp.tril(equal, k=-1), axis=-1)


def _steps(units, *, candidates, max_steps, aggregate):
  del aggregate
  return units * candidates * max_steps


_ROW = dict(
  room=room,
  unit='beams',
  steps=_steps,
  settings=dict(aggregate='last'),
  least=2,
  several=True,
  provides=BRANCHES,
)
BEAM = Method(beam, words='beam search', look=Look('pink', 'P'), **_ROW)
DVTS = Method(dvts, words='diverse verifier tree search', look=Look('orange', 'h'), **_ROW)
