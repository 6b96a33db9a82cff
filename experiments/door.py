"""The command line: a config file, and flags `--config.a.b=value` over it.

Whatever a user may get wrong there is an error of one line that says what, where, and the way out.
"""

import difflib
import functools
import importlib.util
import pathlib
import re
import sys
import traceback
from collections.abc import Callable
from types import ModuleType

from absl import flags
from ml_collections import ConfigDict, config_flags

from o1jax.runtime.config import ConfigError, flatten

# Where `configs` lies: beside this package, in a checkout as well as where it is installed.
HOME = pathlib.Path(__file__).resolve().parents[1]
_OVERRIDE = re.compile(r'--?(?:no)?config\.([^=]+)')


class UsageError(ValueError):
  """A command line, or a config file, that cannot be used. The message is one line."""


class ConfigFlag:
  """The flag `--config=FILE.py[:argument]` with its overrides; `value` is the locked config."""

  def __init__(
    self,
    words: str,
    complete: Callable[[ConfigDict], ConfigDict] = lambda config: config.lock(),
    values: flags.FlagValues = flags.FLAGS,
  ):
    """Defines the flag, which `words` explain, among other flags. `complete` adds the settings that
    a config may have and lacks."""
    words = f'{words}: FILE.py[:argument]; --config.a.b=value changes it'
    flags.DEFINE_string('config', None, words, flag_values=values)
    self._complete, self._values, self.value = complete, values, None

  def parse(self, argv: list[str]) -> list[str]:
    """Parses a command line, as `flags_parser` of `absl.app.run`. Exits with one line and code 1
    where that is not possible."""
    try:
      self.value, rest = read_command(argv, self._complete)
      return self._values(rest)
    except (ConfigError, UsageError, flags.Error) as error:
      sys.exit(f'error: {" ".join(str(error).split())}')


def read_command(
  argv: list[str], complete: Callable[[ConfigDict], ConfigDict] = lambda config: config.lock()
) -> tuple[ConfigDict | None, list[str]]:
  """The config that a command line asks for, None where it names no file, and the command line
  without the overrides. What an override chooses, such as a method, may bring settings of its own,
  which others then change.

  Raises:
    UsageError: the file cannot be used, or has no such key, or the key is of another type.
    absl.flags.Error: the command line cannot be parsed.
  """
  values = _values()
  flags.DEFINE_string('config', None, '', flag_values=values)
  program, *rest = values(argv, known_only=True)
  name = values.config
  if name is None:
    return None, argv
  file, argv = name.partition(':')[0], [program, *rest]
  config = load(name)
  given = [found[1] for arg in rest if (found := _OVERRIDE.match(arg))]
  config, _ = _override(config, argv, [key for key in given if _has(config, key)], file)
  config = complete(config)
  for key in given:
    _require_key(config, key, file)
  config, rest = _override(config, argv, given, file)
  return config, [program, f'--config={name}', *rest[1:]]


def load(name: str) -> ConfigDict:
  """The config of FILE.py[:argument]; a relative path is looked for from the current folder, then
  beside the installed package.

  Raises:
    UsageError: it is not there, or cannot be run.
  """
  file, colon, argument = name.partition(':')
  path = _find(file)
  try:
    config = _run(path).get_config(*([argument] if colon else []))
  except Exception as error:
    raise UsageError(f'--config={name}: {_why(error, path, file, argument)}') from None
  if not isinstance(config, ConfigDict):
    raise UsageError(
      f'--config={name}: get_config() gives a {type(config).__name__}: let it return a ConfigDict'
    )
  return config.lock()


def _find(file: str) -> pathlib.Path:
  places = [pathlib.Path.cwd() / file, HOME / file]
  for path in places:
    if path.is_file():
      return path
  known = {
    path.stem: f'configs/{path.name}' for path in sorted((HOME / 'configs').glob('[a-z]*.py'))
  }
  near = difflib.get_close_matches(pathlib.Path(file).stem, known, 1) or sorted(known)
  raise UsageError(
    f'--config={file}: there is no file {" nor ".join(dict.fromkeys(map(str, places)))}: '
    f'give the path of a config, such as {" or ".join(known[name] for name in near)}'
  )


