"""Log-prob and entropy of tokens, with a gradient that keeps only the logits."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from o1jax.model.sharding import TENSOR, map_shards, shard_count
from o1jax.types import Array

LOGITS = 2**25  # logits that a device makes at once: 128 MB


class Scores(NamedTuple):
  """For each token its log-prob, the entropy of its distribution in nats, and whether it is the
  likeliest."""

  logprob: Array
  entropy: Array
  top: Array


@jax.custom_vjp
def token_scores(logits: Array, tokens: Array) -> Scores:
  """logits [..., V], tokens [...] -> three of [...].

  With `log_softmax` and automatic differentiation, half a dozen arrays of V numbers a token would
  go through memory. A CPU would spend most of the time on that.
  """
  return _forward(logits, tokens)[0]


def _forward(logits, tokens):
  peak = jnp.max(logits, axis=-1, keepdims=True)
  mass = jnp.exp(logits - peak)
  total = jnp.sum(mass, axis=-1)
  normaliser = peak[..., 0] + jnp.log(total)
  mean = jnp.sum(mass * logits, axis=-1) / total
  chosen = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
  found = Scores(chosen - normaliser, normaliser - mean, chosen == peak[..., 0])
  return found, (logits, tokens, normaliser, mean)


def _backward(kept, given):
  """d logprob = onehot - p; d entropy = -p (logits - mean), with mean the expected logit."""
  logits, tokens, normaliser, mean = kept
  of_logprob, of_entropy = given.logprob[..., None], given.entropy[..., None]
  probs = jnp.exp(logits - normaliser[..., None])
  hot = jnp.arange(logits.shape[-1]) == tokens[..., None]
  pull = of_logprob + of_entropy * (logits - mean[..., None])
  return jnp.where(hot, of_logprob, 0) - probs * pull, None


token_scores.defvjp(_forward, _backward)


def scores_in_parts(
  logits: Callable, head: Any, hidden: Array, tokens: Array, *, vocab: int
) -> Scores:
  """`token_scores` of `logits(head, hidden)`, a part of the tokens at a time, because all logits at
  once may not fit in memory.

  Args:
    logits: (head, [N, D]) -> [N, V].
    head: its parameters, sharded at most along `tensor`.
    hidden: [B, ..., D].
    tokens: [B, ...].
    vocab: V.

  Returns:
    [B, ...] each. The gradient computes the logits again.
  """

  def part(head, hidden, tokens):
    few = max(LOGITS * shard_count('vocab') // vocab, 1)
    if tokens.size <= few:
      return token_scores(logits(head, hidden), tokens)
    count = math.ceil(tokens.size / few)
    rows = lambda x, *last: jnp.pad(
      x.reshape(-1, *last), [(0, -tokens.size % count)] + [(0, 0)] * len(last)
    )
    given = rows(hidden, hidden.shape[-1]), rows(tokens)
    # The gradients of the parts are summed in float32.
    wide = jax.tree.map(lambda x: x.astype(jnp.float32), head)

    @jax.checkpoint
    def some(given):
      hidden, tokens = given
      return token_scores(logits(wide, hidden), tokens)

    found = jax.lax.map(some, jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), given))
    return jax.tree.map(lambda x: x.reshape(-1)[: tokens.size].reshape(tokens.shape), found)

  # Each device sums its own gradients, and the sums are added once. In a loop that the compiler
  # shards they would be added at every iteration.
  return map_shards(part, ('batch',), (), ('batch',), ('batch',), keep=(TENSOR,))(
    head, hidden, tokens
  )
