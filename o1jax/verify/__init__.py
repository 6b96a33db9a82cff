"""Exact verdicts on solutions: inside compiled programs, or by a check in processes of the host.

`JUDGES` is the table of checks. Another check is a file of this folder, and a row here. A row
imports its file when it is chosen: the process that becomes a sandbox imports this package too.
"""

from collections.abc import Callable
from typing import NamedTuple


class Chosen(NamedTuple):
  """A check that a verifier on the host can be made of.

  Attributes:
    check: (problem, solution) -> bool, see `verify.host`.
    name: of what judges, for people.
    seconds: that it may need for one answer, at least.
  """

  check: Callable
  name: str
  seconds: float = 0.0


class Judge(NamedTuple):
  """A row.

  Attributes:
    choose: (task, sandbox) -> Chosen. ValueError or SandboxError where it cannot work here.
    words: for people.
    sandboxed: it reads the sandbox.
  """

  choose: Callable
  words: str
  sandboxed: bool = False


def _own(task, sandbox):
  return Chosen(task.check, task.name)


def _math(task, sandbox):
  from o1jax.verify import math

  return Chosen(math.check, 'math-verify')


def _code(task, sandbox):
  from o1jax.verify import code
  from o1jax.verify import sandbox as sandboxes

  check = code.verifier(backend=sandbox)
  name = f'unit tests in {sandboxes.describe(sandboxes.choose(sandbox))}'
  # The sandbox has a time limit of its own, within which a slow start does not count.
  return Chosen(check, name, sandboxes.LIMITS.seconds + 3 * sandboxes.STARTUP)


JUDGES = {
  'task': Judge(_own, "the task's own check"),
  'math': Judge(_math, 'the value of the final answer: numbers, units, LaTeX'),
  'code': Judge(_code, 'unit tests of a program, in a sandbox', sandboxed=True),
}
