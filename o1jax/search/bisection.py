"""OmegaPRM's binary search for the first wrong step (arXiv:2406.06592): labels of steps from the
verdicts on solutions alone.

A prefix can still become right if a rollout from it does. Of a wrong solution the empty prefix can
and the whole one cannot. Rollouts from the middle tell which half the first wrong step is in. So it
is found with k*log2(R) rollouts, where rollouts from every step would be k*R.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from o1jax import keys as streams
from o1jax import tree as tree_lib
from o1jax.decode.grow import Grow
from o1jax.reward.process import ended
from o1jax.search.method import Look, Method
from o1jax.search.room import Room, check_range
from o1jax.types import Array, Tree, TreeCache


class Halves(NamedTuple):
  """What is known of N solutions, [B, N] each, in steps from the root."""

  low: Array  # the longest prefix that can become right, as far as is known; at first the prompt
  high: Array  # the shortest that cannot
  open: Array  # bool: a wrong solution of which more is to be found out


def bisection(
  grow: Grow,
  tree: Tree,
  cache: TreeCache,
  keys: Array,
  *,
  units: Array | int,
  rollouts: int = 8,
) -> Tree:
  """Samples N = `units` chains, and looks for the first wrong step of those that are wrong.

  The reward is a verdict: a finished solution that returns 1 is right, and one that returns 0 is
  wrong. So is one that was cut off at depth R. Whatever returns something else is unjudged. An
  unjudged chain is left out, and so is an unjudged rollout. Where no rollout is right and one is
  unjudged, the search of that solution ends undecided.

  Args:
    grow: the policy.
    tree: empty, [B, X, 1, L] with the slots that `room` asks for.
    cache: its.
    keys: [B] one key a problem.
    units: [] N, at most M, the chains that there is room for.
    rollouts: k, from each prefix that is tried.

  Returns:
    The tree. Slot `r*M + i` holds step r of chain i. At nodes that rollouts began from, `visits` is
    how many of them were judged and `q` the share of these that was right. The first wrong step is
    the first with q = 0, or the last of the solution. Undecided nodes have no visits.
  """
  steps = tree.path.shape[-1]
  most = tree.mask.shape[1] // _slots_of_chain(steps, rollouts)
  roots = jnp.where(jnp.arange(most) < units, tree_lib.ROOT, tree_lib.NONE)
  roots = jnp.broadcast_to(roots, (keys.shape[0], most))
  tree, cache = grow(tree, cache, keys, roots, slot=0, steps=steps, keep=True, depth=0)
  if steps == 1:
    return tree
  length, _, wrong = _judged(tree, 0, steps, most)
  width, ahead = most * rollouts, steps - 1

  def halve(n, carry):
    tree, halves = carry
    middle = (halves.low + halves.high) // 2
    tried = halves.open & (halves.high - halves.low > 1)
    node = jnp.where(tried, 1 + (middle - 1) * most + jnp.arange(most), tree_lib.NONE)
    slot = most * steps + n * width * ahead
    # Nothing begins at the nodes of a rollout, so their keys are not kept.
    begin, key = jnp.repeat(node, rollouts, axis=1), streams.of_slot(keys, slot)
    # Programs for paths of several lengths would take longer to compile.
    how = dict(slot=slot, steps=ahead, keep=False, depth=steps - 1)
    tree, _ = grow(tree, cache, key, begin, **how)
    _, right, false = (x.reshape(*node.shape, rollouts) for x in _judged(tree, slot, ahead, width))
    right, judged = right.sum(-1), (right | false).sum(-1)
    can, cannot = tried & (right > 0), tried & (right == 0) & (judged == rollouts)
    told = jnp.where(can | cannot, node, tree_lib.NONE)
    tree = tree.replace(
      visits=tree_lib.put(tree.visits, told, judged),
      q=tree_lib.put(tree.q, told, right / jnp.maximum(judged, 1)),
    )
    low, high = jnp.where(can, middle, halves.low), jnp.where(cannot, middle, halves.high)
    return tree, Halves(low, high, tried & (can | cannot))

  halves = Halves(jnp.zeros_like(length), length, wrong)
  # The name tells how often the loop runs at most, which a reader of the program could not see.
  with jax.named_scope(f'chains/turns_{_turns(steps)}'):
    return jax.lax.fori_loop(0, _turns(steps), halve, (tree, halves))[0]


def room(units: int, *, candidates: int, max_steps: int, rollouts: int) -> Room:
  """A slot for each step of each chain, and for each step of all rollouts.

  Raises:
    ValueError: a setting is out of range.
  """
  del candidates
  check_range(1, whole=True, rollouts=rollouts)
  slots, chains = units * _slots_of_chain(max_steps, rollouts), units * max_steps
  return Room(slots=slots, candidates=1, last=slots - chains, width=units)


def _slots_of_chain(max_steps: int, rollouts: int) -> int:
  """Of a chain and its rollouts."""
  return max_steps + _turns(max_steps) * rollouts * (max_steps - 1)


def _turns(max_steps: int) -> int:
  """Most prefixes of a solution that are tried: log2(R), rounded up."""
  return (max_steps - 1).bit_length()


def _judged(tree: Tree, slot: Array | int, steps: int, width: int) -> tuple[Array, Array, Array]:
  """Of each of W chains in the slots from `slot` on its length in steps, and whether it is right
  and wrong, [B, W] each."""

  def rows(field):
    part = jax.lax.dynamic_slice_in_dim(field[..., 0], slot, steps * width, axis=1)
    return part.reshape(-1, steps, width)

  over, done = rows(ended(tree)), rows(tree_lib.finished(tree))
  # What is cut off at depth R has no reward.
  reward = jnp.where(done, rows(tree.reward), 0)
  length = jnp.sum(rows(tree.length) > 0, axis=1)
  return length, jnp.any(over & (reward >= 1), axis=1), jnp.any(over & (reward <= 0), axis=1)


METHOD = Method(
  bisection,
  room,
  'bisection',
  Look('pink', 'v'),
  unit='chains',
  # As many as where all solutions are wrong. A rollout begins in the middle.
  steps=lambda units, *, candidates, max_steps, rollouts: (
    units * (max_steps + _turns(round(max_steps)) * rollouts * max_steps / 2)
  ),
  settings=dict(rollouts=8),
  several=True,
  guided=False,
  told=True,
  provides=frozenset({'solutions', 'rollouts'}),
)
