"""A run goes on with other devices, layouts and processes than it began with, and ends bit for bit
the same."""

import shutil
import socket

import jax
import numpy as np
import pytest

from o1jax.runtime.checkpoint import Checkpoints
from o1jax.runtime.metrics import read_metrics
from tests import jobs
from tests.runtime import elastic_worker as worker

pytestmark = pytest.mark.long


def work(workdir, *, devices, processes=1, stop_at=None, spoil_at=None):
  """The exit codes of the processes of a job and what they printed; `stop_at`, `spoil_at`:
  {process: update}."""
  with socket.socket() as free:
    free.bind(('localhost', 0))
    port = free.getsockname()[1]
  begun = []
  for process in range(processes):
    env = {'STOP_AT': str((stop_at or {}).get(process, 0))}
    env |= {'SPOIL_AT': str(spoil_at.get(process, 0))} if spoil_at else {}
    place = (str(process), str(processes), str(port)) if processes > 1 else ()
    begun.append(
      jobs.start('tests.runtime.elastic_worker', str(workdir), *place, devices=devices, **env)
    )
  ended = [job.wait(timeout=200) for job in begun]
  return [job.returncode for job in ended], [job.stderr for job in ended]


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """The state at the end of a run on one device, and its losses."""
  folder = tmp_path_factory.mktemp('whole')
  return jax.device_get(worker.run(folder, devices=1)), [
    row['loss'] for row in read_metrics(folder)
  ]


def same_end(workdir, whole):
  state = Checkpoints(workdir / 'checkpoints' / 'toy').restore(worker.fresh())
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), whole[0])
  rows = read_metrics(workdir)
  assert [(row['update'], row['loss']) for row in rows] == list(enumerate(whole[1], start=1))


def test_what_one_device_began_others_go_on_with(tmp_path, whole):
  for devices, stop in ((1, 2), (2, 4)):
    with pytest.raises(worker.Stopped):
      worker.run(tmp_path / 'run', devices=devices, stop_at=stop)
  for devices, stop in ((8, 6), (4, 0)):
    codes, printed = work(tmp_path / 'run', devices=devices, stop_at={0: stop})
    assert codes == [3 if stop else 0], printed
  same_end(tmp_path / 'run', whole)


def test_what_several_processes_began_one_goes_on_with_and_the_other_way_round(tmp_path, whole):
  run = tmp_path / 'run'
  codes, printed = work(run, devices=2, processes=2, stop_at={1: 3})
  assert codes == [3, 3], printed
  assert [row['update'] for row in read_metrics(run)] == [1, 2, 3]
  shutil.copytree(run, tmp_path / 'alone')
  worker.run(tmp_path / 'alone', devices=2)
  same_end(tmp_path / 'alone', whole)

  newest = run / 'checkpoints' / 'toy' / '3'
  spoilt = max(
    (path for path in newest.rglob('*') if path.is_file()), key=lambda path: path.stat().st_size
  )
  spoilt.write_bytes(spoilt.read_bytes()[:-20])
  codes, printed = work(run, devices=2, processes=2)
  assert codes == [0, 0], printed
  assert [text.count('is damaged') for text in printed] == [1, 0]
  assert (run / 'checkpoints' / 'toy' / 'damaged' / '3.1').is_dir()
  same_end(run, whole)


@pytest.mark.parametrize('process, what', [(0, 'metrics.jsonl'), (1, 'checkpoints/toy')])
def test_what_fails_on_one_process_stops_all_after_the_next_call(tmp_path, whole, process, what):
  """The metrics of the first process; a save in the background of the other one, seen before the
  next save."""
  codes, printed = work(tmp_path, devices=2, processes=2, spoil_at={process: 4})
  assert codes == [1, 1], printed
  says = [
    [line for line in text.splitlines() if line.startswith('error: toy: ')][0] for text in printed
  ]
  assert f'{tmp_path / what} cannot be written: File too large; no checkpoint' in says[process], (
    printed
  )
  assert 'another process' in says[1 - process], printed
  if process == 0:
    return
  assert 4 <= read_metrics(tmp_path)[-1]['update'] < worker.UPDATES - 1
  codes, printed = work(tmp_path, devices=2, processes=2)
  assert codes == [0, 0], printed
  same_end(tmp_path, whole)
