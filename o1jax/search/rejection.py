"""Speculative Rejection (arXiv:2410.20290): best-of-N that stops its worst chains early."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from o1jax import tree as tree_lib
from o1jax.decode.grow import Grow
from o1jax.search import blocks
from o1jax.search.method import Look, Method
from o1jax.search.room import Room, check_range
from o1jax.types import Array, Tree, TreeCache


def rejection(
  grow: Grow,
  tree: Tree,
  cache: TreeCache,
  keys: Array,
  *,
  units: Array | int,
  alpha: float = 0.5,
  every: int = 2,
) -> Tree:
  """N = `units` chains grow side by side. After each round those of the lowest guide stop.

  A finished chain is never stopped, and of the others one always stays. A chain that has stopped
  costs no tokens, and hardly any time: those that grow on are grown in blocks of their own.

  Args:
    grow: the policy.
    tree: empty, [B, X, 1, L], with room for the most chains.
    cache: of all its nodes.
    keys: [B] one key a problem.
    units: [] N.
    alpha: share of the growing chains that stops after a round, rounded down to whole chains.
    every: steps of a round. The paper ends a round when the memory is full.

  Returns:
    The tree. The slots of a round follow those of the round before, see `blocks.step_ids`. Its
    chains are in the order of their guide.
  """
  batch, slots, _ = tree.mask.shape
  widths = _widths_of(slots, tree.path.shape[-1], alpha, every)
  width = widths[0]
  first = jnp.asarray(np.cumsum([0, *widths[:-1]]) * every)
  roots = jnp.where(jnp.arange(width) < units, tree_lib.ROOT, tree_lib.NONE)

  def grow_on(number, carry):
    ends = blocks.step_ids(first[jnp.maximum(number - 1, 0)], width, every)[-1]
    parents = _kept(carry[0], jnp.broadcast_to(ends, (batch, width)), alpha)
    parents = jnp.where(number == 0, roots, parents)
    how = dict(slot=first[number], steps=every, keep=True)
    return blocks.grow_in_blocks(grow, *carry, keys, parents, **how)

  # The name tells how often the loop runs at most, which a reader of the program could not see.
  with jax.named_scope(f'rounds/turns_{len(widths)}'):
    return jax.lax.fori_loop(0, len(widths), grow_on, (tree, cache))[0]


def room(units: int, *, candidates: int, max_steps: int, alpha: float, every: int) -> Room:
  """Slots for each step of the chains that can be left in each round.

  Raises:
    ValueError: of a share that leaves no chain, or of rounds without a step.
  """
  del candidates
  if not 0 <= alpha < 1:
    raise ValueError(f'alpha={alpha} leaves no chain: give a share in [0, 1)')
  check_range(1, whole=True, every=every)
  widths = _widths(units, max_steps, alpha, every)
  return Room(slots=sum(widths) * every, candidates=1, width=widths[0])


def _left(units: int, max_steps: int, alpha: float, every: int) -> list[int]:
  """The most chains that grow in each round."""
  rounds = [units]
  while len(rounds) * every < max_steps:
    rounds.append(rounds[-1] - _stopped(rounds[-1], alpha))
  return rounds


def _widths(units: int, *settings) -> list[int]:
  """The chains that each round has room for, in blocks of the size of the first."""
  size = min(blocks.BLOCK, units)
  return [-(-left // size) * size for left in _left(units, *settings)]


def _widths_of(slots: int, max_steps: int, alpha: float, every: int) -> list[int]:
  """The rounds of a tree of so many slots."""
  every_width = (_widths(units, max_steps, alpha, every) for units in itertools.count(1))
  return next(widths for widths in every_width if sum(widths) * every == slots)


def _stopped(chains: int, alpha: float) -> int:
  """Of so many growing chains."""
  return int(alpha * chains + 1e-6)  # 0.29 * 100 is a little less than 29


def _kept(tree: Tree, ends: Array, alpha: float) -> Array:
  """Of the ends [B, W] of chains those that grow on, the best first, and then -1."""
  grows = tree_lib.expandable(tree, ends)
  guide = jnp.where(grows, tree_lib.pick(tree_lib.guide(tree), ends), -jnp.inf)
  best = jnp.take_along_axis(ends, jnp.argsort(-guide, axis=-1), axis=-1)
  count = np.arange(ends.shape[1] + 1)
  left = jnp.asarray([n - _stopped(n, alpha) for n in count])[grows.sum(-1)]
  return jnp.where(count[:-1] < left[:, None], best, tree_lib.NONE)


def _steps(units, *, candidates, max_steps, alpha, every):
  """As of chains that all have so many steps."""
  del candidates
  return sum(_left(units, round(max_steps), alpha, every)) * every


METHOD = Method(
  rejection,
  room,
  'speculative rejection',
  Look('green', 's'),
  unit='chains',
  steps=_steps,
  settings=dict(alpha=0.5, every=2),
  several=True,
  provides=frozenset({'solutions'}),
)
