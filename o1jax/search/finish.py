"""Nodes that a search may still expand, and the chain that ends it: a problem on which nothing is
finished is given an answer all the same."""

import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.decode.grow import Grow
from o1jax.types import Array, Tree, TreeCache


def finish(grow: Grow, tree: Tree, cache: TreeCache, keys: Array, slot: int) -> Tree:
  """Continues the likeliest leaf of each problem without a finished solution to its end, in one
  chain of steps.

  The steps fill the first candidate of slots `slot` and on, the last of the tree. They count in its
  tokens like all others.
  """
  steps = tree.mask.shape[1] - slot
  if not steps:
    return tree
  leaf = jnp.where(_unsolved(tree), likeliest_leaf(tree), tree_lib.ROOT)[:, None]
  leaf = jnp.where(leaf > 0, leaf, tree_lib.NONE)
  deepest = tree.path.shape[-1] - 1
  tree, _ = grow(tree, cache, keys, leaf, slot=slot, steps=steps, depth=deepest)
  return tree.replace(chain=steps)


def likeliest_leaf(tree: Tree) -> Array:
  """The unexpanded candidate of highest value that can still grow, [B]; 0 if there is none."""
  free = still_open(tree).reshape(tree.mask.shape[0], -1)
  best = jnp.argmax(jnp.where(free, tree_lib.guide(tree).reshape(free.shape), -jnp.inf), axis=-1)
  return jnp.where(jnp.any(free, axis=-1), 1 + best, 0)


def still_open(tree: Tree) -> Array:
  """Candidates that can grow and have not been expanded, [B, X, A]."""
  ids = tree_lib.node_ids(tree).reshape(-1)
  everyone = jnp.broadcast_to(ids, (tree.mask.shape[0], ids.shape[0]))
  taken = jnp.zeros((tree.mask.shape[0], ids.shape[0] + 1), bool)
  rows = jnp.arange(tree.mask.shape[0])[:, None]
  taken = taken.at[rows, jnp.maximum(tree.expanded, 0)].set(True)[:, 1:]
  return (tree_lib.expandable(tree, everyone) & ~taken).reshape(tree.mask.shape)


def _unsolved(tree: Tree) -> Array:
  return ~jnp.any(tree_lib.finished(tree), axis=(1, 2))
