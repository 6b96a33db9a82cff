"""The report holds every section, needs nothing from outside, and says what is missing."""

import html
import json
import re
import xml.etree.ElementTree as ET

import pytest

from o1jax.evaluation import figures, methods, page, report, results
from o1jax.evaluation.methods import METHODS, SPARE
from o1jax.evaluation.pairs import share_interval
from tests.evaluation.runs import EVIL, answered, cells, paired, section, write_run

SECTIONS = ('equal-compute', 'train-time', 'behaviours', 'calibration', 'tree', 'results')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  return write_run(tmp_path_factory.mktemp('runs') / 'demo')


@pytest.fixture(scope='module')
def text(run):
  path = report.build_report(run)
  assert path == run / 'report' / 'index.html'
  return path.read_text(encoding='utf-8')


def test_every_section_is_there_and_filled(text):
  for name in SECTIONS:
    assert 'class="missing"' not in section(text, name)
    assert re.search('<svg|<table', section(text, name))
  assert 'abc1234' in text


def test_nothing_comes_from_outside(text):
  text = text.replace('xmlns="http://www.w3.org/2000/svg"', '')  # a name, which is never fetched
  assert not re.search(r'https?:|src=|@import|<script|<link|url\((?!#)', text)
  assert all(target.startswith('#') for target in re.findall(r'href="([^"]*)"', text))


def test_every_drawing_is_xml_and_refers_to_what_it_holds(text):
  drawings = re.findall(r'<svg.*?</svg>', text, re.DOTALL)
  assert len(drawings) >= 2 * 2 + 1 + 1 + 2 * 2 + 2
  for drawing in drawings:
    root = ET.fromstring(drawing)
    ids = {element.get('id') for element in root.iter()}
    assert {use.get('href')[1:] for use in root.iter('use')} <= ids
    assert set(re.findall(r'url\(#([^)]*)\)', drawing)) <= ids


def test_the_page_is_well_formed(text):
  body = text[text.index('<body>') : text.index('</html>')]
  ET.fromstring(body)


def test_model_text_is_escaped_everywhere(text):
  assert '<script' not in text and text.count('&lt;script&gt;') >= 8


def test_the_headline_is_computed_from_the_rows(text):
  lead = re.search('<p class="lead">(.*?)</p>', text).group(1)
  assert '500 countdown test problems' in lead
  assert '20.0% (' in lead and '30.0% (' in lead and '10.0 points more' in lead
  # No best of many measurements: each search at its largest budget, at equal tokens.
  lead_of = paired(*answered())
  low, high = share_interval(answered()[0]['correct'], answered()[0]['cluster'])
  assert (
    'at equal tokens: Gumbel MCTS (820 tokens) with the learned policy 40.0% '
    f'({100 * low:.1f} to {100 * high:.1f}), {lead_of} points against majority vote.'
  ) in lead
  assert '50.0%' not in lead


def test_the_headline_has_every_policy(tmp_path):
  """A control does not take the place of what was learned."""
  row = ('countdown', 'greedy', 0, 1, 50.0, 5e7)
  table = [('initialised', 0.2), ('learned', 0.3), ('control', 0.16)]
  rows = [results.Result(name, *row, x, x - 0.1, x + 0.1, 500, 0, 0.1) for name, x in table]
  results.append_results(tmp_path / 'results.csv', rows)
  text = report.build_report(tmp_path).read_text()
  lead = re.search('<p class="lead">(.*?)</p>', text).group(1)
  assert 'the learned policy 30.0% (20.0 to 40.0), 10.0 points more' in lead
  assert 'the control policy 16.0% (6.0 to 26.0), 4.0 points less' in lead
  assert 'Each policy is' not in text  # no config says


