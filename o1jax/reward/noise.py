"""Noise: a score that is wrong at times, to find out how good a verifier has to be."""

import jax
import jax.numpy as jnp
import numpy as np

from o1jax import tree as tree_lib
from o1jax.keys import of_flips
from o1jax.types import Array, Tree

_PRIME = 16777619


def flipped(score: Array, keys: Array, tree: Tree, ids: Array, *, rate: float) -> Array:
  """The score, or one minus it where it is flipped.

  Whether it is flipped depends on the problem and the text alone. So a text that is met again is
  judged the same again, as a verifier's fault would be.

  Args:
    score: [B, N] in [0, 1].
    keys: [B] one key a problem.
    tree: of the nodes.
    ids: [B, N] nodes.
    rate: chance of a flip, in [0, 0.5].
  """
  tokens, length = tree_lib.solution_tokens(tree, ids)
  size = tokens.shape[-1]
  weights = np.array([pow(_PRIME, i + 1, 2**32) for i in range(size)], np.uint32)
  written = jnp.arange(size) < length[..., None]
  text = jnp.sum(
    jnp.where(written, (tokens + 1).astype(jnp.uint32) * weights, 0), axis=-1, dtype=jnp.uint32
  )
  draw = jax.vmap(lambda key, text: jax.random.uniform(jax.random.fold_in(key, text)), (None, 0))
  return jnp.where(jax.vmap(draw)(of_flips(keys), text) < rate, 1 - score, score)
