"""The workdir: one folder a run, which says what made it and which of its stages are done.

Nothing is kept of a config that fails its checks: what the checks need is made in a draft inside
the folder, which `opening` moves into place once they have passed.

config.json     the run's config; the same config again continues the run, another one is refused
versions.json   the software and hardware it was worked on, one entry for each change, oldest first
judges.json     what judged its answers, in the same way
done/STAGE      exists once the stage is finished
searched/       what an evaluation has searched so far, gone when it is done
"""

import contextlib
import datetime
import fcntl
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
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
from o1jax.runtime.processes import SIGN, check_shared, first, in_turn, once
from o1jax.runtime.storage import writing

PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'mctx', 'o1jax')


DRAFT = '.draft'
# What a run makes before it has a result. Another config may replace it; nothing else is deleted.
_MATERIAL = (
  'data',
  'tokenizer.model',
  'pretrained',
  'versions.json',
  'judges.json',
  'metrics.jsonl',
  'tensorboard',
  'profile',
  'offending',
  'report',
  'searched',
  'checkpoints',
)
# What counts as a result; `_UNFINISHED` is what a killed save leaves.
_RESULTS = ('done/*', 'checkpoints/*/*', 'results*', 'benchmark.json')
_UNFINISHED = '.orbax-checkpoint-tmp'


@contextlib.contextmanager
def opening(
  path: str | pathlib.Path, config: ConfigDict, *, changes: Callable = differences
) -> Iterator[tuple[pathlib.Path, pathlib.Path]]:
  """Opens the workdir of a run for the time of its checks. All processes of a job enter together.

  Yields its absolute path, and the folder in which the checks may make data and a tokenizer: the
  workdir itself where it holds this run already, else a draft. When the context ends, the draft
  becomes the workdir's own and config.json is written. When it fails, all that it made is removed,
  the workdir too. `changes` tells how another config differs from the one there.

  Raises:
    ConfigError: the folder cannot be written, holds files that no run made, holds results of
      another config, or another job works there.
  """
  absent = []
  with contextlib.ExitStack() as held:
    try:
      workdir, place = in_turn(lambda: _enter(path, config, absent, changes, held))
      check_shared(workdir)
      yield workdir, place
      once(_keep, workdir, place, config)
    except BaseException:
      if first():
        _take_back(absent)
      raise


@contextlib.contextmanager
def alone(workdir: str | pathlib.Path) -> Iterator[None]:
  """A context in which no other job may work in a workdir, which exists. All processes of a job
  enter together.

  What is locked is the folder itself. So nothing of it is left, whatever ends the job. Where the
  file system has no locks, it does nothing.

  Raises:
    ConfigError: another job works there.
  """
  with contextlib.ExitStack() as held:
    once(_hold, pathlib.Path(workdir).expanduser().resolve(), held)
    yield


def _hold(workdir, held):
  """Locks the folder until `held` is closed."""
  with contextlib.suppress(OSError):  # no locks here
    folder = os.open(workdir, os.O_RDONLY)
    held.callback(os.close, folder)
    try:
      fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise ConfigError(
        f'another job works in {workdir}: let it end, stop it, or pass another --workdir'
      ) from None


def open_workdir(path: str | pathlib.Path, config: ConfigDict) -> pathlib.Path:
  """`opening` for a config that needs no more checks. Returns the absolute path."""
  with opening(path, config) as (workdir, _):
    return workdir


def has_result(workdir: pathlib.Path) -> bool:
  """Whether a run has a finished stage, a checkpoint or results to lose."""
  found = (entry for pattern in _RESULTS for entry in workdir.glob(pattern))
  return any(not entry.name.endswith(_UNFINISHED) for entry in found)


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


def mark_stage_done(workdir: pathlib.Path, stage: str, note: str = '') -> None:
  """Records that a stage is finished, so that the same command again passes over it, with a note of
  one line. StorageError as `write_atomic`."""
  write_atomic(stage_file(workdir, stage), f'{now()}\n{note}')


