"""Which solutions have the same answer."""

import jax
import jax.numpy as jnp
import numpy as np

from o1jax.text.bytes import after_last
from o1jax.text.steps import ANSWER
from o1jax.types import Array, Tree
from o1jax.verify.outcome import solution_bytes

_PRIME = 16777619
_ANSWER_BYTES = 64
_WEIGHTS = np.array([pow(_PRIME, i, 2**32) for i in range(_ANSWER_BYTES)], np.uint32)


def answer_keys(
  tree: Tree,
  ids: Array,
  table: tuple[Array, Array],
  *,
  marker: str | tuple[str, ...] = ANSWER,
  reads: int | tuple[int, ...] = 128,
  task: Array | None = None,
) -> Array:
  """A hash of each solution's answer text, without spaces. ids [B, N] -> uint32 [B, N].

  The answer is the text after the last `marker` in the last `reads` bytes, `_ANSWER_BYTES` at most.
  A solution without an answer agrees with no other: its key is its own. With an empty `marker` that
  holds for all.
  """

  if isinstance(marker, tuple):
    own = list(zip(marker, reads, strict=True))
    keys = {
      place: answer_keys(tree, ids, table, marker=place[0], reads=place[1])
      for place in dict.fromkeys(own)
    }
    if len(keys) == 1:
      return keys[own[0]]
    return jnp.stack([keys[place] for place in own])[task, jnp.arange(ids.shape[0])]

  def one(node, text, length):
    answer, rest = after_last(text, length, marker.encode(), size=_ANSWER_BYTES)
    kept = (jnp.arange(_ANSWER_BYTES) < rest) & (answer != ord(' '))
    place = jnp.cumsum(kept) - kept
    key = jnp.sum(
      jnp.where(kept, jnp.asarray(_WEIGHTS)[place] * (answer + jnp.uint32(1)), 0), dtype=jnp.uint32
    )
    return jnp.where(kept.any(), key, jnp.uint32(2**31) + node.astype(jnp.uint32))

  return jax.vmap(jax.vmap(one))(ids, *solution_bytes(tree, ids, table, size=reads))
