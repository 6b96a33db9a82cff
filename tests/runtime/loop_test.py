"""The loop of a stage: interruptions lose nothing, resumed is equal to uninterrupted, lost losses
are passed over."""

import gzip
import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from o1jax.runtime.checkpoint import Checkpoints
from o1jax.runtime.loop import Diverged, Keeping, Stopped, run_updates
from o1jax.runtime.metrics import MetricsWriter, Progress, read_metrics
from o1jax.types import TrainState
from o1jax.verify.host import VerifierError
from tests.runtime.walking import walking

UPDATES = 7
KEEPING = Keeping(seconds=1e6, updates=3)
fresh, walk = walking(3)


def run(workdir, update=walk, **settings):
  return run_updates(
    fresh(),
    update,
    stage='toy',
    workdir=workdir,
    writer=MetricsWriter(workdir),
    **{'updates': UPDATES, 'keeping': KEEPING, **settings},
  )


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


def test_a_signal_while_the_trace_is_written_is_heard(tmp_path, monkeypatch):
  monkeypatch.setattr(
    'o1jax.runtime.loop.Traced.__exit__', lambda *_: os.kill(os.getpid(), signal.SIGTERM)
  )
  with pytest.raises(Stopped, match=f'after update {UPDATES} of {UPDATES}'):
    run(tmp_path)


@pytest.mark.parametrize('number', [0, 2, 5, 6])
def test_an_interrupted_stage_ends_as_if_it_had_not_been(tmp_path, number):
  whole = run(tmp_path / 'whole')
  with pytest.raises(Stopped, match=f'after update {number + 1} of {UPDATES}'):
    run(tmp_path / 'cut', interrupted_at(number))
  again = run(tmp_path / 'cut')
  assert (again.params['policy']['w'] == whole.params['policy']['w']).all()
  values = [
    [(row['update'], row['loss']) for row in read_metrics(tmp_path / name)]
    for name in ('whole', 'cut')
  ]
  assert values[0] == values[1] and [update for update, _ in values[1]] == list(
    range(1, UPDATES + 1)
  )


def test_a_finished_stage_is_not_updated_again(tmp_path):
  whole = run(tmp_path)

  def never(state, _):
    raise AssertionError('updated')

  assert (run(tmp_path, never).params['policy']['w'] == whole.params['policy']['w']).all()


def skipping(*numbers, walk=walk):
  """The walk with updates of these numbers skipped: the state stays, the loss is nan."""

  def one(state, metrics, before, number):
    bad = jnp.isin(number, jnp.array(numbers))
    params = jax.tree.map(lambda new, old: jnp.where(bad, old, new), state.params, before.params)
    return state.replace(params=params), metrics | {
      'loss': jnp.where(bad, jnp.nan, metrics['loss']),
      'skipped': bad,
    }

  return jax.jit(lambda state, _: one(*walk(state, None), state, state.update + 1))


def test_a_lone_loss_that_is_no_number_is_passed_over_and_written_down(tmp_path, capsys):
  run(tmp_path, skipping(2, 4, 5), keeping=KEEPING._replace(skip_limit=3))
  rows = read_metrics(tmp_path)
  assert [row['update'] for row in rows if row['loss'] is None] == [2, 4, 5]
  assert [row['skipped'] for row in rows] == [0, 1, 0, 1, 1, 0, 0]
  assert 'skipped' not in capsys.readouterr().err  # the last line is of a good update


