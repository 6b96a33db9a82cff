"""Closed forms, reductions and least points of each loss."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax.learning import LOSSES, losses
from o1jax.learning.credit import assign_credit
from tests import toys

TREE = toys.random_tree(0)
VOCAB = 5
NODE = TREE.mask
TOKEN = NODE[..., None] & (jnp.arange(TREE.tokens.shape[-1]) < TREE.length[..., None])
LENGTH = jnp.where(NODE, TREE.length, 0)


@pytest.mark.parametrize('name', LOSSES)
def test_a_loss_that_reads_returns_says_so(name):
  """Another discount changes what solutions return, and nothing else."""
  noise = [jax.random.normal(jax.random.key(seed), TREE.tokens.shape) for seed in (0, 1)]
  given = dict(logprob=jnp.where(TOKEN, noise[0], 0), frozen=jnp.where(TOKEN, noise[1], 0))
  given |= dict(value=noise[0][..., 0], token_value=noise[1])
  with_gamma = lambda gamma: LOSSES[name](
    toys.experience(TREE, credit=assign_credit(TREE, gamma=gamma), **given)
  )
  assert bool(with_gamma(1.0) != with_gamma(0.5)) == bool(LOSSES[name].credit)


def cloning_loss(logprob, weight):
  return losses.behaviour_cloning(toys.experience(TREE, logprob=logprob, expert=weight))


@functools.partial(jax.jit, static_argnames='clip')
def policy_gradient(logprob, sampled, advantage, *, clip=0.2):
  tree = TREE.replace(logprob=sampled)
  gain = jnp.broadcast_to(advantage[..., None], TOKEN.shape)
  return losses.policy_gradient(toys.experience(tree, logprob=logprob, advantage=gain), clip=clip)


def as_tokens(x):
  """Numbers [N] as those of lone tokens of N nodes, and the tree that has them."""
  tree = toys.hand_tree([0], width=len(x), max_steps=1)
  return tree, jnp.reshape(x, (1, 1, -1, 1))


@jax.jit
def kl_to_frozen(logprob, frozen):
  tree, logprob = as_tokens(logprob)
  return losses.kl_to_frozen(toys.experience(tree, logprob=logprob, frozen=as_tokens(frozen)[1]))


@jax.jit
def value_loss(value, target, root_value=0.0, root_target=0.5, root_mask=False):
  tree, value = as_tokens(value)
  one = lambda x: jnp.full(1, x)
  given = dict(value_target=as_tokens(target)[1][..., 0], value_mask=tree.mask)
  root = dict(root_value=one(root_value), root_target=one(root_target), root_mask=one(root_mask))
  return losses.value_loss(toys.experience(tree, value=value[..., 0], **given, **root))


def token_logits(seed=0):
  return jax.random.normal(jax.random.key(seed), (*TREE.tokens.shape, VOCAB))


def logprobs(logits):
  """Log-probs [B, X, A, L] of the tree's tokens (modulo the small vocabulary), 0 on padding."""
  chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), TREE.tokens[..., None] % VOCAB, axis=-1)[
    ..., 0
  ]
  return jnp.where(TOKEN, chosen, 0)


def softmax(x):
  return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


class TestMaskedMean:
  def test_is_the_mean_of_what_is_kept(self):
    x = np.array([1.0, 5.0, np.nan, 3.0])
    np.testing.assert_allclose(losses.masked_mean(x, jnp.array([True, True, False, False])), 3)
    np.testing.assert_allclose(losses.masked_mean(x, jnp.array([1.0, 0, 0, 3])), 2.5)

  def test_of_nothing_is_zero(self):
    np.testing.assert_array_equal(losses.masked_mean(jnp.array([jnp.nan]), jnp.array([False])), 0)


class TestCloning:
  def test_is_the_mean_over_expert_tokens(self):
    weight = jnp.where(NODE, TREE.value, 0)
    logprob = logprobs(token_logits())
    tokens = np.asarray(weight)[..., None] * np.asarray(TOKEN)
    expected = -np.sum(np.asarray(logprob) * tokens) / tokens.sum()
    np.testing.assert_allclose(cloning_loss(logprob, weight), expected, rtol=1e-5)

  def test_without_experts_it_is_zero_and_so_is_its_gradient(self):
    cloning = lambda logits: cloning_loss(logprobs(logits), jnp.zeros(NODE.shape))
    value, grad = jax.jit(jax.value_and_grad(cloning))(token_logits())
    assert value == 0 and not np.asarray(grad).any()


