"""Checkpoints: pytrees on disk through Orbax. They are checked when they come back, and refused in
one line where they do not fit."""

import contextlib
import functools
import hashlib
import itertools
import json
import logging
import pathlib
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from o1jax.runtime.checksum import checksums
from o1jax.runtime.config import ConfigError, compare
from o1jax.runtime.processes import agree, first, once
from o1jax.runtime.storage import (
  Damaged,
  StorageError,
  cause,
  first_cause,
  reading,
  together,
  writing,
)

KEPT = 2  # always kept: the newest may turn out to be damaged
SAVING = (
  600  # seconds that a save may take; so long do other processes wait for one whose save has failed
)
DAMAGED = 'damaged'  # folder for damaged checkpoints


class Checkpoints:
  """The checkpoints of one state in one folder, by step.

  A state is any pytree of arrays (None leaves are structure, not data). It is stored as {path:
  array}. Beside it lies a record: dtype, shape and checksum of each leaf, what the state belongs
  to, and what made it. So a checkpoint is compared with what is wanted before anything is loaded,
  and with what was saved afterwards.

  Saving goes on in the background. Every process of a job calls each method, at the same point.
  """

  def __init__(
    self,
    directory: str | pathlib.Path,
    *,
    permanent: Callable[[int], bool] = lambda step: False,
    looking: bool = False,
    identity: dict[str, Any] | None = None,
    notes: dict[str, Any] | None = None,
    reads: Callable[[dict], dict] = dict,
  ):
    """Nothing is made here.

    Args:
      directory: of these checkpoints alone.
      permanent: step -> whether its checkpoint stays for ever. The newest two of all stay too.
      looking: change nothing, such as in the folder of a run under way. Damaged checkpoints stay
        where they are.
      identity: what a state belongs to, plain values by name. A checkpoint with another identity is
        refused.
      notes: what else to record, such as the versions of libraries.
    """
    self.directory = pathlib.Path(directory).expanduser().resolve()
    self._identity, self._notes = _plain(identity or {}), _plain(notes or {})
    self._reads = reads
    self._permanent, self._looking, self._manager = permanent, looking, None

  def save(self, step: int, state: Any) -> None:
    """Begins to write the state, whole or not at all. A step that exists already is left as it is.
    Makes the folder.

    On return the arrays may be donated. Orbax has copied them, or still holds them; XLA copies a
    donated CPU array that is held. Waits for an earlier save to end.

    Raises:
      StorageError: this save or the one before could not be written.
    """
    with self._writing():
      self._manager = self._manager or self._open()
    if step in self._manager.all_steps():
      return
    leaves = by_path(state)
    sums = checksums(leaves)
    record = {
      'step': step,
      'leaves': {path: [*_kind(leaf), sums[path]] for path, leaf in leaves.items()},
      'identity': self._identity,
      'notes': self._notes,
    }
    args = ocp.args.Composite(
      state=ocp.args.StandardSave(leaves),
      record=ocp.args.JsonSave({'sha256': _digest(record), **record}),
    )
    with self._writing():
      self._manager.save(step, args=args, force=True)

  def failure(self) -> StorageError | None:
    """Why a save in the background has failed. None where none has, or where it still goes on."""
    # Orbax's own check_for_errors sees no error: the thread that ends a save takes the error with
    # it.
    if self._manager and not self._manager.is_saving_in_progress():
      try:
        self.wait()
      except StorageError as error:
        return error

  def wait(self) -> None:
    """Returns once all is on disk. StorageError if it could not be written."""
    if self._manager:
      with self._writing():
        self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits, and releases the folder. StorageError as `wait`."""
    if self._manager:
      with self._writing():
        self._manager.close()

  def restore(self, template: Any) -> Any:
    """Returns the newest good state, with the template's structure, shardings and float dtypes;
    None where there is none.

    Newer checkpoints may be unfinished, incomplete, or not the bits that were saved. They are moved
    to the folder `damaged`, each with a warning on stderr, once it is known what to use instead.

    Args:
      template: a state of the structure wanted: arrays, or `jax.ShapeDtypeStruct`s, which go to one
        device if they have no sharding.

    Raises:
      ConfigError: a checkpoint of something else: of another identity, or with leaves of other
        names or shapes.
      StorageError: the folder cannot be read, or Orbax can read nothing in it, for a reason that
        may be its own.
    """
    self.wait()
    wanted = {path: _abstract(leaf) for path, leaf in by_path(template).items()}
    leaves, damaged = None, {}
    for step in self._newest_first():
      try:
        leaves = self._restore(step, wanted)
        break
      except Damaged as damage:
        damaged[step] = damage
    doubts = [damage for damage in damaged.values() if isinstance(first_cause(damage), _DOUBTFUL)]
    if agree(int(leaves is None and bool(doubts))):
      raise StorageError(
        f'{self.directory} holds no checkpoint that can be read: '
        f'{doubts[0] if doubts else "another process says why"}'
      )
    for step, damage in damaged.items():
      self._set_aside(step, damage)
    return None if leaves is None else jax.tree.unflatten(jax.tree.structure(template), leaves)

  def refuse_others(self) -> None:
    """Raises ConfigError if the newest checkpoint that can be read is of another identity. Loads
    nothing.

    One process may call it alone. StorageError as in `restore`.
    """
    for step in reversed(self.steps()):
      with contextlib.suppress(Damaged):
        return self._refuse_another(step, self._record(step)['identity'])

  def steps(self) -> list[int]:
    """The steps on disk, ascending. They need not all be good checkpoints. StorageError where the
    folder cannot be read."""
    with reading(self.directory):
      paths = list(self.directory.iterdir()) if self.directory.is_dir() else []
    return sorted(int(path.name) for path in paths if re.fullmatch('0|[1-9][0-9]*', path.name))

  def latest_step(self) -> int | None:
    """The newest step on disk, None where there is none. StorageError as `steps`."""
    return max(self.steps(), default=None)

  def _newest_first(self):
    """The steps as the first process sees them. On a network file system others may see an older
    folder."""
    steps = together(lambda: self.steps() if first() else [])[::-1]
    count = agree(len(steps), lambda counts: counts[0])
    return [agree(steps[i] if first() else 0, lambda values: values[0]) for i in range(count)]

  def _restore(self, step, wanted):
    """The leaves of a step, checked. A failure on one process is one on all."""
    record = together(lambda: self._record(step))
    self._refuse_another(step, record['identity'])
    stored = {path: (dtype, tuple(shape)) for path, (dtype, shape, _) in record['leaves'].items()}
    for path in dict.fromkeys([*wanted, *stored]):
      here = _kind(wanted[path]) if path in wanted else None
      if not _fits(stored.get(path), here):
        raise ConfigError(
          f'checkpoint {self.directory / str(step)} does not fit: {path} is '
          f'{_describe(stored.get(path))} there and '
          f'{_describe(here)} here; use the config that it was written with, or another --workdir'
        )
    as_stored = {
      path: leaf.update(dtype=jax.numpy.dtype(stored[path][0])) for path, leaf in wanted.items()
    }
    leaves = together(lambda: _load(self.directory / str(step) / 'state', as_stored))
    found = checksums(leaves)
    other = [path for path, (_, _, saved) in record['leaves'].items() if found[path] != saved]
    if agree(len(other)):
      raise Damaged(
        f'{other[0] if other else "an array of another process"} has other bits than were saved'
      )
    return [leaves[path].astype(leaf.dtype) for path, leaf in wanted.items()]

  def _record(self, step):
    """The record of a step as it was saved. Raises Damaged where it cannot be read."""
    with reading(self.directory / str(step)):
      record = ocp.JsonCheckpointHandler().restore(self.directory / str(step) / 'record')
      if (
        not isinstance(record, dict)
        or record.pop('sha256') != _digest(record)
        or record['step'] != step
      ):
        raise Damaged('its record has other bits than were saved')
      return record

  def _refuse_another(self, step, identity):
    other = compare(_plain(self._reads(identity)), self._identity) if self._identity else {}
    for name, (there, here) in other.items():
      raise ConfigError(
        f'checkpoint {self.directory / str(step)} is of another run: {name} is {there} there and '
        f'{here} here; '
        'use the config that it was written with, or another --workdir'
      )

  def _set_aside(self, step, damage):
    place = (
      'left there'
      if self._looking
      else f'now {once(lambda: self._move(step), failed=StorageError)}'
    )
    if first():
      print(
        f'warning: checkpoint {self.directory / str(step)} is damaged: {damage}; it is {place}, '
        f'and the one '
        'before it is used, if there is one',
        file=sys.stderr,
      )
    if self._manager:
      self._manager.reload()

  def _move(self, step):
    aside = self.directory / DAMAGED
    place = next(place for n in itertools.count(1) if not (place := aside / f'{step}.{n}').exists())
    with self._writing():
      aside.mkdir(exist_ok=True)
      (self.directory / str(step)).rename(place)
    return place

  def _open(self):
    keep = policies.AnyPreservationPolicy([policies.LatestN(KEPT), _Permanent(self._permanent)])
    # Made here: if Orbax made it and one process failed, the others would wait for that one.
    once(lambda: self.directory.mkdir(parents=True, exist_ok=True), failed=StorageError)
    options = ocp.CheckpointManagerOptions(
      preservation_policy=keep,
      async_options=ocp.options.AsyncOptions(timeout_secs=SAVING, barrier_sync_fn=_meet),
      cleanup_tmp_directories=True,
      lightweight_initialize=True,  # reads no file of a checkpoint: any may be damaged
    )
    return ocp.CheckpointManager(self.directory, options=options)

  def _writing(self):
    return writing(
      self.directory, ValueError, RuntimeError
    )  # TensorStore's words for what the system refused


# Orbax raises these where a damaged file is JSON of an unexpected form; or because of a bug.
_DOUBTFUL = AttributeError, TypeError


class _Permanent(NamedTuple):
  """A preservation policy of Orbax that keeps the steps for which `permanent` is true."""

  permanent: Callable[[int], bool]

  def should_preserve(self, checkpoints, *, context):
    return [self.permanent(checkpoint.step) for checkpoint in checkpoints]


def by_path(state: Any) -> dict[str, Any]:
  """Returns {path: leaf} of a pytree, in the order of its leaves. ValueError where two would have
  the same path."""
  leaves = jax.tree_util.tree_leaves_with_path(state)
  named = {jax.tree_util.keystr(path, simple=True, separator='.'): leaf for path, leaf in leaves}
  if len(named) != len(leaves):
    raise ValueError(
      'two leaves of the state have the same path: a dict key must not contain a dot'
    )
  return named


def _load(folder, wanted):
  # The handler itself is used, because a Checkpointer ends with a barrier. There, processes that
  # can read would wait for one that cannot.
  with reading(folder):
    try:
      return ocp.StandardCheckpointHandler().restore(folder, args=ocp.args.StandardRestore(wanted))
    except _DOUBTFUL as error:
      raise Damaged(f'Orbax cannot read it ({type(error).__name__}: {cause(error)})') from error


def _meet(*, key, timeout_ms):
  # In Orbax, a process whose save has failed waits for the others before it reports that. The
  # others wait for this save.
  if sys.exc_info()[1] is None:
    ocp.multihost.get_barrier_sync_fn()(key=key, timeout_ms=timeout_ms)


def _plain(values):
  return json.loads(json.dumps(values))


def _digest(record) -> str:
  return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
  sharding = getattr(leaf, 'sharding', None) or jax.sharding.SingleDeviceSharding(
    jax.local_devices()[0]
  )
  return jax.ShapeDtypeStruct(np.shape(leaf), jax.dtypes.result_type(leaf), sharding=sharding)


def _kind(leaf: Any) -> tuple[str, tuple[int, ...]]:
  return jax.dtypes.result_type(leaf).name, np.shape(leaf)


def _fits(stored, wanted) -> bool:
  if stored is None or wanted is None or stored[1] != wanted[1]:
    return False
  return stored[0] == wanted[0] or all(
    jax.numpy.issubdtype(dtype, jax.numpy.floating) for dtype, _ in (stored, wanted)
  )


def _describe(kind) -> str:
  return 'absent' if kind is None else f'{kind[0]}{list(kind[1])}'


def quiet_orbax() -> None:
  """Hides from the user what Orbax reports of its work, and what it drops of a failed save."""
  logging.getLogger('absl').addFilter(_not_orbax)
  sys.unraisablehook = functools.partial(_not_of_orbax, sys.unraisablehook)


def _not_orbax(record: logging.LogRecord) -> bool:
  # Orbax reports every save and restore through absl's logger, and warns of what is settled here.
  # Some of it comes from threads of its own, so lowering the logger's level around our calls would
  # miss it. Its errors are raised too.
  return '/orbax/' not in pathlib.PurePath(record.pathname).as_posix()


def _not_of_orbax(usual, unraisable):
  # When a save or a restore fails, Orbax raises the first error and drops the tasks of the other
  # arrays. Python then reports each of those tasks: it failed too, or has nobody left to answer to.
  files = [frame.filename for frame in traceback.extract_tb(unraisable.exc_traceback)]
  if (
    not any('/orbax/' in file for file in files)
    and str(unraisable.exc_value) != 'Event loop is closed'
  ):
    usual(unraisable)
