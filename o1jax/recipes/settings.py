"""What a config leaves open, filled in, so that a new setting neither orphans an older run nor
changes it.

Each default here is what the code did before there was the setting.
"""

import inspect
from collections.abc import Callable
from typing import Any

import o1jax.recipes
from o1jax.data import FORMATS
from o1jax.learning import DRAWS, LOSSES
from o1jax.learning import RENAMED as LEARNING
from o1jax.learning.optimizer import build_optimizer
from o1jax.recipes import older
from o1jax.recipes.objectives import section_defaults
from o1jax.reward.guide import CRITIC
from o1jax.runtime.config import ConfigDict, ConfigError
from o1jax.search import SEARCHES
from o1jax.search.allocate import DEFAULTS as SHARING
from o1jax.search.prune import DEFAULTS as PRUNING
from o1jax.search.stop import defaults as stop_defaults
from o1jax.tasks import TASKS

JOB = dict(
  mesh=dict(data=0, fsdp=1, tensor=1),
  checkpoint=dict(seconds=60.0, updates=0),
  skip_limit=10,
  verifier=dict(
    where='device',
    by='task',
    sandbox='off',
    seconds=5.0,
    patience=600.0,
    workers=0,
    memory=1.0,
    unjudged=0.1,
  ),
  profile=False,
  fast_compile=False,
  data=dict(test_targets=0),
  model=dict(pretrained=''),
)
# {old key: new key}, dotted, of settings that were renamed; `learning.RENAMED` has those of stages
# that learn.
RENAMED: dict[str, str] = {}
ANY = object()
# Dotted keys of settings that are gone, and the value with which each had no effect on what a run
# learns and measures.
GONE = {
  'save_every': ANY,
  'evaluate.at_once': ANY,
  'evaluate.search.verify_leaves': ANY,
  'reward.slots': 0,
  'learn.slots': 0,
}
# Other names of the granularity 'tokens' in older configs: they did the same.
_TOKENS = ('token', 'solution')
# Stages whose parameters a policy's name stood for, before the config said so.
_POLICIES = {
  'initialised': ('reward', 'initialise'),
  'learned': ('learn',),
  'control': ('control',),
}


def complete(config: ConfigDict) -> ConfigDict:
  """The config with all settings that its sections can have, locked: what it lacks has the default
  of its row. Completing it again changes nothing.

  Raises:
    ConfigError: it has a setting that is gone and had an effect.
  """
  plain = _copy(config.to_dict())
  _rename(plain)
  _drop(plain)
  _fill(plain, JOB)
  sampling = plain.get('sampling', {})
  if sampling.get('granularity') in _TOKENS:
    sampling['granularity'] = 'tokens'
  _control(plain)
  for name, section in plain.items():
    row = o1jax.recipes.STAGES.get(_kind(name, section))
    if row:
      _fill(section, dict(kind=name) | row.defaults)
    if isinstance(section, dict):
      _fill_parts(section)
  if 'evaluate' in plain:
    _evaluate(plain['evaluate'])
  _task(plain.get('task', {}))
  return ConfigDict(plain).lock()


def kind_of(config: ConfigDict, name: str) -> str:
  """The kind of a stage, a key of `recipes.STAGES`: its section says so, or its name is one."""
  return _kind(name, config.get(name))


def _kind(name, section):
  """As `kind_of`; the name itself where neither says."""
  return section.get('kind', name) if isinstance(section, dict | ConfigDict) else name


def _copy(value):
  """A copy in which no two sections are one, as they may be in a config file."""
  return {key: _copy(x) for key, x in value.items()} if isinstance(value, dict) else value


def _fill(section: dict, defaults: dict) -> None:
  for key, value in defaults.items():
    if isinstance(value, dict) and isinstance(section.get(key), dict):
      _fill(section[key], value)
    else:
      section.setdefault(key, _copy(value))


def _fill_parts(section):
  """The parts of a section that have tables of their own."""
  for part, fill in _PARTS.items():
    if isinstance(section.get(part), dict):
      fill(section[part])
  if 'weights' in section:
    _fill(section, section_defaults())
  if isinstance(section.get('search'), dict) and section.get('kind') != 'evaluate':
    search = section['search']
    if 'budget' in search:
      former = search.pop('budget')
      if search.setdefault('units', former) != former:
        raise ConfigError(
          f'a search has budget={former}, the older name of units, and units={search["units"]}: '
          'give units alone'
        )
    _search(search)


