"""Unit tests as data: how they are read, what meets them, and verdicts through sandbox and host
verifier."""

import functools
import json

import pytest

from o1jax.types import Problem
from o1jax.verify import code, launch, sandbox
from o1jax.verify.code import UnitTests
from o1jax.verify.host import HostVerifier
from o1jax.verify.sandbox import Limits, SandboxError

PATIENT = Limits(seconds=20.0)
ADD = Problem('', text=json.dumps(dict(function='add', calls=[[[1, 2], 3], [['a', 'b'], 'ab']])))
SUMS = Problem('', text=json.dumps(dict(stdin=[['1 2\n', '3\n'], ['5 -7', '-2']])))


class TestParse:
  @pytest.mark.parametrize(
    'told, expected',
    [
      (dict(stdin=[['1 2\n', '3'], ['', 'é']]), UnitTests(['1 2\n', ''], ['3', 'é'])),
      (
        dict(function='f', calls=[[[1, 'a', None], [2.5]], [[], {}]]),
        UnitTests(["(1, 'a', None)", '()'], [[2.5], {}], 'f'),
      ),
      (dict(function='f', calls=[[[[1]], True]]), UnitTests(['([1],)'], [True], 'f')),
      (
        dict(asserts=['assert g((1, 2), {3}) == (4, {6, 5})']),
        UnitTests(['((1, 2), {3})'], [[4, [5, 6]]], 'g'),
      ),
      (
        dict(asserts=['assert g(-1.5) == {1: None}, "why"', '\n assert g() == "b"']),
        UnitTests(['(-1.5,)', '()'], [{'1': None}, 'b'], 'g'),
      ),
    ],
  )
  def test_the_three_forms(self, told, expected):
    assert code.parse(json.dumps(told)) == expected

  @pytest.mark.parametrize(
    'text, words',
    [
      ('', 'Expecting value'),
      ('[]', 'give {"stdin": ...}'),
      ('{}', 'give {"stdin": ...}'),
      ('{"stdin": [["1", "2"]], "function": "f"}', 'give {"stdin": ...}'),
      ('{"calls": []}', 'give {"stdin": ...}'),
      ('{"stdin": []}', 'there are none'),
      ('{"stdin": 3}', 'not iterable'),
      ('{"stdin": [["1"]]}', 'should be two texts'),
      ('{"stdin": [["1", 2]]}', 'should be two texts'),
      ('{"stdin": ["ab"]}', "'ab' should be two texts"),
      ('{"function": "a b", "calls": [[[], 1]]}', "'a b' should be the name of a function"),
      ('{"function": "f", "calls": [[1, 2]]}', 'should be a list of arguments and a value'),
      ('{"function": "f", "calls": [[[1], NaN]]}', 'not JSON compliant'),
      ('{"function": "f", "calls": [[[1e999], 1]]}', 'not JSON compliant'),
      ('{"asserts": ["assert f(1) < 2"]}', 'is not `assert f'),
      ('{"asserts": ["assert f(x) == 2"]}', 'is not `assert f'),
      ('{"asserts": ["assert f(1) == g(2)"]}', 'is not `assert f'),
      ('{"asserts": ["assert f(a=1) == 2"]}', 'is not `assert f'),
      ('{"asserts": ["assert f(*[1]) == 2"]}', 'is not `assert f'),
      ('{"asserts": ["assert x.f(1) == 2"]}', 'is not `assert f'),
      ('{"asserts": ["assert f(1) == f(1) == 2"]}', 'is not `assert f'),
      ('{"asserts": ["assert f(1) == 2; import os"]}', 'is not `assert f'),
      ('{"asserts": ["f(1)"]}', 'is not `assert f'),
      ('{"asserts": ["assert f(1 == 2"]}', 'was never closed'),
      ('{"asserts": ["assert f(1) == 2j"]}', 'complex is no JSON'),
      ('{"asserts": ["assert f(1) == 1e999"]}', 'Infinity is no JSON'),
      ('{"asserts": ["assert f(1e999) == 1"]}', 'malformed'),
      ('{"asserts": ["assert f(1) == 1", "assert g(1) == 1"]}', 'calls of one function'),
      ('{"asserts": [3]}', "'3' should be a text"),
      (r'{"stdin": [["\ud800", "1"]]}', 'surrogates not allowed'),
      ('[' * 10**5, 'RecursionError|recursion'),
    ],
  )
  def test_what_is_malformed_is_told_in_one_line(self, text, words):
    with pytest.raises(ValueError, match=words) as raised:
      code.parse(text)
    assert '\n' not in str(raised.value) and repr(text[:80]) in str(raised.value)


