"""The report holds every section, needs nothing from outside, and says what is missing."""

import dataclasses
import html
import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from o1jax.evaluation import report, results, statistics, tree_view

SECTIONS = ('test-time', 'train-time', 'behaviours', 'calibration', 'tree', 'results')
EVIL = '<script>alert(1)</script>'


def write_run(folder):
  data = folder / 'report' / 'data'
  data.mkdir(parents=True)
  rows = []
  for stage, base in (('initialised', 0.2), ('learned', 0.3)):
    for method, budgets in (
      ('greedy', [1]),
      ('weighted', [1, 4, 16]),
      ('pass@k', [1, 4, 16]),
      (EVIL, [2, 8]),
    ):
      for budget in budgets:
        accuracy = base + 0.05 * np.log2(budget) + 0.1 * (method == 'pass@k')
        low, high = statistics.wilson_interval(500 * accuracy, 500)
        spent = (50.0 * budget, 5e7 * budget)
        rows.append(
          results.Result(
            stage, 'countdown', method, budget, *spent, accuracy, low, high, 500, 0, 0.1
          )
        )
  results.append_results(folder / 'results.csv', rows)
  curve = [
    dict(
      update=u,
      flops=1e9 * u,
      tokens=1.0 * u,
      accuracy=0.2 + 0.01 * u,
      ci_low=0.1,
      ci_high=0.5,
      method=method,
    )
    for method in ('greedy', 'supervised control')
    for u in (0, 1, 4, 16)
  ]
  shares = {'initialised': {'analysis': 0.5, EVIL: 0.1}, 'learned': {'analysis': 0.7}}
  scores = np.linspace(0, 0.7, 50)
  table = statistics.calibration(scores, scores > 0.4)
  nodes = [
    tree_view.DrawnNode(0, -1, 'prompt', 1, 0.5, 1.0, False, None, True),
    tree_view.DrawnNode(1, 0, EVIL, 1, 0.5, 1.0, True, True, True),
  ]
  drawn = [dataclasses.asdict(node) for node in nodes]
  tree = dict(policy='learned', prompt=EVIL, nodes=drawn, verdict=True, answer=EVIL)
  calibration = {'learned': table, EVIL: table}
  fixed = [
    dict(policy=EVIL, prompt=EVIL, answer=EVIL, verdict=True),
    dict(policy='b', prompt='p', answer='', verdict=False),
  ]
  files = dict(
    train_curve=curve, behaviours=shares, calibration=calibration, tree=tree, fixed=fixed
  )
  for name, content in files.items():
    (data / f'{name}.json').write_text(json.dumps(content))
  (folder / 'config.json').write_text(json.dumps({'seed': 3, 'name': EVIL}))
  (folder / 'versions.json').write_text(
    json.dumps([{'git_revision': 'older00'}, {'git_revision': 'abc1234'}])
  )
  return folder


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  return write_run(tmp_path_factory.mktemp('runs') / 'demo')


@pytest.fixture(scope='module')
def text(run):
  path = report.build_report(run)
  assert path == run / 'report' / 'index.html'
  return path.read_text(encoding='utf-8')


def section(text, name):
  return re.search(rf'<section id="{name}">.*?</section>', text, re.DOTALL).group()


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
  assert len(drawings) >= 2 * 2 + 1 + 1 + 2 + 1
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
  assert '500 held-out countdown problems' in lead
  assert '20.0% (' in lead and '30.0% (' in lead and '10.0 points more' in lead
  # The best fair search, not pass@k, although that is better.
  assert 'critic-weighted vote on the learned policy with budget 16, 50.0%' in lead


def test_the_tree_says_whose_search_it_was(text):
  assert 'Answer of the search with the learned policy' in section(text, 'tree')


def test_fixed_problems_are_shown_with_what_the_search_answered(text, tmp_path):
  rows = re.findall('<tr[^>]*>(.*?)</tr>', section(text, 'fixed'), re.DOTALL)[1:]
  assert [re.findall('<td[^>]*>(.*?)</td>', row) for row in rows] == [
    [html.escape(EVIL), html.escape(EVIL), html.escape(EVIL), '✓'],
    ['b', 'p', '–', '✗'],
  ]
  assert 'id="fixed"' not in report.build_report(tmp_path).read_text()


def test_the_planted_slopes_are_shown(text):
  cells = re.findall('<td class="[a-z]*">(.*?)</td>', section(text, 'test-time'))
  row = cells[cells.index('critic-weighted vote') :][:5]
  assert row[1].startswith('+5.0 (+5.0 to +5.0)') and row[2] == '1.00'
  assert row[3].startswith(f'+{5 / np.log10(2):.1f} (')


def test_the_page_is_the_same_when_built_again(run, text):
  assert report.build_report(run).read_text(encoding='utf-8') == text


def test_an_empty_run_says_what_is_missing_and_which_stage_makes_it(tmp_path):
  text = report.build_report(tmp_path).read_text(encoding='utf-8')
  for name in SECTIONS:
    assert re.search(
      r'<code>.*?</code> is missing\. The <b>(learn|evaluate)</b> stage', section(text, name)
    )
  assert '<code>config.json</code> is missing' in text


def test_each_missing_file_spoils_only_its_section(tmp_path):
  run = write_run(tmp_path / 'demo')
  (run / 'report' / 'data' / 'calibration.json').unlink()
  text = report.build_report(run).read_text(encoding='utf-8')
  spoilt = [name for name in SECTIONS if 'class="missing"' in section(text, name)]
  assert spoilt == ['calibration']


def test_a_run_measured_once_is_drawn_without_fits(tmp_path):
  row = results.Result('initialised', 'cipher', 'greedy', 1, 9.0, 1e6, 0.0, 0.0, 0.1, 30, 0, 0.1)
  results.append_results(tmp_path / 'results.csv', [row])
  text = report.build_report(tmp_path).read_text(encoding='utf-8')
  assert 'no slope to fit' in text and 'On 30 held-out cipher problems' in text


def test_a_policy_measured_at_few_budgets_gets_no_panel_of_its_own(tmp_path):
  run = write_run(tmp_path / 'demo')
  row = results.Result('control', 'countdown', 'greedy', 1, 9.0, 1e6, 0.2, 0.1, 0.3, 500, 0, 0.1)
  results.append_results(run / 'results.csv', [row])
  part = section(report.build_report(run).read_text(encoding='utf-8'), 'test-time')
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
