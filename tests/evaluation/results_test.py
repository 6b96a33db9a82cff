"""results.csv keeps what was written, replaces what is measured again, and is summed up over
seeds."""

import dataclasses

import numpy as np
import pytest

from o1jax.evaluation import results, statistics

ROW = results.Result(
  'learned', 'countdown', 'mcts_gumbel', 32, 1234.5, 6.02e9, 0.5, 0.456, 0.544, 500, 0, 0.1 / 3
)


def vary(**changes):
  return dataclasses.replace(ROW, **changes)


class TestFile:
  def test_columns_are_the_promised_ones(self, tmp_path):
    results.append_results(tmp_path / 'results.csv', [ROW])
    head = (tmp_path / 'results.csv').read_text().splitlines()[0]
    assert (
      head == 'stage,task,method,budget,tokens,flops,accuracy,ci_low,ci_high,problems,seed,seconds'
    )

  def test_round_trip_is_exact(self, tmp_path):
    rows = [
      ROW,
      vary(seed=1, accuracy=1 / 3),
      vary(method='pass@k, "odd"\nname', flops=float('inf')),
    ]
    results.append_results(tmp_path / 'new' / 'results.csv', rows)
    assert results.read_results(tmp_path / 'new' / 'results.csv') == rows

  def test_the_same_measurement_replaces_and_another_is_added(self, tmp_path):
    path = tmp_path / 'results.csv'
    results.append_results(path, [ROW, vary(budget=64)])
    results.append_results(path, [vary(accuracy=0.9), vary(seed=7)])
    assert results.read_results(path) == [vary(accuracy=0.9), vary(budget=64), vary(seed=7)]
    assert [file.name for file in tmp_path.iterdir()] == ['results.csv']

  @pytest.mark.parametrize('name', ['stage', 'task', 'method', 'budget', 'seed'])
  def test_each_part_of_the_key_counts(self, tmp_path, name):
    other = vary(**{name: getattr(ROW, name) + (1 if isinstance(getattr(ROW, name), int) else 'x')})
    results.append_results(tmp_path / 'results.csv', [ROW, other])
    assert len(results.read_results(tmp_path / 'results.csv')) == 2

  def test_a_foreign_file_is_named(self, tmp_path):
    (tmp_path / 'results.csv').write_text('a,b\n1,2\n')
    with pytest.raises(ValueError, match=r'results.csv has the columns a,b'):
      results.append_results(tmp_path / 'results.csv', [ROW])

  def test_a_broken_number_is_named_with_its_line(self, tmp_path):
    results.append_results(tmp_path / 'results.csv', [ROW])
    text = (tmp_path / 'results.csv').read_text().replace('0.456', 'much')
    (tmp_path / 'results.csv').write_text(text)
    with pytest.raises(ValueError, match='line 2.*much'):
      results.read_results(tmp_path / 'results.csv')


class TestSummary:
  def test_one_seed_keeps_its_own_interval(self):
    (row,) = results.summarise([ROW])
    assert (row.accuracy, row.ci_low, row.ci_high, row.seeds) == (0.5, 0.456, 0.544, 1)

  def test_several_seeds_give_means_and_students_interval(self):
    accuracies = [0.5, 0.56, 0.53]
    rows = [vary(seed=i, accuracy=value, tokens=100.0 * i) for i, value in enumerate(accuracies)]
    (row,) = results.summarise(rows)
    assert (row.accuracy, row.tokens, row.seeds, row.problems) == (
      pytest.approx(0.53),
      100.0,
      3,
      500,
    )
    np.testing.assert_allclose((row.ci_low, row.ci_high), statistics.seeds_interval(accuracies))

  def test_intervals_stay_shares(self):
    (row,) = results.summarise([vary(seed=0, accuracy=0.0), vary(seed=1, accuracy=1.0)])
    assert (row.ci_low, row.ci_high) == (0.0, 1.0)

  def test_groups_come_in_order_of_appearance_with_rising_budgets(self):
    rows = [
      vary(budget=8),
      vary(method='greedy', budget=1),
      vary(budget=2),
      vary(stage='x'),
      vary(method='greedy'),
    ]
    found = [(row.stage, row.method, row.budget) for row in results.summarise(rows)]
    m, learned = 'mcts_gumbel', 'learned'
    assert found == [
      (learned, m, 2),
      (learned, m, 8),
      (learned, 'greedy', 1),
      (learned, 'greedy', 32),
      ('x', m, 32),
    ]

  def test_the_table_is_aligned_and_complete(self):
    lines = results.format_table(
      [ROW, vary(method='greedy', budget=1, accuracy=0.1234)]
    ).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert '50.0%' in lines[2] and '45.6 to 54.4' in lines[2] and '12.3%' in lines[3]

  def test_nothing_measured_says_so(self):
    assert results.format_table([]) == 'no results'