class TestPolicyGradient:
  def test_at_advantage_one_its_gradient_is_that_of_cloning(self):
    logits = token_logits()
    sampled, one = logprobs(logits), jnp.ones(NODE.shape)
    gradient = jax.jit(jax.grad(lambda x: policy_gradient(logprobs(x), sampled, one)))(logits)
    cloning = jax.jit(jax.grad(lambda x: cloning_loss(logprobs(x), one * NODE)))(logits)
    assert np.abs(cloning).max() > 1e-3
    np.testing.assert_allclose(gradient, cloning, atol=1e-7)

  def test_is_linear_in_the_advantage_on_policy(self):
    logits = token_logits()
    advantage = jnp.asarray(np.random.default_rng(0).normal(size=NODE.shape))
    loss = lambda x, gain: policy_gradient(logprobs(x), logprobs(logits), gain)
    gradient = jax.jit(jax.grad(loss))
    each = gradient(logits, jnp.ones(NODE.shape)) * advantage[..., None, None]
    np.testing.assert_allclose(gradient(logits, advantage), each, atol=1e-7)

  @pytest.mark.parametrize(
    'ratio, advantage, moves',
    [
      (1.1, 1, True),
      (0.9, 1, True),
      (1.1, -1, True),
      (0.9, -1, True),  # inside
      (1.3, 1, False),
      (0.7, -1, False),  # far enough in the wanted direction
      (0.7, 1, True),
      (1.3, -1, True),  # far in the wrong one: the way back is open
    ],
  )
  def test_clipping_stops_gradients_that_lead_further_out(self, ratio, advantage, moves):
    sampled = logprobs(token_logits())
    gain = jnp.full(NODE.shape, float(advantage))
    loss, gradient = jax.value_and_grad(policy_gradient)(sampled + np.log(ratio), sampled, gain)
    kept = ratio if moves else np.clip(ratio, 0.8, 1.2)
    np.testing.assert_allclose(loss, -kept * advantage, rtol=1e-5)
    expected = -advantage * ratio * np.asarray(TOKEN) / TOKEN.sum() if moves else 0
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-9)

  def test_epsilon_is_the_width(self):
    sampled = logprobs(token_logits())
    loss = policy_gradient(sampled + np.log(1.3), sampled, jnp.ones(NODE.shape), clip=0.05)
    np.testing.assert_allclose(loss, -1.05, rtol=1e-5)


class TestDistillation:
  """Sampled siblings: prior shares, log pi - log mu, and a target."""

  PRIOR = np.array([[[0.5, 0.25, 0.25], [0.2, 0.8, 0.0], [1.0, 0.0, 0.0]]], np.float32)
  MASK = PRIOR > 0
  TARGET = np.array([[[0.2, 0.7, 0.1], [0.6, 0.4, 0.0], [1.0, 0.0, 0.0]]], np.float32)

  def loss(self, change, target=TARGET, prior=PRIOR):
    slots = change.shape[1]
    sampled = np.array([[-3.0, -1.0, -5.0], [-2.0, -4.0, -3.0], [-1.0, -2.0, -3.0]])[None, :slots]
    tree = toys.hand_tree(
      [0, 1, 4][:slots], width=3, max_steps=3, mask=self.MASK[0, :slots], prior=prior[0, :slots]
    ).replace(logprob=jnp.asarray(sampled)[..., None])
    logprob = (sampled + change)[..., None]
    return losses.sibling_distillation(
      toys.experience(tree, logprob=logprob, improved=jnp.asarray(target[:, :slots]))
    )

  def change_to(self, policy):
    """What log pi - log mu must be for the siblings' shares to equal `policy`."""
    return np.where(
      self.MASK,
      np.log(np.where(self.MASK, policy, 1)) - np.log(np.where(self.MASK, self.PRIOR, 1)),
      0,
    )

  def test_is_zero_at_its_target_and_so_is_its_gradient(self):
    loss, gradient = jax.value_and_grad(self.loss)(self.change_to(self.TARGET))
    np.testing.assert_allclose(loss, 0, atol=1e-6)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)

  def test_is_positive_elsewhere(self):
    for seed in range(20):
      noise = np.random.default_rng(seed).normal(size=(1, 3, 3))
      assert self.loss(self.change_to(self.TARGET) + noise) > 1e-3

  def test_is_the_kl_of_shares_over_slots_with_a_choice(self):
    change = np.random.default_rng(0).normal(size=(1, 3, 3))
    shares = softmax(
      np.where(self.MASK, np.log(np.where(self.MASK, self.PRIOR, 1)) + change, -np.inf)
    )
    ratio = np.where(self.MASK, self.TARGET, 1) / np.where(self.MASK, shares, 1)
    kl = (self.TARGET * np.log(ratio)).sum(-1)
    np.testing.assert_allclose(
      self.loss(change), kl[0, :2].mean(), rtol=1e-5
    )  # the last has no choice

  def test_a_common_shift_of_siblings_changes_nothing(self):
    change = np.random.default_rng(0).normal(size=(1, 3, 3))
    shift = np.array([[[2.0], [-7.0], [30.0]]])
    np.testing.assert_allclose(self.loss(change + shift), self.loss(change), rtol=1e-4)

  def test_an_unchanged_policy_holds_the_prior(self):
    np.testing.assert_allclose(self.loss(np.zeros((1, 3, 3)), target=self.PRIOR), 0, atol=1e-6)

  def test_descent_reaches_the_target(self):
    change = np.zeros((1, 3, 3), np.float32)
    gradient = jax.jit(jax.grad(self.loss))
    for _ in range(300):
      change = change - gradient(change)
    np.testing.assert_allclose(self.loss(change), 0, atol=1e-4)

  def test_slots_that_were_not_searched_do_not_count(self):
    change = np.random.default_rng(1).normal(size=(1, 3, 3))
    target = self.TARGET * np.array([[[1], [0], [1]]])
    alone = self.loss(change[:, :1])
    np.testing.assert_allclose(self.loss(change, target=target), alone, rtol=1e-5)
    np.testing.assert_array_equal(self.loss(change, target=0 * self.TARGET), 0)

  def test_what_stands_on_masked_siblings_is_not_read(self):
    change = np.random.default_rng(1).normal(size=(1, 3, 3))
    wild = np.where(self.MASK, change, 50.0)
    gradient = jax.grad(self.loss)(wild)
    np.testing.assert_allclose(self.loss(wild), self.loss(change), rtol=1e-6)
    assert np.isfinite(gradient).all() and not np.asarray(gradient)[~self.MASK].any()


