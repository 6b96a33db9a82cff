"""Mutated lines of every format raise nothing but the readers' own error, and cost no good line
beside them."""

import functools
import json
import random
import re

import pytest

from o1jax.data.problems import SolvedProblem, read_gsm8k, read_math
from o1jax.data.programs import read_apps, read_mbpp
from o1jax.data.records import ReaderError
from o1jax.data.step_labels import read_math_shepherd, read_prm800k, read_processbench
from o1jax.data.stepwise import NEUTRAL, RIGHT, WRONG, LabelledSolution, read_stepwise
from o1jax.verify import code
from tests.data import formats
from tests.data.formats import prm_step

LINES = 10_000  # of all formats together
_RAW = 'RAW'  # stands for text that is no value of JSON
_RAWS = [
  'NaN',
  '-Infinity',
  '1e999',
  '1.0',
  '9' * 5000,
  '[' * 3000 + ']' * 3000,
  '{"a":' * 20_000,
  '"\\ud800"',
  '"\\u0000"',
  "'a'",
  '',
  '00',
  '[1,]',
]
_VALUES = [
  None,
  True,
  False,
  0,
  -1,
  1,
  2,
  10**30,
  0.5,
  '',
  ' ',
  'x',
  '#### 3',
  '\\boxed{',
  'ки',
  '\u202e\u2028',
  '\ufeff',
  [],
  {},
  [None],
  [['a']],
  {'text': 'a', 'rating': 1},
]


def problem(rng):
  return formats.solved(rng, subject='Algebra', level=3, name='test/1.json')


def prm_phase1(rng):
  steps = [
    prm_step([(formats.text(rng), rng.choice([1, 0, -1, None])) for _ in range(3)], chosen=1),
    prm_step([(formats.text(rng), -1)], human=formats.text(rng)),
  ]
  return formats.prm800k(formats.text(rng), steps, phase=1)


def row_of(labels, **settings):
  return lambda rng: formats.labelled(rng, labels(rng), **settings)


# Of each: the reader, and a record of its format with random text.
FORMATS = {
  'gsm8k': (read_gsm8k, lambda rng: formats.gsm8k(problem(rng))),
  'math': (read_math, lambda rng: formats.math(problem(rng))),
  'math500': (read_math, lambda rng: formats.math500(problem(rng))),
  'mbpp': (functools.partial(read_mbpp, check=code.parse), formats.program),
  'apps': (functools.partial(read_apps, check=code.parse), formats.script),
  'prm800k_1': (read_prm800k, prm_phase1),
  'prm800k_2': (read_prm800k, lambda rng: formats.prm800k_phase2(row_of(formats.until_wrong)(rng))),
  'shepherd': (
    read_math_shepherd,
    lambda rng: formats.math_shepherd(row_of(formats.binary, prefix='Step {}: ')(rng)),
  ),
  'processbench': (
    read_processbench,
    lambda rng: formats.processbench(row_of(formats.first_wrong)(rng)),
  ),
  'stepwise': (read_stepwise, lambda rng: formats.stepwise(row_of(formats.binary)(rng))),
}


def places(value):
  """(container, key) of every value in a value of JSON."""
  items = (
    value.items()
    if isinstance(value, dict)
    else enumerate(value)
    if isinstance(value, list)
    else ()
  )
  for key, inner in items:
    yield value, key
    yield from places(inner)


def mutated_value(rng, record):
  """A line with a field removed, given another name, twice there, or of another value."""
  container, key = rng.choice(list(places(record)))
  kind = rng.randrange(5)
  if kind == 0:
    del container[key]
  elif kind == 1 and isinstance(container, dict):
    container[key + rng.choice(['s', ' ', '\u0301'])] = container.pop(key)
  elif kind == 2:
    field, value = rng.choice(list(record)), json.dumps(rng.choice(_VALUES))
    return json.dumps(record)[:-1].encode() + f', {json.dumps(field)}: {value}}}'.encode()
  elif kind == 3:
    container[key] = _RAW
    return json.dumps(record, ensure_ascii=False).replace(f'"{_RAW}"', rng.choice(_RAWS)).encode()
  else:
    container[key] = rng.choice(_VALUES)
  return json.dumps(record, ensure_ascii=rng.random() < 0.5).encode()


