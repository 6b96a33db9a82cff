"""The section *Search at equal compute* of a run's report."""

import re

import pytest

from o1jax.evaluation import compute_page, curves, report
from o1jax.evaluation.difficulty import difficulty
from o1jax.evaluation.equal_compute import standings
from o1jax.evaluation.measured import measured
from o1jax.evaluation.pairs import share_interval
from o1jax.evaluation.problems import FILE
from o1jax.evaluation.results import summarise
from tests.evaluation.drawn import chains, one, table_of
from tests.evaluation.runs import answered, cells, paired, section, write_run


@pytest.fixture(scope='module')
def text(tmp_path_factory):
  run = write_run(tmp_path_factory.mktemp('runs') / 'demo')
  return report.build_report(run).read_text(encoding='utf-8')


def test_a_search_stands_against_the_sampling_method_of_as_many_tokens(text):
  lead, found = paired(*answered()), cells(section(text, 'equal-compute').split('Leads: ')[1])
  row = ('64 simulations', 'Gumbel MCTS', lead, lead, 'majority vote', '40.0%', '820', '0.2')
  assert row in found
  same = ('16 chains', 'majority vote', *['the best itself'] * 2, 'majority vote')
  assert (*same, '45.0%', '800', '0.1') in found
  # The ceiling is no method, and what left no answers has no lead.
  leads = [row for row in found if len(row) == 8]
  assert [row[1] for row in leads] == ['majority vote', 'Gumbel MCTS']


def test_the_verdict_is_in_words(text):
  part = section(text, 'equal-compute')
  assert (
    '<b>Gumbel MCTS</b>: at equal tokens and at equal FLOPs it pays at none of 1 budget (no at 64 '
    'simulations).'
  ) in part


def test_intervals_are_over_clusters(text):
  low, high = share_interval(answered()[1]['correct'], answered()[1]['cluster'])
  row = next(row for row in cells(section(text, 'results')) if 'majority vote' in row)
  assert row[4] == f'{100 * low:.1f} to {100 * high:.1f}'
  assert row[4] != '41.0 to 49.0'


def test_without_answers_there_are_curves_and_a_word(tmp_path):
  run = write_run(tmp_path / 'demo')
  (run / FILE).unlink()
  part = section(report.build_report(run).read_text(), 'equal-compute')
  assert '<svg' in part and 'No leads: <code>problems.csv.gz</code> is missing.' in part
  assert 'Leads: ' not in part


def test_a_column_is_a_bin_of_difficulty_and_a_row_a_method():
  found = [*chains(0), *chains(1), *(one('gumbel', n, 0.6, rng=6) for n in (200, 400))]
  rows, table = table_of(found)
  part = compute_page.equal_compute(rows, table).split('By difficulty, asked for 400 tokens')[1]
  _, seeds, bins = difficulty(measured(rows, table))
  heads = re.findall('<th[^>]*>(.*?)</th>', part)
  assert len(bins) > 2 and heads[1 : 1 + len(bins)] == [
    f'{"" if b.low == b.high else f"{100 * b.low:.0f} to "}{100 * b.high:.0f}% ({b.problems})'
    for b in bins
  ]
  names = [row[0] for row in cells(part) if len(row) == 1 + len(bins)]
  assert names == ['majority vote', 'critic-weighted vote', 'Gumbel MCTS']
  assert seeds == 1 and 'in the 1 seed that all methods share' in part


def test_figures_that_stand_alone_name_their_curves_and_axes():
  found = [*chains(0), *(one('gumbel', n, 0.6, rng=6) for n in (200, 400))]
  rows, table = table_of(found)
  names = {'gumbel', 'majority', 'weighted'}
  for axis, label in curves.AXES.items():
    told = set(re.findall(r'<text[^>]*>([^<]*)</text>', curves.panel(summarise(rows), axis)))
    assert names | {label, 'right (% of test problems)'} <= told
    lead = curves.leads(standings(rows, table), axis)
    told = set(re.findall(r'<text[^>]*>([^<]*)</text>', lead))
    assert {'gumbel', 'the best sampling method', label, 'points above sampling'} <= told
    assert 'majority' not in told  # it is what a lead is over


def test_a_search_that_spends_what_no_sampling_does_has_no_lead():
  rows, table = table_of([*chains(0), one('gumbel', 4000)])
  assert '<svg' not in curves.leads(standings(rows, table), 'tokens')