@pytest.mark.parametrize(
  'bad, limit, last, done',
  [((2, 3, 4, 5), 4, 5, 6), ((5, 6, 7), 3, 7, 7), (range(1, 8), 99, 7, 7), ((1, 2), 2, 2, 3)],
)
def test_many_in_a_row_stop_the_run_with_a_good_state_and_the_batch(
  tmp_path, bad, limit, last, done
):
  batch = lambda number, _: {'rows': {'tokens': np.arange(number)}}
  settings = dict(keeping=KEEPING._replace(skip_limit=limit), batch=batch)
  with pytest.raises(Diverged) as error:
    run(tmp_path, skipping(*bad), **settings)
  path = tmp_path / 'offending' / f'toy_{last}.npz'
  for words in (
    f'{min(limit, UPDATES)} updates in a row, at last in {last} (loss nan)',
    str(path),
    f'update {done}:',
  ):
    assert words in str(error.value) and '\n' not in str(error.value)
  np.testing.assert_array_equal(np.load(path)['rows.tokens'], np.arange(last - 1))
  assert [row['update'] for row in read_metrics(tmp_path)] == list(range(1, done + 1))
  good = fresh() if len(bad) == UPDATES else run(tmp_path / 'whole', skipping(*bad))
  again = run(tmp_path, skipping(*bad), **settings)  # the same command goes on behind them
  assert (
    int(again.update) == UPDATES
    and (again.params['policy']['w'] == good.params['policy']['w']).all()
  )


@pytest.mark.parametrize('fails', [1, 3, 4, UPDATES])
def test_a_run_without_verdicts_ends_and_forgets_what_it_made_of_that(tmp_path, fails):
  """Its updates are skipped; the run goes on as if there had been none. Calls end later than they
  begin."""
  ended = lambda: fails in [row['update'] for row in read_metrics(tmp_path)]
  told = lambda: VerifierError('it sleeps') if ended() else None
  keeping = KEEPING._replace(updates=3)
  last = (fails - 1) // 3 * 3
  good = (
    f'the last good checkpoint is of update {last}'
    if last
    else 'no checkpoint of this stage is on disk'
  )
  with pytest.raises(VerifierError, match=f'^toy: it sleeps; {good}') as error:
    run(tmp_path, skipping(*range(fails, 99)), keeping=keeping, failure=told)
  assert '\n' not in str(error.value)
  again = run(tmp_path, keeping=keeping)
  assert (again.params['policy']['w'] == run(tmp_path / 'whole').params['policy']['w']).all()
  assert [row['skipped'] for row in read_metrics(tmp_path)] == [0] * UPDATES


def test_calls_of_several_updates_count_each_of_them(tmp_path):
  thrice = skipping(2, 3, 4, 5, walk=walk)
  several = jax.jit(lambda state, _: jax.lax.scan(thrice, state, length=3))
  with pytest.raises(Diverged, match='4 updates in a row, at last in 5 .*saved as update 6'):
    run(tmp_path, several, updates=9, updates_per_call=3, keeping=KEEPING._replace(skip_limit=4))
  assert [row['update'] for row in read_metrics(tmp_path)] == list(range(1, 7))


def test_after_sees_the_start_and_every_so_many_updates_and_its_numbers_are_kept(tmp_path):
  seen = []

  def after(state, values):
    seen.append((int(state.update), values.get('tokens')))
    return {'validation': float(state.update)}

  run(tmp_path, after=after, after_every=3)
  assert seen == [(0, None), (3, 5), (6, 5)]
  assert [row.get('validation') for row in read_metrics(tmp_path)] == [
    None,
    None,
    3.0,
    None,
    None,
    6.0,
    None,
  ]


def test_several_updates_a_call_make_the_same_stage(tmp_path):
  settings = dict(
    updates=9, after=lambda state, values: {'validation': float(state.update)}, after_every=3
  )
  whole = run(tmp_path / 'one', **settings)
  with pytest.raises(Stopped, match='after update 6 of 9'):
    run(tmp_path / 'three', interrupted_at(3, walk_thrice), updates_per_call=3, **settings)
  several = run(tmp_path / 'three', walk_thrice, updates_per_call=3, **settings)
  assert (several.params['policy']['w'] == whole.params['policy']['w']).all()
  one, three = (
    [row | {'seconds': 0} for row in read_metrics(tmp_path / name)] for name in ('one', 'three')
  )
  assert one == three and [row['update'] for row in three] == list(range(1, 10))


def kept(workdir):
  return Checkpoints(workdir / 'checkpoints' / 'toy').steps()


