"""What a distribution says of tokens: log-probs and entropy, with a gradient that keeps nothing but the logits."""

import jax
import jax.numpy as jnp

from o1jax.types import Array


@jax.custom_vjp
def token_scores(logits: Array, tokens: Array) -> tuple[Array, Array]:
  """Log-prob of each token and entropy of its distribution in nats: logits [..., V], tokens [...] -> two of [...].

  As `log_softmax` and automatic differentiation write it, half a dozen arrays of V numbers a token go through memory,
  in which a CPU spends most of the time.
  """
  return _forward(logits, tokens)[0]


def _forward(logits, tokens):
  peak = jnp.max(logits, axis=-1, keepdims=True)
  mass = jnp.exp(logits - peak)
  total = jnp.sum(mass, axis=-1)
  normaliser = peak[..., 0] + jnp.log(total)
  mean = jnp.sum(mass * logits, axis=-1) / total
  chosen = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
  return (chosen - normaliser, normaliser - mean), (logits, tokens, normaliser, mean)


def _backward(kept, given):
  """d logprob = onehot - p; d entropy = -p (logits - mean), with mean the expected logit."""
  logits, tokens, normaliser, mean = kept
  of_logprob, of_entropy = (x[..., None] for x in given)
  probs = jnp.exp(logits - normaliser[..., None])
  hot = jnp.arange(logits.shape[-1]) == tokens[..., None]
  pull = of_logprob + of_entropy * (logits - mean[..., None])
  return jnp.where(hot, of_logprob, 0) - probs * pull, None


token_scores.defvjp(_forward, _backward)
