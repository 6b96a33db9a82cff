"""Metrics: each update once however a run was interrupted, and bars that stay quiet where nobody
looks."""

import io
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX import record_writer
from tensorboardX.proto.event_pb2 import Event

from o1jax.runtime.metrics import (
  METRICS,
  MetricsWriter,
  Progress,
  describe,
  read_metrics,
  scalars,
)
from o1jax.runtime.storage import StorageError


def written(workdir, stage=None):
  return [(row['stage'], row['update'], row['loss']) for row in read_metrics(workdir, stage)]


def run(workdir, stage, start, end, loss):
  writer = MetricsWriter(workdir)
  writer.begin(stage, start)
  for update in range(start + 1, end + 1):
    writer.write(update, {'loss': jnp.float32(loss)})
  writer.close()


def test_a_line_holds_stage_update_seconds_and_the_values(tmp_path):
  writer = MetricsWriter(tmp_path)
  writer.begin('pretrain')
  writer.write(
    1, {'loss': jnp.float32(0.5), 'tokens': 2**40, 'accuracy': np.array([0.25]), 'full': True}
  )
  (line,) = (tmp_path / 'metrics.jsonl').read_text().splitlines()  # readable while the run goes on
  row = json.loads(line)
  assert row.pop('seconds') >= 0
  assert row == {
    'stage': 'pretrain',
    'update': 1,
    'loss': 0.5,
    'tokens': 2**40,
    'accuracy': 0.25,
    'full': 1.0,
  }
  writer.close()


def test_each_update_appears_once_after_resuming(tmp_path):
  run(tmp_path, 'pretrain', 0, 3, loss=1)
  run(tmp_path, 'search', 0, 5, loss=1)
  run(tmp_path, 'search', 2, 4, loss=2)  # died after update 5, the checkpoint was of update 2
  assert written(tmp_path, 'pretrain') == [('pretrain', update, 1) for update in (1, 2, 3)]
  assert written(tmp_path, 'search') == [
    ('search', update, 1 if update <= 2 else 2) for update in (1, 2, 3, 4)
  ]
  run(tmp_path, 'search', 0, 1, loss=3)
  assert written(tmp_path, 'search') == [('search', 1, 3)]
  assert len(written(tmp_path)) == 4


def test_a_line_cut_short_by_a_crash_is_dropped(tmp_path, capsys):
  run(tmp_path, 'pretrain', 0, 2, loss=1)
  path = tmp_path / 'metrics.jsonl'
  path.write_text(path.read_text() + '{"stage": "pretr')
  assert len(written(tmp_path)) == 2 and capsys.readouterr().err == ''
  run(tmp_path, 'pretrain', 2, 3, loss=2)
  assert [update for _, update, _ in written(tmp_path)] == [1, 2, 3]


@pytest.mark.parametrize('line', [b'{"stage": "pre', b'\xff\xfe', b'[]', b'{"update": 3}'])
def test_a_bad_line_costs_no_other(tmp_path, line, capsys):
  run(tmp_path, 'pretrain', 0, 2, loss=1)
  run(tmp_path, 'search', 0, 2, loss=1)
  path = tmp_path / 'metrics.jsonl'
  first, *rest = path.read_bytes().splitlines(keepends=True)
  path.write_bytes(b''.join([first, line + b'\n', *rest]))
  assert len(written(tmp_path)) == 4 and 'line 2' in capsys.readouterr().err
  run(tmp_path, 'search', 2, 3, loss=2)
  assert [update for _, update, _ in written(tmp_path)] == [1, 2, 1, 2, 3]
  capsys.readouterr()
  read_metrics(tmp_path)
  assert capsys.readouterr().err == ''  # it is gone


def test_seconds_go_on_where_the_stage_was_left(tmp_path, monkeypatch):
  clock = [100.0]
  monkeypatch.setattr('time.monotonic', lambda: clock[0])
  for start, pause in ((0, 10.0), (1, 5.0)):
    writer = MetricsWriter(tmp_path)
    writer.begin('pretrain', start)
    clock[0] += pause
    writer.write(start + 1, {'loss': 1.0})
    writer.close()
    clock[0] += 1000.0
  assert [row['seconds'] for row in read_metrics(tmp_path)] == [10.0, 15.0]


def test_numbers_that_are_not_finite_are_null_and_the_file_stays_json(tmp_path):
  writer = MetricsWriter(tmp_path)
  writer.begin('pretrain')
  writer.write(1, {'loss': jnp.nan, 'kl': jnp.inf, 'rate': 1.0})
  writer.close()

  def forbid(constant):
    raise ValueError(constant)

  row = json.loads((tmp_path / 'metrics.jsonl').read_text(), parse_constant=forbid)
  assert (row['loss'], row['kl'], row['rate']) == (None, None, 1.0)


def test_a_line_is_written_whole_or_the_run_is_told(tmp_path):
  class Small:
    """A file that takes at most 10 bytes at once, and `room` in all."""

    def __init__(self, room):
      self.taken, self.room = b'', room

    def write(self, data):
      if len(self.taken) == self.room:
        raise OSError(28, 'No space left on device')
      taken = data[: min(10, self.room - len(self.taken))]
      self.taken += taken
      return len(taken)

    def close(self):
      pass

  writer = MetricsWriter(tmp_path)
  writer.begin('pretrain')
  for room in (1000, 25):
    writer._file.close()
    writer._file = file = Small(room)
    if room == 1000:
      writer.write(1, {'loss': 0.5})
      assert json.loads(file.taken)['loss'] == 0.5
    else:
      with pytest.raises(
        StorageError, match='metrics.jsonl cannot be written: No space left on device'
      ):
        writer.write(2, {'loss': 0.5})
  writer.close()


