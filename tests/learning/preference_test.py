"""DPO: closed forms, what is preferred, and what is left alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax.learning import preference
from o1jax.learning.preference import pairs, sibling_dpo, solution_dpo
from o1jax.learning.returns import written
from tests import toys

# Chains of 1, 2 and 3 steps: right, wrong, wrong. Slot 3r + i holds step r of chain i.
CHAINS = toys.chains([1, 2, 3], [True, False, False], max_steps=3)
# Under the root a good and a bad step; under the good one a right and a wrong answer.
TREE = toys.hand_tree(
  [0, 1, 2],
  width=2,
  max_steps=2,
  terminal=[[0, 0], [1, 1], [1, 1]],
  outcome=[[0, 0], [1, 0], [0, 0]],
)


def loss_of(loss, tree, **settings):
  credit = toys.credit(tree)

  def run(logprob, frozen):
    return loss(toys.experience(tree, logprob=logprob, frozen=frozen, credit=credit), **settings)

  return jax.jit(jax.value_and_grad(run))


def noise(tree, seed):
  x = jax.random.normal(jax.random.key(seed), tree.tokens.shape)
  return jnp.where(written(tree), x, 0)


@pytest.mark.parametrize('loss, tree', [(solution_dpo, CHAINS), (sibling_dpo, TREE)])
def test_at_the_frozen_policy_it_is_log_two_and_leads_to_the_winner(loss, tree):
  logprob = noise(tree, 0)
  value, gradient = loss_of(loss, tree)(logprob, logprob)
  np.testing.assert_allclose(value, np.log(2), rtol=1e-6)
  up = -np.asarray(gradient)[0, ..., 0]
  if loss is solution_dpo:
    up = up.reshape(3, 3)  # step, chain
    assert up[0, 0] > 0 > up[0, 1] == up[1, 1] and up[0, 2] == up[1, 2] == up[2, 2] < 0
  else:
    # In the last slot both are wrong: there is nothing to prefer.
    assert up[0, 0] > 0 > up[0, 1] and up[1, 0] > 0 > up[1, 1] and not up[2].any()


def test_solutions_closed_form():
  logprob, frozen = noise(CHAINS, 1), noise(CHAINS, 2)
  value, _ = loss_of(solution_dpo, CHAINS, beta=0.3)(logprob, frozen)
  change = np.asarray(logprob - frozen)[0, :, 0, 0].reshape(3, 3)
  whole = [change[: i + 1, i].sum() for i in range(3)]
  expected = np.mean([np.log1p(np.exp(-0.3 * (whole[0] - whole[i]))) for i in (1, 2)])
  np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_siblings_closed_form():
  logprob, frozen = noise(TREE, 1), noise(TREE, 2)
  value, _ = loss_of(sibling_dpo, TREE, beta=0.3)(logprob, frozen)
  gap = np.asarray(logprob - frozen)[0, :2, :, 0] @ [1, -1]
  np.testing.assert_allclose(value, np.log1p(np.exp(-0.3 * gap)).mean(), rtol=1e-5)


def test_what_comes_before_siblings_is_not_trained_by_them():
  """The slots under node 1 alone have a pair: the steps above them get nothing."""
  tree = TREE.replace(expanded=TREE.expanded.at[0, 2].set(-1), mask=TREE.mask.at[0, 2].set(False))
  _, gradient = loss_of(sibling_dpo, tree)(noise(tree, 1), noise(tree, 2))
  # Below node 2 nothing is known, so the root's candidates are no pair.
  assert np.asarray(gradient)[0, 1].all() and not np.asarray(gradient)[0, 0].any()


def test_a_prefix_that_two_solutions_share_cancels():
  """Only the last steps of a right and a wrong answer under one node are told apart."""
  tree = TREE.replace(expanded=TREE.expanded.at[0, 2].set(-1), mask=TREE.mask.at[0, 2].set(False))
  _, gradient = loss_of(solution_dpo, tree)(noise(tree, 1), noise(tree, 2))
  np.testing.assert_allclose(np.asarray(gradient)[0, 0], 0, atol=1e-8)
  assert np.asarray(gradient)[0, 1].all()


def test_the_least_point_under_label_smoothing_is_its_log_odds():
  """cDPO: where labels are wrong with chance s, beta times the gap should be log((1 - s) / s)."""
  s, beta = 0.1, 0.5
  loss = lambda gap: pairs(
    jnp.stack([gap, 0.0]), jnp.array([1.0, 0.0]), jnp.ones(2, bool), beta=beta, label_smoothing=s
  )
  best = np.log((1 - s) / s) / beta
  np.testing.assert_allclose(jax.grad(loss)(best), 0, atol=1e-6)
  assert min(loss(best + 0.5), loss(best - 0.5)) > loss(best)


def test_real_returns_make_a_pair_of_every_two_that_differ():
  returns, change = jnp.array([0.2, 0.7, 0.7, -1.0]), jnp.array([0.5, -0.3, 0.1, 2.0])
  real = jnp.ones(4, bool)
  better = [(1, 0), (2, 0), (0, 3), (1, 3), (2, 3)]
  expected = np.mean([np.log1p(np.exp(-(change[w] - change[l]))) for w, l in better])
  np.testing.assert_allclose(
    pairs(change, returns, real, beta=1.0, label_smoothing=0.0), expected, rtol=1e-6
  )


@pytest.mark.parametrize('right', [True, False])
def test_without_a_difference_there_is_no_loss(right):
  tree = toys.chains([1, 2, 3], [right] * 3, max_steps=3)
  value, gradient = loss_of(solution_dpo, tree)(noise(tree, 1), noise(tree, 2))
  assert value == 0 and not np.asarray(gradient).any()


@pytest.mark.parametrize('loss', [solution_dpo, sibling_dpo])
def test_padding_and_order_change_nothing(loss):
  tree = toys.random_tree(2)
  logprob, frozen = noise(tree, 1), noise(tree, 2)
  value, gradient = loss_of(loss, tree)(logprob, frozen)
  assert np.abs(gradient).max() > 1e-3
  larger = toys.pad(tree, slots=2, candidates=1, tokens=1, depth=0)
  wide = lambda x: jnp.pad(x, [(0, 0), (0, 2), (0, 1), (0, 1)])
  np.testing.assert_allclose(
    loss_of(loss, larger)(wide(logprob), wide(frozen))[0], value, rtol=1e-5
  )
  order = np.array([2, 0, 1])
  mixed = jax.tree.map(lambda x: x[order], (tree, logprob, frozen))
  np.testing.assert_allclose(loss_of(loss, mixed[0])(*mixed[1:])[0], value, rtol=1e-5)


def test_the_weight_of_the_kl_scales_the_gap():
  tree = toys.random_tree(3)
  logprob, frozen = noise(tree, 1), noise(tree, 2)
  one = loss_of(solution_dpo, tree, beta=0.4)(logprob, frozen)[0]
  doubled = loss_of(solution_dpo, tree, beta=0.2)(2 * logprob, 2 * frozen)[0]
  np.testing.assert_allclose(one, doubled, rtol=1e-5)
  assert preference.DEFAULTS['beta'] == 0.1
