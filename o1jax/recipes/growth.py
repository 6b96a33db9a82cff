"""What a row of the config's searches says of where a search goes on: the rule that stops it,
the thresholds that prune it, and which problems get more."""

from o1jax.runtime.config import ConfigDict, ConfigError, require
from o1jax.search import SEARCHES, STOPS
from o1jax.search.allocate import DEFAULTS as SHARING
from o1jax.search.allocate import EVEN, check_allocation
from o1jax.search.prune import DEFAULTS, check_prune
from o1jax.search.stop import NEVER, check_stop, defaults


def check_growth(section: ConfigDict, of: str) -> None:
  """Refuses a rule, or thresholds, that cannot work; `of` is the row in words."""
  _check_stop(section, of)
  _check_prune(section, of)
  _check_allocation(section, of)


def _check_stop(section, of):
  rule, alike = rule_of(section), [name for name, row in SEARCHES.items() if not row.in_one_go]
  require(
    rule == NEVER or section.method in alike,
    f'{of}.stop.rule={rule!r} has nothing to stop: {section.method} samples all at once; use one '
    f'of {", ".join(alike)}',
  )
  try:
    check_stop(defaults() | dict(section.get('stop', {})))
  except ValueError as error:
    raise ConfigError(f'{of}.stop.{error}') from None


def _check_prune(section, of):
  row, given = SEARCHES[section.method], dict(section.get('prune', {}))
  wanted = [f'{key}={value}' for key, value in given.items() if value]
  guided = ', '.join(name for name, other in SEARCHES.items() if other.prunes)
  require(
    row.prunes or not wanted,
    f'{of}.prune.{"".join(wanted[:1])} has nothing to prune: {section.method} samples whole '
    f'solutions; use one of {guided}',
  )
  require(
    row.branches or not given.get('sure'),
    f'{of}.prune.sure={given.get("sure")} has no effect: {section.method} samples one candidate of '
    'a step anyway; leave it at 0.0',
  )
  try:
    check_prune(DEFAULTS | given)
  except ValueError as error:
    raise ConfigError(f'{of}.prune.{error}') from None


def _check_allocation(section, of):
  given, row = SHARING | dict(section.get('allocate', {})), SEARCHES[section.method]
  several = ', '.join(name for name, other in SEARCHES.items() if other.several)
  require(
    row.several or given['rule'] == EVEN,
    f'{of}.allocate.rule={given["rule"]!r}: {section.method} spends as much on each problem; use '
    f'one of {several}',
  )
  try:
    check_allocation(given)
  except ValueError as error:
    raise ConfigError(f'{of}.allocate.{error}') from None


def allocate_of(section: ConfigDict) -> tuple[tuple[str, object], ...]:
  """How a total is shared, () where each problem gets as much."""
  found = dict(section.get('allocate', {}))
  return () if found.get('rule', EVEN) == EVEN else tuple(sorted(found.items()))


def prune_of(section: ConfigDict) -> tuple[tuple[str, float], ...]:
  """The thresholds, () where none prunes."""
  found = dict(section.get('prune', {}))
  return tuple(sorted(found.items())) if any(found.values()) else ()


def rule_of(section: ConfigDict) -> str:
  """The row of `search.STOPS` by which a search of the config's stops."""
  return section.get('stop', {}).get('rule', NEVER)


def stop_of(section: ConfigDict) -> tuple[tuple[str, object], ...]:
  """The rule and its own settings, () where nothing stops the search."""
  rule = rule_of(section)
  if rule == NEVER or rule not in STOPS:
    return ()
  return tuple(
    sorted([('rule', rule), *((key, section.stop[key]) for key in STOPS[rule].settings)])
  )
