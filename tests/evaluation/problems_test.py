"""problems.csv.gz keeps what every problem was answered, replaces what is measured again, and two
measurements are compared on the problems that they share."""

import csv
import gzip
import io

import numpy as np
import pytest

from o1jax.evaluation import problems, statistics
from o1jax.evaluation.accuracy import Answers, Readout, Verdicts, result
from o1jax.evaluation.problems import (
  COLUMNS,
  apart,
  append_problems,
  difference,
  problem_rows,
  read_problems,
)
from o1jax.search import Budget
from o1jax.types import Problem

COUNT = 40
ASKED = [Problem(f'make {i} from 1\n', cluster=f'make {i % 8}') for i in range(COUNT)]
WHOLE, PART = (Readout('vote', 'majority', Budget(0, n), n) for n in (4, 1))
TELL = dict(stage='learned', task='toy', seed=5)
EVIL = 'so <answer>a, "b"\r\nc\x00d\x1f\ufffd\u2028ü'


def verdicts(seed=0, readouts=(WHOLE, PART), text='so <answer>7', unjudged=3):
  rng = np.random.default_rng(seed)

  def answers():
    verdict = rng.integers(0, 2, COUNT).astype(float)
    verdict[rng.permutation(COUNT)[:unjudged]] = np.nan
    return Answers(rng.integers(0, 3, COUNT), verdict, [text] * COUNT)

  return Verdicts(
    answers={readout: answers() for readout in readouts},
    tokens=rng.integers(10, 90, COUNT),
    flops=1e9 + rng.random(COUNT) * 1e9,
    scoring=rng.random(COUNT) * 1e9,
    seconds=rng.random(COUNT) / 3,
    samples=np.full(COUNT, 4),
    right=rng.integers(0, 5, COUNT),
    unjudged=np.zeros(COUNT, int),
    score=rng.random(COUNT),
    late=rng.integers(0, 9, COUNT),
    ease=np.zeros(COUNT),
    states=None,
    trees=None,
  )


def rows(found=None, readout=WHOLE, **tell):
  found = verdicts() if found is None else found
  return problem_rows(readout, found, ASKED, marker='<answer>', **(TELL | tell))


def assert_same(one, other):
  assert list(one) == list(other)
  for name, column in one.items():
    np.testing.assert_array_equal(column, other[name], name)
    assert column.dtype == other[name].dtype, name


@pytest.mark.parametrize('readout', [WHOLE, PART])
def test_the_means_over_problems_are_the_row_of_the_results(readout):
  found = verdicts()
  table, row = rows(found, readout), result(readout, found, **TELL)
  judged = table['judged']
  assert row.unjudged == (~judged).sum() == 3
  assert row.accuracy == pytest.approx(table['correct'][judged].mean())
  for name in ('tokens', 'flops', 'seconds'):
    assert getattr(row, name) == pytest.approx(table[name].mean()), name
  for name in problems.KEY:
    assert set(table[name]) == {getattr(row, name)}


def test_a_problem_is_known_by_its_prompt_and_its_cluster():
  table = rows()
  assert table['problem'].tolist() == list(range(COUNT)) and set(table['answer']) == {'7'}
  assert len(set(table['prompt'])) == COUNT and len(set(table['cluster'])) == 8
  again = problem_rows(WHOLE, verdicts(), ASKED[::-1], **TELL)
  np.testing.assert_array_equal(again['prompt'], table['prompt'][::-1])


