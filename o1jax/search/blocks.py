"""Many nodes grown a few at a time, so that what is not asked for costs nothing."""

import jax
import jax.numpy as jnp

from o1jax import keys as streams
from o1jax.decode.grow import Grow
from o1jax.types import Array, Tree, TreeCache

BLOCK = 8


def padded(width: int) -> int:
  """The parents that whole blocks hold, where so many are asked for."""
  size = min(BLOCK, width)
  return -(-width // size) * size


def grow_in_blocks(
  grow: Grow,
  tree: Tree,
  cache: TreeCache,
  keys: Array,
  parents: Array,
  *,
  slot: Array | int,
  steps: int | None = None,
  **how,
) -> tuple[Tree, TreeCache]:
  """Grows W parents as `Grow` does, `BLOCK` at a time.

  A program has room for the most that a search may spend. Rows that hold no parent take as long as
  others, so blocks behind the last parent are left out.

  Args:
    grow, tree, cache: see `Grow`.
    keys: [B] one key a problem. A block's are those of its first slot.
    parents: [B, W] ids, of which the first are used; W is a number that `padded` gives.
    slot: [] first slot to write.
    steps: of chains. Step s of the w-th parent of a block is in its slot s*BLOCK + w, or
      s*W + w where there are fewer than a block.
    **how: what else is told to `grow`.
  """
  width = parents.shape[1]
  size, long = min(BLOCK, width), steps or 1
  last = jnp.max(jnp.where(parents >= 0, 1 + jnp.arange(width), 0))

  def one(block, carry):
    at = slot + block * size * long
    some = jax.lax.dynamic_slice_in_dim(parents, block * size, size, axis=1)
    return grow(*carry, streams.of_slot(keys, at), some, slot=at, steps=steps, **how)

  # The name tells how often the loop runs at most, which a reader of the program could not see.
  with jax.named_scope(f'blocks/turns_{width // size}'):
    return jax.lax.fori_loop(0, (last + size - 1) // size, one, (tree, cache))


def step_ids(slot: Array | int, width: int, steps: int, candidates: int = 1) -> Array:
  """Ids of the steps of W chains that were grown in blocks from a slot on, [S, W]."""
  size = min(BLOCK, width)
  chain = jnp.arange(width)
  first = slot + chain // size * size * steps + chain % size
  return 1 + (first + jnp.arange(steps)[:, None] * size) * candidates
