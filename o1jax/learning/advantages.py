"""Advantages: how much better a node, or a token, is than its baseline."""

import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.learning.returns import Returns, Targets
from o1jax.types import Array, Tree


def group_advantage(
  tree: Tree, returns: Returns, targets: Targets, *, normalise: bool = True, epsilon: float = 1e-4
) -> Array:
  """Mean return of the solutions below a node minus that of all the problem's solutions, [B, X, A,
  1]. Returns are seen from the root (arXiv:2402.03300).

  On independent chains every step gets GRPO's advantage. A node below which no solution ended gets
  0. normalise: divide by the standard deviation of the problem's returns, as GRPO does.
  """
  gain = jnp.where(returns.known, returns.below - returns.root[:, None, None], 0)
  if normalise:
    gain = gain / (returns.deviation[:, None, None] + epsilon)
  return gain[..., None]


def critic_advantage(tree: Tree, returns: Returns, targets: Targets) -> Array:
  """The discounted target of a node minus the critic's value of its parent, [B, X, A, 1]. This is
  the progress of arXiv:2410.08146."""
  parent = returns.span.to_return(parent_value(tree))[..., None]
  gain = jnp.where(targets.node_mask, returns.gamma * targets.node - parent, 0)
  return gain[..., None]


def parent_value(tree: Tree) -> Array:
  """The critic's value of the node that each slot expanded, [B, X]."""
  inner = tree_lib.pick(tree.value, tree.expanded)
  return jnp.where(tree.expanded == tree_lib.ROOT, tree.root_value[:, None], inner)
