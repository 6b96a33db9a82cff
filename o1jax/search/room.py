"""The size of tree that a search needs for what it may spend."""

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


def steps_of(ahead: int, max_steps: int) -> int:
  """S, the most steps of a chain that goes `ahead`, or to its end with 0."""
  return min(ahead or max_steps, max_steps)


def last_of(ahead: int, max_steps: int) -> int:
  """Steps of the chain that ends a search whose chains did not go to their end."""
  return max_steps - 1 if steps_of(ahead, max_steps) < max_steps else 0
