"""Scores that need no model of their own: numbers in [0, 1] on nodes, read from a tree.

All are `Score` functions, (known, tree, ids [B, N]) -> [B, N].
"""

import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.reward.known import Known
from o1jax.types import Array, Tree


def critic(known: Known, tree: Tree, ids: Array) -> Array:
  """The critic's P(correct | prefix), which decoding has written already."""
  del known
  return tree_lib.pick(tree.value, ids)


def confidence(known: Known, tree: Tree, ids: Array) -> Array:
  """Geometric mean of the policy's probabilities of the tokens that it sampled up to a node, at the
  sampling temperature (arXiv:2411.14405 scores by token probabilities)."""
  del known
  total, count = sampled_logprob(tree, ids)
  return jnp.exp(total / jnp.maximum(count, 1))


def likelihood(known: Known, tree: Tree, ids: Array) -> Array:
  """The policy's probability of all the tokens that it sampled up to a node, at the sampling
  temperature. A longer text has a smaller one. (arXiv:2203.11171 weighs votes by it, too.)"""
  del known
  return jnp.exp(sampled_logprob(tree, ids)[0])


def sampled_logprob(tree: Tree, ids: Array) -> tuple[Array, Array]:
  """The summed log-probs of the tokens that were sampled up to each node, and how many they are,
  [B, N] each."""
  nodes = tree_lib.path_nodes(tree, ids)
  sampled = ~tree_lib.pick(tree.given, nodes, fill=True)
  sampled &= jnp.arange(sampled.shape[-1]) < tree_lib.pick(tree.length, nodes)[..., None]
  total = jnp.sum(jnp.where(sampled, tree_lib.pick(tree.logprob, nodes), 0), axis=(-2, -1))
  return total, sampled.sum((-2, -1))


def length(known: Known, tree: Tree, ids: Array) -> Array:
  """Tokens up to a node, as a share of the most that a solution may have, R*L. Give it a negative
  weight to penalise length."""
  del known
  _, lengths = tree_lib.path_steps(tree, ids)
  return lengths.sum(-1) / (tree.path.shape[-1] * tree.tokens.shape[-1])
