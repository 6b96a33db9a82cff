"""The tree that a search needs for what it may spend."""

from typing import NamedTuple


class Room(NamedTuple):
  """A tree [B, X, A, L], to be made.

  Attributes:
    slots: X.
    candidates: A.
    last: how many slots at the end hold what is never expanded, so that its keys are not kept.
    width: W, how many nodes are expanded at once.
  """

  slots: int
  candidates: int
  last: int = 0
  width: int = 1
