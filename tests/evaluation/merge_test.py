"""Runs are merged in any order to the same table, and refused in one line where they do not match."""

import dataclasses
import itertools

import numpy as np
import pytest

from o1jax.evaluation.comparison import CSV, write_comparison
from o1jax.evaluation.merge import MergeError, Part, merge, pairs_averaged
from tests.evaluation.drawn import COUNT, chains, one, table_of


def part(name, found, **changed):
  rows, table = table_of(found)
  table = {name: np.array(column) for name, column in table.items()}
  return Part(name, [dataclasses.replace(row, **changed) for row in rows], table)


def searched(seed=0):
  """A run with a search of the same policy, and one measurement that `chains` has too."""
  return [chains(seed)[0], *(one('beam', n, 0.6, seed=seed, rng=8) for n in (200, 400))]


@pytest.fixture
def parts():
  fast = part('d', searched(), seconds=0.05)
  return [part('a', chains(0)), part('b', chains(1)), part('c', chains(2)), fast]


def refusal(*parts):
  with pytest.raises(MergeError) as error:
    merge(parts)
  assert '\n' not in str(error.value)
  return str(error.value)


def test_the_order_of_the_runs_does_not_show(parts, tmp_path):
  expected = merge(parts)
  pages = set()
  for order in itertools.permutations(parts):
    rows, table = merge(order)
    assert rows == expected[0]
    for name, column in table.items():
      np.testing.assert_array_equal(column, expected[1][name], name)
  for order in (parts, parts[::-1]):
    write_comparison(tmp_path, *merge(order), [('a', 0, '')])
    pages.add(((tmp_path / CSV).read_text(), (tmp_path / 'index.html').read_text()))
  assert len(pages) == 1


def test_everything_is_there_once(parts):
  rows, table = merge(parts)
  assert len({row.key for row in rows}) == len(rows) == 3 * 6 + 2
  assert len(table['seed']) == COUNT * len(rows)
  # What two runs measured has the time of the faster.
  (twice,) = (row for row in rows if row.key == chains()[0].row.key)
  assert twice.seconds == 0.05
  assert merge([*parts, parts[0]])[0] == rows


def test_one_run_is_a_merge_too(parts):
  rows, table = merge(parts[:1])
  assert rows == parts[0].rows and len(table['seed']) == COUNT * len(rows)


def test_rows_without_answers_are_refused(parts):
  one = parts[0]
  empty = one._replace(table={name: column[:0] for name, column in one.table.items()})
  assert 'kept no answers' in refusal(empty)


def test_another_task_is_refused(parts):
  other = part('other', chains(3), task='cipher')
  words = refusal(parts[0], other)
  assert words == 'a measured toy, and other cipher: compare runs of one task'


def test_other_problems_of_the_same_seed_are_refused(parts):
  other = part('other', searched())
  other.table['prompt'][other.table['problem'] == 3] = 'none'
  words = refusal(parts[0], other)
  assert 'a and other have seed 0' in words and '59 of 61 are the same' in words
  assert 'of other seeds' in words


@pytest.mark.parametrize('name, value', [('accuracy', 0.9), ('tokens', 101.0), ('flops', 3.0)])
def test_the_same_measurement_with_other_values_is_refused(parts, name, value):
  other = part('other', chains()[:1], **{name: value})
  words = refusal(parts[0], other)
  assert f'with other {name}' in words and 'majority with 100 tokens' in words
  assert 'config.evaluate.policies' in words


def test_the_same_accuracy_with_other_answers_is_refused(parts):
  found = chains()[0]
  answers = found.right[::-1].copy()
  assert (answers != found.right).any()
  words = refusal(parts[0], part('other', [found._replace(right=answers)]))
  assert 'with other answers' in words


def test_runs_that_are_averaged_share_a_measurement_of_other_seeds(parts):
  assert pairs_averaged(parts) == [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]
  assert pairs_averaged([parts[0], parts[3]]) == []
  assert pairs_averaged([parts[1], part('e', searched()[1:])]) == []
