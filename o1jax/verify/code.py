r"""Verdicts of unit tests on programs that a model wrote: a check for `verify.host`.

Tests are the `text` of a problem, JSON in one of these forms:

    {"stdin": [["1 2\n", "3\n"], ...]}                 what a script prints for each input
    {"function": "add", "calls": [[[1, 2], 3], ...]}   the value for the arguments of each call
    {"asserts": ["assert add(1, 2) == 3", ...]}        calls of one function, literals only

The tests themselves never run. A sandbox is given the inputs alone, and returns what the program
made of them. The expected values never leave this process, which compares both as data. So only a
program that gives the right answers is right. A test that compares in another way (a tolerance of
its own, an exception, a property) is refused, because it would have to run beside the program.

Printed text is compared line by line, without spaces at the end of a line and empty lines at the
end of the text. Values are compared as JSON (`verify.inside.encode`): a tuple is a list, a set a
sorted list, and keys of a dict are texts. An expected float is met by a number within a relative
1e-6 of it. true and false are no numbers. Everything else is exact.
"""

import ast
import dataclasses
import functools
import json
import math
import re
from collections.abc import Callable
from typing import Any

from o1jax.text.steps import ANSWER
from o1jax.types import Problem
from o1jax.verify import sandbox
from o1jax.verify.inside import encode
from o1jax.verify.sandbox import LIMITS, Limits

_FENCED = re.compile(
  r'^[ \t]*```(?:python|py)[\d.]*[ \t]*\n(.*?)(?:^[ \t]*```|\Z)', re.DOTALL | re.MULTILINE | re.I
)
_FORMS = ({'stdin'}, {'function', 'calls'}, {'asserts'})


@dataclasses.dataclass(frozen=True)
class UnitTests:
  """What a program is given, and what is expected of it.

  Attributes:
    inputs: as `sandbox.run` takes them.
    expected: for each input, the printed text, or the value as JSON has it.
    function: the function that is called, or None for a script.
  """

  inputs: list[str]
  expected: list[Any]
  function: str | None = None


def verifier(*, backend: str = 'off', limits: Limits = LIMITS) -> Callable[[Problem, str], bool]:
  """A check with a sandbox that works here. See `sandbox.choose` for backends and errors."""
  return functools.partial(check, backend=sandbox.choose(backend), limits=limits)


def check(problem: Problem, text: str, *, backend: str = 'off', limits: Limits = LIMITS) -> bool:
  """Whether the program of a solution passes all tests of its problem. A solution without a program
  fails, and nothing runs.

  Args:
    problem: its `text` holds the tests.
    text: a solution, see `program`.
    backend: see `sandbox.choose`, which `verifier` asks once for all answers.
    limits: for all tests of an answer together. A check takes up to
      `limits.seconds + 3 * sandbox.STARTUP` seconds on a slow machine. A `HostVerifier` should
      grant that, or it would blame the program.

  Raises:
    SandboxError: no sandbox is named, or it does not work. That is no verdict.
    ValueError: the tests are malformed, see `parse`.
  """
  if not problem.text:
    return False
  tests = parse(problem.text)
  if backend in ('off', 'auto'):
    backend = sandbox.choose(backend)
  answers = sandbox.run(
    program(text), tests.inputs, function=tests.function, backend=backend, limits=limits
  )
  return passes(tests, answers)


def program(text: str) -> str:
  """The program of a solution: the last block fenced as ```python, else the text after the last
  answer tag, else everything."""
  blocks = _FENCED.findall(text)
  return blocks[-1] if blocks else text.rpartition(ANSWER)[2]


