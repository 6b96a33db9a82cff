"""What nodes of unlike depths are worth, by a guide that may fall with depth for good nodes too.

The policy's own chance to be right does not change on average from a node to its children. A guide
need not be like that: whether a target can still be reached is true of fewer nodes at each depth.
So a node is worth what its guide says over the mean of its depth. The tree itself tells the mean,
since children are samples of the policy: from depth to depth it changes by the sum of the
children's guides over the sum of their parents', however the parents were chosen.
"""

import jax
import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.types import Array, Tree

_LEAST = 1e-6  # a guide of 0 is no more certain than this


def worth(tree: Tree, *, prior: float) -> Array:
  """The guide of each node over the mean of its depth, [B, 1 + X] by id; 1 at the root, above 0.

  Args:
    tree: with one candidate a slot, [B, X, 1, L].
    prior: weight, in children of a parent that is surely right, of the belief that the mean does
      not change with depth; at least 0.
  """
  above = parents(tree)
  made = with_root(tree.mask[..., 0], False)
  guide = jnp.clip(with_root(tree_lib.guide(tree)[..., 0], 1.0), _LEAST, 1.0)
  depth = with_root(1 + tree_lib.parent_depth(tree), 0)
  at = jax.nn.one_hot(depth, 1 + tree.path.shape[-1]) * made[..., None]
  own, theirs = (
    prior + jnp.einsum('bn,bnd->bd', x, at)
    for x in (guide, jnp.take_along_axis(guide, above, axis=1))
  )
  mean = jnp.cumprod(jnp.where(theirs > 0, own, 1) / jnp.where(theirs > 0, theirs, 1), axis=1)
  return guide / jnp.take_along_axis(mean, depth, axis=1)


def parents(tree: Tree) -> Array:
  """The parent of each node, [B, 1 + X] by id; the root's is the root."""
  return with_root(jnp.maximum(tree.expanded, tree_lib.ROOT), tree_lib.ROOT)


def with_root(field: Array, fill) -> Array:
  """A field [B, X] of slots by id of their nodes, [B, 1 + X]; the root has `fill`."""
  return jnp.concatenate([jnp.full_like(field[:, :1], fill), field], axis=1)
