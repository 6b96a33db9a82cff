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
