"""Several finished runs, read and checked for what makes them comparable."""

import json
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from o1jax.evaluation.merge import MergeError, Part, merge, pairs_averaged
from o1jax.evaluation.problems import FILE, Table, read_problems
from o1jax.evaluation.results import Result, read_results
from o1jax.recipes.identity import changes
from o1jax.recipes.run import config_of
from o1jax.runtime.config import ConfigDict, ConfigError, is_under, require


class Together(NamedTuple):
  """Runs as one: their rows and answers, and [name, seed, commit] of each run."""

  rows: list[Result]
  table: Table
  runs: list[tuple[str, int, str]]


def together(workdirs: Sequence[str | pathlib.Path]) -> Together:
  """The runs in some workdirs as one table, see `evaluation.merge`.

  Raises:
    ConfigError: one of them is no run, has no results, or they do not match.
  """
  workdirs = [pathlib.Path(workdir).expanduser() for workdir in workdirs]
  configs = [config_of(workdir) for workdir in workdirs]
  parts = [_part(workdir) for workdir in workdirs]
  try:
    rows, table = merge(parts)
  except MergeError as error:
    raise ConfigError(str(error)) from None
  for i, j in pairs_averaged(parts):
    _require_one_config(parts[i].name, configs[i], parts[j].name, configs[j])
  runs = [
    (part.name, config.seed, _commit(workdir))
    for part, config, workdir in zip(parts, configs, workdirs, strict=True)
  ]
  return Together(rows, table, sorted(runs, key=lambda run: (run[1], run[0])))


def _part(workdir):
  found = {}
  for name, read in (('results.csv', read_results), (FILE, read_problems)):
    path = workdir / name
    require(
      path.exists(), f'{workdir} has no {name}: run its stage evaluate, which writes it, first'
    )
    try:
      found[name] = read(path)
    except ValueError as error:
      raise ConfigError(' '.join(str(error).split())) from None
  rows, table = found.values()
  require(bool(rows), f'{workdir}/results.csv has no rows: run its stage evaluate first')
  return Part(str(workdir), rows, table)


def _require_one_config(name: str, one: ConfigDict, twin: str, other: ConfigDict) -> None:
  """Refuses a mean over two runs that differ in more than the seed, the places they start from, and
  what else they measure."""
  differing = {
    key: pair
    for key, pair in changes(one, other).items()
    if key != 'seed' and not key.endswith('.start') and not _measures(key, pair)
  }
  listing = ', '.join(f'config.{key} is {a} and {b}' for key, (a, b) in list(differing.items())[:3])
  require(
    not differing,
    f'{name} and {twin} have other seeds, and {listing}: a mean over seeds is of runs of one '
    'config; compare those, or give their policies other names (config.evaluate.policies)',
  )


def _measures(key, pair):
  """Whether a setting says what is measured, and not how."""
  if is_under(key, ('evaluate.searches',)):
    return 'absent' in pair or key.rpartition('.')[2] in ('tokens', 'units', 'most', 'choices')
  return is_under(key, ('evaluate.policies', 'evaluate.answer', 'evaluate.rows', 'evaluate.splits'))


def _commit(workdir):
  path = workdir / 'versions.json'
  try:
    known = json.loads(path.read_text())[-1] if path.exists() else {}
  except (ValueError, IndexError):
    known = {}
  return str(known.get('git_revision') or '')[:7]
