"""Questions of published data whose answer is a Python program, judged by unit tests: MBPP, APPS.

Only `verify.code` can tell whether a program is right, in a sandbox, so the task has no check of
its own. Programs that differ in a letter are different answers, so solutions do not vote.
"""

from collections.abc import Callable, Iterable
from typing import Any

from o1jax.tasks import questions
from o1jax.types import Task

_READS = 4096  # bytes at the end of a solution, enough for its program


def task(
  *, name: str, train: Callable[[], Iterable[Any]], test: Callable[[], Iterable[Any]]
) -> Task:
  """Like `questions.task`, for `data.programs`. The `text` of a problem is its tests."""
  asked = questions.task(
    name=name, train=train, test=test, demonstrate=lambda solved: list(solved.steps)
  )
  return asked._replace(check=None, marker='', reads=_READS, judges=('code',))
