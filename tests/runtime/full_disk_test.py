"""Disks that are full or closed: the run stops with the cause and the last good update, and goes on
after."""

import os
import resource
import subprocess
import threading
import time

import numpy as np
import pytest

from o1jax.runtime.checkpoint import Checkpoints
from o1jax.runtime.loop import Keeping, run_updates
from o1jax.runtime.metrics import MetricsWriter, read_metrics
from o1jax.runtime.storage import StorageError
from tests.runtime.walking import walking

# Of a save that fails, Orbax drops the tasks of the other arrays; a job keeps that from its user
# (checkpoint.py).
pytestmark = pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')

UPDATES, WIDTH = 8, 30_000
fresh, walk = walking(WIDTH)


def run(workdir, update=walk, seconds=0):
  return run_updates(
    fresh(),
    update,
    stage='toy',
    updates=UPDATES,
    workdir=workdir,
    writer=MetricsWriter(workdir),
    keeping=Keeping(seconds=seconds),
  )


def spoiling(spoil, at):
  """The walk, with something done to the disk during update number `at`."""

  def update(state, done):
    if done == at - 1:
      spoil()
    return walk(state, done)

  return update


def stopped(workdir, update, **settings):
  """What a run says that cannot go on."""
  with pytest.raises(StorageError) as error:
    run(workdir, update, **settings)
  assert '\n' not in str(error.value) and str(error.value).startswith('toy: ')
  return str(error.value)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  folder = tmp_path_factory.mktemp('whole')
  return run(folder, seconds=1e6), read_metrics(folder)


def ends_as_if_nothing_had_been(workdir, whole):
  np.testing.assert_array_equal(run(workdir).params['policy']['w'], whole[0].params['policy']['w'])
  rows = [
    [(row['update'], row['loss']) for row in found] for found in (read_metrics(workdir), whole[1])
  ]
  assert rows[0] == rows[1] and len(rows[0]) == UPDATES


@pytest.fixture
def no_large_files():
  """A call after which no file can be longer than so many bytes; taken back at the end."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
  resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_save_that_fails_in_the_background_is_noticed_at_the_next_update(
  tmp_path, no_large_files, whole
):
  made = []

  def update(state, done):  # so slow that the save before it has succeeded or failed
    made.append(done)
    if done == 4:
      no_large_files(20_000)
    while any(thread.name in ('async_save', 'save_finalize') for thread in threading.enumerate()):
      time.sleep(0.001)
    return walk(state, done)

  words = stopped(tmp_path, update)
  assert 'File too large' in words and str(tmp_path / 'checkpoints' / 'toy') in words
  good = Checkpoints(tmp_path / 'checkpoints' / 'toy').latest_step()
  assert f'the last good checkpoint is of update {good}:' in words and good >= 3
  # The save of the next update failed while the one after that was made.
  assert made == list(range(good + 2))
  resource.setrlimit(resource.RLIMIT_FSIZE, resource.getrlimit(resource.RLIMIT_FSIZE)[1:] * 2)
  ends_as_if_nothing_had_been(tmp_path, whole)


def test_metrics_that_cannot_be_written_stop_the_run(tmp_path, no_large_files, whole):
  words = stopped(tmp_path, spoiling(lambda: no_large_files(150), at=5), seconds=1e6)
  assert (
    'cannot be written: File too large' in words
    and 'no checkpoint of this stage is on disk' in words
  )
  assert str(tmp_path / 'metrics.jsonl') in words
  # The fourth save is written beside the fifth.
  assert [row['update'] for row in read_metrics(tmp_path)] == [
    1,
    2,
    3,
  ]
  resource.setrlimit(resource.RLIMIT_FSIZE, resource.getrlimit(resource.RLIMIT_FSIZE)[1:] * 2)
  ends_as_if_nothing_had_been(tmp_path, whole)


@pytest.mark.parametrize('folder', ['checkpoints', 'tensorboard'])
def test_a_folder_that_is_none_stops_the_run(tmp_path, folder):
  (tmp_path / folder).write_text('')
  words = stopped(tmp_path, walk)
  assert f'{tmp_path / folder / "toy"} cannot be written: Not a directory' in words


@pytest.mark.parametrize('closed', ['.', f'{UPDATES}', f'{UPDATES}/record', f'{UPDATES}/state'])
def test_checkpoints_that_may_not_be_read_stop_the_run_and_are_left_there(tmp_path, whole, closed):
  run(tmp_path)
  folder = tmp_path / 'checkpoints' / 'toy'
  before = sorted(folder.rglob('*'))
  (folder / closed).chmod(0)
  user = os.geteuid()
  try:
    if not user:  # root may read whatever it wants to
      for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
      os.seteuid(65534)
    words = stopped(tmp_path, walk)
  finally:
    os.seteuid(user)
    (folder / closed).chmod(0o755)
  assert 'cannot be read: Permission denied' in words and str(folder) in words
  assert sorted(folder.rglob('*')) == before
  ends_as_if_nothing_had_been(tmp_path, whole)


@pytest.fixture
def little_disk(tmp_path):
  """A disk of 1 MB, where this user may mount one."""
  folder = tmp_path / 'disk'
  folder.mkdir()
  try:
    subprocess.run(
      ['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', str(folder)],
      check=True,
      capture_output=True,
    )
  except (OSError, subprocess.CalledProcessError):
    pytest.skip('needs root, who may mount a disk')
  yield folder
  subprocess.run(['umount', '-l', str(folder)], check=True)


def test_a_full_disk_stops_the_run_and_loses_nothing(little_disk, whole):
  def fill():
    with open(little_disk / 'filler', 'wb', buffering=0) as file:
      while True:
        try:
          file.write(b'x' * 1000)
        except OSError:
          return

  words = stopped(little_disk, spoiling(fill, at=5))
  assert 'No space left on device' in words and 'the last good checkpoint is of update' in words
  left = Checkpoints(little_disk / 'checkpoints' / 'toy').latest_step()
  assert f'of update {left}' in words and left >= 3
  os.unlink(little_disk / 'filler')
  ends_as_if_nothing_had_been(little_disk, whole)
