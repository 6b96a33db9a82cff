"""What a config section learns by: its losses and their weights, its credit, the roles that learn,
the draw of its problems, and whether its search provides for them."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from o1jax.learning import (
  CREDIT,
  DRAWS,
  LOSSES,
  NEEDS,
  OF_SEARCH,
  OF_TASK,
  Row,
  check_setting,
  credit_defaults,
  loss_defaults,
)
from o1jax.learning.credit import check_credit
from o1jax.learning.draw import empty_record
from o1jax.learning.objective import Objective, Weights, reads_frozen
from o1jax.learning.optimizer import LEARNS, init_state
from o1jax.reward import OUTCOME, SCORES
from o1jax.runtime.config import ConfigDict, require
from o1jax.types import Draw, Params, TrainState

MIXES = ('weights', 'warmup_weights')  # of a section, one of which is in force


def section_defaults() -> dict[str, Any]:
  """The settings of learning that an older config may lack, with what they were then.
  `learning.RENAMED` has those that had another name."""
  return dict(
    learns=LEARNS,
    credit=credit_defaults(),
    losses=loss_defaults(),
    weights=dict.fromkeys(LOSSES, 0.0),
    draw=dict(name=next(iter(DRAWS))),
  )


def weights(section: ConfigDict, mix: str = 'weights') -> Weights:
  """Loss weights of a section, as arrays, so that other weights do not retrace.

  Every loss that has a weight at any time of the stage is named. The others are not in the program.
  """
  return {name: jnp.float32(section[mix][name]) for name in weighed(section)}


def weighed(section: ConfigDict) -> tuple[str, ...]:
  """The losses that have a weight at any time of the stage."""
  mixes = [section[mix] for mix in MIXES if mix in section]
  return tuple(name for name in LOSSES if any(mix.get(name, 0.0) for mix in mixes))


def credit_read(section: ConfigDict) -> dict[str, Row]:
  """The parts of credit that a loss with a weight reads, each as its row. An advantage may read the
  critic's targets in its turn."""
  rows = {part: table[section.credit[part]] for part, table in CREDIT.items()}
  read = {part for loss in weighed(section) for part in LOSSES[loss].credit if part in rows}
  read |= {other for part in read for other in rows[part].credit}
  return {part: row for part, row in rows.items() if part in read}


def reads_returns(section: ConfigDict) -> bool:
  """Whether a loss with a weight reads what solutions return, and so their reward and discount."""
  return any(LOSSES[loss].credit for loss in weighed(section))


def objective(section: ConfigDict, *, temperature: float) -> Objective:
  """The static settings of a section's losses."""
  return Objective(
    temperature=temperature or 1.0, tokens=section.tokens, losses=section.losses.to_dict()
  )


def credit_settings(section: ConfigDict) -> dict[str, Any]:
  """Keyword settings of `assign_credit`. Parts of the reward without a weight are left out."""
  settings = section.credit.to_dict()
  settings['reward'] = {name: weight for name, weight in settings['reward'].items() if weight}
  return settings


def scores_read(section: ConfigDict) -> tuple[str, ...]:
  """The scores that the reward of a section reads, which its search then writes on the tree."""
  return tuple(name for name in credit_settings(section)['reward'] if name != OUTCOME)


def draw(section: ConfigDict) -> Draw:
  """How a section draws its problems."""
  settings = section.draw.to_dict()
  return functools.partial(DRAWS[settings.pop('name')].function, **settings)


def searching_state(
  params: Params, section: ConfigDict, optimizer: optax.GradientTransformation, *, problems: int
) -> TrainState:
  """Where a stage of searching and learning starts. A frozen policy is kept only where a loss reads
  it, and a record of the pool's problems, so many, only where their draw does."""
  frozen = {}
  if reads_frozen(weighed(section)):
    frozen = dict(reference=jax.tree.map(jnp.copy, params['policy']))
  record = empty_record(problems) if 'record' in DRAWS[section.draw.name].needs else None
  return init_state(params, optimizer, frozen=frozen, learns=tuple(section.learns), record=record)


def check_learning(name: str, section: ConfigDict, provides: frozenset[str]) -> None:
  """Refuses a section that cannot learn what it asks for, before anything is compiled.

  Args:
    name: of the stage.
    section: its config.
    provides: what its search provides, of `learning.NEEDS`.
  """
  for mix in MIXES:
    for loss, weight in section.get(mix, {}).items():
      require(
        loss in LOSSES,
        f'config.{name}.{mix}.{loss} is a weight of no loss: choose from {", ".join(LOSSES)}',
      )
      require(weight >= 0, f'config.{name}.{mix}.{loss}={weight}: give at least 0')
  require(section.tokens >= 0, f'config.{name}.tokens={section.tokens}: give at least 0')
  require(
    bool(weighed(section)),
    f'config.{name}.weights are all 0, so nothing is learned: give one of {", ".join(LOSSES)}',
  )
  for loss, settings in section.losses.items():
    unknown = sorted(set(settings) - set(LOSSES[loss].defaults)) if loss in LOSSES else [loss]
    require(not unknown, f'config.{name}.losses.{loss} has no setting {", ".join(unknown)}')
    for setting, value in settings.items():
      _checked(f'config.{name}.losses.{loss}', check_setting, setting, value)
  credit = credit_settings(section)
  _checked(f'config.{name}.credit', lambda: check_credit(**credit))
  missing = sorted(set(credit['reward']) - {OUTCOME, *SCORES})
  require(
    not missing,
    f'config.{name}.credit.reward names {", ".join(missing)}, which nothing writes on a tree: '
    f'choose from {", ".join((OUTCOME, *SCORES))}',
  )
  unknown = sorted(set(section.learns) - set(LEARNS))
  require(
    section.learns and not unknown,
    f'config.{name}.learns={tuple(section.learns)}: choose from {", ".join(LEARNS)}',
  )
  _check_needs(name, section, {*provides, *NEEDS.keys() - OF_SEARCH.keys() - OF_TASK.keys()})
  _check_draw(name, section.draw.to_dict())


def _check_draw(stage, settings):
  name = settings.pop('name')
  require(
    name in DRAWS,
    f'config.{stage}.draw.name is {name!r}: choose one of {", ".join(DRAWS)}',
  )
  unknown = sorted(set(settings) - set(DRAWS[name].defaults))
  require(not unknown, f'config.{stage}.draw has no setting {", ".join(unknown)}')
  for setting, value in settings.items():
    _checked(f'config.{stage}.draw', check_setting, setting, value)


def _check_needs(name, section, provides):
  asked = {f'weights.{loss}': LOSSES[loss] for loss in weighed(section)}
  asked |= {
    f'credit.{part}={section.credit[part]}': row for part, row in credit_read(section).items()
  }
  for key, row in asked.items():
    for need in row.needs:
      require(
        need in provides,
        f'config.{name}.{key} needs {NEEDS[need]}, which {_provider(section, need)} '
        'does not provide: choose another or leave it out',
      )


def _provider(section, need):
  return 'the task' if need in OF_TASK else f'search.method={section.search.method}'


def needs_oracle(section: ConfigDict) -> bool:
  """Whether a part of credit that a loss reads needs exact verdicts on prefixes."""
  return any(need in OF_TASK for row in credit_read(section).values() for need in row.needs)


def _checked(key, check, *args):
  try:
    check(*args)
  except ValueError as error:
    require(False, f'{key}: {error}')
