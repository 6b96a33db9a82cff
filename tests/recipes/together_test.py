"""Finished runs are read from their folders; what is no run, has no results or another config is one
line."""

import pytest

from configs import quickstart
from o1jax.evaluation.problems import FILE, append_problems
from o1jax.evaluation.results import append_results
from o1jax.recipes.together import together
from o1jax.runtime.config import ConfigError, config_to_json
from o1jax.runtime.workdir import require_free
from tests import jobs
from tests.evaluation.drawn import chains, one, table_of


def run(folder, found, seed=0, change=lambda config: None):
  """A run's folder with these measurements."""
  config = quickstart.get_config('smoke')
  config.seed = seed
  change(config)
  folder.mkdir()
  (folder / 'config.json').write_text(config_to_json(config))
  rows, table = table_of(found)
  append_results(folder / 'results.csv', rows)
  append_problems(folder / FILE, [table])
  return folder


def refusal(*folders):
  with pytest.raises(ConfigError) as error:
    together(folders)
  assert '\n' not in str(error.value)
  return str(error.value)


def beams(config):
  """Another search, and a policy of elsewhere."""
  config.evaluate.searches.beam = config.evaluate.searches.gumbel.copy_and_resolve_references()
  del config.evaluate.searches.gumbel
  config.evaluate.policies.initialised.stages = ('runs/quickstart:reward',)
  config.evaluate.searches.chains.units = (1, 2)


def test_seeds_and_searches_of_one_policy_go_together(tmp_path):
  folders = [run(tmp_path / f'{seed}', chains(seed), seed) for seed in range(2)]
  search = [chains(0)[0], one('beam', 200)]
  folders.append(run(tmp_path / 'beam', search, 0, beams))
  found = together(folders)
  assert len(found.rows) == 2 * 6 + 1
  assert [each[:2] for each in found.runs] == [
    (str(folders[0]), 0),
    (str(folders[2]), 0),
    (str(folders[1]), 1),
  ]


def test_what_is_no_run_or_not_evaluated_is_named(tmp_path):
  there = run(tmp_path / 'a', chains())
  assert 'none/config.json cannot be read' in refusal(there, tmp_path / 'none')
  (there / FILE).unlink()
  assert f'has no {FILE}: run its stage evaluate' in refusal(there)
  (there / 'results.csv').unlink()
  assert 'has no results.csv: run its stage evaluate' in refusal(there)
  append_results(there / 'results.csv', [])
  append_problems(there / FILE, [])
  assert 'results.csv has no rows' in refusal(there)
  (there / FILE).write_bytes(b'x')
  assert 'damaged' in refusal(there)


def test_a_mean_over_seeds_is_of_one_config(tmp_path):
  def other(config):
    config.learn.batch = 2 * config.learn.batch

  one_run = run(tmp_path / 'a', chains(0), 0)
  words = refusal(one_run, run(tmp_path / 'b', chains(1), 1, other))
  batch = quickstart.get_config('smoke').learn.batch
  assert f'config.learn.batch is {batch} and {2 * batch}' in words
  assert 'other names (config.evaluate.policies)' in words
  # Of one seed, it is for the measurements to tell.
  assert together([one_run, run(tmp_path / 'c', chains(0), 0, other)]).rows


def test_a_search_with_other_settings_is_no_seed(tmp_path):
  def other(config):
    config.evaluate.searches.gumbel.candidates += 1

  folders = [run(tmp_path / 'a', chains(0), 0), run(tmp_path / 'b', chains(1), 1, other)]
  assert 'config.evaluate.searches.gumbel.candidates is' in refusal(*folders)


def test_the_command_prints_the_table_and_leaves_a_page(tmp_path):
  folders = [run(tmp_path / f'{seed}', chains(seed), seed) for seed in range(2)]
  out = tmp_path / 'out'
  done = jobs.run('experiments.compare', *map(str, folders), f'--out={out}')
  assert done.returncode == 0, done.stderr
  assert 'at equal tokens' in done.stdout and f'page: {out}/index.html' in done.stdout
  lines = (out / 'comparison.csv').read_text().splitlines()
  assert len(lines) == 1 + 6 and lines[0].endswith('flops_verdict')
  page = (out / 'index.html').read_text()
  assert '2 runs side by side' in page and 'Test problems: search at equal compute' in page
  done = jobs.run('experiments.compare', str(folders[0]), f'--out={folders[1]}')
  assert done.returncode == 1 and 'is a run: give another folder' in done.stderr
  assert done.stderr.strip().count('\n') == 0


def test_a_page_is_written_into_no_run_and_over_no_other_page(tmp_path):
  folder = run(tmp_path / 'run', chains(0), 0)
  (folder / 'versions.json').write_text('[]')
  (tmp_path / 'site').mkdir()
  (tmp_path / 'site' / 'index.html').write_text('mine')
  for place, words in (
    (folder, 'is a run: give another'),
    (folder / 'report', f'lies in the run {folder}'),
    (tmp_path / 'site', 'holds an index.html and no pages.csv, so something else made it'),
  ):
    with pytest.raises(ConfigError, match=words) as error:
      require_free(place, 'pages.csv', '--out')
    assert str(error.value).startswith(f'--out={place} ')
  (tmp_path / 'site' / 'pages.csv').touch()
  for place in (tmp_path / 'site', tmp_path / 'new'):
    require_free(place, 'pages.csv', '--out')
