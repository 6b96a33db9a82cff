"""A study: a claim, the searches that test it, and the trained runs that it branches from.

Each start and seed is one ordinary run, which measures and trains nothing. What they found is
merged, and judged by a criterion that the config holds.
"""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

import o1jax.recipes
from o1jax.evaluation.equal_compute import FAILS, HOLDS, UNDECIDED
from o1jax.evaluation.measured import measured
from o1jax.evaluation.studies import CLAIMS, Arm, Evidence, Verdict
from o1jax.evaluation.study_page import NUMBERS
from o1jax.recipes import graph
from o1jax.recipes.searches import check_searches, row_of
from o1jax.recipes.settings import complete, kind_of
from o1jax.recipes.together import Together, together
from o1jax.runtime.config import ConfigDict, ConfigError, require
from o1jax.runtime.workdir import load_config, require_free
from o1jax.search import SEARCHES

SEED = '{seed}'
_SECTIONS = ('claim', 'source', 'criterion', 'judge', 'starts', 'evaluate')


class Job(NamedTuple):
  """An ordinary run of a study: of which start, where, and its config."""

  start: str
  workdir: pathlib.Path
  config: ConfigDict


class Judged(NamedTuple):
  """What a study found of one start."""

  start: str
  together: Together
  evidence: Evidence
  verdict: Verdict


def completed(config: ConfigDict) -> ConfigDict:
  """The config of a study with all settings that its searches can have, locked.

  Raises:
    ConfigError: a section is missing, or its judge is none.
  """
  missing = [name for name in _SECTIONS if name not in config]
  require(
    not missing, f'the config has no {", ".join(missing)}: a study needs {", ".join(_SECTIONS)}'
  )
  name = config.judge.get('name')
  require(name in CLAIMS, f'config.judge.name is {name!r}: choose one of {", ".join(CLAIMS)}')
  found = config.copy_and_resolve_references().unlock()
  evaluate = complete(ConfigDict(dict(evaluate=found.evaluate.to_dict()))).evaluate
  found.evaluate = ConfigDict(evaluate.to_dict())
  _check_judge(found, CLAIMS[name])
  return found.lock()


def _check_judge(config, claim):
  """Refuses settings of the judge that are out of range, or name what is not measured."""
  name, taken, judge = config.judge.name, claim.settings, config.judge
  given = [key for key in judge if key not in ('name', 'starts')]
  require(
    sorted(taken) == sorted(given),
    f'config.judge has {", ".join(given) or "no settings"}: {name} takes {", ".join(taken)}',
  )
  ranges = dict(claim.ranges, starts=(0, len(config.starts)))
  for key, (low, high) in ranges.items():
    value, whole = judge.get(key, low), isinstance(low, int)
    fits = isinstance(value, int) if whole else isinstance(value, int | float)
    require(
      fits and not isinstance(value, bool) and low <= value <= high,
      f'config.judge.{key}={value!r}: give a {"whole " * whole}number from {low} to {high:g}',
    )
  searches = config.evaluate.searches
  for key, budgets in claim.rows.items():
    row = judge[key]
    if row == '' and key in claim.optional:
      continue
    require(
      row in searches,
      f'config.judge.{key} is {row!r}: choose a row of config.evaluate.searches, '
      f'{", ".join(searches)}',
    )
    asked = sum(np.size(searches[row][kind]) for kind in ('tokens', 'units'))
    require(
      asked >= budgets,
      f'config.evaluate.searches.{row} asks {asked} budgets, and {name} needs {budgets} of it: '
      f'give config.evaluate.searches.{row}.tokens more',
    )
  if claim.samples:
    _check_samples(config, claim)
  lacks = [split for split in claim.splits if split not in config.evaluate.splits]
  require(
    not lacks,
    f'config.evaluate.splits={tuple(config.evaluate.splits)}: {name} judges by '
    f'{" and ".join(claim.splits)} problems, so add {", ".join(lacks)}',
  )


def _check_samples(config, claim):
  """Refuses what a judge of samples cannot read. What is no row of searches at all is refused
  later."""
  judge, searches = config.judge, config.evaluate.searches
  require(
    len(searches) == 1,
    f'config.evaluate.searches has {", ".join(searches)}: {judge.name} reads one row alone',
  )
  ((name, row),) = searches.items()
  drawn = row.most * np.size(row.draws) if isinstance(row.most, int) else 0
  sampling = row.method not in SEARCHES or SEARCHES[row.method].independent
  require(
    sampling and np.size(row.tokens) + np.size(row.units),
    f'config.evaluate.searches.{name} samples no solutions by themselves: {judge.name} needs units '
    f'or tokens of method {" or ".join(n for n, row in SEARCHES.items() if row.independent)}',
  )
  for key in claim.samples:
    require(
      judge[key] <= drawn,
      f'config.judge.{key}={judge[key]}, and config.evaluate.searches samples {drawn} solutions of '
      f'a problem: give at most {drawn}, or more of `most` or `draws`',
    )


