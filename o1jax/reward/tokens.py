"""Scores of the distributions that tokens were sampled from, which decoding does not keep.

Each is a number in [0, 1] of a token. Decoding takes it down while a search asks for it: a node has
the mean over the sampled tokens of its step, and a score is the mean over those of the path.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.reward.known import Known
from o1jax.types import Array, Tree

_LIKELIEST = 5


def top5(logits: Array, token: Array) -> Array:
  """exp(l) of the token over the sum of exp(l) of the five likeliest, l being log-probs
  (arXiv:2411.14405).

  Args:
    logits: [..., V] at the sampling temperature.
    token: [...] that was sampled.

  Returns:
    [...] in [0, 1]: the share that the token has among the five. Log-probs stand where
    probabilities would, as in the paper: probabilities themselves would be nearly alike.
  """
  best = jax.lax.top_k(logits, min(_LIKELIEST, logits.shape[-1]))[0]
  chosen = jnp.take_along_axis(logits, token[..., None], axis=-1)[..., 0]
  # The normaliser of the log-probs is the same above and below.
  return jnp.exp(chosen - jax.nn.logsumexp(best, axis=-1))


def certainty(logits: Array, token: Array) -> Array:
  """1 minus the entropy of the distribution, as a share of the most that V tokens can have.

  Args:
    logits: [..., V] at the sampling temperature.
    token: not read.

  Returns:
    [...] in [0, 1]: 1 where one token is sure, 0 where all are alike.
  """
  del token
  logprob = jax.nn.log_softmax(logits, axis=-1)
  entropy = -jnp.sum(jnp.where(logprob > -1e9, jnp.exp(logprob) * logprob, 0), axis=-1)
  return jnp.clip(1 - entropy / jnp.log(logits.shape[-1]), 0, 1)


def mean_of(name: str) -> Callable[[Known, Tree, Array], Array]:
  """The score that is the mean of a number of tokens over all that the policy sampled up to a
  node. What a world has said counts for nothing.

  name: of the score; the mean over each step stands in `Tree.scores`, see `tree.note`.
  """

  def score(known: Known, tree: Tree, ids: Array) -> Array:
    del known
    nodes = tree_lib.path_nodes(tree, ids)
    given = tree.given.sum(-1)
    sampled = tree_lib.pick(tree.length - given, nodes)
    step = tree_lib.pick(tree.scores[tree_lib.note(name)], nodes)
    return jnp.sum(step * sampled, axis=-1) / jnp.maximum(sampled.sum(-1), 1)

  return score
