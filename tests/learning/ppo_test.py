"""Generalised advantages against plain recursions, and the clipped value loss."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax.learning import LOSSES
from o1jax.learning.credit import assign_credit
from o1jax.learning.ppo import clipped_value_loss
from o1jax.learning.returns import written
from tests import toys


@functools.partial(jax.jit, static_argnames=('gamma', 'lambda_'))
def assign(tree, gamma=1.0, lambda_=0.95):
  return assign_credit(tree, advantage='gae', value='gae', gamma=gamma, lambda_=lambda_)


def tokens_of(tree, *, seed=0, step=3):
  """The same tree with steps of 1 to `step` tokens and values after each."""
  rng = np.random.default_rng(seed)
  shape = (*tree.mask.shape, step)
  length = jnp.where(
    tree.expanded[..., None] >= 0, jnp.asarray(rng.integers(1, step + 1, shape[:3])), 0
  )
  real = np.arange(step) < np.asarray(length)[..., None]
  zeros = jnp.zeros(shape)
  return tree.replace(
    length=length.astype(jnp.int32),
    tokens=zeros.astype(jnp.int32),
    logprob=zeros,
    given=zeros.astype(bool),
    token_value=jnp.asarray(np.where(real, rng.random(shape), 0)),
  )


def with_last_values(tree):
  """The value of a node is that after its last token."""
  last = jnp.maximum(tree.length - 1, 0)[..., None]
  value = jnp.take_along_axis(tree.token_value, last, axis=-1)[..., 0]
  return tree.replace(value=jnp.where(tree.mask, value, 0))


@pytest.mark.parametrize('gamma, lambda_', [(1.0, 0.95), (0.8, 0.5), (0.9, 1.0), (0.9, 0.0)])
def test_a_chain_is_the_textbook(gamma, lambda_):
  """rlax's recursion over all tokens of a solution; the discount stands where a step begins."""
  ends, right = [1, 3, 0], [False, True, False]
  tree = with_last_values(tokens_of(toys.chains(ends, right, max_steps=3)))
  credit, firsts = assign(tree, gamma, lambda_), []
  for chain, steps in enumerate([1, 3, 3]):
    slots = [3 * r + chain for r in range(steps)]
    places = [(x, t) for x in slots for t in range(int(tree.length[0, x, 0]))]
    values = [float(tree.root_value[0])] + [float(tree.token_value[0, x, 0, t]) for x, t in places]
    values[-1] = 0.0
    rewards = [0.0] * (len(places) - 1) + [float(right[chain])]
    discounts = [gamma if t == 0 else 1.0 for _, t in places]
    # The reward comes with the solution's last token, so it is discounted if that begins a step.
    rewards[-1] *= discounts[-1]
    gain = 0.0
    for i in reversed(range(len(places))):
      follows = values[i + 1] if i + 1 < len(places) else 0.0
      gain = rewards[i] + discounts[i] * follows - values[i] + discounts[i] * lambda_ * gain
      x, t = places[i]
      np.testing.assert_allclose(credit.advantage[0, x, 0, t], gain, atol=1e-5)
      if i:
        x, t = places[i - 1]
        target = credit.token_target[0, x, 0, t]
        np.testing.assert_allclose(target, np.clip(values[i] + gain, 0, 1), atol=1e-5)
    firsts.append(gain)
  root = float(tree.root_value[0]) + np.mean(firsts)
  np.testing.assert_allclose(credit.root_target, [np.clip(root, 0, 1)], atol=1e-5)


def test_without_values_it_is_the_return():
  """lambda 1, gamma 1, a critic that says 0: REINFORCE with the return, on every token."""
  ends, right = [1, 3, 0, 2], [True, True, False, False]
  tree = tokens_of(toys.chains(ends, right, max_steps=3))
  tree = tree.replace(token_value=0 * tree.token_value, root_value=jnp.zeros(1))
  credit = assign(tree, lambda_=1.0)
  expected = np.array([[right[i] if r < (ends[i] or 3) else 0 for i in range(4)] for r in range(3)])
  expected = expected.reshape(12, 1, 1) * np.asarray(written(tree)[0])
  np.testing.assert_allclose(credit.advantage[0], expected, atol=1e-6)
  logits = jax.random.normal(jax.random.key(0), tree.tokens.shape)
  tree = tree.replace(logprob=logits)
  loss = lambda x: LOSSES['gradient'](toys.experience(tree, logprob=x, credit=credit))
  reinforce = lambda x: -jnp.sum(expected * x) / written(tree).sum()
  np.testing.assert_allclose(jax.grad(loss)(logits), jax.grad(reinforce)(logits), atol=1e-7)


