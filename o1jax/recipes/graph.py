"""The stages of a run as a graph: each names the stage that it starts from, of this run or another.

A reference is 'STAGE', of this run, or 'FOLDER:STAGE', of the run in another workdir. Such a start
is shared and not copied: parameters, tokenizer and data are read where they lie.
"""

import hashlib
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import o1jax.recipes
from o1jax.recipes.experiment import tokenizer_digest
from o1jax.recipes.identity import bound
from o1jax.recipes.settings import complete, kind_of
from o1jax.runtime.checkpoint import Checkpoints
from o1jax.runtime.config import (
  FREE_KEYS,
  ConfigDict,
  ConfigError,
  compare,
  flatten,
  is_under,
  require,
)
from o1jax.runtime.workdir import load_config

# What a run has in common with one that it starts from.
SHARED = ('task', 'data', 'tokenizer', 'shapes', 'model')


class Reference(NamedTuple):
  """A stage, and the folder of its run; '' for the run that names it."""

  folder: str
  stage: str


def reference(text: str) -> Reference:
  """What a config says as 'STAGE' or 'FOLDER:STAGE'."""
  folder, _, stage = text.rpartition(':')
  return Reference(folder, stage)


def in_order(config: ConfigDict) -> list[str]:
  """The stages that the config lists, each after those that it needs.

  Raises:
    ConfigError: one is no stage, or they start from each other in a circle.
  """
  for name in config.stages:
    _require_stage(config, name)
  for name, start in starts(config).items():
    if not reference(start).folder:
      _require_stage(config, start, of=f'config.{name}.start=', makes=True)
  _require_policies(config)
  ordered: list[str] = []

  def visit(name, above):
    if name in above:
      circle = ' -> '.join([*above[above.index(name) :], name])
      raise ConfigError(f'config.{name}.start leads in a circle, {circle}: start one elsewhere')
    for before in _needs(config, name):
      visit(before, [*above, name])
    if name not in ordered:
      ordered.append(name)

  for name in config.stages:
    visit(name, [])
  return [name for name in ordered if name in config.stages]


def starts(config: ConfigDict) -> dict[str, str]:
  """{stage: what it starts from} of all stages of the config that start from a stage."""
  found = {name: config[name].get('start') for name in config if _is_stage(config, name)}
  return {name: start for name, start in found.items() if start}


def elsewhere(config: ConfigDict) -> list[tuple[str, str]]:
  """(dotted key, 'FOLDER:STAGE') of all that a config takes from other runs: what its stages start
  from, and the policies that it measures."""
  found = [(f'{name}.start', start) for name, start in starts(config).items()]
  for name, policy in config.get('evaluate', {}).get('policies', {}).items():
    found += [(f'evaluate.policies.{name}.stages', stage) for stage in policy.stages]
  return [(key, text) for key, text in found if reference(text).folder]


def home(config: ConfigDict, workdir: pathlib.Path) -> pathlib.Path:
  """The workdir that holds the data and the tokenizer of a run: its own, or that of the run that
  its stages start from, or whose policies it measures.

  Raises:
    ConfigError: there is no such run or stage, it has other settings, or there are several.
  """
  return _home(config, workdir, [workdir])


def require_starts(config: ConfigDict, workdir: pathlib.Path) -> None:
  """Refuses a stage to run that starts from one which neither has ended nor runs before it, or one
  that measures where no policy will be made."""
  for name in config.stages:
    start = starts(config).get(name)
    if start and not _will_end(config, start, workdir):
      folder, stage = reference(start)
      way = f'add {stage} to config.stages'
      if folder:
        way = f'let {find(folder, workdir)} reach it first'
      raise ConfigError(
        f'config.{name}.start={start!r} has not ended: {way}, or start from another'
      )
    if o1jax.recipes.STAGES[kind_of(config, name)].needs == 'parameters':
      require_policies(config, lambda stage: _will_end(config, stage, workdir))


def require_policies(config: ConfigDict, made: Callable[[str], bool]) -> None:
  """Refuses to measure where no stage of a policy is `made`; the message names the stages."""
  wanted = measured(config)
  stages = dict.fromkeys(stage for stages in wanted.values() for stage in stages)
  require(
    any(map(made, stages)),
    f'evaluate has nothing to measure: none of its policies ({", ".join(wanted)}) is made; run '
    f'first one of the stages {", ".join(stages)}, or name a stage of another run as FOLDER:STAGE '
    'in config.evaluate.policies.NAME.stages',
  )


def _will_end(config, text, workdir):
  """Whether a stage, of this run or another, has ended, or runs in this one."""
  folder, stage = reference(text)
  if not folder and stage in config.stages:
    return True
  place = find(folder, workdir) if folder else workdir
  return Checkpoints(place / 'checkpoints' / f'{stage}_params').latest_step() is not None


def identity(config: ConfigDict, workdir: pathlib.Path) -> dict[str, Any]:
  """What the checkpoints of a run belong to: its settings, its tokenizer, and the run that it
  starts from."""
  found = bound(config) | dict(tokenizer=tokenizer_digest(home(config, workdir)))
  for folder in {reference(text).folder for _, text in elsewhere(config)}:
    found['start'] = _origin(find(folder, workdir))
  return found


