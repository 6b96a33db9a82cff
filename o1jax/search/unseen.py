"""How much of what a policy may say next at each node the tree does not hold yet. A search that
samples without replacement knows it exactly."""

import jax
import jax.numpy as jnp
from flax import struct

from o1jax import tree as tree_lib
from o1jax.reward.scores import sampled_logprob
from o1jax.types import Array, Tree

# Below this share there is nothing but what rounding leaves.
_ROUNDING = 1e-4


@struct.dataclass
class Masses:
  """Probabilities under the policy from the root on, [B, 1 + X] by id of the node, with the root
  first. Each slot has one candidate, and no two children of a node are alike."""

  node: Array  # of coming to it
  children: Array  # of coming to one of its children


def of_root(tree: Tree) -> Masses:
  """Of an empty tree."""
  nothing = jnp.zeros((tree.mask.shape[0], 1 + tree.mask.shape[1]))
  return Masses(nothing.at[:, 0].set(1.0), nothing)


def with_steps(tree: Tree, masses: Masses, slots: Array) -> Masses:
  """After steps of chains were written into `slots` [S] of every problem."""
  made = tree.mask[:, slots, 0]
  ids = jnp.where(made, 1 + slots, tree_lib.NONE)
  mass = jnp.where(made, jnp.exp(sampled_logprob(tree, ids)[0]), 0)
  above = jnp.where(made, tree.expanded[:, slots], tree_lib.NONE)
  return Masses(node=_add(masses.node, ids, mass), children=_add(masses.children, above, mass))


def wider(masses: Masses) -> Array:
  """The probability of coming to each node and going on with a step that is none of its children,
  [B, 1 + X]."""
  rest = masses.node - masses.children
  return jnp.where(rest > _ROUNDING * masses.node, rest, 0)


def _add(field: Array, ids: Array, values: Array) -> Array:
  """A field [B, 1 + X] with numbers added at nodes, [B, S] each; ids below 0 are none."""

  def one(row, at, x):
    return row.at[jnp.where(at >= 0, at, row.shape[0])].add(x, mode='drop')

  return jax.vmap(one)(field, ids, values)