def _evaluate(section):
  """The searches of the evaluation, and what each may say. Older configs are translated first."""
  if 'searches' not in section:
    older.translate(section)
  for name, policy in section.get('policies', {}).items():
    _fill(policy, dict(stages=_POLICIES.get(name, (name,)), searches=()))
  for search in section['searches'].values():
    _fill(search, dict(tokens=(), units=(), choices=('weighted',), draws=(0,)))
    _fill(search, dict(guide=CRITIC, flips=0.0))
    _fill(search, dict(most=_most(search['units'])))
    _search(search, testing=True)
    row = SEARCHES.get(search.get('method'))
    if row and not row.independent:
      _fill(search, dict(weigh=''))
    if row and not row.in_one_go:
      _fill(search, dict(stop=stop_defaults()))
    if row and row.several:
      _fill(search, dict(allocate=SHARING))
    if row and row.prunes:
      _fill(search, dict(prune=PRUNING))
  if section['searches']:
    name = min(section['searches'])
    section.setdefault('answer', dict(search=name, units=section['searches'][name]['most']))
    _fill(section['answer'], dict(tokens=0, units=0))


def _most(units):
  """Units that a row has room for where it does not say. What is no number is refused later."""
  units = units if isinstance(units, tuple | list) else ()
  return max([16, *(n for n in units if isinstance(n, int))])


def _search(search, *, testing=False):
  """What a search can have. What only another method has is dropped: it had no effect."""
  if search.get('method') not in SEARCHES:
    return
  own = _own(SEARCHES[search['method']], testing=testing)
  every = {key for row in SEARCHES.values() for key in _own(row)}
  for key in every - own.keys():
    search.pop(key, None)
  _fill(search, own)


def _own(row, *, testing=False):
  """The settings of a search beside its method and what it may spend."""
  tree = dict(candidates=4, replacement=True) if row.branches else {}
  if not row.independent:
    tree['verify_leaves'] = True
  if not testing:
    return tree | dict(row.settings)
  # A test-time search has no noise, and no verifier rewards it.
  tree.pop('verify_leaves', None)
  return tree | {key: value for key, value in row.settings.items() if key not in row.quiet}


def _keywords(function: Callable) -> dict[str, Any]:
  """The keyword settings of a function that have defaults."""
  found = inspect.signature(function).parameters.values()
  return {p.name: p.default for p in found if p.default is not p.empty}


def _optimizer(section):
  defaults = _keywords(build_optimizer)
  if section.get('name', defaults.pop('name')) != 'muon':
    defaults.pop('adam_learning_rate')  # of Adam beside Muon
  _fill(section, defaults)


def _draw(section):
  """What only another draw has is dropped: it had no effect."""
  row = DRAWS.get(section.get('name'))
  if row:
    for key in {key for other in DRAWS.values() for key in other.defaults} - row.defaults.keys():
      section.pop(key, None)
    _fill(section, row.defaults)


_PARTS = dict(
  draw=_draw,
  warmup_weights=lambda section: _fill(section, dict.fromkeys(LOSSES, 0.0)),
  optimizer=_optimizer,
)


def _task(section):
  """A task, or the parts of a mixture."""
  name = section.get('name')
  if name in TASKS | FORMATS:
    _fill(section, (TASKS | FORMATS)[name].defaults)
  for part in section.get('parts') or ():
    if isinstance(section.get(part), dict):
      _task(section[part])


def _control(plain):
  """The control was a part of the stage learn, at the rate of instruction tuning."""
  learn, instruct = plain.get('learn'), plain.get('instruct')
  if not isinstance(learn, dict) or not learn.pop('control', False):
    return
  steps = learn['minibatches']
  plain['control'] = dict(
    kind='supervised',
    start='reward',
    updates=learn['updates'] * steps,
    batch=instruct['batch'],
    rehearsal=instruct['rehearsal'],
    validate_every=learn['validate_every'] * steps,
    optimizer=_copy(instruct['optimizer']),
  )
  stages = list(plain.get('stages', ()))
  if 'learn' in stages:
    stages.insert(stages.index('learn') + 1, 'control')
    plain['stages'] = tuple(stages)


def _rename(plain):
  learning = [name for name, x in plain.items() if isinstance(x, dict) and 'weights' in x]
  theirs = {f'{n}.{old}': f'{n}.{new}' for n in learning for old, new in LEARNING.items()}
  for old, new in (RENAMED | theirs).items():
    found, value = _pop(plain, old)
    if found:
      *path, last = new.split('.')
      section = plain
      for part in path:
        section = section.setdefault(part, {})
      section.setdefault(last, value)


def _drop(plain):
  for key, idle in GONE.items():
    found, value = _pop(plain, key)
    if found and idle is not ANY and value != idle:
      raise ConfigError(
        f'config.{key}={value} is no setting any more, and it had an effect: use the version that '
        'wrote it (versions.json tells which), or another --workdir'
      )


def _pop(plain, key):
  """Takes a dotted key out of nested dicts. Returns whether it was there, and its value."""
  *path, last = key.split('.')
  for part in path:
    plain = plain.get(part)
    if not isinstance(plain, dict):
      return False, None
  return (True, plain.pop(last)) if last in plain else (False, None)
