"""Damaged checkpoints: a run goes on from the newest good one and ends as if nothing had been;
nothing good is lost."""

import os
import random
import shutil
import signal

import numpy as np
import pytest

from experiments.faults import flip_bit, largest
from o1jax.runtime.checkpoint import Checkpoints
from o1jax.runtime.loop import Keeping, Stopped, run_updates
from o1jax.runtime.metrics import MetricsWriter, read_metrics
from tests.runtime.walking import walking

# Of a restore that fails, Orbax drops the tasks of the other arrays; a job keeps that from its user
# (checkpoint.py).
pytestmark = pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')

# Checkpoints of updates 5 and 6 are there after the cut, and the permanent one of 3.
UPDATES, CUT = (
  8,
  6,
)
WIDTH = 3000  # too many numbers for TensorStore to put beside the names
fresh, walk = walking(WIDTH)


def run(workdir, update=walk):
  return run_updates(
    fresh(),
    update,
    stage='toy',
    updates=UPDATES,
    workdir=workdir,
    writer=MetricsWriter(workdir),
    keeping=Keeping(seconds=0, updates=3, identity={'seed': 0}),
  )


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """The weights and losses of a run that nothing happened to."""
  folder = tmp_path_factory.mktemp('whole')
  weights = np.asarray(run(folder).params['policy']['w'])
  return weights, [row['loss'] for row in read_metrics(folder)]


@pytest.fixture(scope='module')
def cut(tmp_path_factory):
  """A run that was stopped after update 6."""

  def update(state, done):
    if done == CUT - 1:
      os.kill(os.getpid(), signal.SIGTERM)
    return walk(state, done)

  folder = tmp_path_factory.mktemp('cut')
  with pytest.raises(Stopped):
    run(folder, update)
  return folder


@pytest.fixture
def damaged(cut, tmp_path):
  """A copy of it, to be damaged."""
  return shutil.copytree(cut, tmp_path / 'run')


def edit(path, old, new):
  assert old in path.read_text()
  path.write_text(path.read_text().replace(old, new))


def contents(folder):
  return {
    path.relative_to(folder): path.read_bytes()
    for path in sorted(folder.rglob('*'))
    if path.is_file()
  }


def empty(step):
  shutil.rmtree(step)
  step.mkdir()


def half_copied(step):
  for path in sorted(step.rglob('*'))[1::2]:
    if path.is_file():
      path.unlink()


def plain_file(step):
  shutil.rmtree(step)
  step.write_text('a checkpoint')


def foreign(step):
  shutil.rmtree(step)
  (step / 'photos').mkdir(parents=True)
  (step / 'photos' / 'cat.txt').write_text('miaow')


def another_step(step):
  shutil.rmtree(step)
  shutil.copytree(step.parent / '5', step)


KINDS = {
  'empty folder': empty,
  'no record': lambda step: (step / 'record' / 'metadata').unlink(),
  'record that is no JSON': lambda step: (step / 'record' / 'metadata').write_text('{"step": 6, '),
  'record of other bits': lambda step: edit(step / 'record' / 'metadata', '"seed": 0', '"seed": 1'),
  'no names of arrays': lambda step: (step / 'state' / 'manifest.ocdbt').unlink(),
  'truncated data': lambda step: largest(step).write_bytes(largest(step).read_bytes()[:-500]),
  'data of no length': lambda step: largest(step).write_bytes(b''),
  'no data': lambda step: largest(step).unlink(),
  'flipped bit of data': lambda step: flip_bit(largest(step), 8 * 5000 + 3),
  'half copied': half_copied,
  'file of that name': plain_file,
  'folder of someone else': foreign,
  'copy of another step': another_step,
}


@pytest.mark.parametrize('kind', KINDS)
def test_a_run_goes_on_from_the_newest_good_one(kind, damaged, whole, capsys):
  folder = damaged / 'checkpoints' / 'toy'
  KINDS[kind](folder / f'{CUT}')
  before = {name: contents(folder / name) for name in ('3', '5', '6')}
  spoilt = (folder / '6').read_bytes() if (folder / '6').is_file() else None
  again = run(damaged)
  np.testing.assert_array_equal(again.params['policy']['w'], whole[0])
  assert [(row['update'], row['loss']) for row in read_metrics(damaged)] == list(
    enumerate(whole[1], start=1)
  )
  warned = [line for line in capsys.readouterr().err.splitlines() if 'warning' in line]
  assert (
    len(warned) == 1
    and str(folder / '6') in warned[0]
    and str(folder / 'damaged' / '6.1') in warned[0]
  )
  assert contents(folder / 'damaged' / '6.1') == before['6']
  assert spoilt is None or (folder / 'damaged' / '6.1').read_bytes() == spoilt
  assert contents(folder / '3') == before['3']
  assert sorted(path.name for path in folder.iterdir()) == ['3', '6', '7', '8', 'damaged']


def test_what_a_killed_save_leaves_is_no_damage(damaged, whole, capsys):
  folder = damaged / 'checkpoints' / 'toy'
  shutil.copytree(folder / '6', folder / '7.orbax-checkpoint-tmp')
  largest(folder / '7.orbax-checkpoint-tmp').unlink()
  np.testing.assert_array_equal(run(damaged).params['policy']['w'], whole[0])
  assert 'warning' not in capsys.readouterr().err
  assert sorted(path.name for path in folder.iterdir()) == ['3', '6', '7', '8']


def test_several_may_be_damaged_and_more_than_once(damaged, whole, capsys):
  folder = damaged / 'checkpoints' / 'toy'
  for round_ in (1, 2):
    for step in ('5', '6'):
      (folder / step).mkdir(exist_ok=True)
      empty(folder / step)
    restored = Checkpoints(folder).restore(fresh())
    assert int(restored.update) == 3
    moved = sorted(path.name for path in (folder / 'damaged').iterdir())
    assert moved == [f'{step}.{n + 1}' for step in (5, 6) for n in range(round_)]
  assert capsys.readouterr().err.count('warning') == 4
  np.testing.assert_array_equal(run(damaged).params['policy']['w'], whole[0])


def test_without_any_good_one_a_stage_starts_over(damaged, whole, capsys):
  for step in ('3', '5', '6'):
    empty(damaged / 'checkpoints' / 'toy' / step)
  np.testing.assert_array_equal(run(damaged).params['policy']['w'], whole[0])
  assert capsys.readouterr().err.count('warning') == 3
  assert [row['update'] for row in read_metrics(damaged)] == list(range(1, UPDATES + 1))


def test_no_flipped_bit_anywhere_is_taken_for_good(cut, tmp_path, capsys):
  rng, aside = random.Random(0), 0
  source = cut / 'checkpoints' / 'toy'
  good = {
    step: np.asarray(Checkpoints(source).restore(fresh()).params['policy']['w']) for step in [6]
  }
  files = sorted(path.relative_to(source) for path in (source / '6').rglob('*') if path.is_file())
  for trial in range(60):
    folder = shutil.copytree(source, tmp_path / str(trial))
    file = folder / files[trial % len(files)]
    flip_bit(file, rng.randrange(8 * file.stat().st_size))
    restored = Checkpoints(folder).restore(fresh())
    if (folder / 'damaged').exists():
      aside += 1
      assert int(restored.update) == 5
    else:
      assert int(restored.update) == 6
      np.testing.assert_array_equal(restored.params['policy']['w'], good[6])
  assert 10 < aside < 50  # some files are never read