def _run(path: pathlib.Path) -> ModuleType:
  spec = importlib.util.spec_from_file_location('config_file', path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def _why(error: Exception, path: pathlib.Path, file: str, argument: str) -> str:
  """What went wrong in a config file, and the way out."""
  inside = [
    frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
  ]
  if isinstance(error, TypeError) and not inside and 'get_config' in str(error):
    if argument:
      return f'it takes no argument, and {argument!r} is given: use --config={file}'
    return f'its get_config needs an argument: give one, as --config={file}:argument'
  if isinstance(error, AttributeError) and not inside and 'get_config' in str(error):
    return 'it has no function get_config: a config file defines one, which returns a ConfigDict'
  if isinstance(error, ModuleNotFoundError):
    return (
      f'{error}: install what has it, or start from the folder that holds it (o1jax and its '
      f'configs lie in {HOME}: pip install -e {HOME})'
    )
  if isinstance(error, ValueError):  # how a config file refuses its argument
    return str(error)
  line = error.lineno if isinstance(error, SyntaxError) else inside[-1].lineno if inside else 0
  return f'line {line} raises {type(error).__name__}: {error}: mend the file'


def _override(config, argv, given, file):
  """The config with the given keys as a command line has them, and the command line without
  those."""
  before = config.copy_and_resolve_references()
  values = _values()
  try:
    config_flags.DEFINE_config_dict(
      'config', config, flag_values=values, sys_argv=[f'--config.{key}' for key in given]
    )
    rest = values(argv, known_only=True)
  except (flags.Error, ValueError, TypeError) as error:
    raise UsageError(_mistyped(before, given, str(error), file)) from None
  return values['config'].value, rest


def _values() -> flags.FlagValues:
  """Flags of their own, which may stand anywhere in a command line."""
  values = flags.FlagValues()
  values.set_gnu_getopt()
  return values


def _has(config, key):
  for part in key.split('.'):
    if not isinstance(config, ConfigDict) or part not in config:
      return False
    config = config[part]
  return True


def _require_key(config, key, file):
  """Refuses a key that a config does not have, and names the nearest that it has."""
  section, parts = config, key.split('.')
  for depth, part in enumerate(parts):
    if isinstance(section, ConfigDict) and part in section:
      section = section[part]
      continue
    above = '.'.join(parts[:depth])
    if not isinstance(section, ConfigDict):
      raise UsageError(f'--config.{key}: {above} of {file} is {section!r} and holds no {part!r}')
    raise UsageError(
      f'{file} has no key {key!r}: {_nearest(config, section, above, parts[depth:])}'
    )


def _nearest(config, section, above, missing):
  near = difflib.get_close_matches(missing[0], list(section), 1)
  within = f'{above}.' if above else ''
  if near:
    return f'did you mean {".".join([within + near[0], *missing[1:]])!r}?'
  elsewhere = [key for key in flatten(config) if key.split('.')[-1] == missing[-1]]
  if elsewhere:
    return f'did you mean {" or ".join(map(repr, elsewhere[:3]))}?'
  return f'{above or "it"} has {", ".join(sorted(section)) or "no keys"}'


_KINDS = {
  bool: 'True or False',
  int: 'a whole number',
  float: 'a number',
  str: 'a text',
  tuple: 'a tuple, as in "(1, 2)"',
}


def _mistyped(config, given, words, file):
  """What an override should have been."""
  for key in given:
    found = re.search(rf'--(?:no)?config\.{re.escape(key)}(?:=(.*?))?(?:: |$|\s)', words)
    if found:
      there = functools.reduce(lambda section, part: section[part], key.split('.'), config)
      asked = f'--config.{key}' + (f'={found[1]}' if found[1] else '')
      if isinstance(there, ConfigDict):
        return f'{asked}: {key} of {file} is a section: set one of its keys, {", ".join(there)}'
      kind = _KINDS.get(type(there), f'a {type(there).__name__}')
      return f'{asked}: {file} has {kind} there ({there!r}): give one'
  return words
