"""Process reward: P(correct | prefix) of every step, its Monte-Carlo labels, and how step scores
make a solution's."""

import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.types import Array, Tree

AGGREGATES = ('last', 'min', 'product')


def ended(tree: Tree) -> Array:
  """Candidates at which a solution has ended with a verdict, [B, X, A]: finished, or cut off at
  depth R, which counts as wrong. A solution that the verifier could not judge is left out."""
  too_deep = 1 + tree_lib.parent_depth(tree) >= tree.path.shape[-1]
  return tree.mask & (tree.terminal | too_deep[..., None]) & ~tree.unjudged


def mean_below(tree: Tree, values: Array) -> tuple[Array, Array]:
  """Mean of a number of solutions, over those that end at or below each node.

  Args:
    tree: any tree.
    values: [B, X, A], read where a solution has ended.

  Returns:
    (mean [B, X, A], solutions below [B, X, A]); the mean is 0 where there are none.
  """
  over = ended(tree)
  total, _ = tree_lib.sum_below(tree, jnp.where(over, values, 0))
  count, _ = tree_lib.sum_below(tree, over.astype(jnp.float32))
  return total / jnp.maximum(count, 1), count


def monte_carlo(tree: Tree) -> tuple[Array, Array]:
  """Mean outcome of the solutions that end at or below each node: the soft labels of Math-Shepherd
  (arXiv:2312.08935).

  Args:
    tree: with `outcome` filled.

  Returns:
    (mean [B, X, A] in [0, 1], solutions below [B, X, A]); the mean is 0 where there are none.
  """
  return mean_below(tree, tree.outcome)


def solution_score(tree: Tree, ids: Array, *, aggregate: str = 'last') -> Array:
  """One score for the solution up to a node, from what guides the search on its path: the critic's
  step values, or a guide that is written on the tree.

  'last' suits critics trained on Monte-Carlo outcomes (arXiv:2408.03314); 'product' and 'min' those
  trained on step labels (arXiv:2305.20050, arXiv:2312.08935).

  Args:
    tree: any tree.
    ids: [B, N] nodes.
    aggregate: 'last', 'min' or 'product'.

  Returns:
    [B, N]; in [0, 1] where the guide is.
  """
  values = tree_lib.guide(tree)
  own = tree_lib.pick(values, ids)
  if aggregate == 'last':
    return own
  slot = jnp.maximum(ids - 1, 0) // tree_lib.candidates(tree)
  above = jnp.take_along_axis(tree.path, slot[..., None], axis=1)
  values = tree_lib.pick(values, above, fill=1.0)
  if aggregate == 'min':
    return jnp.minimum(own, values.min(-1))
  if aggregate == 'product':
    return own * values.prod(-1)
  raise ValueError(f'aggregate {aggregate!r} is unknown; choose one of {", ".join(AGGREGATES)}')
