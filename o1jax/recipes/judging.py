"""A run's critic as a judge of steps that others wrote: labelled solutions are read, scored and
compared with their labels."""

import itertools
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from o1jax.data import LABELS, LabelledSolution
from o1jax.data.pipeline import check_tokenizer
from o1jax.data.spelled import Spelled, spell
from o1jax.evaluation.accuracy import equal_batches
from o1jax.evaluation.judging import Scored
from o1jax.model import forward
from o1jax.model.sharding import gather_to_host, put_global
from o1jax.recipes import graph
from o1jax.recipes.build import abstract_params
from o1jax.recipes.experiment import Experiment
from o1jax.recipes.run import Run
from o1jax.runtime.config import ConfigError, require, within
from o1jax.runtime.mesh import (
  build_mesh,
  problem_sharding,
  problem_shards,
  sharded_search,
  with_sharding,
)
from o1jax.runtime.metrics import Progress
from o1jax.runtime.waiting import waiting
from o1jax.types import Params, Problem

DATA = 'judge'  # report/data/judge.json
_TOKENS = 2**14  # of rows that are scored at once


class Judge(NamedTuple):
  """The critic of a policy of a run."""

  run: Run
  policy: str
  stage: str
  params: Params


def open_judge(workdir: str, *, policy: str | None = None) -> Judge:
  """The critic of a policy of the run in a workdir, by default of learned, or the first that it has
  made.

  Raises:
    ConfigError: the run has no such policy yet, no stage has trained its critic, or its task has a
      world, whose part of a text no label file tells.
  """
  run = Run.look(workdir)
  made, config = run.policies(), run.experiment.config
  name = policy or next((name for name in ('learned', *made) if name in made), None)
  wanted = f'policy {policy!r}' if policy else 'policy'
  known = ', '.join(config.evaluate.policies)
  way = f'choose from {", ".join(made)}, or ' if made else ''
  require(
    name in made, f'{run.workdir} has no {wanted} to judge, of {known}: {way}run the job first'
  )
  require(
    graph.trains_critic(config, made[name]),
    f'no stage has trained the critic of {name}, which is what the stage {made[name]} made: choose '
    'another policy',
  )
  require_silent(run.experiment)
  return Judge(run, name, made[name], run.params(made[name]))


def require_silent(experiment: Experiment) -> None:
  """Refuses a task with a world."""
  require(
    experiment.world is None,
    f'the task {experiment.task.name!r} has a world that speaks between steps, which labelled '
    'solutions do not tell from the steps: take another task',
  )


def read_labels(
  experiment: Experiment,
  source: str,
  path: str,
  *,
  problems: Callable[[], Sequence[Problem]],
  most: int = 0,
  skip_bad: bool = False,
) -> list[LabelledSolution]:
  """The solutions of a row of `data.LABELS`.

  Args:
    experiment: of the run.
    source: the row.
    path: of the file, '' where the row takes none.
    problems: those whose solutions are made, where they are.
    most: the first so many; 0 = all.
    skip_bad: see `data.records.read_lines`.

  Raises:
    ConfigError: the file, or the task, has no such solutions.
  """
  row = LABELS[source]
  try:
    if row.made:
      found = row.read(experiment.task, problems(), seed=experiment.config.seed)
    else:
      found = row.read(pathlib.Path(path).expanduser(), skip_bad=skip_bad)
    solutions = list(itertools.islice(found, most or None))
  except ValueError as error:
    raise ConfigError(str(error)) from None
  require(bool(solutions), f'{path or source} holds no labelled solutions: give another')
  return solutions


def score(
  experiment: Experiment, params: Params, solutions: Sequence[LabelledSolution]
) -> tuple[list[Scored], int]:
  """The critic's P(correct) after each step, and how many solutions were left out, since they take
  more than a row.

  Scores are of prompts and steps. Labels stand beside them in the result and are not read.

  Raises:
    ConfigError: the tokenizer is of another task, or no solution fits in a row.
  """
  room = experiment.config.shapes.row_length
  rows = spelled(experiment, solutions)
  fitting = [(one, row) for one, row in zip(solutions, rows) if len(row.ids) <= room]
  require(
    bool(fitting),
    f'none of {len(solutions)} solutions fits in a row of config.shapes.row_length={room} tokens: '
    f'the shortest takes {min(len(row.ids) for row in rows)}; judge shorter ones',
  )
  values = _values(experiment, params, [row for _, row in fitting])
  found = [
    Scored(one.prompt, [float(value[end]) for end in row.ends], one.labels)
    for (one, row), value in zip(fitting, values)
  ]
  return found, len(solutions) - len(fitting)


def spelled(experiment: Experiment, solutions: Sequence[LabelledSolution]) -> list[Spelled]:
  """The tokens of solutions, as the policies of a run write them. ConfigError for texts of another
  task."""
  e = experiment
  with within('tokenizer'):
    check_tokenizer(e.tokenizer, (text for one in solutions for text in (one.prompt, *one.steps)))
  return spell(e.tokenizer, solutions, markers=[part.marker for part in e.task.each()])


def _values(experiment, params, rows) -> list[np.ndarray]:
  """The critic's P(correct) after each token of each row."""
  room = experiment.config.shapes.row_length
  mesh = build_mesh(**experiment.config.mesh)
  size = equal_batches(len(rows), max(_TOKENS // room, 1), of=problem_shards(mesh))
  run, shardings = _compiled(experiment, size, room)
  params = put_global(params, shardings[0])
  found = []
  with Progress(len(rows), description='judge') as progress:
    for start in range(0, len(rows), size):
      batch = rows[start : start + size]
      tokens, length = np.zeros((size, room), np.int32), np.ones(size, np.int32)
      for i, row in enumerate(batch):
        tokens[i, : len(row.ids)], length[i] = row.ids, len(row.ids)
      values = gather_to_host(run(params, *put_global((tokens, length), shardings[1:])))
      found.extend(values[: len(batch)])
      progress.advance(len(batch), tokens=int(length.sum()))
  return found


def _compiled(experiment, size, room):
  """The program (params, tokens [B, T], length [B]) -> P(correct) after each token [B, T], and how
  its arguments are sharded."""
  e, mesh = experiment, build_mesh(size, **experiment.config.mesh)
  model = forward.decoder(e.model)

  def values(params, tokens, length):
    return jax.nn.sigmoid(forward.forward_rows(model, params, tokens, length).value[:, 0, 0])

  data = jax.ShapeDtypeStruct((size, room), np.int32), jax.ShapeDtypeStruct((size,), np.int32)
  with jax.set_mesh(mesh), waiting('compiling the judge'):
    run = jax.jit(sharded_search(e.model, values)).lower(
      abstract_params(e, mesh), *with_sharding(data, problem_sharding(mesh))
    )
    run = run.compile()
  return run, run.input_shardings[0]


def keep(run: Run, found: dict[str, Any]) -> pathlib.Path:
  """Adds a summary to report/data/judge.json of the run, in the place of one of the same file,
  format and policy. Returns the path."""
  path = run.workdir / 'report' / 'data' / f'{DATA}.json'
  before = json.loads(path.read_text()) if path.exists() else []
  same = lambda one: all(one.get(key) == found[key] for key in ('file', 'format', 'policy'))
  run.write_data(DATA, [*(one for one in before if not same(one)), found])
  return path
