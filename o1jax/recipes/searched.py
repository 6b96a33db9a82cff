"""The batches of problems that an evaluation has searched, on disk until its rows are written.

To measure a policy can take hours. Where that is interrupted, the same command goes on behind the
last batch. `searched/POLICY-SPLIT/SEAL/SEARCH/` of a workdir holds a file for each. The seal tells
the parameters, the config and the versions: what another one made is searched again.
"""

import collections
import contextlib
import dataclasses
import hashlib
import json
import pathlib
import shutil
import zipfile
from typing import Any, NamedTuple

import jax
import numpy as np

from o1jax.recipes.searches import Search
from o1jax.runtime.checkpoint import by_path
from o1jax.runtime.config import ConfigDict, flatten
from o1jax.runtime.storage import Damaged, reading
from o1jax.runtime.workdir import replacing, versions
from o1jax.types import Params, Tree

FOLDER = 'searched'
_PART, _TREE, _SCORE = 'part.', 'tree.', 'score.'


class Searched(NamedTuple):
  """What was searched for one policy and split. folder: None where several processes search, which
  keep nothing."""

  folder: pathlib.Path | None = None

  @classmethod
  def of(cls, workdir, config: ConfigDict, params: Params, policy: str, split: str) -> 'Searched':
    """That of a run. Reads all parameters."""
    if jax.process_count() > 1:
      return cls()
    told = json.dumps([flatten(config), versions()], sort_keys=True, default=str)
    leaves = (np.asarray(leaf).tobytes() for leaf in by_path(params).values())
    return cls(workdir / FOLDER / f'{policy}-{split}' / _digest(told.encode(), *leaves))

  def batches(self, search: Search, draw: int = 0, only: np.ndarray | None = None):
    """What `Evaluator` calls `kept`, for one search, one draw of random numbers, and the numbers of
    the problems that are searched; None = all."""
    if self.folder is None:
      return {}
    which = b'' if only is None else np.asarray(only, np.int64).tobytes()
    return Batches(self.folder / _digest(repr((search, draw)).encode(), which))

  def forget(self) -> None:
    """Deletes what was searched, by whatever seal."""
    if self.folder is not None:
      shutil.rmtree(self.folder.parent, ignore_errors=True)
      with contextlib.suppress(OSError):  # another policy's is there
        self.folder.parent.parent.rmdir()


class Batches(collections.UserDict):
  """{(first problem, what the program was told): (numbers by name, tree or None)}, each in a file
  of its own too."""

  def __init__(self, folder: pathlib.Path):
    """With what the folder holds; a damaged file counts as absent."""
    super().__init__()
    self._folder = folder
    for path in sorted(folder.glob('*.npz')):
      with contextlib.suppress(Damaged, zipfile.BadZipFile):
        self.data[tuple(map(int, path.stem.split('-')))] = _read(path)

  def __setitem__(self, at: tuple[int, ...], batch: tuple[dict[str, np.ndarray], Tree | None]):
    """StorageError where it cannot be written."""
    super().__setitem__(at, batch)
    part, tree = batch
    arrays = {_PART + name: x for name, x in part.items()}
    for field in dataclasses.fields(Tree) if tree is not None else ():
      value = getattr(tree, field.name)
      if field.name == 'scores':
        arrays |= {_SCORE + name: x for name, x in value.items()}
      else:
        arrays[_TREE + field.name] = value
    with replacing(self._folder / f'{"-".join(map(str, at))}.npz') as file:
      np.savez(file, **arrays)


def _read(path: pathlib.Path) -> tuple[dict[str, np.ndarray], Tree | None]:
  """What `Batches` wrote. Damaged where it is not that."""
  with reading(path), np.load(path) as file:
    arrays = {name: file[name] for name in file.files}
  under = lambda prefix: {
    name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)
  }
  fields: dict[str, Any] = under(_TREE)
  for field in dataclasses.fields(Tree):
    if fields and not field.metadata.get('pytree_node', True):
      fields[field.name] = int(fields[field.name])
  return under(_PART), Tree(**fields, scores=under(_SCORE)) if fields else None


def _digest(*parts: bytes) -> str:
  found = hashlib.blake2b(digest_size=8)
  for part in parts:
    found.update(part)
  return found.hexdigest()
