"""The loop of every training stage: update, measure, save, and stop cleanly when asked to or when
something fails."""

import contextlib
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from o1jax.runtime.checkpoint import Checkpoints, by_path
from o1jax.runtime.interrupt import Interrupt
from o1jax.runtime.metrics import MetricsWriter, Progress, read_metrics
from o1jax.runtime.processes import agree, once
from o1jax.runtime.profile import Traced
from o1jax.runtime.storage import StorageError
from o1jax.runtime.workdir import replacing
from o1jax.types import Metrics, TrainState
from o1jax.verify.host import VerifierError

# What a process asks for after a call. All processes do the most that one of them asks for.
GO, SAVE, STOP, FAIL = range(4)


class Stopped(Exception):
  """The run was asked to stop; what it had is saved."""


class Diverged(Exception):
  """The loss is no longer a number, update after update; what the run had before is saved."""


class Keeping(NamedTuple):
  """How much a run keeps of its state, and when it gives up."""

  seconds: float  # between temporary checkpoints; the newest two of all stay
  # Updates between permanent checkpoints: the first state of a call that reaches a multiple is
  # kept. 0 = none.
  updates: int = 0
  # So many updates in a row with something skipped stop a run. A stage that has fewer is stopped by
  # all of them.
  skip_limit: int = 10
  identity: dict[str, Any] | None = None  # what a checkpoint belongs to
  notes: dict[str, Any] | None = None  # what else it records
  reads: Callable[[dict], dict] = dict  # makes today's identity of one of an older version


def run_updates(
  state: TrainState,
  update: Callable[[TrainState, int], tuple[TrainState, Metrics]],
  *,
  stage: str,
  updates: int,
  workdir: pathlib.Path,
  writer: MetricsWriter,
  keeping: Keeping,
  batch: Callable[[int, Metrics], Any] | None = None,
  show: tuple[str, ...] = ('loss',),
  after: Callable[[TrainState, dict], dict] | None = None,
  after_every: int = 0,
  updates_per_call: int = 1,
  sharding: Any = None,
  profile: bool = False,
  failure: Callable[[], VerifierError | None] = lambda: None,
) -> TrainState:
  """Runs a stage to `updates`, from its newest good checkpoint if there is one, and saves the last
  state.

  Args:
    state: where the stage starts; donated.
    update: makes `updates_per_call` updates. It is given the state and the number `state.update`,
      so that its batch can be made while the device is still busy with the update before.
      Randomness and data come from that number. Its metrics include `loss` and `skipped`. An update
      whose `skipped` is not 0 may have changed only the number.
    stage: its name, and its folder under checkpoints/.
    updates: how many in all.
    workdir: of the run.
    writer: of metrics.
    keeping: when to save, and when to give up.
    batch: (the number of updates before an update, its metrics) -> what it learned from: any pytree
      of arrays.
    show: metrics on the progress bar. One that only `after` gives keeps its newest value.
    after: called with (state, metrics) before the first update and after every `after_every` of
      them; what it returns joins the metrics.
    after_every: 0 = never.
    updates_per_call: divides `updates` and `after_every`. If it is not 1, each metric has so many
      entries. A metric with further axes is not written: it is for `batch` alone.
    sharding: how `update` wants the state: one for all of it, or a pytree of them, which may end
      above the leaves. None = on the first device.
    profile: trace a few updates to profile/STAGE in the workdir, see `runtime.profile`.
    failure: returns after each call why there are no verdicts, or None.

  Raises:
    VerifierError: there are no verdicts. The call skipped its updates, and its result is not saved.
    Stopped: after Ctrl-C or SIGTERM to any process. The state of the last finished update is saved.
    Diverged: at the limit of skipped updates. The state is saved, and offending/ has the batch of
      the last of them.
    StorageError: something could not be written, or a checkpoint not be read. The last good
      checkpoint stays.
    ConfigError: there is a checkpoint of something else.
  """
  if updates % updates_per_call or after_every % updates_per_call:
    raise ValueError(
      f'{stage}: updates_per_call={updates_per_call} must divide updates={updates} and '
      f'after_every={after_every}'
    )
  permanent = lambda step: bool(keeping.updates) and step % keeping.updates < updates_per_call
  checkpoints = Checkpoints(
    workdir / 'checkpoints' / stage,
    permanent=permanent,
    identity=keeping.identity,
    notes=keeping.notes,
    reads=keeping.reads,
  )
  record = _Record(
    writer, show, after, after_every, updates_per_call, min(keeping.skip_limit, updates)
  )
  noted = _Noted()
  wish = lambda due=False: _wish(noted, checkpoints, interrupt, failure, due=due)
  try:
    state = _resume(checkpoints, state, sharding)
    done = int(state.update)
    writer.begin(stage, done)
    with noted:
      record.begin(state, read_metrics(workdir, stage))
    with (
      Interrupt() as interrupt,
      Progress(updates, description=stage, initial=done) as record.progress,
      Traced(workdir / 'profile' / stage if profile else None) as traced,
    ):
      going = _Going(update, updates, updates_per_call, keeping.seconds, permanent, traced.passed)
      state, done = _go(state, going, record, checkpoints, noted, wish)
    stopped = wish() == STOP  # a signal may come until here
    writer.close()
    if record.hopeless:
      kept = _keep_batch(batch, workdir / 'offending', stage, record)
      raise Diverged(
        f'{stage}: {record.trouble}{kept}; what was learned before them is saved as update {done}: '
        'lower the learning rate or the clip'
      )
  except (StorageError, VerifierError) as error:
    raise type(error)(f'{stage}: {error}; {_last_good(checkpoints)}') from error
  if stopped:
    raise Stopped(
      f'{stage} stopped after update {done} of {updates}; the same command goes on from there'
    )
  return state