def mutated_bytes(rng, record):
  """A line with bits flipped, or a stretch of it cut, doubled, or replaced."""
  line = bytearray(json.dumps(record, ensure_ascii=rng.random() < 0.5).encode())
  at = rng.randrange(1, len(line))
  end = min(len(line), at + rng.randint(1, 30))
  kind = rng.randrange(5)
  if kind == 0:
    for _ in range(rng.randint(1, 4)):
      line[rng.randrange(len(line))] ^= 1 << rng.randrange(8)
  elif kind == 1:
    del line[at:]
  elif kind == 2:
    del line[at:end]
  elif kind == 3:
    line[at:at] = line[at:end]
  else:
    line[at:end] = rng.randbytes(rng.randint(1, 8))
  return bytes(line)


@functools.cache
def mutated_lines(name, count):
  """Mutated lines of a format. A newline would make two of one, so there is none."""
  rng = random.Random(name)
  make = FORMATS[name][1]
  mutate = lambda: rng.choice([mutated_value, mutated_bytes])(rng, make(rng))
  return [mutate().replace(b'\n', b' ') for _ in range(count)]


def check_row(row):
  """What is read is sound, whatever was read."""
  assert all(
    type(text) is str and text.encode() is not None for text in (row[0], row.answer, *row.steps)
  )
  assert row[0].strip()
  if isinstance(row, LabelledSolution):
    assert row.steps and len(row.steps) == len(row.labels)
    assert all(
      label is None or type(label) is int and label in (RIGHT, NEUTRAL, WRONG)
      for label in row.labels
    )
  else:
    assert isinstance(row, SolvedProblem) and row.answer and row.level in (None, 1, 2, 3, 4, 5)


@pytest.mark.parametrize('name', FORMATS)
def test_good_lines_among_mutated_ones_are_kept(tmp_path, caplog, name):
  read, make = FORMATS[name]
  rng = random.Random(0)
  bad = mutated_lines(name, LINES // len(FORMATS))
  good = [json.dumps(make(rng)).encode() for _ in range(len(bad) + 1)]
  path = tmp_path / 'a.jsonl'
  path.write_bytes(b'\n'.join(good))
  expected = list(read(path))
  path.write_bytes(b'\n'.join(line for pair in zip(good, bad) for line in pair) + b'\n' + good[-1])
  rows = list(read(path, skip_bad=True))
  for row in rows:
    check_row(row)
  found = iter(rows)
  assert all(row in found for row in expected)  # each behind the one before it
  skipped, records = map(int, re.search(r'skipped (\d+) of (\d+) records', caplog.text).groups())
  assert records == len(good) + len(bad)
  assert 0.3 * len(bad) < skipped < len(bad)


@pytest.mark.parametrize('name', FORMATS)
def test_a_mutated_line_is_read_or_told_by_its_line(tmp_path, name):
  read, make = FORMATS[name]
  good = json.dumps(make(random.Random(0))).encode()
  path = tmp_path / 'a.jsonl'
  told = 0
  for line in mutated_lines(name, LINES // len(FORMATS))[:200]:
    path.write_bytes(b'\n'.join([good, line, good]))
    try:
      for row in read(path):
        check_row(row)
    except ReaderError as error:
      assert (
        str(error).startswith(f'{path}:2: ') and '\n' not in str(error) and len(str(error)) < 500
      )
      told += 1
  assert told > 50


def test_a_mutated_file_of_a_folder_or_array_is_read_or_told(tmp_path):
  folder = tmp_path / 'train'
  folder.mkdir()
  for i, line in enumerate(mutated_lines('math', LINES // len(FORMATS))[:200]):
    (folder / f'{i}.json').write_bytes(line)
  rows = list(read_math(folder, skip_bad=True))
  assert 0 < len(rows) < 150
  for row in rows:
    check_row(row)
  path, told = tmp_path / 'a.json', 0
  good = json.dumps(FORMATS['processbench'][1](random.Random(0))).encode()
  for line in mutated_lines('processbench', LINES // len(FORMATS))[:200]:
    path.write_bytes(b'[' + b',\n'.join([good, line, good]) + b']')
    try:
      for row in read_processbench(path):
        check_row(row)
    except ReaderError as error:
      assert re.match(rf'{re.escape(str(path))}:\d: ', str(error)) and '\n' not in str(error)
      told += 1
  assert told > 50
