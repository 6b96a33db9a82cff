"""Returns against walks in plain Python: discounted, weighted, negative, and of nodes with several
slots."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax.learning.advantages import group_advantage
from o1jax.learning.credit import assign_credit
from o1jax.learning.returns import Span, reward_span, td_lambda, tree_returns
from tests import toys

REWARD = (('outcome', 2.0), ('length', -0.5), ('style', 0.25))


@functools.partial(jax.jit, static_argnames=('reward', 'gamma'))
def found(tree, reward=REWARD, gamma=0.9):
  given = tree_returns(tree, reward=dict(reward), gamma=gamma)
  return given._replace(span=None, gamma=None), group_advantage(tree, given, None)[..., 0]


def tree_of(seed):
  return toys.random_tree(seed, slots=10, max_steps=4, again=0.5, scores=('length', 'style'))


def worth(one, x, a):
  named = dict(outcome=one.outcome, **one.scores)
  return sum(weight * named[name][x, a] for name, weight in REWARD)


def depth(one, x, a):
  return len(toys.ancestors(one.expanded, 3, 1 + 3 * x + a))


@pytest.mark.parametrize('seed', range(3))
def test_every_node_and_the_group(seed):
  tree = tree_of(seed)
  returns, gain = jax.device_get(found(tree))
  for b in range(3):
    one = toys.problem(tree, b)
    real = [i for i in np.ndindex(10, 3) if one.mask[i] and one.expanded[i[0]] >= 0]
    solutions = [i for i in real if toys.over(one, *i)]
    of = {i: worth(one, *i) * 0.9 ** depth(one, *i) for i in solutions}
    mean, deviation = np.mean([*of.values()]), np.std([*of.values()])
    np.testing.assert_allclose(returns.root[b], mean, rtol=1e-4)
    np.testing.assert_allclose(returns.deviation[b], deviation, rtol=1e-4)
    assert returns.solutions[b] == len(solutions) > 1
    for x, a in real:
      ends = [i for i in toys.below(one, 1 + 3 * x + a) if i in of]
      assert returns.known[b, x, a] == bool(ends)
      here = np.mean([of[i] for i in ends]) / 0.9 ** depth(one, x, a) if ends else 0
      np.testing.assert_allclose(returns.here[b, x, a], here, atol=1e-5)
      better = np.mean([of[i] for i in ends]) - mean if ends else 0
      np.testing.assert_allclose(gain[b, x, a], better / (deviation + 1e-4), atol=1e-3)


def test_outcomes_alone_return_themselves():
  tree = toys.random_tree(1)
  returns, _ = found(tree, (('outcome', 1.0),), 1.0)
  np.testing.assert_allclose(returns.ended, np.asarray(tree.outcome), atol=1e-6)
  np.testing.assert_allclose(returns.here, returns.below)


def test_a_discount_favours_the_shorter_of_two_right_solutions():
  tree = toys.chains([1, 3], [True, True], max_steps=3)
  assert not np.asarray(found(tree, (('outcome', 1.0),), 1.0)[1]).any()
  _, gain = found(tree, (('outcome', 1.0),), 0.5)
  assert gain[0, 0, 0] > 0.9 and gain[0, 1, 0] < -0.9


@pytest.mark.parametrize(
  'reward, span', [(dict(outcome=1.0), (0, 1)), (dict(outcome=2.0, a=-0.5, b=0.25), (-0.5, 2.25))]
)
def test_the_critic_speaks_of_the_place_between_least_and_most(reward, span):
  assert reward_span(reward) == span
  low, high = span
  np.testing.assert_allclose(Span(*span).to_value(jnp.array([low, high])), [0, 1])
  np.testing.assert_allclose(Span(*span).to_return(Span(*span).to_value(0.3)), 0.3, rtol=1e-5)


@pytest.mark.parametrize('value', ['monte_carlo', 'hard', 'outcome', 'td', 'gae'])
def test_targets_of_the_critic_do_not_see_a_shift_of_scale(value):
  """Twice the reward is the same place between twice the least and twice the most."""
  tree = tree_of(0)
  assign = functools.partial(assign_credit, tree, value=value, advantage='critic', gamma=0.9)
  once, twice = assign(reward=dict(REWARD)), assign(reward={k: 2 * v for k, v in REWARD})
  for name in ('value_target', 'token_target', 'root_target'):
    x, y = getattr(once, name), getattr(twice, name)
    spread = x.min() < x.max() or not once.root_mask.any()  # a target that nobody reads is the same
    assert 0 <= x.min() and spread and x.max() <= 1
    np.testing.assert_allclose(x, y, atol=1e-5)
  np.testing.assert_allclose(2 * once.advantage, twice.advantage, atol=1e-4)


def test_a_discounted_target_of_a_chain():
  """Three steps to a right answer: every step before it is worth gamma of the next."""
  tree = toys.chains([3], [True], max_steps=3)
  td = td_lambda(tree, tree_returns(tree, gamma=0.5), lambda_=1.0)
  np.testing.assert_allclose(td.node[0, :, 0], [0.25, 0.5, 1.0])
  np.testing.assert_allclose(td.root, [0.125])
  mc = assign_credit(tree, gamma=0.5)
  np.testing.assert_allclose(mc.value_target[0, :, 0], [0.25, 0.5, 1.0])
  np.testing.assert_allclose(mc.root_target, [0.125])


def test_experts_are_those_of_right_solutions_whatever_is_rewarded():
  tree = tree_of(2)
  np.testing.assert_array_equal(
    assign_credit(tree).expert, assign_credit(tree, reward=dict(REWARD), gamma=0.5).expert
  )


def test_the_root_has_the_target_of_the_whole_tree():
  tree = toys.chains([1, 2, 3, 3], [True, False, False, False], max_steps=3)
  credit = assign_credit(tree)
  np.testing.assert_allclose(credit.root_target, [0.25])
  assert credit.root_mask.all()
  nothing = assign_credit(tree.replace(mask=jnp.zeros_like(tree.mask)))
  assert not nothing.root_mask.any()


@pytest.mark.parametrize(
  'wrong, message',
  [
    (dict(reward=dict(outcome=0.0)), 'no weight that is not 0'),
    (dict(reward=dict(outcome=1.0, taste=1.0)), 'reward names taste, .*: outcome, length, style'),
    (dict(gamma=0.0), 'gamma=0.0 is the discount of a step'),
    (dict(lambda_=1.5), r'lambda_=1.5: give a number in \[0, 1\]'),
    (dict(lamda=0.5), 'credit has no setting lamda'),
  ],
)
def test_what_has_no_meaning_is_refused(wrong, message):
  with pytest.raises(ValueError, match=message):
    assign_credit(tree_of(0), **wrong)
