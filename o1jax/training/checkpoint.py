"""Checkpoints: pytrees on disk through Orbax, refused in one line where they do not fit."""

import logging
import pathlib
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from o1jax.training.config import ConfigError


class Checkpoints:
  """The newest checkpoints of one state in one folder, by step.

  A state is any pytree of arrays (None leaves are structure, not data). It is stored as {path: array}, so that a
  checkpoint can be compared with what is wanted before anything is loaded.
  """

  def __init__(self, directory: str | pathlib.Path, *, keep: int = 1):
    """Opens the folder, which is made if need be; `keep` newest checkpoints stay."""
    self.directory = pathlib.Path(directory).expanduser().resolve()
    # Synchronous, so that the arrays may be donated to the next update as soon as `save` returns.
    options = ocp.CheckpointManagerOptions(
      max_to_keep=keep, enable_async_checkpointing=False, cleanup_tmp_directories=True)
    self._manager = ocp.CheckpointManager(
      self.directory, options=options, item_handlers=ocp.StandardCheckpointHandler())

  def save(self, step: int, state: Any) -> None:
    """Writes the state, whole or not at all; on return it is on disk. A step already there is left as it is."""
    if step not in self.steps():
      self._manager.save(step, args=ocp.args.StandardSave(_by_path(state)), force=True)

  def restore(self, template: Any, step: int | None = None) -> Any:
    """Returns the state saved at a step, by default the latest, with the template's structure and shardings.

    Args:
      template: a state of the structure wanted; arrays, or `jax.ShapeDtypeStruct`s as from `jax.eval_shape`.
      step: which checkpoint.

    Raises:
      ConfigError: no such checkpoint, or one whose leaves have other names, shapes or dtypes; nothing was loaded.
    """
    steps = self.steps()
    if not steps:
      raise ConfigError(f'{self.directory} holds no checkpoint: run the stage that writes it')
    step = steps[-1] if step is None else step
    if step not in steps:
      raise ConfigError(f'{self.directory} holds no checkpoint of step {step}: it holds {steps}')
    wanted = {path: _abstract(leaf) for path, leaf in _by_path(template).items()}
    found = {path: _describe(leaf) for path, leaf in self._manager.item_metadata(step).items()}
    self._fits(step, found, {path: _describe(leaf) for path, leaf in wanted.items()})
    leaves = self._manager.restore(step, args=ocp.args.StandardRestore(wanted))
    return jax.tree.unflatten(jax.tree.structure(template), [leaves[path] for path in wanted])

  def steps(self) -> list[int]:
    """The steps there are checkpoints of, ascending."""
    return sorted(self._manager.all_steps())

  def latest_step(self) -> int | None:
    """The newest step, None where there is no checkpoint."""
    return max(self.steps(), default=None)

  def close(self) -> None:
    """Releases the folder."""
    self._manager.close()

  def _fits(self, step: int, found: dict[str, str], wanted: dict[str, str]) -> None:
    for path in dict.fromkeys([*wanted, *found]):
      if found.get(path) != wanted.get(path):
        raise ConfigError(
          f'checkpoint {self.directory / str(step)} does not fit: {path} is {found.get(path, "absent")} there and '
          f'{wanted.get(path, "absent")} here; use the config that it was written with, or another --workdir')


def _by_path(state: Any) -> dict[str, Any]:
  leaves = jax.tree_util.tree_leaves_with_path(state)
  named = {jax.tree_util.keystr(path, simple=True, separator='.'): leaf for path, leaf in leaves}
  if len(named) != len(leaves):
    raise ValueError('two leaves of the state have the same path: a dict key must not contain a dot')
  return named


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
  sharding = getattr(leaf, 'sharding', None) or jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return jax.ShapeDtypeStruct(np.shape(leaf), jax.dtypes.result_type(leaf), sharding=sharding)


def _describe(leaf: Any) -> str:
  return f'{np.dtype(leaf.dtype).name}{list(leaf.shape)}'


def _not_orbax(record: logging.LogRecord) -> bool:
  # Orbax reports every save and restore, and warns of what is settled here, through absl's logger; some of it from
  # threads of its own, so that lowering the logger's level around our calls would miss it.
  return record.levelno >= logging.ERROR or '/orbax/' not in pathlib.PurePath(record.pathname).as_posix()


logging.getLogger('absl').addFilter(_not_orbax)
