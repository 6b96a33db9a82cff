"""The loop of every training stage: update, measure, save, and leave cleanly when asked to or when
all goes wrong."""

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
  """What a run keeps of its state, and when it gives up."""

  seconds: float  # between temporary checkpoints; of all, the newest two stay
  updates: int = (
    0  # between permanent ones: the first state of a call that reaches a multiple; 0 = none
  )
  skip_limit: int = (
    10  # updates in a row with something skipped that stop a run, or all of a stage that has fewer
  )
  identity: dict[str, Any] | None = None  # what a checkpoint belongs to
  notes: dict[str, Any] | None = None  # what else it records


def run_updates(
  state: TrainState,
  update: Callable[[TrainState, int], tuple[TrainState, Metrics]],
  *,
  stage: str,
  updates: int,
  workdir: pathlib.Path,
  writer: MetricsWriter,
  keeping: Keeping,
  batch: Callable[[int], Any] | None = None,
  show: tuple[str, ...] = ('loss',),
  after: Callable[[TrainState, dict], dict] | None = None,
  after_every: int = 0,
  updates_per_call: int = 1,
  sharding: Any = None,
  profile: bool = False,
  failure: Callable[[], VerifierError | None] = lambda: None,
) -> TrainState:
  """Runs a stage to `updates`, from its newest good checkpoint if there is one. The last state is
  saved.

  Args:
    state: where the stage starts; donated.
    update: makes `updates_per_call` updates; besides the state it is told `state.update`, so that
      its batch can be made while the device is still busy with the update before. Randomness and
      data come from that number. Among its metrics are `loss` and `skipped`: an update in which
      that is not 0 may have changed nothing but the number.
    stage: its name, and its folder under checkpoints/.
    updates: how many in all.
    workdir: of the run.
    writer: of metrics.
    keeping: when to save, and when to give up.
    batch: what an update learned from, given the number of updates before it: any pytree of arrays.
    show: metrics on the progress bar; of one that only `after` gives, the newest stays.
    after: called with (state, metrics) before the first and after each `after_every` updates; what
      it returns joins the metrics.
    after_every: 0 = never.
    updates_per_call: divides `updates` and `after_every`; if it is not 1, metrics have so many
      entries each.
    sharding: where `update` wants the state: one for all of it, or a pytree of them, which may end
      above the leaves. None = on the first device.
    profile: trace a few updates to profile/STAGE in the workdir, see `runtime.profile`.
    failure: says after each call why there are no verdicts, if there are none.

  Raises:
    VerifierError: there are none; what the call made of that, which skips its updates, is not
      saved.
    Stopped: after Ctrl-C or SIGTERM, sent to any process; the state of the last finished update is
      saved.
    Diverged: at the limit of skipped updates; the state is saved, and offending/ has the batch of
      the last of them.
    StorageError: something could not be written, or a checkpoint not be read; the last good
      checkpoint stays.
    ConfigError: there is a checkpoint, but of something else.
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
      last, wished, saved = None, GO, time.monotonic()
      while done < updates and wished < STOP and not record.hopeless:
        state, metrics = update(state, done)
        done += updates_per_call
        traced.passed(state)
        if last:
          with noted:
            record(*last)  # while the device works on the next one
        last = done, metrics
        wished = wish(due=time.monotonic() - saved >= keeping.seconds)
        saving = wished == SAVE or permanent(done)
        if saving or (after and done % after_every == 0):
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
    stopped = wish() == STOP  # a signal may come until here
    writer.close()
    if record.hopeless:
      kept = _keep_batch(batch, workdir / 'offending', stage, record.hopeless)
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


class _Noted:
  """A context that keeps the first StorageError raised in it: alone, a process that left would keep
  others waiting."""

  def __init__(self):
    self.error = None

  def __enter__(self):
    pass

  def __exit__(self, kind, error, trace):
    if isinstance(error, StorageError):
      self.error = self.error or error
      return True


class _Record:
  """Writes the metrics of calls, each update once, and notices when there is no hope of learning
  any more."""

  def __init__(self, writer, show, after, after_every, updates_per_call, limit):
    self.progress = None
    self._newest = {}  # of what is shown, that which not every update gives
    self.hopeless = 0  # the update that was the last of `limit` in a row with something skipped
    self.trouble = ''  # in words
    self._writer, self._show, self._after, self._after_every = writer, show, after, after_every
    self._updates_per_call, self._limit, self._in_a_row = updates_per_call, limit, 0

  def begin(self, state, rows):
    """At the first state of a job; `rows` are the metrics that the stage has written so far."""
    for row in rows:
      self._newest |= {name: row[name] for name in self._show if row.get(name) is not None}
    if self._after and int(state.update) == 0:
      self._newest = self._after(state, {})

  def __call__(self, number, metrics, state=None):
    """Of a call that ended with update `number`; `state` is what it left."""
    count = self._updates_per_call
    metrics = {name: np.reshape(x, count) for name, x in jax.device_get(metrics).items()}
    for i, one in enumerate(range(number - count + 1, number + 1)):
      self._one(one, {name: x[i] for name, x in metrics.items()}, state)

  def _one(self, number, values, state):
    self._in_a_row = self._in_a_row + 1 if values['skipped'] else 0
    if self._in_a_row == self._limit:
      self.hopeless = number
      self.trouble = (
        f'loss or gradient was no number in {self._limit} updates in a row, at last in {number} '
        f'(loss {values["loss"]:.4g})'
      )
    if self._after and number % self._after_every == 0:
      self._newest = self._after(state, values)
      values |= self._newest
    self._writer.write(number, values)
    shown = (*self._show, 'skipped') if values['skipped'] else self._show
    known = self._newest | values
    self.progress.advance(
      tokens=int(values.get('tokens', 0)), **{name: known[name] for name in shown if name in known}
    )


def _resume(checkpoints, state, sharding):
  """The newest good state, or the one given, where `update` wants it."""
  # Restored arrays are committed to their device and fresh ones are not: mixed, the second update
  # would compile anew.
  state = jax.device_put(state, jax.local_devices()[0] if sharding is None else sharding)
  template = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
  )
  restored = checkpoints.restore(template)
  return state if restored is None else restored


def _wish(noted, checkpoints, interrupt, failure, *, due):
  """What all processes do after a call. An error for all where writing, or the verifier, has failed
  for one."""
  cause = noted.error or checkpoints.failure() or failure()
  wish = agree(FAIL if cause else STOP if interrupt.requested else SAVE if due else GO)
  if wish == FAIL:
    raise cause or StorageError('another process could not go on, and says why')
  return wish


def _keep_batch(batch, folder, stage, number):
  """Writes what update `number` learned from, and tells where."""
  if batch is None:
    return ''
  leaves = by_path(jax.device_get(batch(number - 1)))
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