def test_calls_save_for_good_whenever_they_reach_the_number_of_updates(tmp_path):
  run(
    tmp_path, walk_thrice, updates=15, updates_per_call=3, keeping=Keeping(seconds=1e6, updates=4)
  )
  assert kept(tmp_path) == [6, 9, 12, 15]


@pytest.mark.parametrize(
  'seconds, saved', [(0, [1, 2, 3, 4, 5, 6, 7]), (25, [3, 6, 7]), (1e6, [7])]
)
def test_a_state_is_saved_when_its_time_has_come_and_two_such_stay(
  tmp_path, monkeypatch, seconds, saved
):
  asked, clock, save = [], [0.0], Checkpoints.save
  monkeypatch.setattr(
    Checkpoints, 'save', lambda self, step, state: [asked.append(step), save(self, step, state)]
  )
  monkeypatch.setattr('time.monotonic', lambda: clock[0])

  def update(state, done):
    clock[0] += 10
    return walk(state, done)

  run(tmp_path, update, keeping=Keeping(seconds=seconds))
  assert sorted(set(asked)) == saved and kept(tmp_path) == saved[-2:]


def test_the_state_may_lie_on_several_devices_in_several_ways(tmp_path):
  mesh = jax.make_mesh((2,), ('data',), axis_types=(AxisType.Auto,))
  whole, split = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ('data',)))
  wide = fresh().replace(params=dict(policy={'w': jnp.ones(4)}, critic={'v': jnp.ones(2)}))
  layout = TrainState(update=whole, params=dict(policy={'w': split}, critic=whole), optimizer={})

  @jax.jit
  def count(state, _):
    return state.replace(update=state.update + 1), {
      'loss': state.params['policy']['w'].sum(),
      'skipped': 0,
    }

  settings = dict(stage='toy', workdir=tmp_path, keeping=KEEPING)
  for updates, sharding in ((4, None), (7, layout), (9, whole)):
    state = run_updates(
      wide, count, writer=MetricsWriter(tmp_path), updates=updates, sharding=sharding, **settings
    )
    placed = state.params['policy']['w'].sharding
    assert int(state.update) == updates and len(placed.device_set) == (1 if sharding is None else 2)
    assert placed.is_fully_replicated == (sharding is not layout)
  assert [row['update'] for row in read_metrics(tmp_path)] == list(range(1, 10))


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
  events = json.loads(gzip.decompress((folder / 'perfetto_trace.json.gz').read_bytes()))[
    'traceEvents'
  ]
  names = {event.get('name') for event in events}
  assert sorted(name for name in names if name and name.startswith('update ')) == [
    'update 2',
    'update 3',
    'update 4',
  ]
  run(tmp_path / 'without')
  assert not (tmp_path / 'without' / 'profile').exists()


class TestTheBar:
  """A number that only some updates measure stays until it is measured again."""

  @pytest.fixture(autouse=True)
  def shown(self, monkeypatch):
    rows = []
    monkeypatch.setattr(Progress, 'advance', lambda self, tokens, **numbers: rows.append(numbers))
    return rows

  def measured(self, path, *, updates=UPDATES, update=walk):
    after = lambda state, values: {'validation': float(state.update)}
    run(
      path,
      update,
      updates=updates,
      after=after,
      after_every=3,
      show=('loss', 'validation'),
    )

  def test_shows_the_newest(self, tmp_path, shown):
    self.measured(tmp_path)
    assert [row['validation'] for row in shown] == [0, 0, 3, 3, 3, 6, 6]

  def test_remembers_it_when_the_stage_goes_on(self, tmp_path, shown):
    with pytest.raises(Stopped):
      self.measured(tmp_path, update=interrupted_at(3))
    shown.clear()
    self.measured(tmp_path)
    assert [row['validation'] for row in shown] == [3, 6, 6]

  def test_leaves_out_what_was_never_measured(self, tmp_path, shown):
    run(tmp_path, show=('loss', 'validation'))
    assert {*shown[0]} == {'loss'}