class TestProgram:
  @pytest.mark.parametrize(
    'text, expected',
    [
      ('print(1)\n', 'print(1)\n'),
      ('<answer>print(1)', 'print(1)'),
      ('<analysis>hm\n<answer>a\n<answer>b\n', 'b\n'),
      ('Like this:\n```python\na\n```\nor\n```python\nb\nc\n```\nthat.', 'b\nc\n'),
      ('```py\na\n```', 'a\n'),
      ('```Python3\na\n```', 'a\n'),
      ('```python\na\n```\n```\noutput\n```\n<answer>c', 'a\n'),
      ('<answer>x\n  ```python\n  a\n  ```\n', '  a\n'),
      ('```python\na\nb', 'a\nb'),
      ('```text\na\n```\n', '```text\na\n```\n'),
      ('', ''),
    ],
  )
  def test_where_it_is(self, text, expected):
    assert code.program(text) == expected

  def test_it_is_found_at_once_in_any_text(self):
    assert code.program('```python\n' * 10**5) == ''
    assert code.program(' ' * 10**6 + '```') == ' ' * 10**6 + '```'


class TestEqual:
  @pytest.mark.parametrize(
    'expected, found, right',
    [
      (1, 1, True),
      (1, 1.0, True),
      (1, 1.0000001, False),
      (1.0, 1, True),
      (1.0, 1.0000001, True),
      (1.0, 1.00001, False),
      (0.0, 1e-10, True),
      (1e300, 10**400, False),
      (10**400, 10**400, True),
      (10**400, 10**400 + 1, False),
      (1, True, False),
      (True, 1, False),
      (0, False, False),
      (True, True, True),
      (False, None, False),
      (None, None, True),
      (None, 0, False),
      ('1', 1, False),
      ('a', 'a', True),
      ('a', 'A', False),
      ([1, [2.0]], [1, [2.0000001]], True),
      ([1], [1, 2], False),
      ([], {}, False),
      ([True], [1], False),
      ({'a': 1.0}, {'a': 1.0000001}, True),
      ({'a': 1}, {'b': 1}, False),
      ({'a': 1}, {'a': 1, 'b': 1}, False),
      (float('inf'), float('nan'), False),
      (1.0, float('nan'), False),
      (1.0, float('inf'), False),
    ],
  )
  def test_values(self, expected, found, right):
    assert code.equal(expected, found) is right


class TestPasses:
  @pytest.mark.parametrize(
    'printed, right',
    [
      (['3\n', 'a\nb'], True),
      (['3', 'a\nb\n\n'], True),
      (['3 \r\n', 'a \nb\t\n'], True),
      (['3\n', 'a\n\nb'], False),
      (['3\n', 'a b'], False),
      (['\n3\n', 'a\nb'], False),
      (['3.0\n', 'a\nb'], False),
      (['3\n', None], False),
      (None, False),
    ],
  )
  def test_printed(self, printed, right):
    assert code.passes(UnitTests(['', ''], ['3\n', 'a\nb']), printed) is right

  @pytest.mark.parametrize(
    'answer, right',
    [
      ('[[3], ["ab"]]', True),
      ('[[3.0], ["ab"]]', True),
      ('[[3], null]', False),
      ('[[3]]', False),
      ('[[3], ["ab"], [4]]', False),
      ('[3, "ab"]', False),
      ('true', False),
      ('{"0": [3], "1": ["ab"]}', False),
      ('[[NaN], ["ab"]]', False),
      ('', False),
      ('[[3], ["ab"]', False),
      ('[[3], ["\\ud800"]]', False),
      ('[' * 10**5, False),
      ('[[3], [' + '[' * 500 + ']' * 500 + ']]', False),
      ('9' * 5000, False),
      (None, False),
    ],
  )
  def test_values_of_calls(self, answer, right):
    assert code.passes(UnitTests(['(1, 2)', '("a", "b")'], [3, 'ab'], 'add'), [answer]) is right


