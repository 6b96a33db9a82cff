"""The size of tree that a search needs for what it may spend."""

import math
import numbers
from collections.abc import Sequence
from typing import NamedTuple


class Room(NamedTuple):
  """The size of a tree [B, X, A, L].

  Attributes:
    slots: X.
    candidates: A.
    last: slots at the end whose content is never expanded, so that its keys are not kept.
    width: W, how many nodes are expanded at once.
  """

  slots: int
  candidates: int
  last: int = 0
  width: int = 1


def check_range(
  low: float, high: float = math.inf, *, whole: bool = False, **settings: float
) -> None:
  """Raises ValueError for the first of some settings that is not in [low, high], or not whole. What
  is traced passes, since nobody knows it yet."""
  for name, value in settings.items():
    if not isinstance(value, numbers.Real):
      continue
    if not low <= value <= high or whole and type(value) is not int:
      kind = 'a whole number' if whole else 'a number'
      among = f'of at least {low}' if high == math.inf else f'in [{low}, {high}]'
      raise ValueError(f'{name}={value}: give {kind} {among}')


def check_choice(known: Sequence[str], **settings: str) -> None:
  """Raises ValueError for the first of some settings that is none of those known."""
  for name, value in settings.items():
    if value not in known:
      raise ValueError(f'{name}={value!r} is unknown: choose {" or ".join(known)}')


def steps_of(ahead: int, max_steps: int) -> int:
  """S, the most steps of a chain that goes `ahead`, or to its end with 0."""
  return min(ahead or max_steps, max_steps)


def last_of(ahead: int, max_steps: int) -> int:
  """Steps of the chain that ends a search whose chains did not go to their end."""
  return max_steps - 1 if steps_of(ahead, max_steps) < max_steps else 0
