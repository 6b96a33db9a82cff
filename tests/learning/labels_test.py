"""Labels of the critic: hard ones and those of outcomes alone, against walks in plain Python."""

import functools

import jax
import numpy as np
import pytest

from o1jax.learning.credit import assign_credit
from tests import toys

MIXED = (('outcome', 2.0), ('length', -0.5), ('style', 0.25))
PLAIN = (('outcome', 1.0),)


@functools.partial(jax.jit, static_argnames=('value', 'reward', 'gamma'))
def assign(tree, value, reward=PLAIN, gamma=1.0):
  return assign_credit(tree, value=value, reward=dict(reward), gamma=gamma)


def tree_of(seed):
  return toys.random_tree(seed, slots=10, max_steps=4, again=0.5, scores=('length', 'style'))


def returned(one, reward, gamma):
  """{(slot, candidate): (depth, the return as seen from the root)} of the solutions that ended."""
  named = dict(outcome=one.outcome, **one.scores)
  found = {}
  for x, a in zip(*np.nonzero(one.mask & (one.expanded >= 0)[:, None])):
    if toys.over(one, x, a) and not one.unjudged[x, a]:
      depth = len(toys.ancestors(one.expanded, 3, 1 + 3 * x + a))
      worth = sum(weight * named[name][x, a] for name, weight in reward)
      found[x, a] = depth, worth * gamma**depth
  return found


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('reward, gamma', [(PLAIN, 1.0), (MIXED, 0.9)])
def test_a_hard_label_is_the_best_return_at_or_below_a_node(seed, reward, gamma):
  tree = tree_of(seed)
  credit = jax.device_get(assign(tree, 'hard', reward, gamma))
  low, high = (0, 1) if reward == PLAIN else (-0.5, 2.25)
  for b in range(3):
    one = toys.problem(tree, b)
    ends = returned(one, reward, gamma)
    best = max(r for _, r in ends.values())
    np.testing.assert_allclose(credit.root_target[b], (best - low) / (high - low), atol=1e-5)
    assert credit.root_mask[b]
    for x, a in zip(*np.nonzero(one.mask)):
      node = 1 + 3 * x + a
      mine = [ends[i][1] for i in toys.below(one, node) if i in ends]
      assert credit.value_mask[b, x, a] == bool(mine)
      if mine:
        here = max(mine) / gamma ** len(toys.ancestors(one.expanded, 3, node))
        expected = (np.clip(here, low, high) - low) / (high - low)
        np.testing.assert_allclose(credit.value_target[b, x, a], expected, atol=1e-5)


def test_hard_labels_of_verdicts_say_whether_any_is_right():
  tree = toys.chains([1, 2, 2, 3], [False, True, False, False], max_steps=3)
  soft, hard = assign(tree, 'monte_carlo'), assign(tree, 'hard')
  np.testing.assert_allclose(soft.root_target, [0.25])
  np.testing.assert_allclose(hard.root_target, [1.0])
  known = np.asarray(hard.value_mask)
  assert set(np.asarray(hard.value_target)[known]) == {0.0, 1.0}
  np.testing.assert_array_equal(
    np.asarray(hard.value_target)[known], np.asarray(soft.value_target)[known] > 0
  )


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('reward, gamma', [(PLAIN, 1.0), (MIXED, 0.9)])
def test_an_outcome_has_a_target_at_the_end_of_a_solution_alone(seed, reward, gamma):
  tree = tree_of(seed)
  credit = jax.device_get(assign(tree, 'outcome', reward, gamma))
  low, high = (0, 1) if reward == PLAIN else (-0.5, 2.25)
  assert not credit.root_mask.any()
  for b in range(3):
    one = toys.problem(tree, b)
    ends = returned(one, reward, gamma)
    told = {tuple(i) for i in np.argwhere(credit.value_mask[b])}
    assert told == set(ends)
    for (x, a), (depth, r) in ends.items():
      expected = (r / gamma**depth - low) / (high - low)
      np.testing.assert_allclose(credit.value_target[b, x, a], expected, atol=1e-5)
      # The last token of the solution, of which alone a verdict is known.
      assert np.flatnonzero(credit.token_mask[b, x, a]).tolist() == [one.length[x, a] - 1]
  assert credit.token_mask.sum() == credit.value_mask.sum()


@pytest.mark.parametrize('value', ['hard', 'outcome'])
def test_what_nobody_could_judge_has_no_label(value):
  tree = toys.chains([2, 2], [True, False], max_steps=2)
  silent = tree.replace(unjudged=tree.terminal, outcome=np.zeros_like(tree.outcome))
  credit = assign(silent, value)
  assert not credit.value_mask.any() and not credit.root_mask.any() and not credit.token_mask.any()
  assert np.isfinite(credit.value_target).all() and np.isfinite(credit.root_target).all()


def test_a_label_of_a_prefix_is_that_of_the_oracle():
  tree = tree_of(1)
  label = np.random.default_rng(0).integers(0, 2, tree.mask.shape).astype(np.float32)
  credit = assign(tree.replace(scores=tree.scores | {'oracle': label}), 'reachable')
  real = np.asarray(tree.mask & (tree.expanded >= 0)[..., None] & ~tree.unjudged)
  np.testing.assert_array_equal(credit.value_mask, real)
  np.testing.assert_allclose(np.asarray(credit.value_target)[real], label[real])
  # Prefixes have labels too, and the prompt has none.
  assert (real & ~np.asarray(tree.terminal)).any() and not credit.root_mask.any()
