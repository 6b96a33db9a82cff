"""Configs at the door: checked, written down and compared here, and never read below `recipes/`.

A config is an `ml_collections.ConfigDict` whose leaves are None, bool, int, float, str, or tuples
of these. A script loads it with `config_flags`; functions are then given plain keyword arguments.
"""

import contextlib
import json
import math
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

# What to do of a run, on what, how to watch it and what to keep of it: may differ each time it is
# continued.
FREE_KEYS = ('stages', 'profile', 'checkpoint', 'skip_limit', 'mesh', 'verifier')


class ConfigError(ValueError):
  """A setting that cannot work. The message is one line: what is wrong, the value, and the way
  out."""


def require(condition: bool, message: str) -> None:
  """Raises ConfigError(message) unless the condition holds."""
  if not condition:
    raise ConfigError(' '.join(message.split()))


def flatten(config: ConfigDict) -> dict[str, Any]:
  """Returns {dotted key: plain value}, sorted by key, lists as tuples. An empty section is a leaf
  of value ().

  Raises:
    ConfigError: a leaf is not a plain value (JSON could not give it back).
  """
  leaves = {}

  def visit(prefix, section):
    for key, value in section.items():
      name = f'{prefix}{key}'
      if isinstance(value, ConfigDict | dict) and value:
        visit(f'{name}.', value)
      else:
        leaves[name] = () if isinstance(value, ConfigDict | dict) else _plain(name, value)

  visit('', config)
  return dict(sorted(leaves.items()))


def unflatten(leaves: dict[str, Any]) -> ConfigDict:
  """The locked config of {dotted key: value}. What `flatten` gives comes back, but for empty
  sections."""
  config: dict[str, Any] = {}
  for key, value in leaves.items():
    *path, last = key.split('.')
    section = config
    for part in path:
      section = section.setdefault(part, {})
    section[last] = _tuples(value)
  return ConfigDict(config).lock()


@contextlib.contextmanager
def within(section: str) -> Iterator[None]:
  """A context in which any ValueError is a ConfigError that names a section of the config, or a
  setting by itself."""
  try:
    yield
  except ValueError as error:
    name = f'config.{section}'
    words = str(error)
    told = name in words or words.startswith('config.')
    raise ConfigError(words if told else f'{name}: {words}') from None


def check_config(config: ConfigDict) -> None:
  """Refuses what no run could use: leaves that are not plain, numbers that are not finite or too
  small, and stages that are no names.

  Raises:
    ConfigError: one line naming the key, the value and the way out.
  """
  leaves = flatten(config)
  for key, value in leaves.items():
    require(
      not isinstance(value, float) or math.isfinite(value),
      f'config.{key} is {value}: give a finite number',
    )
  stages = leaves.get('stages', ('report',))
  require(
    isinstance(stages, tuple) and stages and all(isinstance(name, str) for name in stages),
    f"config.stages={stages}: name at least one stage, as in \"('evaluate', 'report')\"",
  )
  least_of = {
    'checkpoint.seconds': 0,
    'checkpoint.updates': 0,
    'skip_limit': 1,
    'verifier.workers': 0,
    'seed': 0,
    'data.demonstrations': 1,
    'data.texts': 1,
    'data.pool': 1,
    'data.validation': 1,
    'data.test': 0,
    'data.test_targets': 0,
  }
  for key, least in least_of.items():
    require(
      leaves.get(key, least) >= least, f'config.{key} is {leaves.get(key)}: give at least {least}'
    )
  seed = leaves.get('seed', 0)
  require(seed < 2**32, f'config.seed is {seed}: give less than 2**32, which a key of jax takes')
  asked = [key for key in ('data.test', 'data.test_targets') if key in leaves]
  require(
    not asked or any(leaves[key] for key in asked),
    f'config.{" and config.".join(asked)} are 0, so nothing is measured: give at least 1',
  )
  share = leaves.get('verifier.unjudged', 0)
  require(0 <= share <= 1, f'config.verifier.unjudged is {share}: give a share, in [0, 1]')
  for key in ('verifier.seconds', 'verifier.patience', 'verifier.memory'):
    require(leaves.get(key, 1) > 0, f'config.{key} is {leaves.get(key)}: give more than 0')


def config_to_json(config: ConfigDict) -> str:
  """Returns the config as indented JSON, which `config_from_json` turns back into an equal config.

  Raises:
    ConfigError: a leaf is not a plain finite value.
  """
  flatten(config)
  try:
    return json.dumps(config.to_dict(), indent=2, sort_keys=True, allow_nan=False) + '\n'
  except ValueError as error:
    raise ConfigError(f'the config holds a number that is not finite ({error})') from None


def config_from_json(text: str) -> ConfigDict:
  """Returns the locked config that `config_to_json` wrote; JSON lists become tuples.

  Raises:
    ConfigError: the text is not a JSON object.
  """
  try:
    values = json.loads(text)
  except json.JSONDecodeError as error:
    raise ConfigError(f'not the config of a run: {error}') from None
  require(
    isinstance(values, dict),
    f'not the config of a run: a JSON {type(values).__name__}, not an object',
  )
  return ConfigDict(_tuples(values)).lock()


def differences(
  old: ConfigDict, new: ConfigDict, *, free: tuple[str, ...] = FREE_KEYS
) -> dict[str, tuple[str, str]]:
  """Returns {dotted key: (old value, new value)} as text, where the two are not the same run; {}
  where they are.

  A key that one side lacks reads 'absent' there. Keys in `free`, and all below them, may differ.
  """
  bound = lambda config: {
    key: value for key, value in flatten(config).items() if not is_under(key, free)
  }
  return compare(bound(old), bound(new))


def compare(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple[str, str]]:
  """Returns {key: (old value, new value)} as text, where two flat dicts differ; 'absent' where one
  lacks a key."""
  pairs = {
    key: tuple(repr(side[key]) if key in side else 'absent' for side in (old, new))
    for key in dict.fromkeys([*old, *new])
  }
  return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def is_under(key: str, sections: tuple[str, ...]) -> bool:
  """Whether a dotted key is one of the sections, or lies below one."""
  return key in sections or key.startswith(tuple(f'{section}.' for section in sections))


def _plain(name: str, value: Any) -> Any:
  if isinstance(value, tuple | list):
    return tuple(_plain(name, item) for item in value)
  require(
    value is None or type(value) in (bool, int, float, str),
    f'config.{name} is a {type(value).__name__}: use None, bool, int, float, str, or a tuple of '
    f'these',
  )
  return value


def _tuples(value: Any) -> Any:
  if isinstance(value, dict):
    return {key: _tuples(item) for key, item in value.items()}
  return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
