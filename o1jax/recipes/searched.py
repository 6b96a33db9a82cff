"""The batches of problems that an evaluation has searched, on disk until it is done.

To measure policies can take hours. Where that is interrupted, the same command goes on behind the
last batch. `searched/POLICY-SPLIT/SEAL/SEARCH/` of a workdir holds a file for each. The seal tells
the parameters, the config, the versions and the code: what others made is searched again.
"""

import collections
import contextlib
import dataclasses
import functools
import hashlib
import json
import pathlib
import shutil
import zipfile
from typing import Any, NamedTuple

import jax
import numpy as np

import o1jax
from o1jax.recipes.searches import Search
from o1jax.runtime.checkpoint import by_path
from o1jax.runtime.config import ConfigDict, flatten, is_under
from o1jax.runtime.storage import Damaged, reading
from o1jax.runtime.workdir import replacing, versions
from o1jax.types import Params, Tree

FOLDER = 'searched'
_AT, _PART, _TREE, _SCORE = 'at', 'part.', 'tree.', 'score.'
# Settings that may differ when it goes on, since no batch depends on them.
_FREE = (
  *('stages', 'profile', 'checkpoint', 'skip_limit'),
  *('verifier.patience', 'verifier.workers', 'verifier.unjudged'),
)


class Searched(NamedTuple):
  """What was searched for one policy and split. folder: None where several processes search, which
  keep nothing."""

  folder: pathlib.Path | None = None

  @classmethod
  def of(
    cls, workdir: pathlib.Path, config: ConfigDict, params: Params, policy: str, split: str
  ) -> 'Searched':
    """That of a run. Reads all parameters."""
    if jax.process_count() > 1:
      return cls()
    told = {key: x for key, x in flatten(config).items() if not is_under(key, _FREE)}
    told |= {key: x for key, x in versions().items() if not key.startswith('git')}
    leaves = (np.asarray(leaf).tobytes() for leaf in by_path(params).values())
    return cls(
      workdir
      / FOLDER
      / f'{policy}-{split}'
      / _digest(json.dumps(told, sort_keys=True, default=str).encode(), _code(), *leaves)
    )

  def batches(self, search: Search, draw: int = 0, only: np.ndarray | None = None):
    """What `Evaluator` calls `kept`, for one search, one draw of random numbers, and the numbers of
    the problems that are searched; None = all."""
    if self.folder is None:
      return {}
    which = b'' if only is None else np.asarray(only, np.int64).tobytes()
    return Batches(self.folder / _digest(repr((search, draw)).encode(), which))


class Batches(collections.UserDict):
  """{(first problem, what the program was told): (numbers by name, tree or None)}.

  Each has a file of its own, but where a verdict is missing: the next try may have it.
  """

  def __init__(self, folder: pathlib.Path):
    """With what the folder holds; a damaged file counts as absent."""
    super().__init__()
    self._folder = folder
    for path in sorted(folder.glob('*.npz')):
      with contextlib.suppress(Damaged, zipfile.BadZipFile):
        at, batch = _read(path)
        self.data[at] = batch

  def __setitem__(self, at: tuple[int, ...], batch: tuple[dict[str, np.ndarray], Tree | None]):
    """StorageError where it cannot be written."""
    super().__setitem__(at, batch)
    part, tree = batch
    if np.any(part['unjudged']):
      return
    arrays = {_AT: np.array(at)} | {_PART + name: x for name, x in part.items()}
    for field in dataclasses.fields(Tree) if tree is not None else ():
      value = getattr(tree, field.name)
      if field.name == 'scores':
        arrays |= {_SCORE + name: x for name, x in value.items()}
      else:
        arrays[_TREE + field.name] = value
    with replacing(self._folder / f'{at[0]}-{_digest(arrays[_AT].tobytes())}.npz') as file:
      np.savez(file, **arrays)


def _read(path: pathlib.Path) -> tuple[tuple[int, ...], tuple[dict[str, np.ndarray], Tree | None]]:
  """What `Batches` wrote, and its place. Damaged where it is not that."""
  with reading(path), np.load(path) as file:
    arrays = {name: file[name] for name in file.files}
    under = lambda prefix: {
      name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)
    }
    fields: dict[str, Any] = under(_TREE)
    for field in dataclasses.fields(Tree):
      if fields and not field.metadata.get('pytree_node', True):
        fields[field.name] = int(fields[field.name])
    tree = Tree(**fields, scores=under(_SCORE)) if fields else None
    return tuple(arrays[_AT].tolist()), (under(_PART), tree)


def forget(workdir: pathlib.Path) -> None:
  """Deletes all that evaluations of a run have searched."""
  shutil.rmtree(workdir / FOLDER, ignore_errors=True)


@functools.cache
def _code() -> bytes:
  """Of the package, in which another rule would make another batch."""
  folder = pathlib.Path(o1jax.__file__).parent
  return b''.join(path.read_bytes() for path in sorted(folder.rglob('*.py')))


def _digest(*parts: bytes) -> str:
  found = hashlib.blake2b(digest_size=8)
  for part in parts:
    found.update(part)
  return found.hexdigest()
