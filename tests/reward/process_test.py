"""Monte-Carlo labels and solution scores, against hand-drawn trees and walks in plain Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.reward import process
from o1jax.reward.process import AGGREGATES, ended, solution_score
from tests import toys

monte_carlo = jax.jit(process.monte_carlo)
score = jax.jit(solution_score, static_argnames='aggregate')

# Depth R = 3. Nodes 1, 2 under the root; 3 (right), 4 under 1; 5, 6 (wrong) under 2; 7 (right), 8
# (cut off) under 5; 4 stays unexpanded, so nothing is known below it.
DRAWN = dict(
  expanded=[0, 1, 2, 5, -1],
  width=2,
  max_steps=3,
  terminal=[[0, 0], [1, 0], [0, 1], [1, 0], [0, 0]],
  outcome=[[0, 0], [1, 0], [0, 0], [1, 0], [0, 0]],
)


class TestEnded:
  def test_finished_or_at_the_last_depth(self):
    expected = [[0, 0], [1, 0], [0, 1], [1, 1], [0, 0]]
    np.testing.assert_array_equal(ended(toys.hand_tree(**DRAWN))[0], expected)

  @pytest.mark.parametrize('seed', range(4))
  def test_every_node_of_random_trees(self, seed):
    tree = toys.random_tree(seed)
    found = np.asarray(ended(tree))
    assert not found[~np.asarray(tree.mask)].any() and (found & ~np.asarray(tree.terminal)).any()
    for b, x, a in toys.nodes(tree):
      assert found[b, x, a] == toys.over(toys.problem(tree, b), x, a)

  def test_what_is_unjudged_has_not_ended_whatever_its_outcome_says(self):
    tree = toys.hand_tree(**DRAWN, unjudged=[[0, 0], [1, 0], [0, 0], [0, 0], [0, 0]])
    assert not ended(tree)[0, 1, 0] and ended(tree).sum() == 3
    mean, count = monte_carlo(tree)
    np.testing.assert_array_equal(count[0], [[0, 3], [0, 0], [2, 1], [1, 1], [0, 0]])
    np.testing.assert_allclose(mean[0, 0], [0, 1 / 3], rtol=1e-6)


class TestMonteCarlo:
  def test_hand_drawn(self):
    mean, count = monte_carlo(toys.hand_tree(**DRAWN))
    np.testing.assert_array_equal(count[0], [[1, 3], [1, 0], [2, 1], [1, 1], [0, 0]])
    np.testing.assert_allclose(mean[0], [[1, 1 / 3], [1, 0], [0.5, 0], [1, 0], [0, 0]], rtol=1e-6)

  def test_a_masked_twin_counts_for_nothing(self):
    mask = [[1, 1], [1, 1], [1, 0], [1, 1], [0, 0]]
    mean, count = monte_carlo(toys.hand_tree(**DRAWN, mask=mask))
    assert count[0, 0, 1] == 2 and mean[0, 0, 1] == 0.5 and count[0, 2, 1] == 0

  @pytest.mark.parametrize('seed', range(6))
  def test_every_node_of_random_trees(self, seed):
    tree = toys.random_tree(seed)
    mean, count = monte_carlo(tree)
    for b, x, a in toys.nodes(tree):
      one = toys.problem(tree, b)
      verdicts = [one.outcome[i] for i in toys.below(one, 1 + x * 3 + a) if toys.over(one, *i)]
      assert count[b, x, a] == len(verdicts)
      np.testing.assert_allclose(mean[b, x, a], np.mean(verdicts) if verdicts else 0, rtol=1e-6)


class TestSolutionScore:
  def test_hand_drawn(self):
    tree = toys.hand_tree(**DRAWN, value=[[0.9, 0.5], [0.8, 0.7], [0.2, 0.6], [0.4, 0.3], [0, 0]])
    ids = jnp.array([[1, 3, 5, 7, 8]])
    for aggregate, expected in [
      ('last', [0.9, 0.8, 0.2, 0.4, 0.3]),
      ('min', [0.9, 0.8, 0.2, 0.2, 0.2]),
      ('product', [0.9, 0.72, 0.1, 0.04, 0.03]),
    ]:
      np.testing.assert_allclose(score(tree, ids, aggregate=aggregate)[0], expected, rtol=1e-6)

  @pytest.mark.parametrize('seed', range(3))
  def test_every_node_of_random_trees(self, seed):
    tree = toys.random_tree(seed)
    ids = jnp.broadcast_to(tree_lib.node_ids(tree).reshape(-1), (3, 24))
    scores = {name: np.asarray(score(tree, ids, aggregate=name)) for name in AGGREGATES}
    for b, x, a in toys.nodes(tree):
      one = toys.problem(tree, b)
      line = toys.ancestors(one.expanded, 3, 1 + x * 3 + a)
      values = one.value.reshape(-1)[np.array(line) - 1]
      found = {name: given[b, 3 * x + a] for name, given in scores.items()}
      np.testing.assert_allclose(found['last'], values[0], rtol=1e-6)
      np.testing.assert_allclose(found['min'], values.min(), rtol=1e-6)
      np.testing.assert_allclose(found['product'], values.prod(), rtol=1e-6)

  def test_an_unknown_aggregate_is_refused(self):
    with pytest.raises(ValueError, match="'mean' is unknown; choose one of last, min, product"):
      score(toys.random_tree(), jnp.array([[1]] * 3), aggregate='mean')
