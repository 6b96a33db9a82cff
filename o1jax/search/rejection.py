"""Speculative Rejection (arXiv:2410.20290): best-of-N that stops its worst chains early."""

import itertools

import jax.numpy as jnp
import numpy as np

from o1jax import keys as streams
from o1jax import tree as tree_lib
from o1jax.decode.grow import Grow
from o1jax.search.method import Look, Method
from o1jax.search.room import Room
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

  A finished chain is never stopped, and of the others one always stays. A round has rows for no
  more chains than can be left, so a chain that has stopped costs neither tokens nor time.

  Args:
    grow: the policy.
    tree: empty, [B, X, 1, L], with room for the most chains.
    cache: its.
    keys: [B] one key a problem.
    units: [] N.
    alpha: share of the growing chains that stops after a round, rounded down to whole chains.
    every: steps of a round. The paper ends a round when the memory is full.

  Returns:
    The tree. The slots of a round follow those of the round before: step s of its w-th of W chains
    is s*W + w of them. The chains of a round are in the order of their guide.
  """
  batch, slots, _ = tree.mask.shape
  rounds = _rounds_of(slots, tree.path.shape[-1], alpha, every)
  parents = jnp.where(jnp.arange(rounds[0][0]) < units, tree_lib.ROOT, tree_lib.NONE)
  parents = jnp.broadcast_to(parents, (batch, rounds[0][0]))
  slot = 0
  for number, (width, steps) in enumerate(rounds):
    if number:
      parents = _kept(tree, slot, parents.shape[1], alpha)[:, :width]
    how = dict(slot=slot, steps=steps, depth=number * every)
    if number < len(rounds) - 1:
      how['keep'] = True
    tree, cache = grow(tree, cache, streams.of_slot(keys, slot), parents, **how)
    slot += width * steps
  return tree


def room(units: int, *, candidates: int, max_steps: int, alpha: float, every: int) -> Room:
  """A slot for each step of the chains that can be left in each round.

  Raises:
    ValueError: of a share that leaves no chain, or of rounds without a step.
  """
  del candidates
  if not 0 <= alpha < 1:
    raise ValueError(f'alpha={alpha} leaves no chain: give a share in [0, 1)')
  if every < 1:
    raise ValueError(f'every={every} makes rounds without a step: give at least 1')
  rounds = _rounds(units, max_steps, alpha, every)
  slots = sum(width * steps for width, steps in rounds)
  return Room(slots=slots, candidates=1, last=rounds[-1][0] * rounds[-1][1], width=units)


def _rounds(units: int, max_steps: int, alpha: float, every: int) -> list[tuple[int, int]]:
  """The most chains that grow in each round, and its steps."""
  rounds = []
  for begin in range(0, max_steps, every):
    rounds.append((units, min(every, max_steps - begin)))
    units -= _stopped(units, alpha)
  return rounds


def _rounds_of(slots: int, *settings) -> list[tuple[int, int]]:
  """The rounds that a tree has room for."""
  every = (_rounds(units, *settings) for units in itertools.count(1))
  return next(one for one in every if sum(width * steps for width, steps in one) == slots)


def _stopped(chains: int, alpha: float) -> int:
  """Of so many growing chains."""
  return int(alpha * chains + 1e-6)  # 0.29 * 100 is a little less than 29


def _kept(tree: Tree, slot: int, width: int, alpha: float) -> Array:
  """The ends [B, W] of the W chains whose last steps lie before `slot`: those that grow on, the
  best first, and then -1."""
  ids = jnp.broadcast_to(1 + slot - width + jnp.arange(width), (tree.mask.shape[0], width))
  grows = tree_lib.expandable(tree, ids)
  guide = jnp.where(grows, tree_lib.pick(tree_lib.guide(tree), ids), -jnp.inf)
  best = jnp.take_along_axis(ids, jnp.argsort(-guide, axis=-1), axis=-1)
  left = np.array([n - _stopped(n, alpha) for n in range(width + 1)])
  return jnp.where(jnp.arange(width) < jnp.asarray(left)[grows.sum(-1)][:, None], best, -1)


def _steps(units, *, candidates, max_steps, alpha, every):
  """As of chains that all have so many steps."""
  del candidates
  return sum(width * steps for width, steps in _rounds(units, round(max_steps), alpha, every))


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
