"""The loop of every training stage: update, measure, save, and leave cleanly when asked to."""

import pathlib
from collections.abc import Callable

import jax
import numpy as np

from o1jax.training.checkpoint import Checkpoints
from o1jax.training.interrupt import Interrupt
from o1jax.training.metrics import MetricsWriter, Progress
from o1jax.training.profile import Traced
from o1jax.types import Metrics, TrainState


class Stopped(Exception):
  """The run was asked to stop; what it had is saved."""


class Diverged(Exception):
  """The loss is no longer a number."""


def run_updates(
  state: TrainState,
  update: Callable[[TrainState, int], tuple[TrainState, Metrics]],
  *,
  stage: str,
  updates: int,
  workdir: pathlib.Path,
  writer: MetricsWriter,
  save_every: int,
  show: tuple[str, ...] = ('loss',),
  after: Callable[[TrainState, dict], dict] | None = None,
  after_every: int = 0,
  updates_per_call: int = 1,
  sharding: jax.sharding.Sharding | None = None,
  profile: bool = False,
) -> TrainState:
  """Runs a stage to `updates`, from its latest checkpoint if there is one. The last state is saved.

  Args:
    state: where the stage starts; donated.
    update: makes `updates_per_call` updates; besides the state it is told `state.update`, so that its batch can be made
      while the device is still busy with the update before. Randomness and data come from that number.
    stage: its name, and its folder under checkpoints/.
    updates: how many in all.
    workdir: of the run.
    writer: of metrics.
    save_every: updates between checkpoints.
    show: metrics on the progress bar.
    after: called with (state, metrics) before the first and after each `after_every` updates; what it returns joins
      the metrics.
    after_every: 0 = never.
    updates_per_call: divides `updates` and `after_every`; if it is not 1, metrics have so many entries each.
    sharding: where `update` wants the state; None = on the first device.
    profile: trace a few updates to profile/STAGE in the workdir, see `training.profile`.

  Raises:
    Stopped: after Ctrl-C or SIGTERM; the state of the last finished update is saved.
    Diverged: at a loss that is not finite; the last good checkpoint stays.
  """
  if updates % updates_per_call or after_every % updates_per_call:
    raise ValueError(f'{stage}: updates_per_call={updates_per_call} must divide updates={updates} and '
                     f'after_every={after_every}')  # fmt: skip
  checkpoints = Checkpoints(workdir / 'checkpoints' / stage)
  if checkpoints.latest_step() is not None:
    state = checkpoints.restore(jax.eval_shape(lambda x: x, state))
  # Restored arrays are committed to their device and fresh ones are not: mixed, the second update would compile anew.
  state = jax.device_put(state, sharding or jax.devices()[0])
  done = int(state.update)
  writer.begin(stage, done)
  if after and done == 0:
    after(state, {})
  folder = workdir / 'profile' / stage if profile else None
  with (
    Interrupt() as interrupt,
    Progress(updates, description=stage, initial=done) as progress,
    Traced(folder) as traced,
  ):

    def record(number, metrics, state=None):
      """Of a call that ended with update `number`; `state` is what it left."""
      metrics = {name: np.reshape(x, updates_per_call) for name, x in jax.device_get(metrics).items()}
      for i, one in enumerate(range(number - updates_per_call + 1, number + 1)):
        record_one(one, {name: x[i] for name, x in metrics.items()}, state)

    def record_one(number, values, state):
      if not np.isfinite(values['loss']):
        good = checkpoints.latest_step() or 0
        raise Diverged(f'{stage}: the loss of update {number} is {values["loss"]}; lower the learning rate or the '
                       f'clip, and run again from the checkpoint of update {good}')  # fmt: skip
      if after and number % after_every == 0:
        values |= after(state, values)
      writer.write(number, values)
      progress.advance(tokens=int(values.get('tokens', 0)), **{name: values[name] for name in show})

    last = None
    while done < updates and not interrupt.requested:
      state, metrics = update(state, done)
      done += updates_per_call
      traced.passed(state)
      if last:
        record(*last)  # while the device works on the next one
      last = done, metrics
      saving = done % save_every < updates_per_call or done == updates or interrupt.requested
      if saving or (after and done % after_every == 0):
        record(*last, state)
        last = None
      if saving:
        checkpoints.save(done, state)
    if last:
      record(*last)
  if done < updates:
    checkpoints.save(done, state)
  checkpoints.close()
  writer.close()
  if done < updates:
    raise Stopped(f'{stage} stopped after update {done} of {updates}; the same command goes on from there')
  return state
