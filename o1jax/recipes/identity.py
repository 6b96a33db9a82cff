"""What makes a run what it is, to tell it from others: its settings, but for those that may differ
each time it is continued and those that change nothing."""

from typing import Any

from o1jax.recipes.idle import idle
from o1jax.recipes.settings import complete
from o1jax.runtime.config import FREE_KEYS, ConfigDict, differences, flatten, is_under, unflatten


def bound(config: ConfigDict) -> dict[str, Any]:
  """The settings that make a run what it is, by name; the config is complete."""
  unread = {each.key for each in idle(config)}
  return {
    f'config.{key}': value
    for key, value in flatten(config).items()
    if key not in unread and not is_under(key, FREE_KEYS)
  }


def changes(old: ConfigDict, new: ConfigDict) -> dict[str, tuple[str, str]]:
  """`differences` of two configs, each complete, in settings that one of them reads."""
  old, new = complete(old), complete(new)
  unread = {each.key for each in idle(old)} & {each.key for each in idle(new)}
  return {key: pair for key, pair in differences(old, new).items() if key not in unread}


def complete_identity(identity: dict[str, Any]) -> dict[str, Any]:
  """The identity of a checkpoint as it would be written today, see `Run.keeping`."""
  prefix = 'config.'
  leaves = {key.removeprefix(prefix): x for key, x in identity.items() if key.startswith(prefix)}
  others = {key: x for key, x in identity.items() if not key.startswith(prefix)}
  return bound(complete(unflatten(leaves))) | others if leaves else identity
