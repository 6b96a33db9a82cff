"""What a run writes down while it goes: metrics.jsonl, TensorBoard events, and a bar with the numbers that matter."""

import json
import math
import pathlib
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

import jax
import numpy as np
from tensorboardX import SummaryWriter
from tqdm import tqdm

from o1jax.training.workdir import write_atomic

OWN_KEYS = ('stage', 'update', 'seconds')


class MetricsWriter:
  """Writes the numbers of updates so that, however often a run is interrupted, each update appears once.

  WORKDIR/metrics.jsonl has one JSON object a line: stage, update, seconds (spent in the stage so far, pauses between
  runs left out) and the values. TensorBoard events go to WORKDIR/tensorboard/STAGE. A value that is not finite is null
  in the former and left out of the latter.
  """

  def __init__(self, workdir: str | pathlib.Path):
    """Opens the metrics of a run; `begin` comes before the first `write`."""
    self._workdir = pathlib.Path(workdir)
    self._path = self._workdir / 'metrics.jsonl'
    self._stage = self._file = self._events = None

  def begin(self, stage: str, update: int = 0) -> None:
    """Starts a stage (update 0) or resumes it after `update`: what it wrote for later updates is dropped."""
    self.close()
    rows = _read_rows(self._path)
    kept = [row for row in rows if row['stage'] != stage or row['update'] <= update]
    write_atomic(self._path, ''.join(json.dumps(row) + '\n' for row in kept))
    earlier = max((row['seconds'] for row in kept if row['stage'] == stage), default=0.0)
    self._stage, self._started = stage, time.monotonic() - earlier
    self._file = self._path.open('a', encoding='utf-8')
    # A folder a stage: TensorBoard's purge, which drops the later updates, takes all of a folder with it.
    # The suffix keeps two openings within one second from writing the same file.
    self._events = SummaryWriter(str(self._workdir / 'tensorboard' / stage), purge_step=update + 1,
                                 filename_suffix=f'.{time.time_ns()}')

  def write(self, update: int, values: Mapping[str, Any]) -> None:
    """Writes the values (numbers, or arrays of one element) of an update of the stage begun last.

    Raises:
      ValueError: no stage was begun, or a value has a reserved name or more than one element.
    """
    if self._stage is None:
      raise ValueError('metrics were written before a stage was begun: call begin(stage) first')
    numbers = scalars(values)
    row = {'stage': self._stage, 'update': int(update), 'seconds': round(time.monotonic() - self._started, 3)}
    finite = {name: number for name, number in numbers.items() if math.isfinite(number)}
    self._file.write(json.dumps({**row, **{name: finite.get(name) for name in numbers}}) + '\n')
    self._file.flush()
    for name, number in finite.items():
      self._events.add_scalar(name, number, int(update))

  def close(self) -> None:
    """Writes out what is pending; `begin` opens the writer again."""
    if self._stage is not None:
      self._file.close()
      self._events.close()
    self._stage = None


def read_metrics(workdir: str | pathlib.Path, stage: str | None = None) -> list[dict[str, Any]]:
  """Returns the lines of metrics.jsonl, of one stage or of all, in the order written; [] where there are none."""
  return [row for row in _read_rows(pathlib.Path(workdir) / 'metrics.jsonl') if stage in (None, row['stage'])]


def scalars(values: Mapping[str, Any]) -> dict[str, float]:
  """Returns the values as floats, fetched from the device in one go.

  Raises:
    ValueError: a value has a reserved name or more than one element.
  """
  host = jax.device_get(dict(values))
  for name, value in host.items():
    if name in OWN_KEYS:
      raise ValueError(f'a metric may not be named {name!r}: every line has that key already')
    if np.size(value) != 1:
      raise ValueError(f'metric {name!r} has shape {np.shape(value)}: write one number, such as its mean')
  return {name: float(np.asarray(value).item()) for name, value in host.items()}


class Progress:
  """A bar over `total` updates with the newest numbers and tokens per second.

  On a terminal it is a tqdm bar; elsewhere a plain line each `interval` seconds and one at the end. Numbers are fetched
  from the device only when shown, so passing arrays does not hold up the next update.

    with Progress(updates, description='pretrain', initial=update) as progress:
      progress.advance(tokens=4096, loss=loss)
  """

  def __init__(self, total: int, *, description: str, initial: int = 0, interval: float | None = None,
               stream: TextIO | None = None):
    """`interval`: seconds between two displays, by default 0.5 on a terminal and 30 elsewhere."""
    self._stream = sys.stderr if stream is None else stream
    terminal = self._stream.isatty()
    self._interval = interval if interval is not None else (0.5 if terminal else 30.0)
    self._bar = tqdm(total=total, initial=initial, desc=description, file=self._stream, disable=not terminal,
                     dynamic_ncols=True, mininterval=self._interval)
    self._total, self._done, self._description = total, initial, description
    self._started = self._shown = time.monotonic()
    self._tokens = 0
    self._pending = None

  def advance(self, count: int = 1, *, tokens: int = 0, **numbers: Any) -> None:
    """Counts an update (or `count` of them), the tokens it read or generated, and its numbers by name."""
    self._done += count
    self._tokens += tokens
    self._pending = numbers
    self._bar.update(count)
    if time.monotonic() - self._shown >= self._interval:
      self._show()

  def __enter__(self) -> 'Progress':
    return self

  def __exit__(self, *exception) -> None:
    if self._pending is not None:
      self._show()
    self._bar.close()

  def _show(self) -> None:
    shown = [f'{name} {number:.4g}' for name, number in scalars(self._pending).items()]
    self._shown = time.monotonic()
    if self._tokens:
      rate = self._tokens / max(self._shown - self._started, 1e-9)
      shown.append(f'{tqdm.format_sizeof(rate)} tokens/s')
    self._pending = None
    if self._bar.disable:
      print(f'{self._description}: {self._done}/{self._total}', *shown, sep='  ', file=self._stream, flush=True)
    else:
      self._bar.set_postfix_str('  '.join(shown))


def _read_rows(path: pathlib.Path) -> list[dict[str, Any]]:
  if not path.exists():
    return []
  rows = []
  for line in path.read_text(encoding='utf-8').splitlines():
    try:
      rows.append(json.loads(line))
    except json.JSONDecodeError:
      break  # the line that a crash cut short is the last one
  return rows
