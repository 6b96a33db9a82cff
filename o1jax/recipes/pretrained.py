"""The checkpoints that a run may start from: a folder of a model of `transformers`, or one that
`experiments.convert` made of it.

The latter holds model.json (the shape) and parameters/ (a checkpoint, of which each of many hosts
reads its own part).
"""

import dataclasses
import json
import pathlib
from typing import Any

import jax

from o1jax.model import hf
from o1jax.model.families import read_config
from o1jax.model.variants import ModelConfig, RopeScaling
from o1jax.runtime.checkpoint import Checkpoints
from o1jax.runtime.storage import StorageError
from o1jax.runtime.workdir import write_atomic

_SHAPE, _PARAMETERS = 'model.json', 'parameters'


def shape_of(folder: str | pathlib.Path, **changes) -> ModelConfig:
  """The model of a folder. `changes` say how it is computed: `dtype`, `remat`, `scan_layers`,
  `own_critic`, `critic_layers`, `unused`.

  Raises:
    ValueError: the folder holds no model, or one that ours cannot be.
  """
  path = pathlib.Path(folder) / _SHAPE
  if not path.exists():
    return read_config(folder, **changes)
  try:
    fields = json.loads(path.read_text())
    fields.pop('max_length')
    scaling = fields.pop('rope_scaling')
    fields |= dict(
      rope_scaling=scaling and RopeScaling(*scaling), local_layers=tuple(fields.pop('local_layers'))
    )
    return ModelConfig(**{**fields, **changes})
  except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
    raise ValueError(
      f'{path} cannot be read ({error}): make it again with experiments.convert'
    ) from None


def check_policy(folder: str | pathlib.Path, config: ModelConfig) -> None:
  """Checks, without loading them, that a folder has the parameters of a model. ValueError as in
  `load_policy`."""
  folder = pathlib.Path(folder)
  if not (folder / _SHAPE).exists():
    hf.check(folder, config)
  elif Checkpoints(folder / _PARAMETERS, looking=True).latest_step() is None:
    raise ValueError(
      f'{folder / _PARAMETERS} holds no parameters: make them again with experiments.convert'
    )


def max_length_of(folder: str | pathlib.Path) -> int:
  """Tokens of the longest text that the model of a folder is for; the folder is as in
  `shape_of`."""
  own = pathlib.Path(folder) / _SHAPE
  if own.exists():
    return json.loads(own.read_text())['max_length']
  return json.loads((pathlib.Path(folder) / 'config.json').read_text()).get(
    'max_position_embeddings', 2048
  )


def load_policy(folder: str | pathlib.Path, config: ModelConfig, like: Any) -> Any:
  """The policy's parameters from a folder, with the types and shardings of `like`.

  Args:
    folder: as for `shape_of`.
    config: what `shape_of` returned.
    like: `jax.ShapeDtypeStruct`s of the policy's parameters, with or without a sharding.

  Raises:
    ValueError: the files are not those of such a model; the message says how.
    StorageError: they cannot be read.
  """
  folder = pathlib.Path(folder)
  if not (folder / _SHAPE).exists():
    return hf.load(folder, config, like)
  policy = Checkpoints(folder / _PARAMETERS, looking=True).restore(like)
  if policy is None:
    raise ValueError(
      f'{folder / _PARAMETERS} holds no good parameters: make them again with experiments.convert'
    )
  return policy


def save_policy(
  folder: str | pathlib.Path, config: ModelConfig, policy: Any, max_length: int
) -> None:
  """Writes a model for texts of `max_length` tokens as such a folder. StorageError where it cannot
  be written."""
  folder = pathlib.Path(folder)
  if folder.exists() and any(folder.iterdir()):
    raise StorageError(f'{folder} is not empty: choose another folder')
  kept = Checkpoints(folder / _PARAMETERS)
  kept.save(0, policy)
  kept.close()
  fields = dataclasses.asdict(config) | dict(max_length=max_length)
  write_atomic(
    folder / _SHAPE, json.dumps(fields, indent=2) + '\n'
  )  # last: it makes the folder a model


def shapes(policy: Any, sharding: jax.sharding.Sharding | None = None) -> Any:
  """Parameters, or their shapes, as the `like` of `load_policy`, with one sharding for all."""
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), policy)
