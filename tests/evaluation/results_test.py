"""results.csv keeps what was written, replaces what is measured again, and is summed up over
seeds."""

import dataclasses

import numpy as np
import pytest

from o1jax.evaluation import results, statistics

ROW = results.Result(
  'learned', 'countdown', 'gumbel', 0, 32, 1234.5, 6.02e9, 0.5, 0.456, 0.544, 500, 0, 0.1 / 3
)


def vary(**changes):
  return dataclasses.replace(ROW, **changes)


class TestFile:
  def test_columns_are_the_promised_ones(self, tmp_path):
    results.append_results(tmp_path / 'results.csv', [ROW])
    head = (tmp_path / 'results.csv').read_text().splitlines()[0]
    assert (
      head
      == 'stage,task,method,budget,units,tokens,flops,accuracy,ci_low,ci_high,problems,seed,seconds,unjudged'
    )

  def test_a_table_of_before_is_read_and_added_to(self, tmp_path):
    path = tmp_path / 'results.csv'
    results.append_results(path, [ROW])
    head, row = (line.rpartition(',')[0] for line in path.read_text().splitlines())
    # Its budget was units, and there were no tokens to ask for.
    head, row = head.replace('units,', ''), row.replace('gumbel,0,', 'mcts_gumbel,')
    path.write_text(f'{head}\n{row}\n')
    assert results.read_results(path) == [ROW]
    results.append_results(path, [vary(units=64, unjudged=3), vary(accuracy=0.9)])
    assert results.read_results(path) == [vary(accuracy=0.9), vary(units=64, unjudged=3)]

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
    results.append_results(path, [ROW, vary(units=64)])
    results.append_results(path, [vary(accuracy=0.9), vary(seed=7)])
    assert results.read_results(path) == [vary(accuracy=0.9), vary(units=64), vary(seed=7)]
    assert [file.name for file in tmp_path.iterdir()] == ['results.csv']

  def test_tokens_that_were_asked_are_one_measurement_whatever_units_spend_them(self, tmp_path):
    path = tmp_path / 'results.csv'
    results.append_results(path, [vary(budget=1600, units=63), vary(units=63)])
    results.append_results(path, [vary(budget=1600, units=64)])
    assert results.read_results(path) == [vary(budget=1600, units=64), vary(units=63)]

  @pytest.mark.parametrize('name', ['stage', 'task', 'method', 'budget', 'units', 'seed'])
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

  def test_a_value_without_a_column_is_named_with_its_line(self, tmp_path):
    results.append_results(tmp_path / 'results.csv', [ROW])
    text = (tmp_path / 'results.csv').read_text().rstrip()
    (tmp_path / 'results.csv').write_text(text + ',1\n')
    with pytest.raises(ValueError, match='line 2: it has more values than columns'):
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
      vary(units=8),
      vary(method='greedy', units=1),
      vary(units=2, budget=9),
      vary(units=1, budget=4000, tokens=4000.0),
      vary(stage='x'),
      vary(method='greedy'),
    ]
    found = [(row.stage, row.method, row.units) for row in results.summarise(rows)]
    m, learned = 'gumbel', 'learned'
    assert found == [
      (learned, m, 2),
      (learned, m, 8),
      (learned, m, 1),
      (learned, 'greedy', 1),
      (learned, 'greedy', 32),
      ('x', m, 32),
    ]

  def test_seeds_meet_where_they_were_asked_for_the_same_tokens(self):
    units = dict(zip(range(3), (15, 16, 16)))
    asked = [vary(seed=seed, budget=1600, units=n) for seed, n in units.items()]
    (row,) = results.summarise(asked)
    assert (row.budget, row.seeds) == (1600, 3) and row.units == pytest.approx(47 / 3)
    own = [dataclasses.replace(row, budget=0) for row in asked]
    assert [(row.units, row.seeds) for row in results.summarise(own)] == [(15, 1), (16, 2)]

  def test_what_was_not_judged_is_summed(self):
    rows = [vary(seed=0, unjudged=2), vary(seed=1, unjudged=5)]
    assert results.summarise(rows)[0].unjudged == 7


class TestTable:
  ROWS = [
    vary(tokens=900.0),
    vary(method='pass@k', units=16, tokens=100.2, accuracy=0.9),
    vary(method='majority', units=16, tokens=100.0, accuracy=0.6),
    vary(stage='control', method='greedy', units=1, tokens=50.0, accuracy=0.1234),
  ]

  def test_goes_from_few_tokens_to_many_and_equal_ones_stand_together(self):
    found = {
      key: [(row.method, row.accuracy) for row in mine]
      for key, mine in results.tables(self.ROWS).items()
    }
    assert found == {
      ('countdown', 'learned'): [('majority', 0.6), ('pass@k', 0.9), ('gumbel', 0.5)],
      ('countdown', 'control'): [('greedy', 0.1234)],
    }

  def test_is_aligned_and_complete_with_tokens_first(self):
    lines = results.format_table(self.ROWS).splitlines()
    assert lines[0] == 'countdown test problems, learned policy'
    assert lines[1].split()[:3] == ['tokens', 'method', 'units'] and 'unjudged' not in lines[1]
    assert [line.split()[:2] for line in lines[3:6]] == [
      ['100', 'majority'],
      ['100', 'pass@k'],
      ['900', 'gumbel'],
    ]
    assert lines[7] == 'countdown test problems, control policy'
    assert '60.0%' in lines[3] and '45.6 to 54.4' in lines[3] and '12.3%' in lines[-1]
    assert len({len(line) for line in (*lines[1:6], *lines[8:])}) == 1

  def test_counts_what_was_not_judged_where_there_is_any(self):
    table = results.format_table([vary(unjudged=4), vary(units=64)]).splitlines()
    assert table[1].split()[-1] == 'unjudged'
    assert [line.split()[-1] for line in table[3:]] == ['0', '4'][::-1]

  def test_tells_what_was_asked_where_that_was_tokens(self):
    rows = [vary(budget=1600, seed=seed, units=16 - seed) for seed in range(2)]
    heads, (asked, own) = results.table_cells(results.summarise([*rows, vary(units=64)]))
    told = [dict(zip(heads, row, strict=True)) for row in (asked, own)]
    assert [(row['units'], row['asked']) for row in told] == [('15.5', '1,600'), ('64', '')]
    assert 'asked' not in results.table_cells(results.summarise([ROW]))[0]

  def test_calls_methods_by_their_words(self):
    heads, (row,) = results.table_cells(results.summarise([ROW]), lambda name: f'<{name}>')
    assert dict(zip(heads, row, strict=True))['method'] == '<gumbel>'

  def test_nothing_measured_says_so(self):
    assert results.format_table([]) == 'no results'
