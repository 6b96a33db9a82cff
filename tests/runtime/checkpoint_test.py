"""Checkpoints: what is saved comes back bit for bit, and what does not fit is refused before it is
loaded."""

import json
import logging
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from o1jax.runtime.checkpoint import Checkpoints, quiet_orbax
from o1jax.runtime.config import ConfigError
from o1jax.runtime.storage import StorageError
from o1jax.types import TrainState


def state(seed=0, width=3, reference=False, dtype=jnp.float32):
  key = jax.random.key(seed)
  kernel = jax.random.normal(key, (4, width)).astype(dtype)
  policy = {'embed': {'kernel': kernel}, 'norm': jnp.ones((width,), jnp.bfloat16)}
  params = dict(policy=policy, critic={'head': jax.random.normal(key, (width, 1))})
  frozen = dict(reference=policy) if reference else {}
  optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3)).init(params)
  return TrainState(update=jnp.int32(seed), params=params, optimizer=optimizer, frozen=frozen)


@pytest.fixture
def checkpoints(tmp_path):
  opened = Checkpoints(tmp_path / 'checkpoints')
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


def test_the_newest_two_stay_and_the_permanent_ones(tmp_path):
  checkpoints = Checkpoints(tmp_path, permanent=lambda step: step % 3 == 0)
  assert checkpoints.latest_step() is None and checkpoints.restore(state()) is None
  for step in range(1, 9):
    checkpoints.save(step, state(seed=step))
  same(checkpoints.restore(state()), state(seed=8))
  assert checkpoints.steps() == [3, 6, 7, 8]
  checkpoints.close()


def test_looking_makes_and_changes_nothing(tmp_path):
  Checkpoints(tmp_path / 'new').restore(state())
  assert not (tmp_path / 'new').exists()
  with_saved = Checkpoints(tmp_path / 'old')
  with_saved.save(1, state())
  with_saved.close()
  (tmp_path / 'old' / '2.orbax-checkpoint-tmp').mkdir()  # as another process is just writing it
  before = sorted((tmp_path / 'old').rglob('*'))
  other = Checkpoints(tmp_path / 'old')
  other.refuse_others()
  other.restore(state())
  other.close()
  assert sorted((tmp_path / 'old').rglob('*')) == before


def test_looking_leaves_what_is_damaged_where_it_is(tmp_path, capsys):
  with_saved = Checkpoints(tmp_path)
  for step in (1, 2):
    with_saved.save(step, state(seed=step))
  with_saved.close()
  (tmp_path / '2' / 'record' / 'metadata').write_text('[]')
  before = sorted(tmp_path.rglob('*'))
  same(Checkpoints(tmp_path, looking=True).restore(state()), state(seed=1))
  assert sorted(tmp_path.rglob('*')) == before
  assert '2 is damaged' in capsys.readouterr().err


@pytest.mark.parametrize(
  'error', [MemoryError(), ImportError('zstd'), NameError('x'), TypeError('x'), OSError(5, 'x')]
)
def test_an_error_that_befalls_all_checkpoints_sets_none_aside(checkpoints, monkeypatch, error):
  for step in (1, 2):
    checkpoints.save(step, state(seed=step))
  checkpoints.wait()

  def fail(*_, **__):
    raise error

  with monkeypatch.context() as patch:
    patch.setattr(ocp.StandardCheckpointHandler, 'restore', fail)
    with pytest.raises(StorageError if isinstance(error, OSError | TypeError) else type(error)):
      checkpoints.restore(state())
  assert checkpoints.steps() == [1, 2] and not (checkpoints.directory / 'damaged').exists()
  same(checkpoints.restore(state()), state(seed=2))


def test_json_of_another_form_is_damage_where_an_older_one_is_good(checkpoints):
  for step in (1, 2):
    checkpoints.save(step, state(seed=step))
  checkpoints.wait()
  (checkpoints.directory / '2' / 'state' / '_METADATA').write_text('[]')
  same(checkpoints.restore(state()), state(seed=1))
  assert checkpoints.steps() == [1] and (checkpoints.directory / 'damaged' / '2.1').is_dir()


def test_a_saved_step_is_left_as_it_is(checkpoints):
  checkpoints.save(1, state(seed=1))
  checkpoints.save(1, state(seed=2))
  same(checkpoints.restore(state()), state(seed=1))


def test_a_damaged_step_can_be_saved_again(checkpoints, capsys):
  for seed in (1, 2):
    checkpoints.save(1, state(seed=seed))
    checkpoints.wait()
    (checkpoints.directory / '1' / 'record' / 'metadata').unlink()
    assert checkpoints.restore(state()) is None
  checkpoints.save(1, state(seed=3))
  same(checkpoints.restore(state()), state(seed=3))
  assert sorted(path.name for path in (checkpoints.directory / 'damaged').iterdir()) == [
    '1.1',
    '1.2',
  ]


