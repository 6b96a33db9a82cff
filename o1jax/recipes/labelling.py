"""The stage in which a critic learns from labelled steps: of the solutions in a file, or of some
that the task makes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from o1jax.data import LABELS, LabelledSolution, pipeline
from o1jax.data.spelled import NEUTRALS, label_rows
from o1jax.learning.labelled import labelled_update
from o1jax.learning.optimizer import LEARNS, build_optimizer, init_state
from o1jax.recipes.build import supervised_mesh
from o1jax.recipes.experiment import Experiment
from o1jax.recipes.judging import read_labels, require_silent, spelled
from o1jax.recipes.programs import Program, Programs, compiled, lower
from o1jax.recipes.run import Run
from o1jax.recipes.stages import on_batches
from o1jax.runtime.config import ConfigDict, require
from o1jax.runtime.mesh import problem_sharding, with_sharding
from o1jax.types import LabelledRows, Params, TrainState

DEFAULTS = dict(
  start='initialise',
  file='',  # of labelled solutions
  solutions=0,  # the first so many, 0 = all; of made ones, those of the training problems
  neutral='half',  # what a neutral step teaches
  keep=0.0,  # weight of the KL to the policy that the stage starts from
  learns=LEARNS,
)


def label(run: Run, name: str) -> None:
  """The critic learns to tell right steps from wrong ones by labels that others gave, and the
  policy is held to what it was."""
  e, section = run.experiment, run.experiment.config[name]
  stream = pipeline.batches(rows_of(e, name), batch_size=section.batch, seed=e.config.seed)
  program = _program(run.programs, name)
  show = ('loss_value', 'loss_kl') if section.keep else ('loss_value',)
  run.finish(name, on_batches(run, name, program, run.start(name), stream, show))


@functools.lru_cache(maxsize=4)
def rows_of(experiment: Experiment, name: str) -> LabelledRows:
  """The solutions of a stage as rows; those that take more than a row are left out with a warning.

  Raises:
    ConfigError: there are none, or none with a label fits.
  """
  section, room = experiment.config[name], experiment.config.shapes.row_length
  solutions = _solutions(experiment, section)
  pairs = zip(solutions, spelled(experiment, solutions), strict=True)
  fitting = [(one, row) for one, row in pairs if len(row.ids) <= room]
  kept = [(one, row) for one, row in fitting if any(x is not None for x in one.labels)]
  require(
    bool(kept),
    f'config.{name}: of {len(solutions)} solutions none that has a label fits in a row of '
    f'config.shapes.row_length={room} tokens: raise it, or give others',
  )
  if len(fitting) < len(solutions):
    logging.warning(
      '%s: %d of %d solutions take more than a row of %d tokens: they are left out',
      *(name, len(solutions) - len(fitting), len(solutions), room),
    )
  rows = label_rows(
    [row for _, row in kept],
    [one.labels for one, _ in kept],
    row_length=room,
    neutral=section.neutral,
  )
  require(
    bool(rows.mask.any()),
    f'config.{name}.neutral={section.neutral!r} leaves no label: choose another',
  )
  return rows


def _solutions(experiment, section) -> list[LabelledSolution]:
  size = experiment.config.data
  problems = functools.partial(
    experiment.task.problems, 'train', size.demonstrations + size.pool, experiment.config.seed
  )
  return read_labels(
    experiment, section.source, section.file, problems=problems, most=section.solutions
  )


def check_label(experiment: Experiment, name: str, devices) -> None:
  """Refuses settings of a stage that learns from labelled steps, and files that it cannot read."""
  config, section = experiment.config, experiment.config[name]
  source = section.get('source', '')
  require(
    source in LABELS, f'config.{name}.source is {source!r}: choose one of {", ".join(LABELS)}'
  )
  row = LABELS[source]
  if row.made:
    for key in ('file', 'neutral'):
      require(
        section[key] == DEFAULTS[key],
        f'config.{name}.{key}={section[key]!r} has no effect: source={source} reads no file, and '
        f'labels no step neutral; leave it at {DEFAULTS[key]!r}',
      )
  else:
    require(bool(section.file), f'config.{name}.file names no file of {source}: give its path')
  require(
    section.neutral in NEUTRALS,
    f'config.{name}.neutral is {section.neutral!r}: choose one of {", ".join(NEUTRALS)}',
  )
  for key, least in dict(batch=1, updates=0, solutions=0, keep=0).items():
    require(section[key] >= least, f'config.{name}.{key}={section[key]}: give at least {least}')
  _check_learns(name, section, own=experiment.model.config.own_critic)
  require_silent(experiment)
  build_optimizer(steps=section.updates, **section.optimizer.to_dict())
  supervised_mesh(config, section, devices)
  if name in config.stages and section.updates:
    rows_of(experiment, name)


def _check_learns(name, section, *, own):
  learns = tuple(section.learns)
  told = f'config.{name}.learns={learns}'
  policy, critic = LEARNS
  require(set(learns) <= {*LEARNS}, f'{told}: choose from {", ".join(LEARNS)}')
  require(critic in learns, f'{told}: it is the {critic} that learns from labels, name it')
  require(
    not section.keep or policy in learns,
    f'config.{name}.keep={section.keep} has no effect: the {policy} does not learn; leave it at 0',
  )
  require(
    policy not in learns or not own or section.keep,
    f'{told}: the critic has a trunk of its own, so labels do not reach the {policy}; leave it out',
  )


def _program(programs: Programs, name: str) -> Program:
  return programs.once(*for_label(programs, name))


def for_label(programs: Programs, name: str):
  """The name of the update of a stage, and what makes it."""
  e, section = programs.experiment, programs.experiment.config[name]

  def make():
    return compiled(*lower_label(e, section, supervised_mesh(e.config, section)))

  return name, make


def ahead_of_label(programs: Programs, name: str) -> list:
  """The update."""
  return [for_label(programs, name)]


def lower_label(experiment: Experiment, section: ConfigDict, mesh):
  """The update of a config section for the devices of a mesh, and what makes its first state."""
  e, optimizer = experiment, build_optimizer(steps=section.updates, **section.optimizer.to_dict())
  shape = section.batch, e.config.shapes.row_length
  of = lambda dtype, *shape: jax.ShapeDtypeStruct(shape, dtype)
  rows = LabelledRows(
    tokens=of(np.int32, *shape),
    length=of(np.int32, section.batch),
    segment=of(np.int32, *shape),
    written=of(bool, *shape),
    target=of(np.float32, *shape),
    mask=of(bool, *shape),
  )
  learns = tuple(section.learns)
  build = functools.partial(labelled_update, e.model, optimizer, keep=section.keep, learns=learns)

  def start(params: Params) -> TrainState:
    frozen = dict(reference=jax.tree.map(jnp.copy, params['policy'])) if section.keep else {}
    return init_state(params, optimizer, frozen=frozen, learns=learns)

  return lower(e, mesh, build, start, with_sharding(rows, problem_sharding(mesh)))
