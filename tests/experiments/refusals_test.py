"""What the main job and other commands refuse, in one line and before anything is compiled, and what
is left then."""

import pytest

from experiments.benchmark.trained import trained_rows
from o1jax.runtime.config import ConfigError
from o1jax.runtime.workdir import alone
from tests import jobs

CONFIG = '--config=configs/quickstart.py:smoke'


def job(workdir, *arguments, **how):
  return jobs.run('experiments.o1', CONFIG, f'--workdir={workdir}', *arguments, **how)


def test_what_has_nothing_to_measure_says_so(tmp_path):
  done = job(tmp_path / 'run', "--config.stages=('evaluate',)")
  assert done.returncode == 1 and 'evaluate has nothing to measure' in done.stderr
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
  'arguments, words',
  [
    (('--config.evaluate.searches.gumbel.candidates=1',), ('candidates=1', 'at least 2')),
    (('--config.evaluate.searches.gumbel.units=(4,9)',), ('units=(4, 9)', 'raise')),
    (("--config.evaluate.policies.learned.searches=('gumble',)",), ("'gumble'", 'chains, gumbel')),
    (('--config.shapes.prompt_length=4',), ('prompt_length=4', 'raise it')),
    (('--config.shapes.step_length=5',), ('step_length=5', 'raise it')),
    (('--config.learn.search.method=astar',), ('astar', 'choose one of')),
    (('--config.evaluate.rows=0',), ('rows=0', 'at least 1')),
    (('--config.sampling.granularity=word',), ('word', 'choose one of')),
    (('--config.learn.minibatches=3',), ('config.learn.minibatches=3', 'divi')),
    (('--config.reward.minibatches=3',), ('config.reward.minibatches=3', 'divi')),
    (('--config.instruct.optimizer.name=sgd',), ('config.instruct', "'sgd'")),
    (('--config.reward.credit.value=guess',), ('config.reward', "'guess'")),
    (('--config.learn.start=learn',), ('config.learn.start', 'circle')),
    (("--config.stages=('learn',)",), ("config.learn.start='reward' has not ended",)),
    (('--config.learn.start=runs/none:reward',), ('runs/none holds no run',)),
    (('--config.learn.updates_per_call=2',), ('learn.updates_per_call=2', 'validate_every=1')),
    (('--config.stages=("initialize",)',), ('initialize', 'choose')),
    (('--config.stages=(1,)',), ('config.stages=(1,)', 'name at least one')),
    (('--config.data.texts=0',), ('config.data.texts is 0', 'at least 1')),
  ],
)
def test_bad_settings_are_one_clear_line_before_anything_is_compiled(tmp_path, arguments, words):
  done = job(tmp_path / 'run', *arguments)
  assert done.returncode == 1 and 'Traceback' not in done.stderr
  last = done.stderr.strip().splitlines()[-1]
  assert all(word in last for word in words), last
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
  'arguments, words',
  [
    (('--config.learn.updatez=3',), ('updatez', "did you mean 'learn.updates'")),
    (('--config.learn.batch=abc',), ('batch=abc', 'a whole number')),
    (('--config=configs/nothing.py',), ('configs/nothing.py',)),
    (('--config=configs/quickstart.py:big',), ("'big' is unknown",)),
    (('--wrokdir=x',), ('wrokdir', 'workdir')),
  ],
)
def test_a_config_that_is_not_there_is_one_clear_line(tmp_path, arguments, words):
  done = job(tmp_path / 'run', *arguments)
  (line,) = done.stderr.strip().splitlines()
  assert done.returncode == 1 and all(word in line for word in words), line
  assert not (tmp_path / 'run').exists()


def test_a_stage_that_has_nothing_to_do_says_why(tmp_path):
  none = [f'--config.{part}.updates=0' for part in ('pretrain', 'instruct', 'reward')]
  done = job(tmp_path / 'run', *none, "--config.stages=('initialise', 'reward')")
  assert done.returncode == 0, done.stderr
  told = [line for line in done.stderr.splitlines() if 'nothing to do' in line]
  assert [line.split(', so ')[0] for line in told] == [
    'initialise: nothing to do: config.pretrain.updates=0 and config.instruct.updates=0',
    'reward: nothing to do: config.reward.updates=0',
  ]


def test_a_second_job_in_a_workdir_is_refused(tmp_path):
  run = tmp_path / 'run'
  run.mkdir()
  with alone(run):
    done = job(run)
  assert done.returncode == 1 and 'Traceback' not in done.stderr
  assert f'another job works in {run}' in done.stderr.strip().splitlines()[-1]
  assert not list(run.iterdir())


def test_a_foreign_folder_is_left_alone(tmp_path):
  (tmp_path / 'thesis.txt').write_text('mine')
  done = job(tmp_path)
  assert vars(done) == vars(
    job(tmp_path, forked=False)
  )  # jobs of the tests say what `python -m` does
  assert done.returncode == 1 and 'thesis.txt' in done.stderr
  assert [path.name for path in tmp_path.iterdir()] == ['thesis.txt']


def test_the_benchmark_names_what_a_folder_lacks(tmp_path):
  with pytest.raises(ConfigError, match=str(tmp_path)):
    trained_rows(tmp_path, dict(float32=lambda: 1.0), samples=1, repeats=1)


def test_a_folder_of_a_model_is_no_run(tmp_path):
  (tmp_path / 'config.json').write_text('{"model_type": "qwen2"}')
  done = jobs.run('experiments.solve', f'--workdir={tmp_path}', 'make 24 from 3 5 7')
  (line,) = done.stderr.splitlines()
  assert done.returncode == 1 and line.startswith(f'error: {tmp_path} holds a model, not a run')


def test_tokens_and_units_are_not_asked_at_once(tmp_path):
  flags = f'--workdir={tmp_path}', 'make 24 from 3 5 7', '--tokens=300', '--units=3'
  done = jobs.run('experiments.solve', *flags)
  assert done.returncode != 0 and 'give --tokens or --units' in done.stdout + done.stderr