def stage_note(workdir: pathlib.Path, stage: str) -> str:
  """The note that `mark_stage_done` was given."""
  return stage_file(workdir, stage).read_text().partition('\n')[2]


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


def _enter(path, config, absent, changes, held):
  """The workdir and the place for drafts. Adds to `absent` what a failure has to remove, the inner
  folders first."""
  require(
    '://' not in str(path),
    f'workdir {path} is not a folder: mount the bucket, and pass the folder as --workdir',
  )
  workdir = pathlib.Path(path).expanduser().resolve()
  with _usable(workdir):
    place = _refuse_another(workdir, config, changes)
    if first():
      absent += [folder for folder in (workdir, *workdir.parents) if not folder.exists()]
      workdir.mkdir(parents=True, exist_ok=True)
      _hold(workdir, held)
      if place != workdir:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        absent.insert(0, place)
  return workdir, place


def _refuse_another(workdir, config, changes):
  """Returns where the material of a config belongs for now; nothing is written."""
  recorded, draft = workdir / 'config.json', workdir / DRAFT
  # Dot files (such as what an interrupted write leaves) do not make a folder someone else's.
  entries = workdir.iterdir() if workdir.exists() else ()
  occupied = next((entry.name for entry in entries if not entry.name.startswith('.')), None)
  if not recorded.exists():
    require(
      not occupied,
      f'workdir {workdir} holds {occupied!r} but no config.json, so no run of o1jax made it: '
      'pass an empty or new folder as --workdir',
    )
    return draft
  changed = changes(load_config(workdir), config)
  if not changed:
    return workdir
  if not has_result(workdir):
    return draft
  listing = ', '.join(f'{key} was {old} and is now {new}' for key, (old, new) in changed.items())
  raise ConfigError(
    f'workdir {workdir} holds a run with another config: {listing}; pass another --workdir for '
    'the new config, or the old values to continue this run'
  )


def _keep(workdir, place, config):
  """Makes a draft the workdir's own."""
  with _usable(workdir):
    if place != workdir:
      for name in _MATERIAL:  # of a config that came to nothing
        remove(workdir / name)
      # Before the material: a folder without config.json would be taken for someone else's.
      write_atomic(workdir / 'config.json', config_to_json(config))
      for made in sorted(place.iterdir()):
        made.rename(workdir / made.name)
      place.rmdir()
    record(workdir / 'versions.json', versions())


def _take_back(absent):
  """Removes drafts, and the folders made for them that hold nothing else."""
  for folder in absent:
    if folder.name == DRAFT:
      shutil.rmtree(folder, ignore_errors=True)
      with contextlib.suppress(OSError):
        (folder.parent / SIGN).unlink()
    else:
      with contextlib.suppress(OSError):  # someone has put something there
        folder.rmdir()


@contextlib.contextmanager
def _usable(workdir):
  """A context in which what the system refuses is a ConfigError."""
  try:
    yield
  except OSError as error:
    raise ConfigError(
      f'workdir {workdir} cannot be used ({error.strerror or error}): '
      'pass a folder that you may write as --workdir'
    ) from None


def require_free(folder: pathlib.Path, mine: str, flag: str) -> None:
  """Refuses to write a page into a run, or into a folder of something else. `mine` is the file by
  which a folder is known to hold such a page already, and `flag` is what named the folder.

  Raises:
    ConfigError: one line.
  """
  folder = folder.resolve()
  require(
    not (folder / 'config.json').exists(),
    f'{flag}={folder} is a run: give another folder',
  )
  kept = ('config.json', 'versions.json')
  inside = next((at for at in folder.parents if all((at / x).exists() for x in kept)), None)
  require(not inside, f'{flag}={folder} lies in the run {inside}: give another folder')
  page = folder / 'index.html'
  require(
    not page.exists() or (folder / mine).exists(),
    f'{flag}={folder} holds an index.html and no {mine}, so something else made it: give another '
    'folder',
  )


def remove(path: pathlib.Path) -> None:
  """Deletes a file, or a folder with all that is in it, if it is there."""
  if path.is_dir():
    shutil.rmtree(path)
  else:
    path.unlink(missing_ok=True)


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
