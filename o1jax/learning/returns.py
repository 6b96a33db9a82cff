"""Returns: what each solution of a tree is worth, and what that makes its nodes worth.

The reward of a solution is a weighted sum of its outcome and of named scores. It comes with the
solution's last step. A node that lies n steps above the end is worth gamma^n times it.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.reward import OUTCOME
from o1jax.reward.guide import ORACLE
from o1jax.reward.process import ended, mean_below
from o1jax.types import Array, Tree


class Span(NamedTuple):
  """The least and the most that a solution can return.

  The critic gives a number in [0, 1]. It stands for the return at that place between `low` and
  `high`. For outcomes alone the span is (0, 1), and the number is P(correct).
  """

  low: float
  high: float

  def to_return(self, value: Array) -> Array:
    """The return that a value of the critic, in [0, 1], stands for."""
    return self.low + (self.high - self.low) * value

  def to_value(self, returns: Array) -> Array:
    """The value, in [0, 1], that the critic should give to a return."""
    return jnp.clip((returns - self.low) / (self.high - self.low), 0, 1)


class Returns(NamedTuple):
  """What the solutions of a tree return, and what is therefore known of its nodes.

  `below`, `here` and `known` are of the solutions that ended at or below a node.
  """

  ended: Array  # [B, X, A] return of the solution that ended here, seen from the root; else 0
  below: Array  # [B, X, A] mean return, seen from the root
  here: Array  # [B, X, A] mean return, seen from the node itself
  known: Array  # [B, X, A] bool: there is at least one
  root: Array  # [B] mean return of all solutions of the problem, seen from the root
  deviation: Array  # [B] standard deviation of these returns
  solutions: Array  # [B] number of them
  gamma: float
  span: Span


def tree_returns(
  tree: Tree, *, reward: Mapping[str, float] | None = None, gamma: float = 1.0
) -> Returns:
  """Returns of a judged tree.

  Args:
    tree: with `outcome` filled, and with the scores that `reward` names.
    reward: weights of the outcome (its name is 'outcome') and of `Tree.scores`, each of which lies
      in [0, 1]; None = the outcome alone.
    gamma: discount of a step, in (0, 1].

  Raises:
    ValueError: `reward` names a score that the tree lacks, or all of its weights are 0.
  """
  weights = {OUTCOME: 1.0} if reward is None else dict(reward)
  span = reward_span(weights)
  unknown = sorted(weights.keys() - {OUTCOME, *tree.scores})
  if unknown:
    known = ', '.join([OUTCOME, *sorted(tree.scores)])
    raise ValueError(f'reward names {", ".join(unknown)}, which no score of the tree is: {known}')
  named = {OUTCOME: tree.outcome, **tree.scores}
  over, depth = ended(tree), 1 + tree_lib.parent_depth(tree)[..., None]
  worth = sum(weight * named[name] for name, weight in weights.items())
  returns = jnp.where(over, worth * gamma**depth, 0)
  below, count = mean_below(tree, returns)
  solutions = over.sum(axis=(1, 2))
  root = returns.sum(axis=(1, 2)) / jnp.maximum(solutions, 1)
  apart = jnp.where(over, returns - root[:, None, None], 0)
  variance = jnp.sum(apart**2, axis=(1, 2)) / jnp.maximum(solutions, 1)
  return Returns(
    ended=returns,
    below=below,
    here=below / gamma**depth,
    known=count > 0,
    root=root,
    deviation=jnp.sqrt(variance),
    solutions=solutions,
    gamma=gamma,
    span=span,
  )


def reward_span(reward: Mapping[str, float]) -> Span:
  """The least and the most that a weighted sum of numbers in [0, 1] can be, discounted or not.
  ValueError where it is always 0."""
  low = sum(min(weight, 0.0) for weight in reward.values())
  high = sum(max(weight, 0.0) for weight in reward.values())
  if low == high:
    raise ValueError('reward has no weight that is not 0: every solution would return the same')
  return Span(float(low), float(high))


class Targets(NamedTuple):
  """What the critic should say, in returns, and where that is known.

  node [B, X, A] after a node, token [B, X, A, L] after each token, root [B] after the prompt.
  """

  node: Array
  node_mask: Array
  token: Array
  token_mask: Array
  root: Array
  root_mask: Array


def of_nodes(tree: Tree, node: Array, mask: Array, root: Array, root_mask: Array) -> Targets:
  """Gives every token of a node the target of the node, as in outcome-supervised value models
  (arXiv:2311.09724)."""
  shape = tree.tokens.shape
  spread = lambda x: jnp.broadcast_to(x[..., None], shape)
  return Targets(node, mask, spread(node), spread(mask) & written(tree), root, root_mask)


def monte_carlo_targets(tree: Tree, returns: Returns) -> Targets:
  """The mean return of the solutions at or below each node: soft labels (arXiv:2312.08935)."""
  return of_nodes(tree, returns.here, returns.known, returns.root, returns.solutions > 0)


def hard_targets(tree: Tree, returns: Returns) -> Targets:
  """The best return of the solutions at or below each node. For outcomes alone it is 1 where any of
  them is right: the hard labels of Math-Shepherd (arXiv:2312.08935)."""
  best, root = best_below(tree, jnp.where(ended(tree), returns.ended, -jnp.inf))
  depth, some = 1 + tree_lib.parent_depth(tree)[..., None], returns.solutions > 0
  node = jnp.where(returns.known, best, 0) / returns.gamma**depth
  return of_nodes(tree, node, returns.known, jnp.where(some, root, 0), some)


def best_below(tree: Tree, values: Array) -> tuple[Array, Array]:
  """Largest of a node field [B, X, A] over each node and its descendants, and over the whole tree
  [B]; what does not count holds -inf."""

  def one(path, expanded, values):
    slots, width = values.shape
    best = jnp.where(expanded >= 0, values.max(-1), -jnp.inf)
    where = jnp.where(path >= 0, path, slots * width + 1)
    above = jnp.full(slots * width + 1, -jnp.inf).at[where].max(best[:, None], mode='drop')
    return jnp.maximum(values, above[1:].reshape(slots, width)), above[0]

  return jax.vmap(one)(tree.path, tree.expanded, values)


def outcome_targets(tree: Tree, returns: Returns) -> Targets:
  """The return of a solution at its end, and nothing before it: an outcome reward model
  (arXiv:2110.14168). A prefix, and the prompt, have no target."""
  over = ended(tree)
  last = jnp.arange(tree.tokens.shape[-1]) == tree.length[..., None] - 1
  nowhere = jnp.zeros_like(returns.root)
  targets = of_nodes(tree, jnp.where(over, returns.here, 0), over, nowhere, nowhere > 0)
  return targets._replace(token_mask=targets.token_mask & last)


def reachable_targets(tree: Tree, returns: Returns) -> Targets:
  """Exact step labels, from the task itself: 1 where a solution is right, or a prefix can still
  become right, and 0 elsewhere. The critic is then a process reward model, as from step labels of
  people (arXiv:2305.20050), and its value no expected return of the policy.

  tree: its score 'oracle' has the labels.
  """
  real = tree.mask & (tree.expanded >= 0)[..., None] & ~tree.unjudged
  nowhere = jnp.zeros_like(returns.root)  # every prompt can be answered, which teaches nothing
  label = returns.span.to_return(tree.scores[ORACLE])
  return of_nodes(tree, jnp.where(real, label, 0), real, nowhere, nowhere > 0)


def td_lambda(tree: Tree, returns: Returns, *, lambda_: float = 0.95) -> Targets:
  """TD(lambda) on a tree: returns and critic values backed up by the sampling policy.

  A node's target is gamma times the prior-weighted mean, over the candidates of all its slots, of
  (1 - lambda) value + lambda target. Ended nodes have their return, unexpanded ones the critic's
  value. Candidates are samples of the policy, so this estimates the policy's own value. The mean
  over a search's solutions does not, since a search expands some nodes more than others.
  """

  def one(expanded, prior, value, worth, over):
    slots, width = over.shape
    nowhere = 1 + slots * width

    def back(carry, slot):
      sums, known = carry
      own = 1 + slot * width + jnp.arange(width)
      below = jnp.where(known[own], returns.gamma * mean_of(sums[:, own]), value[slot])
      target, sure = jnp.where(over[slot], worth[slot], below), over[slot] | known[own]
      mixed = jnp.where(over[slot], target, (1 - lambda_) * value[slot] + lambda_ * target)
      sums = add_below(sums, expanded[slot], prior[slot], mixed)
      parent = jnp.where(sure.any(), expanded[slot], nowhere)
      known = known.at[jnp.where(parent >= 0, parent, nowhere)].set(True, mode='drop')
      return (sums, known), (target, sure)

    start = jnp.zeros((2, nowhere)), jnp.zeros(nowhere, bool)
    # A slot is always filled after the slot that holds its parent, so children come first in
    # reverse order.
    (sums, known), (target, sure) = jax.lax.scan(back, start, jnp.arange(slots), reverse=True)
    return target, sure, returns.gamma * mean_of(sums)[0], known[0]

  over = ended(tree)
  value = returns.span.to_return(tree.value)
  found = jax.vmap(one)(tree.expanded, tree.prior, value, returns.here, over)
  node, sure, root, root_sure = found
  return of_nodes(tree, node, sure & tree.mask, root, root_sure)


def add_below(sums: Array, node: Array, prior: Array, values: Array) -> Array:
  """Adds the candidates of one slot to the sums of the node that it expanded.

  A node may have several slots. So each adds to what the others gave, and the mean is taken last.

  Args:
    sums: [2, 1 + X*A] by id: prior-weighted sums, and the priors' own.
    node: [] id of the node, -1 for none.
    prior: [A], 0 for what does not count.
    values: [A].
  """
  at = jnp.where(node >= 0, node, sums.shape[1])
  return sums.at[:, at].add(jnp.stack([prior @ values, prior.sum()]), mode='drop')


def mean_of(sums: Array) -> Array:
  """Prior-weighted mean of what `add_below` gathered; 0 where that is nothing."""
  return sums[0] / jnp.maximum(sums[1], 1e-9)


def written(tree: Tree) -> Array:
  """Tokens that are there, [B, X, A, L]."""
  return jnp.arange(tree.tokens.shape[-1]) < tree.length[..., None]
