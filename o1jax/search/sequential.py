"""Chains in rounds, one after the other: best-of-N for whoever may stop before all are sampled."""

import jax
import jax.numpy as jnp

from o1jax import keys as streams
from o1jax import tree as tree_lib
from o1jax.decode.grow import Grow
from o1jax.search.method import Look, Method
from o1jax.search.room import Room, check_range
from o1jax.types import Array, Tree, TreeCache


def sequential(
  grow: Grow,
  tree: Tree,
  cache: TreeCache,
  keys: Array,
  *,
  units: Array | int,
  width: int = 1,
) -> Tree:
  """Samples N = `units` chains from the root, W = `width` at a time.

  Without a rule that stops it, it samples as best-of-N does, and takes longer, since each round
  waits for its longest chain. With one it is adaptive consistency (arXiv:2305.11860). How many
  chains there are then depends on what they answer, so they are no independent samples.

  Args:
    grow: the policy.
    tree: empty, [B, N*R, 1, L], with room for the most chains, in whole rounds.
    cache: its.
    keys: [B] one key a problem.
    units: [] N.
    width: W.

  Returns:
    The tree. Slots `n*W*R` and on hold round n; step s of its chain w is in the s*W + w -th.
  """
  steps = tree.path.shape[-1]
  each = width * steps

  def sample(n, tree):
    taken = n * width + jnp.arange(width) < units
    roots = jnp.where(taken, tree_lib.ROOT, tree_lib.NONE)
    roots = jnp.broadcast_to(roots, (keys.shape[0], width))
    slot = n * each
    return grow(tree, cache, streams.of_slot(keys, slot), roots, slot=slot, steps=steps, depth=0)[0]

  rounds = (units + width - 1) // width
  # The name tells how often the loop runs at most, which a reader of the program could not see.
  with jax.named_scope(f'chains/turns_{tree.mask.shape[1] // each}'):
    return jax.lax.fori_loop(0, rounds, sample, tree)


def room(units: int, *, candidates: int, max_steps: int, width: int) -> Room:
  """A slot for each step of each chain. Chains never branch, so no keys of their nodes are kept.

  Raises:
    ValueError: a round has no chain.
  """
  del candidates
  check_range(1, whole=True, width=width)
  slots = -(-units // width) * width * max_steps
  return Room(slots=slots, candidates=1, last=slots, width=width)


METHOD = Method(
  sequential,
  room,
  'chains in rounds',
  Look('orange', 'P'),
  unit='chains',
  steps=lambda units, *, candidates, max_steps, width: units * max_steps,
  settings=dict(width=1),
  several=True,
  continues=True,
  guided=False,
  provides=frozenset({'solutions'}),
)