def parse(text: str) -> UnitTests:
  """Reads the tests of a problem. Call it for all problems before any is posed.

  Raises:
    ValueError: the tests are malformed or missing, or would have to run beside the program. One
      line.
  """
  try:
    told = json.loads(text)
    json.dumps(told, allow_nan=False, ensure_ascii=False).encode()  # half a character is no text
    if not isinstance(told, dict) or told.keys() not in _FORMS:
      raise ValueError('give {"stdin": ...}, {"function": ..., "calls": ...} or {"asserts": ...}')
    tests = (
      _stdin(**told) if 'stdin' in told else _calls(**told) if 'calls' in told else _asserts(**told)
    )
    if not tests.inputs:
      raise ValueError('there are none')
    return tests
  except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
    raise ValueError(
      f'bad tests of a program, {text[:80]!r}: {error or type(error).__name__}'
    ) from None


def passes(tests: UnitTests, answers: list[str | None] | None) -> bool:
  """Whether the answers of a program, as `sandbox.run` returns them, are the expected ones. Answers
  may be anything."""
  if answers is None or None in answers:
    return False
  if tests.function is None:
    return all(
      _lines(answer) == _lines(expected) for answer, expected in zip(answers, tests.expected)
    )
  try:
    values = json.loads(answers[0], parse_constant=_refuse)
  except (ValueError, RecursionError):
    return False
  return equal([[value] for value in tests.expected], values)


def equal(expected: Any, found: Any) -> bool:
  """Whether two values of JSON are the same, with floats nearly so. See the module docstring."""
  if isinstance(expected, bool) or isinstance(found, bool):
    return expected is found
  if isinstance(expected, float) and isinstance(found, int | float):
    try:
      return math.isclose(expected, found, rel_tol=1e-6, abs_tol=1e-9)
    except OverflowError:  # an integer beyond all floats
      return False
  if isinstance(expected, list) and isinstance(found, list):
    return len(expected) == len(found) and all(map(equal, expected, found))
  if isinstance(expected, dict) and isinstance(found, dict):
    return expected.keys() == found.keys() and all(
      equal(value, found[key]) for key, value in expected.items()
    )
  return expected == found


def _stdin(stdin):
  for pair in stdin:
    _require(_is_list(pair, 2) and all(isinstance(text, str) for text in pair), 'two texts', pair)
  return UnitTests([given for given, _ in stdin], [printed for _, printed in stdin])


def _calls(function, calls):
  _require(
    isinstance(function, str) and function.isidentifier(), 'the name of a function', function
  )
  for pair in calls:
    _require(
      _is_list(pair, 2) and isinstance(pair[0], list), 'a list of arguments and a value', pair
    )
  return UnitTests([_literal(given) for given, _ in calls], [value for _, value in calls], function)


def _asserts(asserts):
  names, inputs, expected = set(), [], []
  for line in asserts:
    _require(isinstance(line, str), 'a text', line)
    name, given, value = _assertion(line)
    names.add(name)
    inputs.append(_literal(given))
    expected.append(json.loads(encode(value), parse_constant=_refuse))
  _require(len(names) == 1, 'calls of one function', sorted(names))
  return UnitTests(inputs, expected, *names)


def _assertion(line):
  """(the function's name, its arguments, the expected value) of an assert statement."""
  try:
    match ast.parse(line.strip()).body:
      case [ast.Assert(ast.Compare(ast.Call(ast.Name(name), given, []), [ast.Eq()], [value]))]:
        return name, ast.literal_eval(ast.Tuple(given)), ast.literal_eval(value)
  except (ValueError, TypeError):  # names or calls where literals should be
    pass
  raise ValueError(
    f'{line[:80]!r} is not `assert f(literals) == literal`, and would have to run beside the '
    'program, which could then decide it'
  )


def _literal(values):
  """Python that makes the values anew."""
  text = repr(tuple(values))
  ast.literal_eval(text)
  return text


def _lines(text):
  return [line.rstrip() for line in text.rstrip().split('\n')]


def _is_list(value, size):
  return isinstance(value, list) and len(value) == size


def _require(right, wanted, found):
  if not right:
    raise ValueError(f'{str(found)[:80]!r} should be {wanted}')


def _refuse(name):
  raise ValueError(f'{name} is no JSON')
