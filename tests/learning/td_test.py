"""TD(lambda) on trees: hand-drawn ones, chains, and random ones whose nodes may have two slots."""

import jax
import numpy as np
import pytest

from o1jax.learning import returns as returns_lib
from o1jax.learning.returns import tree_returns
from o1jax.reward.process import monte_carlo
from tests import toys

# Depth R = 3. Nodes 1, 2 under the root; 3 (right), 4 (wrong) under 1; 5, 6 (wrong) under 2; 7
# (right), 8 (cut off) under 5. Every leaf has ended.
DRAWN = dict(
  expanded=[0, 1, 2, 5],
  width=2,
  max_steps=3,
  terminal=[[0, 0], [1, 1], [0, 1], [1, 0]],
  outcome=[[0, 0], [1, 0], [0, 0], [1, 0]],
  prior=[[0.5, 0.5], [0.75, 0.25], [0.6, 0.4], [0.25, 0.75]],
  value=[[0.9, 0.5], [0.8, 0.7], [0.2, 0.6], [0.4, 0.3]],
)


ENDS, RIGHT = [1, 3, 0, 2, 2, 3], [True, False, False, True, False, True]


@jax.jit
def td_lambda(tree, lambda_=0.95):
  targets = returns_lib.td_lambda(tree, tree_returns(tree), lambda_=lambda_)
  return targets.node, targets.node_mask


@jax.jit
def td_root(tree, lambda_=0.95):
  return returns_lib.td_lambda(tree, tree_returns(tree), lambda_=lambda_).root


def test_at_one_it_is_the_expected_outcome():
  target, informed = td_lambda(toys.hand_tree(**DRAWN), lambda_=1.0)
  expected = [[0.75, 0.6 * 0.25], [1, 0], [0.25, 0], [1, 0]]
  np.testing.assert_allclose(target[0], expected, rtol=1e-6)
  assert informed.all()


def test_at_zero_it_is_one_step():
  target, _ = td_lambda(toys.hand_tree(**DRAWN), lambda_=0.0)
  expected = [
    [0.75, 0.6 * 0.2],
    [1, 0],
    [0.25, 0],
    [1, 0],
  ]  # solutions are verdicts, what is open is the critic's
  np.testing.assert_allclose(target[0], expected, rtol=1e-6)


def test_between_it_mixes():
  target, _ = td_lambda(toys.hand_tree(**DRAWN), lambda_=0.4)
  np.testing.assert_allclose(target[0, 0], [0.75, 0.6 * (0.6 * 0.2 + 0.4 * 0.25)], rtol=1e-6)


def test_is_monte_carlo_on_chains_at_one():
  tree = toys.chains(ENDS, RIGHT, max_steps=3)
  target, informed = td_lambda(tree, lambda_=1.0)
  mean, count = monte_carlo(tree)
  np.testing.assert_allclose(target, mean)
  np.testing.assert_array_equal(informed, count > 0)


@pytest.mark.parametrize('seed, lambda_', [(0, 1.0), (1, 0.7), (2, 0.0)])
@pytest.mark.parametrize('again', [0.0, 0.5])
def test_every_node_of_random_trees(seed, lambda_, again):
  """Some trees have nodes that were expanded `again`, into a second slot."""
  tree = toys.random_tree(seed, slots=10, max_steps=4, again=again)
  used = [list(one[one >= 0]) for one in np.asarray(tree.expanded)]
  twice = [len(one) - len(set(one)) for one in used]
  assert (max(twice) > 1) == (again > 0)
  target, informed = td_lambda(tree, lambda_=lambda_)
  _, count = monte_carlo(tree)
  np.testing.assert_array_equal(np.asarray(informed), np.asarray((count > 0) & tree.mask))

  def expected(one, x, a):
    if toys.over(one, x, a):
      return one.outcome[x, a]
    slots = [y for y in range(10) if one.expanded[y] == 1 + x * 3 + a]
    if not slots or not any(toys.over(one, *i) for i in toys.below(one, 1 + x * 3 + a)):
      return one.value[x, a]
    mixed = [
      one.outcome[y, k]
      if toys.over(one, y, k)
      else (1 - lambda_) * one.value[y, k] + lambda_ * expected(one, y, k)
      for y in slots
      for k in range(3)
    ]
    return np.average(mixed, weights=one.prior[slots].reshape(-1))

  for b, x, a in toys.nodes(tree):
    np.testing.assert_allclose(
      target[b, x, a], expected(toys.problem(tree, b), x, a), rtol=1e-5, atol=1e-6
    )


def test_a_node_of_two_slots_is_the_mean_of_all_their_candidates():
  tree = toys.hand_tree(
    [0, 1, 1],
    width=2,
    max_steps=2,
    terminal=[[0, 1], [1, 1], [1, 1]],
    outcome=[[0, 0], [1, 1], [0, 0]],
    prior=[[0.5, 0.5], [0.5, 0.5], [0.75, 0.25]],
  )
  target, informed = td_lambda(tree, lambda_=1.0)
  np.testing.assert_allclose(target[0], [[0.5, 0], [1, 1], [0, 0]])
  assert informed.all()
  np.testing.assert_allclose(td_root(tree, lambda_=1.0), 0.25)


def test_the_root_is_one_more_node():
  tree = toys.hand_tree(**DRAWN)
  np.testing.assert_allclose(td_root(tree, lambda_=1.0), [(0.75 + 0.6 * 0.25) / 2], rtol=1e-6)
  # One step: the values of its candidates, neither of which has ended.
  np.testing.assert_allclose(td_root(tree, lambda_=0.0), [(0.9 + 0.5) / 2], rtol=1e-6)