@pytest.mark.parametrize('size', [10, 1_000_000])
def test_the_saved_arrays_may_be_donated_at_once(checkpoints, size):
  made = jax.jit(lambda n: {f'{i}': jnp.full(size, n + i) for i in range(8)})
  spoilt = jax.jit(lambda s: jax.tree.map(lambda x: -x - 1, s), donate_argnums=0)
  for step in (1, 2, 3):
    saved = made(step)
    checkpoints.save(step, saved)
    for _ in range(3):
      saved = spoilt(saved)
    same(checkpoints.restore(made(0)), made(step))


def test_a_save_goes_on_in_the_background(checkpoints, monkeypatch):
  wait, handler = threading.Event(), ocp.JsonCheckpointHandler
  original = handler._save_fn

  async def slow(self, *args):
    assert wait.wait(60)
    return await original(self, *args)

  monkeypatch.setattr(handler, '_save_fn', slow)
  checkpoints.save(1, state(seed=1))
  assert checkpoints.steps() == [] and checkpoints.failure() is None
  wait.set()
  same(checkpoints.restore(state()), state(seed=1))
  assert checkpoints.steps() == [1] and checkpoints.failure() is None


@pytest.mark.parametrize(
  'template, parts',
  [
    (dict(width=5), ('params.critic.head', 'float32[3, 1]', 'float32[5, 1]')),
    (dict(dtype=jnp.int32), ('params.policy.embed.kernel', 'float32[4, 3]', 'int32[4, 3]')),
    (dict(reference=True), ('frozen.reference.embed.kernel', 'absent', 'float32[4, 3]')),
  ],
)
def test_another_shape_is_refused_in_one_line_before_loading(
  checkpoints, monkeypatch, template, parts
):
  checkpoints.save(1, state())
  monkeypatch.setattr(
    ocp.StandardCheckpointHandler, 'restore', lambda *_, **__: pytest.fail('loaded')
  )
  with pytest.raises(ConfigError) as error:
    checkpoints.restore(jax.eval_shape(lambda: state(**template)))
  assert '\n' not in str(error.value)
  for part in parts:
    assert part in str(error.value)
  assert checkpoints.steps() == [1]  # not damaged


def test_a_leaf_too_many_is_refused(checkpoints):
  checkpoints.save(1, state(reference=True))
  with pytest.raises(
    ConfigError, match=r'reference\.embed\.kernel is float32\[4, 3\] there and absent here'
  ):
    checkpoints.restore(state())


def test_another_float_type_is_cast_once_the_bits_are_checked(checkpoints):
  saved = state(seed=4)
  checkpoints.save(1, saved)
  narrow = checkpoints.restore(state(dtype=jnp.bfloat16))
  same(
    narrow.params['policy']['embed']['kernel'],
    saved.params['policy']['embed']['kernel'].astype(jnp.bfloat16),
  )
  same(narrow.optimizer[1][0].count, saved.optimizer[1][0].count)
  checkpoints.save(2, narrow)
  same(
    checkpoints.restore(state()).params['policy']['embed']['kernel'],
    narrow.params['policy']['embed']['kernel'].astype(jnp.float32),
  )


def test_a_checkpoint_of_another_run_is_refused_by_what_differs(tmp_path):
  mine = dict(seed=0, sizes=(1, 2), rate=0.1)
  saved = Checkpoints(tmp_path, identity=mine, notes={'jax': '1'})
  saved.save(1, state())
  saved.close()
  assert Checkpoints(tmp_path, identity=mine, notes={'jax': '2'}).restore(state()) is not None
  assert Checkpoints(tmp_path).restore(state()) is not None  # whoever asks for none takes any
  others = {
    'seed is 0 there and 1 here': mine | {'seed': 1},
    'sizes is .* there and absent here': {'seed': 0},
    r'sizes is \[1, 2\] there and \[1\] here': mine | {'sizes': (1,)},
  }
  for words, other in others.items():
    for method in (Checkpoints.refuse_others, lambda checkpoints: checkpoints.restore(state())):
      with pytest.raises(ConfigError, match=words) as error:
        method(Checkpoints(tmp_path, identity=other))
      assert (
        str(tmp_path) in str(error.value)
        and '--workdir' in str(error.value)
        and '\n' not in str(error.value)
      )
  assert json.loads((tmp_path / '1' / 'record' / 'metadata').read_text())['notes'] == {'jax': '1'}


def test_two_leaves_of_one_path_are_refused(checkpoints):
  with pytest.raises(ValueError, match='same path'):
    checkpoints.save(1, {'a': {'b': jnp.ones(2)}, 'a.b': jnp.ones(2)})


def test_saving_and_restoring_say_nothing(tmp_path, monkeypatch):
  monkeypatch.setattr(sys, 'unraisablehook', sys.unraisablehook)  # to be put back
  quiet_orbax()
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
    logger.filters.pop()
    logger.removeHandler(handler)
    logger.setLevel(level)