@pytest.mark.parametrize('gamma, lambda_', [(1.0, 0.9), (0.7, 0.6)])
@pytest.mark.parametrize('seed', range(2))
def test_a_tree_is_the_mean_over_its_candidates(gamma, lambda_, seed):
  """Where a node was expanded, once or again, what follows a token is what the prior expects."""
  tree = with_last_values(toys.random_tree(seed, slots=10, max_steps=4, again=0.5))
  credit = jax.device_get(assign(tree, gamma, lambda_))
  for b in range(3):
    one = toys.problem(tree, b)

    def gains(x, a, one=one, b=b):
      """Advantages of the node's tokens."""
      n, parent = one.length[x, a], one.expanded[x]
      before = one.value.reshape(-1)[parent - 1] if parent > 0 else tree.root_value[b]
      values = [float(before), *one.token_value[x, a, :n]]
      if toys.over(one, x, a):
        values[-1] = one.outcome[x, a]
      gain, found = follows(1 + 3 * x + a), []
      for t in reversed(range(n)):
        discount = gamma if t == 0 else 1.0
        gain = discount * values[t + 1] - values[t] + discount * lambda_ * gain
        found.insert(0, gain)
      return found

    def follows(node, one=one):
      slots = [y for y in range(10) if one.expanded[y] == node]
      pairs = [(one.prior[y, k], gains(y, k)[0]) for y in slots for k in range(3) if one.mask[y, k]]
      return np.average([g for _, g in pairs], weights=[p for p, _ in pairs]) if pairs else 0.0

    for x, a in np.argwhere(one.mask & (one.expanded >= 0)[:, None]):
      n = one.length[x, a]
      np.testing.assert_allclose(credit.advantage[b, x, a, :n], gains(x, a), atol=1e-5)
    np.testing.assert_allclose(
      credit.root_target[b], np.clip(tree.root_value[b] + follows(0), 0, 1), atol=1e-5
    )


def test_the_end_of_a_step_that_nobody_continued_has_no_target():
  tree = toys.hand_tree([0, 1], width=2, max_steps=3, terminal=[[0, 0], [1, 0]])
  credit = assign(tree)
  np.testing.assert_array_equal(credit.token_mask[0, ..., 0], [[True, False], [True, False]])
  np.testing.assert_array_equal(credit.value_mask, credit.token_mask[..., 0])


class TestClipping:
  LOGITS = jnp.linspace(-3, 3, 13)

  def test_inside_epsilon_it_is_cross_entropy(self):
    value = jax.nn.sigmoid(self.LOGITS)
    target = jnp.where(jnp.arange(13) % 2, 0.9, 0.1)
    run = lambda x, clip: clipped_value_loss(x, value - 0.1, target, clip).sum()
    plain = lambda x: (
      -(target * jax.nn.log_sigmoid(x) + (1 - target) * jax.nn.log_sigmoid(-x)).sum()
    )
    np.testing.assert_allclose(run(self.LOGITS, 0.11), plain(self.LOGITS), rtol=1e-6)
    gradient = jax.grad(run)(self.LOGITS, 0.11)
    np.testing.assert_allclose(gradient, jax.grad(plain)(self.LOGITS), rtol=1e-5)

  @pytest.mark.parametrize('target, moves', [(1.0, False), (0.0, True)])
  def test_outside_no_gradient_leads_further_out(self, target, moves):
    """The value has risen from 0.3 to 0.7: only the way back is open."""
    logit = jnp.log(0.7 / 0.3)
    loss, gradient = jax.value_and_grad(clipped_value_loss)(logit, 0.3, target, 0.2)
    assert (gradient != 0) == moves
    kept = 0.7 if moves else 0.5
    np.testing.assert_allclose(loss, -np.log(abs(target - 1 + kept)), rtol=1e-5)


def token_value_loss(tree, value, root, credit, **settings):
  e = toys.experience(tree, token_value=value, root_value=root, credit=credit)
  return LOSSES['token_value'](e, settings=settings)


def test_the_loss_is_over_tokens_and_roots_and_not_over_padding():
  tree = with_last_values(toys.random_tree(1))
  credit = assign(tree)
  noise = jax.random.normal(jax.random.key(0), tree.tokens.shape)
  root = jnp.array([0.3, -0.4, 0.2])
  loss = token_value_loss(tree, noise, root, credit, clip=10.0)
  cross = lambda x, t: -(t * jax.nn.log_sigmoid(x) + (1 - t) * jax.nn.log_sigmoid(-x))
  mask = np.asarray(credit.token_mask)
  assert not (mask & ~np.asarray(written(tree))).any() and mask.sum() > 20
  terms = [*np.asarray(cross(noise, credit.token_target))[mask], *cross(root, credit.root_target)]
  np.testing.assert_allclose(loss, np.mean(terms), rtol=1e-5)
  larger = toys.pad(tree, slots=1, candidates=1, tokens=2)
  wide = jnp.pad(noise, [(0, 0), (0, 1), (0, 1), (0, 2)])
  np.testing.assert_allclose(
    token_value_loss(larger, wide, root, assign(larger), clip=10.0), loss, rtol=1e-5
  )
  order = np.array([1, 2, 0])
  mixed = jax.tree.map(lambda x: x[order], (tree, noise, root))
  np.testing.assert_allclose(token_value_loss(*mixed, assign(mixed[0]), clip=10.0), loss, rtol=1e-5)


def test_the_clip_keeps_to_the_values_at_sampling_time():
  tree = with_last_values(toys.random_tree(1))
  credit, root = assign(tree), jax.scipy.special.logit(jnp.clip(tree.root_value, 0.01, 0.99))
  at_sampling = jax.scipy.special.logit(jnp.clip(tree.token_value, 0.01, 0.99))
  near = [token_value_loss(tree, at_sampling + 0.01, root, credit, clip=c) for c in (0.1, 9.0)]
  np.testing.assert_allclose(*near, rtol=1e-6)
  far = [token_value_loss(tree, at_sampling + 2.0, root, credit, clip=c) for c in (0.1, 9.0)]
  assert far[0] > far[1]