class _Going(NamedTuple):
  """How the updates of a stage go on, as `run_updates` was told."""

  update: Callable
  updates: int
  updates_per_call: int
  seconds: float  # between saves
  permanent: Callable[[int], bool]
  passed: Callable[[TrainState], None]  # told of each state


def _go(state, going, record, checkpoints, noted, wish):
  """Makes the updates that are left, records and saves. Returns the state and its number."""
  done, last, wished, saved = int(state.update), None, GO, time.monotonic()
  while done < going.updates and wished < STOP and not record.hopeless:
    state, metrics = going.update(state, done)
    done += going.updates_per_call
    going.passed(state)
    if last:
      with noted:
        record(*last)  # while the device works on the next one
    last = done, metrics
    wished = wish(due=time.monotonic() - saved >= going.seconds)
    saving = wished == SAVE or going.permanent(done)
    if saving or record.measures(done):
      with noted:
        record(*last, state)
      last = None
    if saving:
      wish()  # again, since now the call has ended
      with noted:
        checkpoints.save(done, state)
      saved = time.monotonic()
  with noted:
    if last:
      record(*last)
  wish()
  with noted:
    checkpoints.save(done, state)
    checkpoints.close()
  return state, done


class _Noted:
  """A context that keeps the first StorageError raised in it. If a process left because of it
  alone, the others would wait for that process."""

  def __init__(self):
    self.error = None

  def __enter__(self):
    pass

  def __exit__(self, kind, error, trace):
    if isinstance(error, StorageError):
      self.error = self.error or error
      return True


class _Record:
  """Writes the metrics of calls, each update once, and notices when learning has no hope left."""

  def __init__(self, writer, show, after, after_every, updates_per_call, limit):
    self.progress = None
    self._newest = {}  # newest values of shown metrics that not every update gives
    self.hopeless = 0  # the last of `limit` updates in a row with something skipped
    self.metrics = {}  # of that update
    self.trouble = ''  # in words
    self._writer, self._show, self._after, self._after_every = writer, show, after, after_every
    self._updates_per_call, self._limit, self._in_a_row = updates_per_call, limit, 0

  def begin(self, state, rows):
    """At the first state of a job; `rows` are the metrics that the stage has written so far."""
    for row in rows:
      self._newest |= {name: row[name] for name in self._show if row.get(name) is not None}
    if self._after and int(state.update) == 0:
      self._newest = self._after(state, {})

  def measures(self, number):
    """Whether the state after an update is to be measured."""
    return bool(self._after) and number % self._after_every == 0

  def __call__(self, number, metrics, state=None):
    """Of a call that ended with update `number`; `state` is what it left."""
    count = self._updates_per_call
    metrics = jax.device_get(metrics)
    metrics = {name: x if np.ndim(x) > 1 else np.reshape(x, count) for name, x in metrics.items()}
    for i, one in enumerate(range(number - count + 1, number + 1)):
      self._one(one, {name: x[i] for name, x in metrics.items()}, state)

  def _one(self, number, values, state):
    self._in_a_row = self._in_a_row + 1 if values['skipped'] else 0
    if self._in_a_row == self._limit:
      self.hopeless, self.metrics = number, dict(values)
      self.trouble = (
        f'loss or gradient was no number in {self._limit} updates in a row, at last in {number} '
        f'(loss {values["loss"]:.4g})'
      )
    values = {name: x for name, x in values.items() if not np.ndim(x)}
    if self.measures(number):
      self._newest = self._after(state, values)
      values |= self._newest
    self._writer.write(number, values)
    shown = (*self._show, 'skipped') if values['skipped'] else self._show
    known = self._newest | values
    self.progress.advance(
      tokens=int(values.get('tokens', 0)), **{name: known[name] for name in shown if name in known}
    )


def _resume(checkpoints, state, sharding):
  """The newest good state, or the one given, put where `update` wants it."""
  # Restored arrays are committed to their device and fresh ones are not. If they were mixed, the
  # second update would compile anew.
  state = jax.device_put(state, jax.local_devices()[0] if sharding is None else sharding)
  template = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
  )
  restored = checkpoints.restore(template)
  return state if restored is None else restored


def _wish(noted, checkpoints, interrupt, failure, *, due):
  """What all processes do after a call. Raises in all of them where writing, or the verifier, has
  failed for one."""
  cause = noted.error or checkpoints.failure() or failure()
  wish = agree(FAIL if cause else STOP if interrupt.requested else SAVE if due else GO)
  if wish == FAIL:
    raise cause or StorageError('another process could not go on, and says why')
  return wish


def _keep_batch(batch, folder, stage, record):
  """Writes what the last of too many bad updates learned from, and says where."""
  if batch is None:
    return ''
  number = record.hopeless
  leaves = by_path(jax.device_get(batch(number - 1, record.metrics)))
  path = folder / f'{stage}_{number}.npz'
  once(lambda: _savez(path, leaves), failed=StorageError)
  return f', whose batch is in {path}'


def _savez(path, leaves):
  with replacing(path) as file:
    np.savez(file, **leaves)


def _last_good(checkpoints):
  with contextlib.suppress(StorageError):
    checkpoints.close()  # one that is being written may still succeed
  try:
    step = checkpoints.latest_step()
  except StorageError:
    return 'once that is mended, the same command goes on'
  kept = (
    'no checkpoint of this stage is on disk'
    if step is None
    else f'the last good checkpoint is of update {step}'
  )
  return f'{kept}: once that is mended, the same command goes on'
