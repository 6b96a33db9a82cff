"""A study as a user asks for it."""

import json

import pytest

from tests import jobs

COVERAGE = '--config=configs/studies/coverage.py:smoke'


pytestmark = pytest.mark.long


@pytest.fixture(scope='module')
def start(tmp_path_factory):
  """A smoke run with a policy and a critic."""
  workdir = tmp_path_factory.mktemp('study') / 'smoke'
  flags = '--config=configs/quickstart.py:smoke', "--config.stages=('initialise','reward')"
  done = jobs.run('experiments.o1', f'--workdir={workdir}', *flags)
  assert done.returncode == 0, done.stderr
  return workdir


def test_one_command_measures_judges_and_writes_a_page_and_goes_on(start, tmp_path):
  command = 'experiments.study', COVERAGE, f'--workdir={tmp_path / "out"}'
  asked = *command, f'--config.starts.countdown={start}:reward'
  done = jobs.run(*asked)
  assert done.returncode == 0, done.stderr
  # A policy that solves nothing has no power law.
  assert done.stdout.startswith('Coverage is a power law') and 'verdict: undecided' in done.stdout
  page = (tmp_path / 'out' / 'index.html').read_text()
  assert 'python -m experiments.study --config=configs/studies/coverage.py:smoke' in page
  told = json.loads((tmp_path / 'out' / 'verdict.json').read_text())
  assert (told['name'], told['verdict']) == ('coverage', 'undecided')
  assert (tmp_path / 'out' / 'countdown' / 'seed-0' / 'problems.csv.gz').exists()
  again = jobs.run(*asked)
  assert again.returncode == 0 and 'evaluate: done before' in again.stderr
  assert again.stdout == done.stdout


@pytest.mark.parametrize(
  'arguments, words',
  [
    (('--config.starts.countdown=none:reward',), 'error: none holds no run'),
    (('--seeds=2',), 'is one run, and --seeds=2 asks for several'),
    (('--config.judge.name=no',), "error: config.judge.name is 'no'"),
  ],
)
def test_a_mistake_is_one_line(arguments, words, tmp_path):
  done = jobs.run('experiments.study', COVERAGE, f'--workdir={tmp_path / "out"}', *arguments)
  assert done.returncode == 1 and words in done.stderr and len(done.stderr.splitlines()) == 1
  assert not (tmp_path / 'out').exists()
