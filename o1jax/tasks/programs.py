"""Questions of published data whose answer is a Python program, judged by unit tests: MBPP, APPS.

Only `verify.code` can tell whether a program is right, in a sandbox, so there is no check of the
task's own. Programs that differ in a letter are different answers, so solutions do not vote.
"""

from collections.abc import Callable, Iterable
from typing import Any

from o1jax.tasks import questions
from o1jax.types import Task

_READS = 4096  # bytes of a solution's end, in which its program is


def task(
  *, name: str, train: Callable[[], Iterable[Any]], test: Callable[[], Iterable[Any]]
) -> Task:
  """As `questions.task`, of `data.programs`; the `text` of a problem is its tests."""
  asked = questions.task(
    name=name, train=train, test=test, demonstrate=lambda solved: list(solved.steps)
  )
  return asked._replace(check=None, marker='', reads=_READS)
