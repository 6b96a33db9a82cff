"""MBPP and APPS: problems with their tests and programs, as written; what is not in the format is
told."""

import json
import random

import pytest

from o1jax.data.problems import SolvedProblem
from o1jax.data.programs import read_apps, read_mbpp
from o1jax.data.records import ReaderError
from o1jax.verify import code
from tests.data import formats

ADD = {
  'task_id': 601,
  'text': ' Add. ',
  'code': 'def add(a, b):\r\n\tif a:\r\n\r\n\t\treturn a + b  \r\n\treturn b\r\n',
  'test_setup_code': '',
  'test_list': ['assert add(1, 2) == 3 ', 'assert add(0, 2) == 2'],
}
STEPS = ('```python', 'def add(a, b):', '    if a:', '        return a + b', '    return b', '```')
TWICE = {
  'problem_id': 7,
  'question': 'Print it twice.',
  'difficulty': 'interview',
  'solutions': json.dumps(['x = input()\nprint(x, x)', 'pass']),
  'input_output': json.dumps({'inputs': ['a\n', ['b', 'c']], 'outputs': ['a a\n', ['b b']]}),
}


def write(path, *records):
  path.write_text(formats.lines(records), encoding='utf-8')
  return path


def test_mbpp_shows_one_test_and_keeps_all(tmp_path):
  (row,) = read_mbpp(write(tmp_path / 'a.jsonl', ADD), check=code.parse)
  assert row == SolvedProblem(
    'Add.\nYour code should pass this test:\nassert add(1, 2) == 3',
    STEPS,
    row.answer,
    name='mbpp/601',
  )
  assert json.loads(row.answer) == {'asserts': ['assert add(1, 2) == 3', 'assert add(0, 2) == 2']}
  clean = {name: value for name, value in ADD.items() if name != 'text'} | {
    'prompt': 'Add.',
    'test_imports': [],
  }
  (tmp_path / 'sanitized-mbpp.json').write_text(json.dumps([clean, clean], indent=2))
  assert list(read_mbpp(tmp_path / 'sanitized-mbpp.json')) == [row, row]


def test_mbpp_has_the_splits_of_its_authors(tmp_path):
  path = write(tmp_path / 'a.jsonl', *(ADD | {'task_id': i} for i in range(1, 975)))
  numbers = lambda split: [int(row.name.partition('/')[2]) for row in read_mbpp(path, split=split)]
  assert numbers('test') == list(range(11, 511)) and numbers('train') == list(range(511, 975))
  assert len(list(read_mbpp(path))) == 974
  with pytest.raises(ValueError, match="no split 'dev'"):
    read_mbpp(path, split='dev')


def test_apps_has_inputs_and_outputs_as_text(tmp_path):
  (row,) = read_apps(write(tmp_path / 'a.jsonl', TWICE), check=code.parse)
  assert row == SolvedProblem(
    'Print it twice.',
    ('```python', 'x = input()', 'print(x, x)', '```'),
    row.answer,
    subject='interview',
    name='apps/7',
  )
  assert json.loads(row.answer) == {'stdin': [['a\n', 'a a\n'], ['b\nc', 'b b']]}
  (numbered,) = read_apps(write(tmp_path / 'b.jsonl', TWICE | {'problem_id': 0}))
  assert numbered.name == 'apps/0'


@pytest.mark.parametrize('make, read', [(formats.program, read_mbpp), (formats.script, read_apps)])
def test_programs_pass_the_tests_that_they_are_read_with(tmp_path, make, read):
  rng = random.Random(0)
  for row in read(write(tmp_path / 'a.jsonl', *(make(rng) for _ in range(3))), check=code.parse):
    tests, program = code.parse(row.answer), code.program('\n'.join(row.steps))
    defined = {}
    if tests.function:
      exec(program, defined)
      assert [defined[tests.function](*eval(given)) for given in tests.inputs] == tests.expected
    assert '```' not in program and row.steps[0] == '```python' and row.steps[-1] == '```'


@pytest.mark.parametrize(
  'read, record, words',
  [
    (read_mbpp, ADD | {'task_id': '601'}, "'task_id' is '601': expected a whole number"),
    (read_mbpp, ADD | {'test_list': []}, "'test_list' is an empty list"),
    (read_mbpp, ADD | {'code': ' '}, "'code' is blank"),
    (
      read_mbpp,
      ADD | {'test_list': ['assert add(x, 2) == 3']},
      'would have to run beside the program',
    ),
    (
      read_mbpp,
      ADD | {'test_list': ['assert math.isclose(add(1, 2), 3)']},
      'would have to run beside the program',
    ),
    (read_apps, TWICE | {'solutions': '[]'}, "'solutions' is an empty list"),
    (read_apps, TWICE | {'solutions': ''}, "'solutions' is blank"),
    (read_apps, TWICE | {'input_output': '{"inputs": '}, "'input_output' holds no JSON"),
    (read_apps, TWICE | {'input_output': '{"inputs": [], "outputs": []}'}, 'there are none'),
    (
      read_apps,
      TWICE | {'input_output': '{"inputs": ["a"], "outputs": []}'},
      '1 inputs and 0 outputs',
    ),
    (
      read_apps,
      TWICE | {'input_output': '{"inputs": [1], "outputs": [2]}'},
      'an input or output is 1',
    ),
    (
      read_apps,
      TWICE | {'input_output': '{"fn_name": "f", "inputs": [[1]], "outputs": [2]}'},
      'call a function',
    ),
  ],
)
def test_malformed(tmp_path, read, record, words):
  good = ADD if read is read_mbpp else TWICE
  path = write(tmp_path / 'a.jsonl', good, record, good)
  with pytest.raises(ReaderError, match=f'a.jsonl:2: .*{words}'):
    list(read(path, check=code.parse))
  assert len(list(read(path, check=code.parse, skip_bad=True))) == 2
