"""Planted errors: solutions of a task's own problems, half of which go wrong in one step."""

import collections
from collections.abc import Iterator, Sequence

import numpy as np

from o1jax.data.stepwise import LabelledSolution
from o1jax.types import Problem, Task


def planted(
  task: Task, problems: Sequence[Problem], *, seed: int = 0
) -> Iterator[LabelledSolution]:
  """A solution of each problem, with a label on each step; every second one, of each part of a
  mixture, has a wrong step (see `Task.plant`). Fewer are the first of more.

  Raises:
    ValueError: the task plants no errors.
  """
  if task.plant is None:
    raise ValueError(
      f'the task {task.name!r} plants no errors in its demonstrations: give a file of labelled '
      'solutions'
    )
  return _solutions(task, problems, seed)


def _solutions(task, problems, seed):
  seen = collections.Counter()
  for i, problem in enumerate(problems):
    wrong = bool(seen[problem.task] % 2)
    seen[problem.task] += 1
    steps, labels = task.plant(problem, np.random.default_rng((seed, i)), wrong)
    yield LabelledSolution(problem.prompt.strip(), tuple(steps), tuple(labels), problem.text)