def test_of_several_processes_the_first_one_writes_and_shows(tmp_path, monkeypatch):
  monkeypatch.setattr(jax, 'process_index', lambda: 1)
  run(tmp_path, 'pretrain', 0, 2, loss=1)
  stream = io.StringIO()
  with Progress(2, description='pretrain', interval=0.0, stream=stream) as progress:
    progress.advance(loss=1.0)
  assert not list(tmp_path.iterdir()) and stream.getvalue() == ''


def test_tensorboard_has_the_same_numbers_and_purges_what_was_done_again(tmp_path):
  run(tmp_path, 'pretrain', 0, 3, loss=1)
  run(tmp_path, 'pretrain', 1, 2, loss=2)
  logs = []
  for path in sorted(
    (tmp_path / 'tensorboard' / 'pretrain').iterdir(), key=lambda path: path.stat().st_mtime_ns
  ):
    events = [Event.FromString(bytes(record)) for record in records(path)]
    logs.append(
      [
        (event.step, value.tag, value.simple_value)
        for event in events
        for value in event.summary.value
      ]
    )
    purges = [event.step for event in events if event.HasField('session_log')]
  assert logs == [[(1, 'loss', 1.0), (2, 'loss', 1.0), (3, 'loss', 1.0)], [(2, 'loss', 2.0)]]
  assert 2 in purges


def test_tensorboard_is_told_once_what_a_curve_means(tmp_path):
  run(tmp_path, 'pretrain', 0, 3, loss=1)
  (path,) = (tmp_path / 'tensorboard' / 'pretrain').iterdir()
  events = [Event.FromString(bytes(record)) for record in records(path)]
  told = [value.metadata.summary_description for e in events for value in e.summary.value]
  assert told == [METRICS['loss'], '', '']


def test_a_metric_is_described_by_its_name():
  assert describe('right') == METRICS['right'] and describe('nothing') == ''
  assert describe('loss_clone') == 'The loss clone, before its weight.'
  assert all(words.endswith('.') and '\n' not in words for words in METRICS.values())


def records(path):
  data, position = path.read_bytes(), 0
  while position < len(data):
    length = int.from_bytes(data[position : position + 8], 'little')
    assert record_writer.masked_crc32c(data[position : position + 8]) == int.from_bytes(
      data[position + 8 : position + 12], 'little'
    )
    yield data[position + 12 : position + 12 + length]
    position += 16 + length


def test_misuse_is_named(tmp_path):
  writer = MetricsWriter(tmp_path)
  with pytest.raises(ValueError, match='begin'):
    writer.write(1, {'loss': 1.0})
  with pytest.raises(ValueError, match="'update'"):
    scalars({'update': 1.0})
  with pytest.raises(ValueError, match=r"'loss' has shape \(2,\)"):
    scalars({'loss': jnp.ones(2)})
  assert math.isnan(scalars({'loss': jnp.nan})['loss'])


class Terminal(io.StringIO):
  """A stream that takes itself for a terminal."""

  def isatty(self):
    return True


def test_a_bar_on_a_terminal_shows_the_newest_numbers():
  stream = Terminal()
  with Progress(4, description='pretrain', initial=1, interval=0.0, stream=stream) as progress:
    for loss in (3.0, 2.0, 1.25):
      progress.advance(tokens=1000, loss=jnp.float32(loss))
  assert 'pretrain' in stream.getvalue()
  last = stream.getvalue().split('\r')[-1]
  assert '4/4' in last and 'loss 1.25' in last and 'tokens/s' in last


def test_numbers_are_shown_in_the_order_given():
  stream = io.StringIO()
  with Progress(1, description='x', interval=0.0, stream=stream) as progress:
    progress.advance(solved=0.5, loss=2.0, accuracy=0.25)
  assert stream.getvalue() == 'x: 1/1  solved 0.5  loss 2  accuracy 0.25\n'


def test_without_a_terminal_there_is_a_plain_line_now_and_then_and_a_last_one(monkeypatch):
  clock = [0.0]
  monkeypatch.setattr('time.monotonic', lambda: clock[0])
  stream = io.StringIO()
  with Progress(100, description='search', stream=stream) as progress:
    for update in range(100):
      clock[0] += 1.0
      progress.advance(tokens=500, loss=float(update))
  lines = stream.getvalue().splitlines()
  assert [line.split('  ')[0] for line in lines] == [f'search: {n}/100' for n in (30, 60, 90, 100)]
  assert lines[-1] == 'search: 100/100  loss 99  500 tokens/s'
  assert '\r' not in stream.getvalue()


def test_numbers_are_fetched_only_when_shown():
  class Unfetched:
    def __array__(self, *_, **__):
      raise AssertionError('fetched')

  stream = io.StringIO()
  progress = Progress(10, description='x', interval=1e6, stream=stream)
  progress.advance(loss=Unfetched())
  assert stream.getvalue() == ''


def test_no_updates_show_nothing():
  stream = io.StringIO()
  with Progress(0, description='x', stream=stream):
    pass
  assert stream.getvalue() == ''