@pytest.fixture(scope='module')
def backend():
  found = sandbox.working()
  if not found:
    pytest.skip(sandbox.defect('namespaces'))
  return found


class TestCheck:
  def test_a_program_has_to_pass_all_tests(self, backend):
    check = code.verifier(backend=backend, limits=PATIENT)
    assert check(ADD, 'First:\n```python\ndef add(a, b):\n  return a + b\n```\n')
    assert not check(ADD, 'def add(a, b): return int(a) + int(b)')
    assert not check(ADD, 'def sub(a, b): return a + b')
    assert check(SUMS, '<answer>print(sum(map(int, input().split())))')
    assert not check(SUMS, 'print(3)')

  def test_arguments_are_the_literals_of_an_assertion(self, backend):
    problem = Problem(
      '', text=json.dumps(dict(asserts=['assert f((1, 2), {3}, {4: 5}) == ("tuple", "set", 5)']))
    )
    text = 'def f(a, b, c):\n  a[0] and hash(a)\n  return type(a).__name__, type(b).__name__, c[4]'
    assert code.check(problem, text, backend=backend, limits=PATIENT)

  def test_without_a_named_sandbox_nothing_runs(self, tmp_path):
    text = f'open({str(tmp_path / "file")!r}, "w")'
    for run in (lambda: code.check(SUMS, text), code.verifier):
      with pytest.raises(SandboxError, match="backend='auto'"):
        run()
    assert not (tmp_path / 'file').exists()

  def test_nothing_passes_no_tests(self):
    """A question that a person asks has none; nor does it need a sandbox."""
    assert code.check(Problem(''), 'print(1)') is False

  def test_bad_tests_are_no_verdict(self):
    with pytest.raises(ValueError, match='bad tests of a program'):
      code.check(Problem('', text='42'), 'print(1)', backend='unsafe_local')


# --- through the verifier on the host ---


def broken(problem, text, *, backend):
  """A check whose sandbox is gone after a while."""
  if text == 'print(2)':
    launch._visible = lambda: (['/nowhere'], {})
  return code.check(problem, text, backend=backend, limits=PATIENT)


def test_verdicts_in_worker_processes(backend):
  verifier = HostVerifier(code.verifier(backend=backend, limits=PATIENT), seconds=60.0, workers=2)
  answers = [
    (ADD, 'def add(a, b): return a + b'),
    (SUMS, 'print(3)'),
    (ADD, 'import os\nos.kill(os.getppid(), 9)'),
    (SUMS, 'a, b = map(int, input().split())\nprint(a + b)'),
    (ADD, 'def add(a, b): return True'),
  ]
  assert verifier.verdicts(answers).tolist() == [True, False, False, True, False]
  assert verifier.failure is None


def test_a_sandbox_that_stops_working_is_a_failure_and_no_verdict(backend):
  verifier = HostVerifier(functools.partial(broken, backend=backend), seconds=60.0, workers=1)
  assert verifier.verdicts([(SUMS, 'print(1)')]).tolist() == [False] and verifier.failure is None
  verifier.verdicts([(SUMS, 'print(2)')])
  assert f'raised SandboxError: {backend} began no program' in str(verifier.failure)
