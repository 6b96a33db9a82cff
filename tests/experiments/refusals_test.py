"""What the main job refuses, in one line and before anything is compiled, and what it leaves then."""

import pytest

from tests import jobs

CONFIG = '--config=configs/quickstart.py:smoke'


def job(workdir, *arguments, **how):
  return jobs.run('experiments.o1', CONFIG, f'--workdir={workdir}', *arguments, **how)


def test_what_has_nothing_to_measure_says_so(tmp_path):
  done = job(tmp_path / 'run', "--config.stages=('evaluate',)")
  assert done.returncode == 1 and 'evaluate has nothing to measure' in done.stderr
  assert not (tmp_path / 'run' / 'done').exists()


@pytest.mark.parametrize(
  'arguments, words',
  [
    (('--config.evaluate.search.candidates=1',), ('candidates=1', 'at least 2')),
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


def test_a_foreign_folder_is_left_alone(tmp_path):
  (tmp_path / 'thesis.txt').write_text('mine')
  done = job(tmp_path)
  assert vars(done) == vars(
    job(tmp_path, forked=False)
  )  # jobs of the tests say what `python -m` does
  assert done.returncode == 1 and 'thesis.txt' in done.stderr
  assert [path.name for path in tmp_path.iterdir()] == ['thesis.txt']
