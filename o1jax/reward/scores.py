"""Scores that need no model of their own: numbers in [0, 1] on nodes, read from a tree.

All are `Score` functions, (params, keys, prompt, tree, ids [B, N]) -> [B, N].
"""

import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.types import Array, Params, Prompt, Tree


def critic(params: Params, keys: Array, prompt: Prompt, tree: Tree, ids: Array) -> Array:
  """The critic's P(correct | prefix), which decoding has written already."""
  del params, keys, prompt
  return tree_lib.pick(tree.value, ids)


def confidence(params: Params, keys: Array, prompt: Prompt, tree: Tree, ids: Array) -> Array:
  """Geometric mean of the policy's probabilities of the tokens that it sampled up to a node, at the
  sampling temperature (arXiv:2411.14405 scores by token probabilities)."""
  del params, keys, prompt
  nodes = tree_lib.path_nodes(tree, ids)
  sampled = ~tree_lib.pick(tree.given, nodes, fill=True)
  sampled &= jnp.arange(sampled.shape[-1]) < tree_lib.pick(tree.length, nodes)[..., None]
  total = jnp.sum(jnp.where(sampled, tree_lib.pick(tree.logprob, nodes), 0), axis=(-2, -1))
  return jnp.exp(total / jnp.maximum(sampled.sum((-2, -1)), 1))


def length(params: Params, keys: Array, prompt: Prompt, tree: Tree, ids: Array) -> Array:
  """Tokens up to a node, as a share of the most that a solution may have, R*L. Give it a negative
  weight to penalise length."""
  del params, keys, prompt
  _, lengths = tree_lib.path_steps(tree, ids)
  return lengths.sum(-1) / (tree.path.shape[-1] * tree.tokens.shape[-1])
