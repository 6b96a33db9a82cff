"""How much of what a policy may say below a node the tree does not hold yet. A search that samples
without replacement knows it exactly."""

import jax
import jax.numpy as jnp
from flax import struct

from o1jax import tree as tree_lib
from o1jax.types import Array, Tree

# Below this share there is nothing but what rounding leaves.
_ROUNDING = 1e-4


@struct.dataclass
class Masses:
  """Probabilities under the policy from the root on, [B, 1 + X] by id of the node, with the root
  first. Each slot has one candidate, and no two children of a node are alike."""

  node: Array  # of coming to it
  children: Array  # of coming to one of its children
  ended: Array  # of the solutions below it, or at it, that are complete or cut off


def of_root(tree: Tree) -> Masses:
  """Of an empty tree."""
  nothing = jnp.zeros((tree.mask.shape[0], 1 + tree.mask.shape[1]))
  return Masses(nothing.at[:, 0].set(1.0), nothing, nothing)


def with_steps(tree: Tree, masses: Masses, slots: Array) -> Masses:
  """After steps of chains were written into `slots` [S] of every problem."""
  made = tree.mask[:, slots, 0]
  ids = jnp.where(made, 1 + slots, tree_lib.NONE)
  path = tree_lib.path_nodes(tree, ids)  # [B, S, R]
  said = tree_lib.pick(tree.logprob.sum(-1), path).sum(-1)
  mass = jnp.where(made, jnp.exp(said), 0)
  ended = made & ~tree_lib.expandable(tree, ids)
  above = jnp.where(made, tree.expanded[:, slots], tree_lib.NONE)
  root = jnp.where(made, tree_lib.ROOT, tree_lib.NONE)[..., None]
  over = jnp.concatenate([root, path], axis=-1)
  return Masses(
    node=_add(masses.node, ids, mass),
    children=_add(masses.children, above, mass),
    ended=_add(masses.ended, over, jnp.where(ended, mass, 0)[..., None]),
  )


def wider(masses: Masses) -> Array:
  """The probability, at a node, that the next step is none of its children, [B, 1 + X]."""
  return _rest(masses.children, masses.node)


def unseen(masses: Masses) -> Array:
  """The probability, at a node, of ending in a solution that is not in the tree, [B, 1 + X]."""
  return _rest(masses.ended, masses.node)


def _rest(part: Array, whole: Array) -> Array:
  rest = 1 - part / jnp.where(whole > 0, whole, 1)
  return jnp.where((whole > 0) & (rest > _ROUNDING), rest, 0)


def _add(field: Array, ids: Array, values: Array) -> Array:
  """A field with numbers [B, ...] added at nodes [B, ...]; ids below 0 are none."""

  def one(row, at, x):
    return row.at[jnp.where(at >= 0, at, row.shape[0])].add(x, mode='drop')

  return jax.vmap(one)(field, ids, jnp.broadcast_to(values, ids.shape))