def check(made: Sequence[Job]) -> None:
  """Refuses a study of which one run cannot work, before the first is measured.

  Raises:
    ConfigError: a start has not ended or is of something else, or a search cannot work.
  """
  for job in made:
    try:
      graph.in_order(job.config)
      graph.home(job.config, job.workdir)
      graph.require_starts(job.config, job.workdir)
      check_searches(job.config)
    except ConfigError as error:
      raise ConfigError(f'{job.start}, {job.workdir.name}: {error}') from None


def jobs(study: ConfigDict, workdir: str | pathlib.Path, seeds: int) -> list[Job]:
  """The runs of a study, of each start as many as there are seeds, each in the folder of its seed.

  Raises:
    ConfigError: there is no start, one is no stage of a run, or seeds share one.
  """
  workdir = pathlib.Path(workdir).expanduser()
  require_free(workdir, NUMBERS, '--workdir')
  starts = {name: pattern for name, pattern in study.starts.items() if pattern}
  require(
    bool(starts),
    f'config.starts.{" and config.starts.".join(study.starts)} are empty: give at least one, as '
    f'FOLDER:STAGE',
  )
  found = []
  for name, pattern in starts.items():
    require(
      seeds == 1 or SEED in pattern,
      f'config.starts.{name}={pattern!r} is one run, and --seeds={seeds} asks for several: write '
      f'{SEED} where the folders of the seeds differ',
    )
    made = [_run_config(study, name, pattern.replace(SEED, f'{n}')) for n in range(seeds)]
    shared = len({config.seed for config in made}) < seeds
    require(not shared, f'config.starts.{name}={pattern!r}: two of its runs have the same seed')
    # By the run's own seed: of several commands with one start each, none finds another's folder.
    found += [Job(name, workdir / name / f'seed-{config.seed}', config) for config in made]
  return found


def _run_config(study, name, start) -> ConfigDict:
  """The config of the run that a stage is of, but that it measures what the study asks."""
  folder, stage = graph.reference(start)
  require(folder, f'config.starts.{name}={start!r} names no run: write it as FOLDER:STAGE')
  place = graph.find(folder, pathlib.Path.cwd())
  config = complete(load_config(place)).copy_and_resolve_references().unlock()
  for key in list(config):
    if isinstance(config[key], ConfigDict) and kind_of(config, key) in o1jax.recipes.STAGES:
      del config[key]
  rows = tuple(study.evaluate.searches)
  config.stages = ('evaluate', 'report')
  config.evaluate = ConfigDict(study.evaluate.to_dict())
  config.evaluate.policies = {stage: dict(stages=(f'{place}:{stage}',), searches=rows)}
  return complete(config)


def judged(study: ConfigDict, made: Sequence[Job]) -> list[Judged]:
  """The verdict of each start, of runs that have ended.

  Raises:
    ConfigError: the runs do not match, or the judge cannot work with what they measured.
  """
  found = []
  for name in dict.fromkeys(job.start for job in made):
    mine = [job for job in made if job.start == name]
    whole = together([job.workdir for job in mine])
    arms = tuple(_arm(mine[0].config, row) for row in mine[0].config.evaluate.searches)
    evidence = Evidence(arms, measured(whole.rows, whole.table), whole.table)
    settings = {k: v for k, v in study.judge.items() if k not in ('name', 'starts')}
    try:
      verdict = CLAIMS[study.judge.name].judge(evidence, **settings)
    except ValueError as error:
      raise ConfigError(f'{name}: {error}') from None
    found.append(Judged(name, whole, evidence, verdict))
  return found


def _arm(config, name):
  row = row_of(config, name)
  tree = not SEARCHES[row.method].independent
  return Arm(name, tuple(row.labels.values()), tree, row.flips)


def overall(study: ConfigDict, found: Sequence[Judged]) -> str:
  """The verdict over all starts: it holds where it does at `judge.starts` of them, 0 = all that the
  config names, and fails where it can no longer. A start that was not given is open."""
  needed = study.judge.get('starts', 0) or len(study.starts)
  holds = sum(one.verdict.verdict == HOLDS for one in found)
  fails = sum(one.verdict.verdict == FAILS for one in found)
  if holds >= needed:
    return HOLDS
  return FAILS if len(study.starts) - fails < needed else UNDECIDED
