"""Settings that change nothing under the others: of a loss without weight, of a baseline that no
loss reads, of processes that are not started.

One that is not at its default is refused, so that nobody tunes what is not read. At its default it
is no part of what a run is.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from o1jax.learning import LOSSES, credit_defaults
from o1jax.recipes.growth import allocate_of, rule_of
from o1jax.recipes.objectives import credit_read, reads_returns, weighed
from o1jax.recipes.settings import JOB
from o1jax.runtime.config import ConfigDict, flatten, require
from o1jax.search import STOPS
from o1jax.search.allocate import DEFAULTS as SHARING
from o1jax.verify import JUDGES


class Idle(NamedTuple):
  """A setting that has no effect: its dotted key, its default, and what would give it one."""

  key: str
  default: Any
  way: str


def idle(config: ConfigDict) -> list[Idle]:
  """The settings of a complete config that change nothing."""
  found = [*_verifier(config), *_stops(config), *_shares(config)]
  for name, section in config.items():
    if isinstance(section, ConfigDict) and 'weights' in section:
      found += [*_losses(name, section), *_credit(name, section)]
  leaves = flatten(config)
  return [each for each in found if each.key in leaves]


def refuse_idle(config: ConfigDict) -> None:
  """Raises ConfigError for a setting that has no effect and is not at its default."""
  leaves = flatten(config)
  for key, default, way in idle(config):
    require(
      leaves[key] == default,
      f'config.{key}={leaves[key]} has no effect: {way}, or leave it at {default}',
    )


def _verifier(config) -> Iterator[Idle]:
  """What is said of the host's processes where the device judges, and of a sandbox where no program
  is run."""
  settings = config.get('verifier', {})
  rows = [JUDGES[name] for name in (settings.get('by'),) if name in JUDGES]
  if not any(row.sandboxed for row in rows):
    judges = ' or '.join(name for name, row in JUDGES.items() if row.sandboxed)
    yield Idle('verifier.sandbox', JOB['verifier']['sandbox'], f'set config.verifier.by={judges}')
  if settings.get('where') == 'device':
    for key, default in JOB['verifier'].items():
      if key not in ('where', 'by', 'sandbox'):
        yield Idle(f'verifier.{key}', default, 'set config.verifier.where=host')


def _stops(config) -> Iterator[Idle]:
  """What only other rules than a search's own read."""
  for name, search in config.get('evaluate', {}).get('searches', {}).items():
    read = STOPS[rule_of(search)].settings if rule_of(search) in STOPS else {}
    for rule, row in STOPS.items():
      for key, default in row.settings.items():
        if key not in read:
          at = f'evaluate.searches.{name}.stop'
          yield Idle(f'{at}.{key}', default, f'set config.{at}.rule={rule}')


def _shares(config) -> Iterator[Idle]:
  """How a total is shared, where each problem gets as much."""
  for name, search in config.get('evaluate', {}).get('searches', {}).items():
    if not allocate_of(search):
      at = f'evaluate.searches.{name}.allocate'
      way = f'choose another config.{at}.rule'
      yield from (Idle(f'{at}.{key}', x, way) for key, x in SHARING.items() if key != 'rule')


def _losses(name, section) -> Iterator[Idle]:
  for loss, row in LOSSES.items():
    if loss not in weighed(section):
      for key, default in row.defaults.items():
        yield Idle(f'{name}.losses.{loss}.{key}', default, f'give config.{name}.weights.{loss}')


def _credit(name, section) -> Iterator[Idle]:
  read = credit_read(section)
  used = {*read, *(key for row in read.values() for key in row.defaults)}
  used |= {'gamma', 'reward'} if reads_returns(section) else set()
  way = f'give config.{name}.weights, or choose a part of config.{name}.credit, that reads it'
  for key, default in credit_defaults().items():
    if key in used:
      continue
    if isinstance(default, dict):
      yield from (Idle(f'{name}.credit.{key}.{k}', x, way) for k, x in default.items())
    else:
      yield Idle(f'{name}.credit.{key}', default, way)
