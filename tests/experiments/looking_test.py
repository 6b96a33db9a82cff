"""What looks at a finished smoke run: notebooks, searches made again, and a critic that starts from
it."""

import json
import pathlib

import nbclient
import nbformat
import pytest

from o1jax.evaluation.problems import read_problems, where
from o1jax.evaluation.results import read_results
from o1jax.recipes import contrast
from o1jax.recipes.looking import load_run
from tests import jobs

ROOT = pathlib.Path(__file__).parents[2]


def outputs(name):
  """What a notebook prints, and the rich outputs of its cells."""
  path = ROOT / 'notebooks' / name
  notebook = nbformat.read(path, as_version=4)
  nbclient.NotebookClient(
    notebook, timeout=240, resources={'metadata': {'path': str(path.parent)}}
  ).execute()
  found = [output for cell in notebook.cells for output in cell.get('outputs', [])]
  printed = ''.join(output.get('text', '') for output in found)
  return printed, [output.data for output in found if 'data' in output]


@pytest.mark.long
def test_the_notebook_runs_on_a_run(run, monkeypatch):
  monkeypatch.setenv('O1JAX_RUN', str(run[0]))
  printed, shown = outputs('01_one_search.ipynb')
  assert 'make ' in printed and 'gumbel' in printed
  assert any('image/svg+xml' in data for data in shown)


@pytest.mark.long
def test_the_notebook_of_equal_compute_runs_on_a_run(run, monkeypatch):
  monkeypatch.setenv('O1JAX_RUN', str(run[0]))
  printed, shown = outputs('02_search_at_equal_compute.ipynb')
  assert 'A search pays where' in printed and 'gumbel' in printed
  shown = [data['text/html'] for data in shown]
  tokens, flops, *_, won, lost = shown
  assert len(shown) == 6 and 'tokens sampled' in tokens and 'FLOPs for one' in flops
  assert all('<svg' in figure for figure in (tokens, flops))
  assert ' problems right that ' in won and ' problems right that ' in lost


@pytest.mark.long
def test_a_critic_learns_where_the_first_wrong_step_is(run, tmp_path):
  """A run of its own from the start of another: labels by bisection, measured and judged."""
  workdir = tmp_path / 'critic'
  done = jobs.run(
    *('experiments.o1', '--config=configs/critic.py:smoke', f'--workdir={workdir}'),
    f'--config.reward.start={run[0]}:initialise',
  )
  assert done.returncode == 0, done.stderr
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  losses = [row['loss_value'] for row in map(json.loads, lines) if row.get('stage') == 'reward']
  assert len(losses) == 2 and all(loss > 0 for loss in losses)
  found = {(row.method, row.units) for row in read_results(workdir / 'results.csv')}
  assert {(name, n) for name in ('majority', 'best', 'weighted') for n in (1, 2)} <= found
  done = jobs.run('experiments.judge', 'planted', f'--workdir={workdir}')
  assert done.returncode == 0 and 'AUC' in done.stdout


@pytest.mark.long
def test_a_measured_problem_is_searched_again_as_it_was(run, monkeypatch):
  """Answers and verdicts of each problem are those of the evaluation, by chains and by trees."""
  workdir, _ = run
  looked, found = load_run(workdir), read_results(workdir / 'results.csv')
  table = read_problems(workdir / 'problems.csv.gz')
  pair = contrast.duel(looked, found)
  for asked in pair:
    own = where(table, **contrast.columns(asked))
    for number, answer, correct in zip(
      *(table[name][own] for name in ('problem', 'answer', 'correct')), strict=True
    ):
      one = contrast.again(looked, found, asked, int(number))
      assert (one.answer, one.correct) == (answer, correct)
      if asked is pair.sampling:  # the chains that it counted, of those that there is room for
        assert sum(node.parent == 0 for node in one.nodes) == asked.units
  # A policy as small as this answers nothing, so no problem sets its methods apart.
  monkeypatch.setattr(contrast, 'apart', lambda *_: [3, 5])
  for won in (True, False):
    shown = contrast.drawings(looked, found, table, pair, won=won)
    assert shown.count('class="o1tree"') == 2 and f'has 2 of {asked.problems} problems' in shown
