"""The loop of a stage: interruptions lose nothing, resumed is equal to uninterrupted, a lost loss stops the run."""

import gzip
import json
import os
import signal

import jax
import jax.numpy as jnp
import pytest

from o1jax.training.loop import Diverged, Stopped, run_updates
from o1jax.training.metrics import MetricsWriter, read_metrics
from o1jax.types import Params, TrainState

UPDATES = 7


def fresh():
  return TrainState(update=jnp.int32(0), params=Params(policy={'w': jnp.ones(3)}, critic={}), optimizer={})


@jax.jit
def walk(state, _):
  noise = jax.random.normal(jax.random.fold_in(jax.random.key(3), state.update), (3,))
  weights = state.params.policy['w'] + noise
  state = state.replace(update=state.update + 1, params=state.params.replace(policy={'w': weights}))
  return state, {'loss': weights.sum(), 'tokens': 5}


def run(workdir, update=walk, **settings):
  return run_updates(fresh(), update, stage='toy', workdir=workdir, writer=MetricsWriter(workdir),
                     **{'updates': UPDATES, 'save_every': 3, **settings})  # fmt: skip


@jax.jit
def walk_thrice(state, _):
  return jax.lax.scan(walk, state, length=3)


def interrupted_at(number, walk=walk):
  def update(state, done):
    assert int(state.update) == done
    if done == number:
      os.kill(os.getpid(), signal.SIGINT)
    return walk(state, done)

  return update


@pytest.mark.parametrize('number', [0, 2, 5])
def test_an_interrupted_stage_ends_as_if_it_had_not_been(tmp_path, number):
  whole = run(tmp_path / 'whole')
  with pytest.raises(Stopped, match=f'after update {number + 1} of {UPDATES}'):
    run(tmp_path / 'cut', interrupted_at(number))
  again = run(tmp_path / 'cut')
  assert (again.params.policy['w'] == whole.params.policy['w']).all()
  values = [[(row['update'], row['loss']) for row in read_metrics(tmp_path / name)] for name in ('whole', 'cut')]
  assert values[0] == values[1] and [update for update, _ in values[1]] == list(range(1, UPDATES + 1))


def test_a_finished_stage_is_not_updated_again(tmp_path):
  whole = run(tmp_path)

  def never(state, _):
    raise AssertionError('updated')

  assert (run(tmp_path, never).params.policy['w'] == whole.params.policy['w']).all()


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_checkpoint(tmp_path):
  def update(state, done):
    state, metrics = walk(state, done)
    return state, metrics | {'loss': jnp.where(state.update == 5, jnp.nan, metrics['loss'])}

  with pytest.raises(Diverged, match='update 5 is nan.*checkpoint of update 3'):
    run(tmp_path, update)
  assert int(run(tmp_path).update) == UPDATES


def test_after_sees_the_start_and_every_so_many_updates_and_its_numbers_are_kept(tmp_path):
  seen = []

  def after(state, values):
    seen.append((int(state.update), values.get('tokens')))
    return {'validation': float(state.update)}

  run(tmp_path, after=after, after_every=3)
  assert seen == [(0, None), (3, 5), (6, 5)]
  assert [row.get('validation') for row in read_metrics(tmp_path)] == [None, None, 3.0, None, None, 6.0, None]


def test_several_updates_a_call_make_the_same_stage(tmp_path):
  settings = dict(updates=9, after=lambda state, values: {'validation': float(state.update)}, after_every=3)
  whole = run(tmp_path / 'one', **settings)
  with pytest.raises(Stopped, match='after update 6 of 9'):
    run(tmp_path / 'three', interrupted_at(3, walk_thrice), updates_per_call=3, **settings)
  several = run(tmp_path / 'three', walk_thrice, updates_per_call=3, **settings)
  assert (several.params.policy['w'] == whole.params.policy['w']).all()
  one, three = ([row | {'seconds': 0} for row in read_metrics(tmp_path / name)] for name in ('one', 'three'))
  assert one == three and [row['update'] for row in three] == list(range(1, 10))


def test_calls_save_whenever_they_pass_the_number_of_updates_between_checkpoints(tmp_path):
  def update(state, done):
    state, metrics = walk_thrice(state, done)
    return state, metrics | {'loss': jnp.where(jnp.arange(done, done + 3) == 7, jnp.nan, metrics['loss'])}

  with pytest.raises(Diverged, match='the loss of update 8 is nan.*from the checkpoint of update 6'):
    run(tmp_path, update, updates=9, updates_per_call=3, save_every=4)


@pytest.mark.parametrize('settings', [dict(updates=7), dict(updates=6, after_every=2)])
def test_calls_must_fit_a_stage(tmp_path, settings):
  with pytest.raises(ValueError, match='updates_per_call=3 must divide'):
    run(tmp_path, walk_thrice, updates_per_call=3, **settings)


def test_a_profile_is_a_trace_of_three_updates_that_perfetto_can_read(tmp_path):
  def told(state, done):
    with jax.profiler.TraceAnnotation(f'update {done}'):
      return walk(state, done)

  run(tmp_path, told, profile=True)
  (folder,) = (tmp_path / 'profile' / 'toy' / 'plugins' / 'profile').iterdir()
  assert len(list(folder.glob('*.xplane.pb'))) == 1
  events = json.loads(gzip.decompress((folder / 'perfetto_trace.json.gz').read_bytes()))['traceEvents']
  names = {event.get('name') for event in events}
  assert sorted(name for name in names if name and name.startswith('update ')) == ['update 2', 'update 3', 'update 4']
  run(tmp_path / 'without')
  assert not (tmp_path / 'without' / 'profile').exists()
