"""The step format: a solution is a text of tagged steps. The tags name human-like reasoning
behaviours.

A step is `<tag>content`. `DELIMITER` closes every step but the last. The last one is the answer
step, and the end token closes it, which has no bytes. The behaviours are the six of Table 1 of
arXiv:2412.14135.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

BEHAVIOURS = ('analysis', 'decomposition', 'completion', 'alternative', 'evaluation', 'correction')
SILENT = ('analysis', 'decomposition')  # behaviours that change nothing of the work
TAGS = {behaviour: f'<{behaviour}>' for behaviour in BEHAVIOURS}
ANSWER = '<answer>'
DELIMITER = '\n'
SYMBOLS = (*TAGS.values(), ANSWER, DELIMITER)
# What a step may be labelled: neutral is not wrong, but no progress.
RIGHT, NEUTRAL, WRONG = 1, 0, -1


class Given(str):
  """A line that a world says behind the step before it. It is read and not learned."""


@dataclasses.dataclass(frozen=True)
class Behaviours:
  """How often demonstrations show each behaviour. Completion is always there: it solves the
  problem.

  Attributes:
    analysis: share of demonstrations that begin by restating the problem, in [0, 1].
    decomposition: share that announce subgoals.
    evaluation: share that check the result before they answer.
    dead_end: chance that an attempt is a genuine dead end. That is a legal attempt that fails, an
      evaluation that says so, a correction that returns to where the target could still be reached,
      and an alternative from there. The chance is the same for every attempt: if it fell after a
      dead end, a policy would learn to claim success there.
    max_dead_ends: most dead ends in one demonstration.
  """

  analysis: float = 0.5
  decomposition: float = 0.5
  evaluation: float = 0.9
  dead_end: float = 0.3
  max_dead_ends: int = 1

  def __post_init__(self):
    for name in ('analysis', 'decomposition', 'evaluation', 'dead_end'):
      if not 0 <= getattr(self, name) <= 1:
        raise ValueError(
          f'behaviours.{name}={getattr(self, name)} is a share: give a number in [0, 1].'
        )
    if self.max_dead_ends < 1:
      raise ValueError(
        f'behaviours.max_dead_ends={self.max_dead_ends} must be >= 1; '
        'for no dead ends set behaviours.dead_end=0.'
      )

  def draw_dead_ends(self, rng: np.random.Generator) -> int:
    """How many dead ends a demonstration holds: geometric, cut at `max_dead_ends`."""
    failed = rng.random(self.max_dead_ends) < self.dead_end
    return int(np.cumprod(failed).sum())


class BehaviourCount(NamedTuple):
  """How a behaviour occurs in a set of solutions."""

  share: float  # of the solutions that show it at least once
  mean: float  # uses per solution


def join_steps(steps: Sequence[str]) -> str:
  """Steps without delimiters -> one text. The last step stays open: the end token closes it.

  Raises:
    ValueError: where a step holds the delimiter, which would make it two.
  """
  for step in steps:
    if DELIMITER in step:
      raise ValueError(
        f'the step {step!r} holds the delimiter {DELIMITER!r}: split it into two steps.'
      )
  return DELIMITER.join(steps)


def split_steps(text: str) -> list[str]:
  """One text -> steps without delimiters, the inverse of `join_steps`. An empty text has no
  steps."""
  return text.split(DELIMITER) if text else []


def count_behaviours(texts: Iterable[str]) -> dict[str, BehaviourCount]:
  """Solutions -> how often each behaviour occurs. A step counts by the tag that it begins with.
  Without texts all counts are 0."""
  uses = [
    [sum(step.startswith(tag) for step in split_steps(text)) for tag in TAGS.values()]
    for text in texts
  ]
  total = max(len(uses), 1)
  columns = list(zip(*uses)) or [()] * len(TAGS)
  return {
    behaviour: BehaviourCount(sum(n > 0 for n in column) / total, sum(column) / total)
    for behaviour, column in zip(BEHAVIOURS, columns)
  }
