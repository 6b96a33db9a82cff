"""The order of nodes in one pass over a tree: groups of A nodes that read the keys of one path.

A slot is such a group. The last `Tree.chain` slots hold one candidate each, so groups of their own
would be mostly padding. These slots lie on one path, of which each reads a part, so A of them make
a group.
"""

import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.types import Array, Tree


def to_groups(tree: Tree, field: Array) -> Array:
  """A node field [B, X, A, ...] in groups, [B, W, A, ...]."""
  if not tree.chain:
    return field
  width = field.shape[2]
  lone = field[:, -tree.chain :, 0]
  lone = jnp.pad(lone, [(0, 0), (0, -tree.chain % width)] + [(0, 0)] * (lone.ndim - 2))
  return jnp.concatenate(
    [field[:, : -tree.chain], lone.reshape(field.shape[0], -1, *field.shape[2:])], axis=1
  )


def from_groups(tree: Tree, field: Array) -> Array:
  """Undoes `to_groups`. Absent candidates are 0."""
  if not tree.chain:
    return field
  full, width = tree.mask.shape[1] - tree.chain, field.shape[2]
  lone = field[:, full:].reshape(field.shape[0], -1, 1, *field.shape[3:])[:, : tree.chain]
  lone = jnp.pad(lone, [(0, 0), (0, 0), (0, width - 1)] + [(0, 0)] * (lone.ndim - 3))
  return jnp.concatenate([field[:, :full], lone], axis=1)


def rename(tree: Tree, ids: Array) -> Array:
  """Ids of nodes as ids in groups: candidate `a` of group `w` is `1 + w*A + a`."""
  first = 1 + (tree.mask.shape[1] - tree.chain) * tree_lib.candidates(tree)
  return jnp.where(ids >= first, first + (ids - first) // tree_lib.candidates(tree), ids)


def paths(tree: Tree) -> tuple[Array, Array]:
  """Renamed ids of the nodes on each group's path, [B, W, R-1], and how many of them each node
  reads: [B, W, A], or [B, W, 1] where all of a group read as many."""
  ids, depth = tree.path[..., 1:], tree_lib.parent_depth(tree)[..., None]
  if not tree.chain:
    return ids, depth
  longest = jnp.max(ids[:, -tree.chain :], axis=1, keepdims=True)  # each is a part of the longest
  groups = -(-tree.chain // tree_lib.candidates(tree))
  ids = jnp.concatenate([ids[:, : -tree.chain], jnp.repeat(longest, groups, axis=1)], axis=1)
  return rename(tree, ids), to_groups(tree, jnp.broadcast_to(depth, tree.mask.shape))
