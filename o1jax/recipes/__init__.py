"""Recipes: a config becomes functions, and a job runs its stages.

`STAGES` is the table of kinds of stages: another one is a function, and a row. A config lists names
of stages; the section of a name says its kind and what it starts from (see `graph`).
"""

from collections.abc import Callable
from typing import NamedTuple

from o1jax.evaluation.splits import TEST
from o1jax.recipes import build, labelling, measure, programs, stages


class Stage(NamedTuple):
  """A kind of stage.

  run: (Run, name) does it.
  words: what it is, for people.
  check: (Experiment, name, devices) refuses settings that cannot work. Compiles nothing.
  ahead: (Programs, name) -> [(name, make)] of the programs that it will ask for.
  needs: 'start' = parameters of the stage it starts from; 'parameters' = those of the policies that
    are measured; 'results' = whatever the others leave; '' = nothing. A stage that needs '' or
    'start' makes parameters.
  defaults: settings of its section, for those that a config lacks.
  """

  run: Callable
  words: str
  check: Callable
  ahead: Callable
  needs: str
  defaults: dict


_SEARCHING = dict(updates_per_call=1, minibatches=1, passes=1, tokens=0)

STAGES = {
  'initialise': Stage(
    stages.initialise,
    'pre-training on plain text, then instruction tuning',
    build.check_initialise,
    programs.ahead_of_initialise,
    '',
    {},
  ),
  'reward': Stage(
    stages.reward,
    'the critic learns from the outcomes of sampled solutions',
    build.check_searching,
    programs.ahead_of_searching,
    'start',
    dict(start='initialise') | _SEARCHING,
  ),
  'learn': Stage(
    stages.learn,
    'search and learn: cloning, then policy gradient',
    build.check_searching,
    programs.ahead_of_learn,
    'start',
    dict(start='reward') | _SEARCHING,
  ),
  'supervised': Stage(
    stages.supervised,
    'next-token training on demonstrations',
    build.check_supervised,
    programs.ahead_of_supervised,
    'start',
    dict(validate_every=0, rehearsal=0.0),
  ),
  'label': Stage(
    labelling.label,
    'the critic learns from labelled steps of given solutions',
    labelling.check_label,
    labelling.ahead_of_label,
    'start',
    labelling.DEFAULTS,
  ),
  'evaluate': Stage(
    measure.evaluate,
    'accuracy of the policies by method and budget',
    build.check_evaluate,
    programs.ahead_of_evaluate,
    'parameters',
    dict(aggregate='last', splits=(TEST,)),
  ),
  'report': Stage(
    measure.report,
    'the report',
    lambda experiment, name, devices: None,
    lambda programs, name: [],
    'results',
    {},
  ),
}