def measured(config: ConfigDict) -> dict[str, tuple[str, ...]]:
  """{policy: stages, of which the first that has ended is measured}, in the order of the stages."""
  order = [*config.stages, *o1jax.recipes.STAGES]
  rank = lambda item: order.index(item[1][0]) if item[1][0] in order else len(order)
  found = {name: tuple(policy.stages) for name, policy in config.evaluate.policies.items()}
  return dict(sorted(found.items(), key=rank))


def trains_critic(config: ConfigDict, name: str) -> bool:
  """Whether a stage has a trained critic: it searches, its critic learns otherwise, or that of one
  that it starts from does. A stage of another run is taken to have one."""
  folder, name = reference(name)
  section = config.get(name, {})
  if folder or 'search' in section or 'critic' in section.get('learns', ()):
    return True
  return 'start' in section and trains_critic(config, section['start'])


def find(folder: str, workdir: pathlib.Path) -> pathlib.Path:
  """The workdir that a reference of the run in `workdir` names: seen from the current folder, or
  else from one of those above the run's own. ConfigError where there is none."""
  places = [
    base / pathlib.Path(folder).expanduser() for base in (pathlib.Path.cwd(), *workdir.parents)
  ]
  for place in places:
    if (place / 'config.json').exists():
      return place.resolve()
  raise ConfigError(f'{folder} holds no run (looked for as {places[0]}): give the workdir of one')


def _origin(place) -> str:
  """A digest of another run, by its config as it was written: what a later version fills in is no
  other run."""
  config = load_config(place)
  found = {key: x for key, x in flatten(config).items() if not is_under(key, FREE_KEYS)}
  full = complete(config)
  found['tokenizer'] = tokenizer_digest(home(full, place))
  folders = {reference(text).folder for _, text in elsewhere(full)}
  found['start'] = sorted(_origin(find(folder, place)) for folder in folders)
  return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()


def _home(config, workdir, seen):
  folders = {}
  for key, text in elsewhere(config):
    folders.setdefault(find(reference(text).folder, workdir), []).append((key, text))
  require(
    len(folders) <= 1,
    f'the config takes from several other runs, {", ".join(map(str, folders))}: a run shares the '
    'data of one',
  )
  if not folders:
    return workdir
  ((place, taken),) = folders.items()
  key = f'config.{taken[0][0]}={taken[0][1]!r}'
  circle = ' -> '.join(map(str, [*seen, place]))
  require(place not in seen, f'{key} leads in a circle, {circle}: start from another run')
  other = complete(load_config(place))
  shared = lambda c: {k: v for k, v in flatten(c).items() if is_under(k, SHARED)}
  differing = compare(shared(other), shared(config))
  listing = ', '.join(
    f'{k} is {there} there and {here} here' for k, (there, here) in differing.items()
  )
  require(
    not differing, f'{key} is of a run with other settings: {listing}; use those, or another start'
  )
  for key, text in taken:
    _require_stage(other, reference(text).stage, of=f'config.{key}={text!r} names ', makes=True)
  return _home(other, place, [*seen, place])


def _needs(config, name):
  """The stages of this run that one starts from or reads."""
  kind = kind_of(config, name)
  needs = o1jax.recipes.STAGES[kind].needs
  if needs == 'parameters':
    policies = config.evaluate.policies.values()
    named = [text for policy in policies for text in policy.stages]
  elif needs == 'results':
    named = [stage for stage in config.stages if stage != name]
  else:
    named = [starts(config)[name]] if name in starts(config) else []
  own = [r.stage for r in map(reference, named) if not r.folder]
  return [stage for stage in own if stage in config or stage in o1jax.recipes.STAGES]


def _require_policies(config):
  """Refuses a policy of no stage, or of one of this run that makes no parameters."""
  for name, policy in config.get('evaluate', {}).get('policies', {}).items():
    of = f'config.evaluate.policies.{name}.stages'
    require(
      policy.stages and all(isinstance(stage, str) for stage in policy.stages),
      f'{of}={tuple(policy.stages)}: name at least one stage',
    )
    for stage in policy.stages:
      if not reference(stage).folder:
        _require_stage(config, stage, of=f'{of} names ', makes=True)


def _is_stage(config, name):
  return isinstance(config[name], ConfigDict) and kind_of(config, name) in o1jax.recipes.STAGES


def _require_stage(config, name, of='config.stages names ', *, makes=False):
  """Refuses a name that is no stage, or one that makes no parameters."""
  rows = {stage: o1jax.recipes.STAGES.get(kind_of(config, stage)) for stage in config}
  rows = {stage: row for stage, row in {**o1jax.recipes.STAGES, **rows}.items() if row}
  known = [stage for stage, row in rows.items() if not makes or row.needs in ('', 'start')]
  what = 'is no stage' if name not in rows else 'makes no parameters'
  require(name in known, f'{of}{name!r}, which {what}: choose from {", ".join(known)}')
  require(
    name in config or not rows[name].defaults,
    f'{of}{name!r}, and the config has no section of that name: take a config that has one',
  )