class TestKl:
  def test_is_not_negative_and_zero_only_if_equal(self):
    logprob = jnp.array([-1.0, -2.5, -0.2])
    assert kl_to_frozen(logprob, logprob) == 0
    for seed in range(1, 10):
      other = logprob + jax.random.normal(jax.random.key(seed), (3,))
      assert kl_to_frozen(logprob, other) > 1e-3
      assert min(kl_to_frozen(logprob[i : i + 1], other[i : i + 1]) for i in range(3)) >= 0

  def test_its_expectation_under_the_policy_is_the_kl(self):
    policy, frozen = np.asarray(jax.nn.log_softmax(jax.random.normal(jax.random.key(0), (2, 7))))
    k3 = [kl_to_frozen(p[None], r[None]) for p, r in zip(policy, frozen)]
    expected = np.sum(np.exp(policy) * (policy - frozen))
    assert expected > 0.1
    np.testing.assert_allclose(np.dot(np.exp(policy), k3), expected, rtol=1e-4)

  def test_its_gradient_leads_to_the_frozen_policy(self):
    logprob, frozen = jnp.array([-1.0, -3.0]), jnp.array([-2.0, -2.0])
    gradient = jax.grad(kl_to_frozen)(logprob, frozen)
    assert gradient[0] > 0 > gradient[1]


class TestValue:
  def test_its_least_point_is_the_target(self):
    target = jnp.linspace(0.02, 0.98, 9)
    loss = lambda value: value_loss(value, target)
    best = jnp.log(target / (1 - target))
    np.testing.assert_allclose(jax.grad(loss)(best), 0, atol=1e-6)
    for step in (-0.3, 0.3):
      assert loss(best + step) > loss(best) + 1e-3

  def test_is_cross_entropy_over_informed_nodes(self):
    value = jax.random.normal(jax.random.key(0), NODE.shape)
    p, target, mask = np.asarray(jax.nn.sigmoid(value)), np.asarray(TREE.value), np.asarray(NODE)
    expected = -(target * np.log(p) + (1 - target) * np.log(1 - p))[mask].mean()
    e = toys.experience(TREE, value=value, value_target=TREE.value, value_mask=NODE)
    np.testing.assert_allclose(losses.value_loss(e), expected, rtol=1e-5)

  def test_the_root_is_one_more_node(self):
    value, target = jnp.array([0.3, -1.0]), jnp.array([0.9, 0.2])
    together = value_loss(value, target, root_value=2.0, root_target=0.4, root_mask=True)
    as_node = value_loss(jnp.append(value, 2.0), jnp.append(target, 0.4))
    np.testing.assert_allclose(together, as_node, rtol=1e-6)
    gradient = jax.grad(value_loss, argnums=2)(value, target, 2.0, 0.4, True)
    np.testing.assert_allclose(gradient, (jax.nn.sigmoid(2.0) - 0.4) / 3, rtol=1e-5)

  def test_large_logits_stay_finite(self):
    value = jnp.array([300.0, -300.0])
    np.testing.assert_allclose(value_loss(value, jnp.array([0.0, 1.0])), 300, rtol=1e-6)


class TestGivenTokens:
  """Text that nobody sampled teaches no policy."""

  GIVEN = TOKEN & (jax.random.uniform(jax.random.key(2), TOKEN.shape) < 0.4)

  @pytest.mark.parametrize('name', [name for name in LOSSES if 'value' not in name])
  def test_have_no_gradient(self, name):
    tree, key = TREE.replace(given=self.GIVEN), jax.random.key(0)
    credit = toys.credit(tree, advantage=jnp.ones(TOKEN.shape))
    noise = lambda i: jnp.where(
      TOKEN, -jax.random.uniform(jax.random.fold_in(key, i), TOKEN.shape), 0
    )

    def loss(logprob, entropy):
      e = toys.experience(tree, logprob=logprob, entropy=entropy, frozen=noise(1), credit=credit)
      return LOSSES[name](e)

    gradient = sum(map(jnp.abs, jax.grad(loss, argnums=(0, 1))(noise(2), noise(3))))
    assert (gradient[TOKEN & ~self.GIVEN] > 0).mean() > 0.1
    np.testing.assert_array_equal(gradient[self.GIVEN | ~TOKEN], 0)