def test_each_policy_is_traced_to_its_stage(tmp_path):
  run = write_run(tmp_path / 'demo')
  config = dict(
    stages=['reward', 'learn'],
    reward=dict(kind='reward', start='initialise'),
    learn=dict(kind=EVIL, start='reward'),
    evaluate=dict(
      policies={
        'initialised': dict(stages=['reward', 'initialise']),
        'learned': dict(stages=['gone', 'learn']),
        'unmeasured': dict(stages=['learn']),
      }
    ),
  )
  (run / 'config.json').write_text(json.dumps(config))
  found = re.search(
    'Each policy is what a stage left: (.*?)\\.</p>', report.build_report(run).read_text()
  )
  kind = html.escape(EVIL)
  assert found.group(1) == (
    f'initialised after reward (from initialise); learned after learn ({kind}, from reward)'
  )


def test_validation_and_test_are_told_apart(text):
  for name in SECTIONS:
    kind = 'Validation' if name in ('train-time', 'behaviours') else 'Test'
    assert f'<h2>{kind} problems: ' in section(text, name)
  assert 'held-out' not in text
  axes = re.findall(r'right \(% of (\w+) problems\)</text>', text)
  assert axes.count('validation') == 1 and axes.count('test') == 4


def test_training_curves_are_called_by_what_trains(run, text, tmp_path):
  part = section(text, 'train-time')
  assert 'learn: ' in part and 'control: ' in part and '>greedy<' not in part
  for order in (['learn', 'control'], ['control', 'none', 'learn']):
    own = write_run(tmp_path / order[0])
    (own / 'config.json').write_text(json.dumps({'stages': order}))
    caption = section(report.build_report(own).read_text(), 'train-time')
    first, last = order[0], order[-1]
    assert caption.index(f'{first}: +') < caption.index(f'{last}: +')
  older = write_run(tmp_path / 'demo')  # a run of before named no stage
  path = older / 'report' / 'data' / 'train_curve.json'
  path.write_text(json.dumps([p for p in json.loads(path.read_text()) if p.pop('stage') != 'none']))
  then = section(report.build_report(older).read_text(), 'train-time')
  words = {'search and learn': 'learn', 'supervised control': 'control'}
  assert all(f'{name}: ' in then and f'>{name}<' in then for name in words)
  assert '>greedy<' not in then


def test_the_trees_say_how_they_were_picked_and_whose_search_it_was(text):
  part = section(text, 'tree')
  assert part.count('with the learned policy') == 2
  assert part.count(f'This is the {html.escape(EVIL)}:') == 2
  assert '✓ right' in part and '✗ wrong' in part


def test_a_tree_says_what_was_asked_and_spent_where_its_run_kept_that(text):
  part = section(text, 'tree')
  assert part.count('Answer of Gumbel MCTS (23 simulations) with the learned policy') == 1
  assert part.count('It spent 1,012 tokens, where 800 were asked on average.') == 1
  assert part.count('Answer of the search with the learned policy') == 1


def test_calibration_shows_finished_solutions_and_prefixes_apart(text):
  part = section(text, 'calibration')
  assert 'learned, finished solutions' in part and 'learned, prefixes' in part
  rows = re.findall('<tr[^>]*>(.*?)</tr>', part)[1:]
  assert len(rows) == 2 * 3 and '<td class="">0</td>' in rows[0]


def test_what_a_run_of_before_kept_is_shown(tmp_path):
  run = write_run(tmp_path / 'demo')
  data = run / 'report' / 'data'
  trees = json.loads((data / 'tree.json').read_text())
  del trees[0]['picked']
  (data / 'tree.json').write_text(json.dumps(trees[0]))
  tables = json.loads((data / 'calibration.json').read_text())
  (data / 'calibration.json').write_text(json.dumps({'learned': tables['learned']['finished']}))
  text = report.build_report(run).read_text()
  assert 'picked among those solved' in section(text, 'tree')
  assert 'learned, finished solutions' in section(text, 'calibration')
  assert 'prefixes:' not in section(text, 'calibration')


def test_results_show_tokens_first_with_the_vote_and_the_ceiling(text):
  part = section(text, 'results')
  heads = re.findall('<th class="[a-z]*">(.*?)</th>', part)
  assert heads[:4] == ['tokens', 'method', 'units', 'accuracy']
  rows = [re.findall('<td[^>]*>(.*?)</td>', row) for row in re.findall('<tr[^>]*>(.*?)</tr>', part)]
  assert ['800', 'majority vote', '16', '45.0%'] in [row[:4] for row in rows]
  assert ['800', 'pass@k (ceiling)', '16', '60.0%'] in [row[:4] for row in rows]


