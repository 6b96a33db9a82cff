"""Problems that ask for a Python program, with unit tests, from MBPP and APPS.

    train = list(read_mbpp('mbpp.jsonl', split='train', check=verify.code.parse, skip_bad=True))

The `answer` of a problem is its tests, as `verify.code` reads them. The steps of its solution are a
fenced program.
"""

import json
from collections.abc import Callable, Iterator

from o1jax.data.fields import field, filled, optional, shown, texts
from o1jax.data.problems import SolvedProblem
from o1jax.data.records import ReaderError, read_lines

# By `task_id`. The first ten are for few-shot prompts. The validation problems are trained on too:
# `tasks.questions` draws its own.
MBPP_SPLITS = {'test': range(11, 511), 'train': range(511, 975)}


def read_mbpp(
  path, *, split: str | None = None, check: Callable[[str], object] = str, skip_bad: bool = False
) -> Iterator[SolvedProblem]:
  """MBPP (github.com/google-research/google-research, mbpp; arXiv:2108.07732): mbpp.jsonl or
  sanitized-mbpp.json.

  A record has `task_id`, `text` or `prompt`, `code` and `test_list`. The question shows only the
  first test, which names the function: a policy that saw all tests could answer them one by one.
  `test_setup_code`, `test_imports` and `challenge_test_list` are not read.

  Args:
    path: the file, which holds all splits.
    split: of `MBPP_SPLITS`, None for all.
    check: raises ValueError for tests that cannot be run.
    skip_bad: see `records.read_lines`.

  Raises:
    ReaderError: as `records.read_lines` does.
    ValueError: there is no such split.
  """
  if split not in (*MBPP_SPLITS, None):
    raise ValueError(f'MBPP has no split {split!r}: give one of {", ".join(MBPP_SPLITS)}.')
  return read_lines(path, lambda record: _mbpp(record, split, check), skip_bad=skip_bad)


def _mbpp(record, split, check):
  number = field(record, 'task_id', int)
  if split and number not in MBPP_SPLITS[split]:
    return []
  asked = filled(record, 'prompt' if 'prompt' in record else 'text')
  asserts = [line.strip() for line in texts(record, 'test_list')]
  question = f'{asked}\nYour code should pass this test:\n{asserts[0]}'
  solution = _program(filled(record, 'code'))
  return [
    SolvedProblem(question, solution, _tests(dict(asserts=asserts), check), name=f'mbpp/{number}')
  ]


def read_apps(
  path, *, check: Callable[[str], object] = str, skip_bad: bool = False
) -> Iterator[SolvedProblem]:
  """APPS (github.com/hendrycks/apps, arXiv:2105.09938) as JSONL: `question`, `solutions` and
  `input_output`.

  The first solution is shown. Problems whose tests call a function (`fn_name`) are refused: APPS
  does not say whether an expected value is a list or its only item, and accepts both.

  Args:
    path: the file of a split.
    check: raises ValueError for tests that cannot be run.
    skip_bad: see `records.read_lines`. Some hundred problems have no tests or no solution.

  Raises:
    ReaderError: as `records.read_lines` does.
  """
  return read_lines(path, lambda record: [_apps(record, check)], skip_bad=skip_bad)


def _apps(record, check):
  question, solutions = filled(record, 'question'), texts(_inner(record, 'solutions'), 'solutions')
  tests = _inner(record, 'input_output')['input_output']
  if type(tests) is dict and 'fn_name' in tests:
    raise ReaderError(
      "the tests call a function ('fn_name'): expected inputs and outputs of a script."
    )
  given, printed = (field(tests, name, list) for name in ('inputs', 'outputs'))
  if len(given) != len(printed):
    raise ReaderError(
      f'there are {len(given)} inputs and {len(printed)} outputs: expected as many.'
    )
  pairs = [[_text(a), _text(b)] for a, b in zip(given, printed)]
  number = optional(record, 'problem_id', int)
  if number is None:
    number = optional(record, 'id', int)
  return SolvedProblem(
    question,
    _program(solutions[0]),
    _tests(dict(stdin=pairs), check),
    subject=optional(record, 'difficulty', str) or '',
    name='' if number is None else f'apps/{number}',
  )


def _inner(record, name):
  """The object in a field that holds JSON as text."""
  text = filled(record, name)
  try:
    return {name: json.loads(text)}
  except (ValueError, RecursionError):
    raise ReaderError(f'the field {name!r} holds no JSON: {shown(text)}.') from None


def _text(value):
  """A standard input or output. Some records give it as a list of lines."""
  if type(value) is list and all(type(line) is str for line in value):
    return '\n'.join(value)
  if type(value) is not str:
    raise ReaderError(f'an input or output is {shown(value)}: expected text, or a list of lines.')
  return value


def _program(code):
  lines = (line.rstrip() for line in code.replace('\r\n', '\n').expandtabs(4).split('\n'))
  return ('```python', *filter(None, lines), '```')


def _tests(tests, check):
  text = json.dumps(tests, ensure_ascii=False)
  try:
    check(text)
  except ValueError as error:
    raise ReaderError(f'{error}.') from None
  return text