class TestFile:
  @pytest.fixture
  def path(self, tmp_path):
    return tmp_path / 'new' / problems.FILE

  def test_what_is_read_is_what_was_written(self, path):
    table = rows(verdicts(text=EVIL))
    append_problems(path, [table])
    assert_same(read_problems(path), table)
    assert [file.name for file in path.parent.iterdir()] == [problems.FILE]

  def test_the_same_measurement_replaces_and_another_is_added(self, path):
    first, other = rows(), rows(readout=PART)
    append_problems(path, [first, other])
    new, third = rows(verdicts(1)), rows(verdicts(2), stage='control')
    append_problems(path, [new, third])
    expected = {name: np.concatenate([t[name] for t in (other, new, third)]) for name in new}
    assert_same(read_problems(path), expected)

  @pytest.mark.parametrize('name', problems.KEY)
  def test_each_part_of_the_key_counts(self, path, name):
    one = rows()
    value = one[name][0]
    other = one | {name: np.full(COUNT, value + (1 if COLUMNS[name] is int else 'x'))}
    append_problems(path, [one])
    append_problems(path, [other])
    assert len(read_problems(path)['problem']) == 2 * COUNT

  def test_tokens_that_were_asked_are_one_measurement_whatever_units_spend_them(self, path):
    one, other = (
      rows() | dict(budget=np.full(COUNT, 900), units=np.full(COUNT, n)) for n in (4, 5)
    )
    append_problems(path, [one])
    append_problems(path, [other])
    assert_same(read_problems(path), other)

  @pytest.mark.parametrize('lacks', [('late',), ('late', 'score'), ('late', 'score', 'units')])
  def test_a_table_of_before_is_read_and_added_to(self, path, lacks):
    """It says nothing of late tokens; an older one kept no scores, and its budget was units."""
    append_problems(path, [rows()])
    head, *lines = csv.reader(io.StringIO(gzip.decompress(path.read_bytes()).decode(), newline=''))
    old = [dict(zip(head, line, strict=True)) for line in lines]
    if 'units' in lacks:
      old = [line | dict(budget=line['units']) for line in old]
    text = io.StringIO(newline='')
    writer = csv.DictWriter(text, [x for x in head if x not in lacks], extrasaction='ignore')
    writer.writeheader()
    writer.writerows(old)
    path.write_bytes(gzip.compress(text.getvalue().encode()))
    missing = dict(late=np.zeros(COUNT), score=np.full(COUNT, np.nan))
    missing = {name: x for name, x in missing.items() if name in lacks}
    assert_same(read_problems(path), rows() | missing)
    append_problems(path, [rows(verdicts(1)), rows(readout=PART)])
    assert len(read_problems(path)['problem']) == 2 * COUNT

  def test_the_same_rows_make_the_same_file(self, path, tmp_path, monkeypatch):
    append_problems(path, [rows()])
    monkeypatch.setattr('time.time', lambda: 1e9)
    append_problems(tmp_path / 'other.gz', [rows()])
    assert path.read_bytes() == (tmp_path / 'other.gz').read_bytes()

  def test_no_rows_are_a_table(self, path):
    append_problems(path, [])
    assert_same(read_problems(path), {name: column[:0] for name, column in rows().items()})

  @pytest.mark.parametrize(
    'damage, words',
    [
      (lambda data: data[: len(data) // 2], 'damaged'),
      (lambda data: b'stage,task\n', 'damaged'),
      (lambda data: gzip.compress(b'stage,task\n'), 'columns stage,task, expected stage,task,m'),
      (lambda data: gzip.compress(b''), 'columns none'),
      (lambda data: gzip.compress(gzip.decompress(data).replace(b',toy,', b',', 1)), 'damaged'),
      (lambda data: gzip.compress(gzip.decompress(data).replace(b',4,5', b',4,x', 1)), 'damaged'),
    ],
  )
  def test_another_file_is_named_and_left_alone(self, path, damage, words):
    append_problems(path, [rows()])
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f'{problems.FILE}.*{words}') as error:
      append_problems(path, [rows()])
    assert '\n' not in str(error.value) and path.read_bytes() == before


class TestDifference:
  A, B = dict(method='vote', units=4), dict(method='vote', units=1)

  def table(self, *parts):
    return {name: np.concatenate([part[name] for part in parts]) for name in problems.COLUMNS}

  def test_is_over_the_problems_that_both_have_a_verdict_on(self):
    one, other = rows(), rows(readout=PART)
    shared = one['judged'] & other['judged']
    assert 0 < shared.sum() < COUNT
    found = difference(self.table(one, other), self.A, self.B)
    apart = one['correct'][shared].astype(float) - other['correct'][shared]
    assert found.problems == shared.sum() and found.mean == pytest.approx(apart.mean())
    clusters = one['cluster'][shared]
    assert found[1:3] == pytest.approx(statistics.mean_interval(apart, clusters=clusters))

  def test_does_not_depend_on_the_order_and_swaps(self):
    one, other = rows(), rows(readout=PART)
    found = difference(self.table(one, other), self.A, self.B)
    mixed = np.random.default_rng(0).permutation(2 * COUNT)
    table = {name: column[mixed] for name, column in self.table(one, other).items()}
    assert difference(table, self.A, self.B) == pytest.approx(found)
    swapped = difference(table, self.B, self.A)
    assert (-swapped.mean, -swapped.high, -swapped.low) == pytest.approx(found[:3])

  def test_problems_apart_are_those_that_make_it(self):
    one, other = rows(), rows(readout=PART)
    shared = one['judged'] & other['judged']
    table = self.table(one, other)
    won, lost = apart(table, self.A, self.B), apart(table, self.B, self.A)
    np.testing.assert_array_equal(won, np.flatnonzero(shared & one['correct'] & ~other['correct']))
    found = difference(table, self.A, self.B)
    assert (len(won) - len(lost)) / shared.sum() == pytest.approx(found.mean)
    assert len(won) and len(lost) and not len(apart(table, self.A, self.A))

  def test_without_clusters_is_that_of_pairs(self):
    one, other = (rows(verdicts(unjudged=0), readout) for readout in (WHOLE, PART))
    for part in (one, other):
      part['cluster'][:] = ''
    expected = statistics.paired_difference_interval(one['correct'], other['correct'])
    assert difference(self.table(one, other), self.A, self.B)[1:3] == expected

  def test_with_several_seeds_the_seed_is_the_unit(self):
    seeds = [5, 6, 7]
    parts = [
      rows(verdicts(seed), readout, seed=seed) for seed in seeds for readout in (WHOLE, PART)
    ]
    found = difference(self.table(*parts), self.A, self.B)
    each = [difference(self.table(*parts[2 * i : 2 * i + 2]), self.A, self.B) for i in range(3)]
    means = [one.mean for one in each]
    assert found.mean == pytest.approx(np.mean(means)) and found.seeds == 3
    assert found[1:3] == pytest.approx(statistics.seeds_interval(means))
    assert found.problems == sum(one.problems for one in each)

  def test_identical_answers_still_leave_doubt(self):
    one = rows(verdicts(unjudged=0))
    other = one | {'units': np.full(COUNT, 1)}
    found = difference(self.table(one, other), self.A, self.B)
    assert found.mean == 0 and found.low < 0 < found.high

  def test_what_is_asked_twice_or_not_at_all_is_named(self):
    table = self.table(rows(), rows(readout=PART))
    with pytest.raises(ValueError, match='name stage, method and budget'):
      difference(table, dict(method='vote'), self.B)
    with pytest.raises(ValueError, match='no judged problem in common'):
      difference(table, dict(method='none'), self.B)
    with pytest.raises(ValueError, match="no column 'metod'"):
      difference(table, dict(metod='vote'), self.B)
