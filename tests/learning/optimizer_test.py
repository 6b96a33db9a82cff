"""The optimizers' schedule, what they decay, how Muon steps, and that nothing touches the
reference."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax.learning.optimizer import (
  OPTIMIZERS,
  apply_gradients,
  build_optimizer,
  init_state,
)
from o1jax.model import forward
from o1jax.model.transformer import LanguageModel
from o1jax.model.variants import ModelConfig
from tests import toys


def sizes_of_steps(*, steps, **settings):
  """How far a parameter goes at each of `steps` + 3 steps: with a constant gradient Adam's step is
  its rate."""
  optimizer = build_optimizer(name='adamw', steps=steps, weight_decay=0.0, **settings)
  params = dict(policy={'scale': jnp.zeros(3)}, critic={'scale': jnp.zeros(2)})
  step = jax.jit(
    lambda state: apply_gradients(state, jax.tree.map(jnp.ones_like, params), optimizer, loss=0.0)[
      0
    ]
  )
  state, places = init_state(params, optimizer), [0.0]
  for _ in range(steps + 3):
    state = step(state)
    places.append(float(state.params['policy']['scale'][0]))
  return -np.diff(places)


class TestSchedule:
  def test_rises_falls_and_stays(self):
    rate = sizes_of_steps(learning_rate=0.01, steps=40, warmup=10, end_fraction=0.2)
    np.testing.assert_allclose(rate[:11], 0.001 * np.arange(11), rtol=1e-3, atol=1e-8)
    half = 0.01 * (0.2 + 0.8 * 0.5)
    np.testing.assert_allclose(rate[[25, 40, 41, 42]], [half, 0.002, 0.002, 0.002], rtol=1e-3)
    assert (np.diff(rate[10:41]) < 0).all()

  @pytest.mark.parametrize('steps', [1, 2, 5])
  def test_a_short_run_has_a_short_warm_up(self, steps):
    rate = sizes_of_steps(learning_rate=0.01, steps=steps, warmup=20)
    assert np.isfinite(rate).all() and rate.max() <= 0.01 * 1.001
    if steps > 1:
      np.testing.assert_allclose(rate[: steps + 1].max(), 0.01, rtol=1e-3)

  def test_a_large_gradient_is_clipped(self):
    optimizer = build_optimizer(name='adamw', learning_rate=1.0, steps=10, clip_norm=1.0)
    params = {'kernel': jnp.zeros((2, 2))}
    update = jax.jit(
      lambda size: optimizer.update(
        {'kernel': jnp.full((2, 2), size)}, optimizer.init(params), params
      )
    )
    jax.tree.map(np.testing.assert_allclose, update(0.5), update(50.0))

  @pytest.mark.parametrize(
    'setting, value',
    [('learning_rate', -1.0), ('end_fraction', -0.1), ('clip_norm', 0.0), ('beta2', 1.0)],
  )
  def test_a_number_that_no_rule_can_use_is_refused(self, setting, value):
    settings = dict(learning_rate=1e-3, steps=4) | {setting: value}
    with pytest.raises(ValueError, match=f'optimizer.{setting}={value}: give'):
      build_optimizer(**settings)

  def test_an_unknown_name_is_refused(self):
    with pytest.raises(ValueError, match="'sgd' is unknown; choose one of muon, adamw"):
      build_optimizer(name='sgd', learning_rate=1.0, steps=10)


class TestMuon:
  def step(self, gradient, **settings):
    """The first step that is not of size 0, at rate 1."""
    optimizer = build_optimizer(
      learning_rate=1.0,
      steps=10,
      warmup=1,
      end_fraction=1.0,
      weight_decay=0.0,
      adam_learning_rate=0.5,
      **settings,
    )
    params = jax.tree.map(jnp.zeros_like, gradient)

    @jax.jit
    def second(gradient):
      state = optimizer.update(gradient, optimizer.init(params), params)[1]
      return optimizer.update(gradient, state, params)[0]

    return second(gradient)

  def test_steps_as_far_in_every_direction_of_a_matrix(self):
    left, right = (
      np.linalg.qr(np.random.default_rng(seed).normal(size=(6, 6)))[0] for seed in (0, 1)
    )
    gradient = left @ np.diag([1.0, 0.9, 0.5, 0.3, 0.2, 0.1]) @ right
    step = np.asarray(self.step({'kernel': jnp.asarray(gradient)}, clip_norm=9.0)['kernel'])
    strength = np.diag(left.T @ step @ right.T)
    assert (strength < -0.5).all() and (strength > -1.4).all()
    np.testing.assert_allclose(left.T @ step @ right.T, np.diag(strength), atol=1e-4)

  def test_layers_of_a_stack_are_matrices_of_their_own(self):
    gradient = jax.random.normal(jax.random.key(0), (2, 4, 6))
    stacked = self.step({'kernel': gradient}, clip_norm=99.0)['kernel']
    alone = self.step({'a': {'kernel': gradient[0]}, 'b': {'kernel': gradient[1]}}, clip_norm=99.0)
    np.testing.assert_allclose(stacked, jnp.stack([x['kernel'] for x in alone.values()]), atol=1e-5)

  def test_leaves_embedding_and_scales_to_adam(self):
    gradient = {'embedding': jax.random.normal(jax.random.key(0), (5, 3)), 'scale': jnp.ones(3)}
    step = self.step(gradient)
    for name, x in step.items():
      # Nesterov goes a little further.
      np.testing.assert_allclose(x, -0.5 * np.sign(gradient[name]), rtol=0.2)


class TestApply:
  @pytest.mark.parametrize('name', OPTIMIZERS)
  def test_what_is_frozen_is_left_alone(self, name):
    params = toys.params()
    optimizer = build_optimizer(name=name, learning_rate=0.1, steps=10, warmup=1)
    state = init_state(params, optimizer, frozen=dict(reference=params['policy']))
    ones = jax.tree.map(jnp.ones_like, params)
    step = jax.jit(lambda state: apply_gradients(state, ones, optimizer, loss=0.0)[0])
    moved = step(step(state))
    jax.tree.map(np.testing.assert_array_equal, moved.frozen, state.frozen)
    for x, y in zip(jax.tree.leaves(moved.params), jax.tree.leaves(params)):
      assert (np.asarray(x) != np.asarray(y)).all()
    assert moved.update == 0

  @pytest.mark.parametrize('scanned', [False, True])
  @pytest.mark.parametrize('name, embedding', [('adamw', 0.95), ('muon', 1.0)])
  def test_matrices_decay_and_scales_do_not(self, name, embedding, scanned):
    config = ModelConfig(
      vocab_size=9,
      width=8,
      layers=2,
      heads=2,
      kv_heads=1,
      head_width=4,
      mlp_width=8,
      scan_layers=scanned,
    )
    shapes = jax.eval_shape(
      lambda: nn.unbox(forward.init(LanguageModel(config), jax.random.key(0)))
    )
    params = jax.tree.map(
      lambda x: jnp.asarray(np.linspace(1, 2, x.size, dtype=x.dtype).reshape(x.shape)), shapes
    )
    optimizer = build_optimizer(
      name=name,
      learning_rate=0.1,
      adam_learning_rate=0.1,
      steps=10,
      warmup=1,
      weight_decay=0.5,
      end_fraction=1.0,
    )
    zeros = jax.tree.map(jnp.zeros_like, params)
    step = jax.jit(lambda state: apply_gradients(state, zeros, optimizer, loss=0.0)[0])
    moved = step(step(init_state(params, optimizer))).params
    expected = {'kernel': 0.95, 'embedding': embedding, 'scale': 1.0}
    for (path, before), after in zip(
      jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(moved)
    ):
      np.testing.assert_allclose(
        after / before, expected[path[-1].key], rtol=1e-3, err_msg=str(path)
      )


class TestSkip:
  @pytest.fixture(scope='class')
  def steps(self):
    """A state after two steps, and the step."""
    params = {'a': {'kernel': jnp.arange(6.0).reshape(2, 3)}, 'b': {'scale': jnp.ones(3)}}
    optimizer = build_optimizer(name='muon', learning_rate=0.1, steps=10, warmup=1)
    step = jax.jit(lambda state, grads, loss: apply_gradients(state, grads, optimizer, loss=loss))
    state = init_state(dict(policy=params, critic={'scale': jnp.ones(1)}), optimizer)
    ones = jax.tree.map(jnp.ones_like, state.params)
    for _ in range(2):
      state, metrics = step(state, ones, 1.0)
      assert metrics['skipped'] == 0
      np.testing.assert_allclose(metrics['gradient_norm'], np.sqrt(10), rtol=1e-6)
    return state, ones, step

  @pytest.mark.parametrize(
    'loss, entry', [(np.nan, 1.0), (np.inf, 1.0), (1.0, np.nan), (1.0, -np.inf), (1.0, 1e30)]
  )
  def test_what_is_no_number_changes_nothing(self, steps, loss, entry):
    state, ones, step = steps
    ones['policy']['b']['scale'] = jnp.array([1.0, entry, 1.0])
    after, metrics = step(state, ones, loss)
    ones['policy']['b']['scale'] = jnp.ones(3)
    assert metrics['skipped'] == 1
    jax.tree.map(np.testing.assert_array_equal, after, state)

  def test_the_step_after_is_the_one_that_would_have_been(self, steps):
    state, ones, step = steps
    skipped, _ = step(state, ones, jnp.nan)
    jax.tree.map(np.testing.assert_array_equal, step(skipped, ones, 1.0), step(state, ones, 1.0))
    moved = (
      step(state, ones, 1.0)[0].params['policy']['a']['kernel']
      - state.params['policy']['a']['kernel']
    )
    assert (np.abs(moved) > 1e-4).all()
