"""Checkpoints: what is saved comes back bit for bit, and what does not fit is refused before it is loaded."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from o1jax.training.checkpoint import Checkpoints
from o1jax.training.config import ConfigError
from o1jax.types import Params, TrainState


def state(seed=0, width=3, reference=False, dtype=jnp.float32):
  key = jax.random.key(seed)
  policy = {'embed': {'kernel': jax.random.normal(key, (4, width), dtype)}, 'norm': jnp.ones((width,), jnp.bfloat16)}
  params = Params(policy=policy, critic={'head': jax.random.normal(key, (width, 1))},
                  reference=policy if reference else None)
  optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3)).init(params)
  return TrainState(update=jnp.int32(seed), params=params, optimizer=optimizer)


@pytest.fixture
def checkpoints(tmp_path):
  opened = Checkpoints(tmp_path / 'checkpoints', keep=2)
  yield opened
  opened.close()


def same(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    assert x.dtype == y.dtype
    np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize('reference', [False, True])
def test_a_state_comes_back_whole_in_a_new_process_s_place(tmp_path, reference):
  saved = state(seed=7, reference=reference)
  with_saved = Checkpoints(tmp_path)
  with_saved.save(7, saved)
  with_saved.close()
  again = Checkpoints(tmp_path)
  assert again.latest_step() == 7
  same(again.restore(state(seed=0, reference=reference)), saved)
  same(again.restore(jax.eval_shape(lambda: state(seed=0, reference=reference))), saved)
  again.close()


def test_the_newest_are_kept_and_any_of_them_restored(checkpoints):
  assert checkpoints.latest_step() is None
  for step in (1, 2, 3):
    checkpoints.save(step, state(seed=step))
  assert checkpoints.steps() == [2, 3]
  same(checkpoints.restore(state()), state(seed=3))
  same(checkpoints.restore(state(), step=2), state(seed=2))


def test_a_saved_step_is_left_as_it_is(checkpoints):
  checkpoints.save(1, state(seed=1))
  checkpoints.save(1, state(seed=2))
  same(checkpoints.restore(state()), state(seed=1))


def test_the_saved_arrays_may_be_donated_at_once(checkpoints):
  saved = state(seed=5)
  expected = jax.tree.map(np.array, saved)
  checkpoints.save(5, saved)
  jax.jit(lambda s: jax.tree.map(lambda x: x * 0, s), donate_argnums=0)(saved)
  same(checkpoints.restore(state()), expected)


@pytest.mark.parametrize('template, parts', [
  (dict(width=5), ('params.policy.embed.kernel', 'float32[4, 3]', 'float32[4, 5]')),
  (dict(dtype=jnp.bfloat16), ('params.policy.embed.kernel', 'float32[4, 3]', 'bfloat16[4, 3]')),
  (dict(reference=True), ('params.reference.embed.kernel', 'absent', 'float32[4, 3]')),
])
def test_another_shape_is_refused_in_one_line_before_loading(checkpoints, monkeypatch, template, parts):
  checkpoints.save(1, state())
  monkeypatch.setattr(checkpoints._manager, 'restore', lambda *_, **__: pytest.fail('loaded'))
  with pytest.raises(ConfigError) as error:
    checkpoints.restore(state(**template))
  assert '\n' not in str(error.value)
  for part in parts:
    assert part in str(error.value)


def test_a_leaf_too_many_is_refused(checkpoints):
  checkpoints.save(1, state(reference=True))
  with pytest.raises(ConfigError, match=r'reference\.embed\.kernel is float32\[4, 3\] there and absent here'):
    checkpoints.restore(state())


def test_a_missing_checkpoint_is_named(checkpoints):
  with pytest.raises(ConfigError, match='holds no checkpoint'):
    checkpoints.restore(state())
  checkpoints.save(1, state())
  with pytest.raises(ConfigError, match=r'no checkpoint of step 4: it holds \[1\]'):
    checkpoints.restore(state(), step=4)


def test_two_leaves_of_one_path_are_refused(checkpoints):
  with pytest.raises(ValueError, match='same path'):
    checkpoints.save(1, {'a': {'b': jnp.ones(2)}, 'a.b': jnp.ones(2)})


def test_saving_and_restoring_say_nothing(tmp_path):
  said = []
  handler, logger = logging.Handler(), logging.getLogger('absl')
  handler.emit = said.append
  logger.addHandler(handler)
  level = logger.level
  logger.setLevel(logging.INFO)  # as in a program started by absl.app
  try:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state())
    checkpoints.restore(state())
    checkpoints.close()
    assert said == [] and logger.level == logging.INFO
  finally:
    logger.removeHandler(handler)
    logger.setLevel(level)
