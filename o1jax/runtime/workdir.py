"""The workdir: one folder a run, which says what made it and which of its stages are done.

config.json     the run's config; the same config again continues the run, another one is refused
versions.json   the software and hardware it was worked on, one entry for each change, oldest first
judges.json     what judged its answers, in the same way
done/STAGE      exists once the stage is finished
"""

import contextlib
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
from collections.abc import Iterator
from typing import BinaryIO

import jax

import o1jax
from o1jax.runtime.config import (
  ConfigDict,
  ConfigError,
  config_from_json,
  config_to_json,
  differences,
  require,
)
from o1jax.runtime.storage import writing

PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'mctx', 'o1jax')


def open_workdir(path: str | pathlib.Path, config: ConfigDict) -> pathlib.Path:
  """Creates the workdir of a run, or opens it again with the same config. Returns its absolute
  path.

  Raises:
    ConfigError: the folder cannot be written, holds files that no run made, or holds a run with
      another config.
  """
  require(
    '://' not in str(path),
    f'workdir {path} is not a folder: mount the bucket, and pass the folder as --workdir',
  )
  workdir = pathlib.Path(path).expanduser().resolve()
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    # Dot files (such as what an interrupted write leaves) do not make a folder someone else's.
    occupied = next(
      (entry.name for entry in workdir.iterdir() if not entry.name.startswith('.')), None
    )
    recorded = workdir / 'config.json'
    if recorded.exists():
      _same_run(recorded, config)
    elif occupied:
      raise ConfigError(
        f'workdir {workdir} holds {occupied!r} but no config.json, so no run of o1jax made it: '
        'pass an empty or new folder as --workdir'
      )
    else:
      write_atomic(recorded, config_to_json(config))
    record(workdir / 'versions.json', versions())
  except OSError as error:
    raise ConfigError(
      f'workdir {workdir} cannot be used ({error.strerror or error}): '
      'pass a folder that you may write as --workdir'
    ) from None
  return workdir


def load_config(workdir: str | pathlib.Path) -> ConfigDict:
  """Returns the locked config of the run in a workdir.

  Raises:
    ConfigError: the folder holds no run.
  """
  recorded = pathlib.Path(workdir).expanduser() / 'config.json'
  try:
    return config_from_json(recorded.read_text())
  except OSError as error:
    raise ConfigError(
      f'{recorded} cannot be read ({error.strerror}): pass the workdir of a run'
    ) from None
  except ConfigError as error:
    raise ConfigError(f'{recorded}: {error}; pass another --workdir') from None


def mark_stage_done(workdir: pathlib.Path, stage: str) -> None:
  """Records that a stage is finished, so that the same command again passes over it. StorageError
  as `write_atomic`."""
  write_atomic(stage_file(workdir, stage), now() + '\n')


def stage_done(workdir: pathlib.Path, stage: str) -> bool:
  """Whether `mark_stage_done` was called for the stage."""
  return stage_file(workdir, stage).exists()


def stage_file(workdir: pathlib.Path, stage: str) -> pathlib.Path:
  """The file done/STAGE. Deleting it has the stage done again, from its last checkpoint if there is
  one."""
  return workdir / 'done' / stage


def write_atomic(path: pathlib.Path, text: str) -> None:
  """Writes the file whole or not at all: a reader, or a crash, meets the old text or the new one.

  Its folder is made if need be.

  Raises:
    StorageError: it could not be written; the old text is there.
  """
  with replacing(path) as file:
    file.write(text.encode())


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[BinaryIO]:
  """A file to write into, which takes the place of the one at `path` once it is whole; else as
  `write_atomic`."""
  draft = path.with_name(f'.{path.name}.draft')
  with writing(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with draft.open('wb') as file:
      yield file
      file.flush()
      os.fsync(file.fileno())  # or the new name may be on disk before the text is
    draft.replace(path)
  with contextlib.suppress(
    OSError
  ):  # not all file systems can for a folder; then a crash may bring the old file back
    folder = os.open(path.parent, os.O_RDONLY)
    try:
      os.fsync(folder)
    finally:
      os.close(folder)


def now() -> str:
  """The time as ISO 8601 text in UTC, to the second."""
  return datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')


def versions() -> dict[str, str | int | bool | None]:
  """Python, package versions ('unknown' where not installed), platform, devices, git revision and
  whether it is dirty.

  `git_dirty` is None where the revision is unknown.
  """
  devices = jax.devices()
  revision, dirty = git_revision(pathlib.Path(o1jax.__file__).parent)
  return {
    'python': platform.python_version(),
    **{package: _version(package) for package in PACKAGES},
    'platform': platform.platform(),
    'backend': jax.default_backend(),
    'device_kind': devices[0].device_kind,
    'device_count': len(devices),
    'git_revision': revision,
    'git_dirty': dirty,
  }


def git_revision(folder: pathlib.Path) -> tuple[str, bool | None]:
  """Returns the commit that tracks the Python package in `folder`, and whether files differ from
  it.

  ('unknown', None) where there is no git, no commit, or the package only lies inside someone else's
  repository.
  """

  def git(*arguments):
    # --no-optional-locks: looking at the state must not disturb a git command that the user runs
    # meanwhile.
    command = ('git', '--no-optional-locks', '-C', str(folder), *arguments)
    return subprocess.run(
      command, capture_output=True, text=True, check=True, timeout=20
    ).stdout.strip()

  try:
    git('ls-files', '--error-unmatch', '__init__.py')
    return git('rev-parse', 'HEAD'), bool(git('status', '--porcelain'))
  except (OSError, subprocess.SubprocessError):
    return 'unknown', None


def _same_run(recorded: pathlib.Path, config: ConfigDict) -> None:
  changed = differences(load_config(recorded.parent), config)
  if changed:
    listing = ', '.join(f'{key} was {old} and is now {new}' for key, (old, new) in changed.items())
    raise ConfigError(
      f'workdir {recorded.parent} holds a run with another config: {listing}; pass another '
      f'--workdir '
      'for the new config, or the old values to continue this run'
    )


def record(path: pathlib.Path, found: dict) -> None:
  """Adds what was found, with the time, to the entries of a file, unless the last one is the
  same."""
  try:
    entries = json.loads(path.read_text())
  except (FileNotFoundError, json.JSONDecodeError):
    entries = []
  if not entries or {**entries[-1], 'since': None} != {**found, 'since': None}:
    write_atomic(path, json.dumps([*entries, {'since': now(), **found}], indent=2) + '\n')


def _version(package: str) -> str:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return 'unknown'
