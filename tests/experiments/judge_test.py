"""A critic judged by labelled steps, as a user asks for it."""

import json
import shutil

import pytest

from o1jax.data import LabelledSolution
from o1jax.data.stepwise import write_stepwise
from tests import jobs

pytestmark = pytest.mark.long


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A smoke run with a policy and a critic."""
  workdir = tmp_path_factory.mktemp('judge') / 'smoke'
  flags = '--config=configs/quickstart.py:smoke', "--config.stages=('initialise','reward')"
  done = jobs.run('experiments.o1', f'--workdir={workdir}', *flags)
  assert done.returncode == 0, done.stderr
  return workdir


def judge(workdir, *arguments):
  return jobs.run('experiments.judge', f'--workdir={workdir}', *arguments)


def test_planted_errors_are_judged_and_kept(run, tmp_path):
  done = judge(run, 'planted', '--threshold=0.5')
  assert done.returncode == 0, done.stderr
  assert done.stdout.startswith('planted by the critic of initialised (stage reward)\n')
  assert 'first error: F1 ' in done.stdout and 'of 8 with an error' in done.stdout
  (found,) = json.loads((run / 'report/data/judge.json').read_text())
  assert found['solutions'] + found['left_out'] == 16 and found['first_error']['threshold'] == 0.5
  assert 0 < found['calibration']['error'] < 1 and found['depths'][0]['depth'] == 1
  before = (run / 'report/data/judge.json').read_text()
  other = judge(run, 'planted', '--threshold=0.5', f'--out={tmp_path / "a" / "found.json"}')
  assert other.returncode == 0, other.stderr
  assert json.loads((tmp_path / 'a' / 'found.json').read_text()) == found
  assert (run / 'report/data/judge.json').read_text() == before


def test_a_file_is_judged_and_what_is_too_long_is_told(run, tmp_path):
  path = tmp_path / 'steps.jsonl'
  solution = LabelledSolution('make 20 from 1,10,10', ('<completion>10+10=20', '20'), (1, -1))
  long = solution._replace(steps=('20',) * 200, labels=(None,) * 200)
  write_stepwise(path, [solution, long, solution._replace(labels=(1, 1))])
  done = judge(run, str(path), '--format=stepwise', f'--out={tmp_path / "found.json"}')
  assert done.returncode == 0, done.stderr
  assert '1 solutions are left out: they take more than a row of 160 tokens' in done.stdout
  found = json.loads((tmp_path / 'found.json').read_text())
  assert (found['source'], found['format'], found['labelled']) == ('steps.jsonl', 'stepwise', 4)


@pytest.mark.parametrize(
  'arguments, words',
  [
    (('none.json',), 'error: none.json'),
    (('planted', '--policy=learned'), "has no policy 'learned' to judge"),
    (('planted', '--format=stepwise'), 'planted is no file: drop --format'),
    ((), 'error: 0 files: give one, or planted'),
    (('planted', '--threshold=2'), 'threshold'),
    (('planted', '--threshold=nan'), 'error: --threshold=nan: give a number in [0, 1]'),
  ],
)
def test_what_cannot_be_judged_is_one_clear_line(run, arguments, words):
  done = judge(run, *arguments)
  assert done.returncode != 0 and 'Traceback' not in done.stderr
  assert words in done.stdout + done.stderr


def test_the_numbers_replace_nothing_else(run):
  before = (run / 'config.json').read_bytes()
  done = judge(run, 'planted', f'--out={run / "config.json"}')
  assert done.returncode == 1 and 'is there and holds no numbers of a judge' in done.stderr
  assert (run / 'config.json').read_bytes() == before


def states(workdir):
  """The checksums of all that a job has saved."""
  found = {}
  for path in workdir.glob('checkpoints/*/*/record/metadata'):
    leaves = json.loads(path.read_text())['leaves']
    found[path.parts[-4], path.parts[-3]] = {name: leaf[-1] for name, leaf in leaves.items()}
  return found


def steps(run, workdir, *arguments):
  flags = '--config=configs/steps.py:smoke', f'--config.steps.start={run}:initialise'
  done = jobs.run('experiments.o1', *flags, f'--workdir={workdir}', *arguments)
  assert done.returncode == 0, done.stderr
  return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def test_a_critic_learns_from_planted_errors_goes_on_and_is_judged(run, tmp_path):
  workdir, broken = tmp_path / 'whole', tmp_path / 'broken'
  found = steps(run, workdir, '--config.checkpoint.updates=2')
  rows = [row for row in found if row['stage'] == 'steps']
  assert [row['update'] for row in rows] == [1, 2, 3, 4]
  assert rows[-1]['loss_value'] != rows[0]['loss_value'] > 0
  assert rows[0]['loss'] == rows[0]['loss_value'] and rows[0]['flops'] > rows[0]['tokens'] > 0
  assert (workdir / 'results.csv').exists()
  # Stopped after its second update, it ends as if it had not been.
  shutil.copytree(workdir, broken)
  shutil.rmtree(broken / 'checkpoints' / 'steps' / '4')
  shutil.rmtree(broken / 'checkpoints' / 'steps_params')
  (broken / 'done' / 'steps').unlink()
  steps(run, broken, "--config.stages=('steps',)", '--config.checkpoint.updates=2')
  assert states(broken) == states(workdir)
  done = judge(workdir, 'planted')
  assert done.returncode == 0, done.stderr
  assert done.stdout.startswith('planted by the critic of initialised (stage steps)\n')
