"""Labels of steps from rollouts that begin in the middle of solutions: where the first wrong step
is (arXiv:2406.06592)."""

import jax
import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.learning.returns import Returns, Targets, add_below, mean_of, of_nodes
from o1jax.reward.process import ended
from o1jax.types import Array, Tree


def first_error_targets(tree: Tree, returns: Returns, *, soft: bool = False) -> Targets:
  """1 for each step of a solution before its first wrong one, and 0 from there on.

  A node can become right if the next node at or below it that was tried did: one at which rollouts
  began, or the end of the solution, whose verdict is its own. A wrong end, and a node of which no
  rollout was right, cannot, nor can what lies below them. What is neither has no target: the steps
  of a solution whose first wrong step is undecided, and those of a rollout that went wrong from
  where others went right. The prompt can always be answered, which teaches nothing.

  Args:
    tree: judged. `visits` is the number of rollouts that began at a node, and `q` the share of them
      that was right.
    returns: of the tree. Their span is read, and nothing else.
    soft: a step before the first wrong one has for its label the share right of the rollouts of the
      next node that was tried, in place of 1.
  """
  real = tree.mask & (tree.expanded >= 0)[..., None]
  tried = real & (tree.visits > 0)
  over = ended(tree) & ~tried
  share = jnp.select([tried, over], [tree.q, tree.outcome], 0.0)
  dead = (tried | over) & (share <= 0)
  dead |= tree_lib.pick(dead, tree.path, fill=False).any(-1, keepdims=True)
  ahead, known = jax.vmap(_next_tried)(tree.expanded, tree.prior, share, tried | over)
  can = known & (ahead > 0)
  label = returns.span.to_return(jnp.where(can, ahead if soft else 1.0, 0.0))
  mask, nowhere = real & (can | dead), jnp.zeros_like(returns.root)
  return of_nodes(tree, jnp.where(mask, label, 0), mask, nowhere, nowhere > 0)


def _next_tried(expanded: Array, prior: Array, share: Array, tried: Array) -> tuple[Array, Array]:
  """The share of each node of one problem, or of the next node below it that was tried, and whether
  there is one, [X, A]. Of several children it is the mean by prior."""
  slots, width = tried.shape

  def back(sums, slot):
    own = 1 + slot * width + jnp.arange(width)
    here = jnp.where(tried[slot], share[slot], mean_of(sums[:, own]))
    known = tried[slot] | (sums[1, own] > 0)
    sums = add_below(sums, expanded[slot], jnp.where(known, prior[slot], 0), here)
    return sums, (here, known)

  # A slot is always filled after the slot that holds its parent, so children come first in reverse
  # order.
  start = jnp.zeros((2, 1 + slots * width))
  return jax.lax.scan(back, start, jnp.arange(slots), reverse=True)[1]
