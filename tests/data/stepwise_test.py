"""The format to exchange step labels: what is written is read, and TRL's own files are."""

import gzip
import json
import random

import pytest

from o1jax.data.records import ReaderError
from o1jax.data.stepwise import (
  NEUTRAL,
  RIGHT,
  WRONG,
  LabelledSolution,
  read_stepwise,
  write_stepwise,
)
from tests.data import formats

ROW = LabelledSolution(
  '1 + 1 = ?', ('first\nsecond', 'a', '', 'b'), (RIGHT, NEUTRAL, WRONG, None), '2'
)


def random_rows(seed, count=100):
  rng = random.Random(seed)
  labels = lambda: [rng.choice([RIGHT, NEUTRAL, WRONG, None]) for _ in range(rng.randint(1, 6))]
  return [formats.labelled(rng, labels(), answer=rng.choice(['', '7'])) for _ in range(count)]


@pytest.mark.parametrize('name', ['a.jsonl', 'a.jsonl.gz'])
def test_what_is_written_is_read(tmp_path, name):
  rows = [ROW, *random_rows(0)]
  assert write_stepwise(tmp_path / name, iter(rows)) == len(rows)
  assert list(read_stepwise(tmp_path / name)) == rows
  assert (tmp_path / name).read_bytes().startswith(b'\x1f\x8b') == name.endswith('.gz')
  assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_line_is_what_trl_reads(tmp_path):
  write_stepwise(tmp_path / 'a.jsonl', [ROW, ROW._replace(answer='')])
  first, second = map(json.loads, (tmp_path / 'a.jsonl').read_text().splitlines())
  assert second == {
    'prompt': ROW.prompt,
    'completions': list(ROW.steps),
    'labels': [1, 0.5, 0, -100],
  }
  assert first == second | {'answer': '2'}
  # What TRL makes of labels; -100 is ignored by its loss.
  assert [int(label) for label in second['labels']] == [1, 0, 0, -100]


def test_files_of_trl_are_read(tmp_path):
  rng = random.Random(1)
  rows = [formats.labelled(rng, formats.binary(rng)) for _ in range(50)]
  path = tmp_path / 'a.jsonl'
  path.write_text(formats.lines(map(formats.stepwise, rows)), encoding='utf-8')
  assert list(read_stepwise(path)) == rows
  path.write_text(
    '{"prompt": "p", "completions": ["a", "b", "c", "d"], "labels": [1.0, 0, null, 5e-1]}'
  )
  assert next(read_stepwise(path)).labels == (RIGHT, WRONG, None, NEUTRAL)


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'labels': [True, False]}, "there are 2 'labels' for 1 'completions'"),
    ({'labels': [0.7]}, "'labels' has 0.7 in it: expected true or 1, false or 0, 0.5 or -100"),
    ({'labels': [-1]}, "'labels' has -1 in it"),
    ({'labels': ['+']}, r"'labels' has '\+' in it"),
    ({'labels': [[True]]}, "'labels' has a list in it"),
    ({'labels': True}, "'labels' is True: expected a list"),
    ({'completions': [], 'labels': []}, "'completions' is an empty list"),
    ({'completions': 'a'}, "'completions' is 'a': expected a list"),
    ({'prompt': [{'role': 'user', 'content': 'p'}]}, "'prompt' is a list: expected text"),
    ({'answer': 2}, "'answer' is 2: expected text or null"),
  ],
)
def test_malformed(tmp_path, changes, words):
  good = {'prompt': 'p', 'completions': ['a'], 'labels': [True]}
  path = tmp_path / 'a.jsonl'
  path.write_text(formats.lines([good, good | changes]))
  with pytest.raises(ReaderError, match=f'a.jsonl:2: .*{words}'):
    list(read_stepwise(path))
  assert len(list(read_stepwise(path, skip_bad=True))) == 1


@pytest.mark.parametrize(
  'row, words',
  [
    (ROW._replace(prompt=' p'), "the row of ' p' .* would not come back"),
    (
      ROW._replace(labels=(RIGHT, 2, WRONG, None)),
      r'labels \(1, 2, -1, None\) would not come back',
    ),
    (ROW._replace(labels=(RIGHT,)), "there are 1 'labels' for 4"),
    (ROW._replace(steps=(), labels=()), 'an empty list'),
    (ROW._replace(steps=('a\ud800', 'b', 'c', 'd')), 'half of a surrogate pair'),
  ],
)
def test_a_row_that_would_not_come_back_is_not_written(tmp_path, row, words):
  path = tmp_path / 'a.jsonl'
  write_stepwise(path, [ROW])
  with pytest.raises(ValueError, match=words):
    write_stepwise(path, [ROW, ROW, row])
  assert list(read_stepwise(path)) == [ROW]  # what was there stays
  assert [file.name for file in tmp_path.iterdir()] == ['a.jsonl']


def test_no_rows_are_no_file(tmp_path):
  with pytest.raises(ValueError, match='there are no rows to write to .*a.jsonl'):
    write_stepwise(tmp_path / 'a.jsonl', [])
  assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_told(tmp_path):
  path = tmp_path / 'a.jsonl.gz'
  write_stepwise(path, random_rows(2))
  path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-30]))
  with pytest.raises(ReaderError, match='a.jsonl.gz:100: this is not JSON'):
    list(read_stepwise(path))