def test_policies_stand_against_the_first_with_the_interval_of_pairs_where_answers_were_kept(text):
  found = cells(section(text, 'results').split('One greedy solution of each policy')[1])
  assert ('+10.0', 'learned against initialised', '50', '50', 'countdown') in found


def test_each_method_has_one_look_in_legend_and_figures():
  looks = [row.look for row in METHODS.values()]
  assert len(set(looks)) == len(looks)
  assert len({words.words for words in METHODS.values()}) == len(METHODS)
  for colour, marker in (*looks, *SPARE):
    assert colour in figures.PALETTE and marker in page.SHAPES
  found = methods.looks(['greedy', 'new', 'newer', 'greedy'])
  assert found == {'greedy': METHODS['greedy'].look, 'new': SPARE[0], 'newer': SPARE[1]}


def test_fixed_problems_are_shown_with_what_the_search_answered(text, tmp_path):
  rows = re.findall('<tr[^>]*>(.*?)</tr>', section(text, 'fixed'), re.DOTALL)[1:]
  assert [re.findall('<td[^>]*>(.*?)</td>', row) for row in rows] == [
    [html.escape(EVIL), html.escape(EVIL), html.escape(EVIL), '✓'],
    ['b', 'p', '–', '✗'],
  ]
  assert 'id="fixed"' not in report.build_report(tmp_path).read_text()


def test_the_planted_slopes_are_shown(text):
  row = ('critic-weighted vote', '+5.0 (+5.0 to +5.0)', '1.00', 'initialised')
  assert row in cells(section(text, 'equal-compute'))


def test_the_page_is_the_same_when_built_again(run, text):
  assert report.build_report(run).read_text(encoding='utf-8') == text


def test_an_empty_run_says_what_is_missing_and_which_stage_makes_it(tmp_path):
  text = report.build_report(tmp_path).read_text(encoding='utf-8')
  for name in SECTIONS:
    assert re.search(
      r'<code>.*?</code> is missing\. The stage that <b>(searches and learns|measures)</b> writes it',
      section(text, name),
    )
  assert '<code>config.json</code> is missing' in text


def test_each_missing_file_spoils_only_its_section(tmp_path):
  run = write_run(tmp_path / 'demo')
  (run / 'report' / 'data' / 'calibration.json').unlink()
  text = report.build_report(run).read_text(encoding='utf-8')
  spoilt = [name for name in SECTIONS if 'class="missing"' in section(text, name)]
  assert spoilt == ['calibration']


def test_a_run_measured_once_is_drawn_without_fits(tmp_path):
  row = results.Result('initialised', 'cipher', 'greedy', 0, 1, 9.0, 1e6, 0.0, 0.0, 0.1, 30, 0, 0.1)
  results.append_results(tmp_path / 'results.csv', [row])
  text = report.build_report(tmp_path).read_text(encoding='utf-8')
  assert 'no slope to fit' in text and 'On 30 cipher test problems' in text


def test_a_policy_measured_at_few_budgets_gets_no_panel_of_its_own(tmp_path):
  run = write_run(tmp_path / 'demo')
  row = results.Result('control', 'countdown', 'greedy', 0, 1, 9.0, 1e6, 0.2, 0.1, 0.3, 500, 0, 0.1)
  results.append_results(run / 'results.csv', [row])
  part = section(report.build_report(run).read_text(encoding='utf-8'), 'equal-compute')
  assert 'learned policy' in part and 'control policy' not in part
  assert 'measured at too few budgets: control.' in part


def test_a_broken_file_is_named(tmp_path):
  run = write_run(tmp_path / 'demo')
  (run / 'report' / 'data' / 'tree.json').write_text('{')
  with pytest.raises(ValueError, match='tree.json is not JSON'):
    report.build_report(run)


def test_no_run_is_an_error(tmp_path):
  with pytest.raises(FileNotFoundError, match='no run at'):
    report.build_report(tmp_path / 'nowhere')
