"""The stage that learns from labelled steps: which it reads, and what it refuses before anything is
compiled."""

import numpy as np
import pytest

from configs import steps
from o1jax.data.stepwise import LabelledSolution, write_stepwise
from o1jax.recipes import graph
from o1jax.recipes.build import build, check
from o1jax.recipes.labelling import check_label, rows_of
from o1jax.recipes.settings import complete
from o1jax.runtime.config import ConfigError, flatten


@pytest.fixture(scope='module')
def experiment(tmp_path_factory):
  return build(steps.get_config('smoke'), tmp_path_factory.mktemp('labelling'))


@pytest.fixture
def section(experiment):
  """The section of the stage, as it was again afterwards."""
  section = experiment.config.steps
  before = section.to_dict()
  rows_of.cache_clear()
  yield section
  section.update(before)
  rows_of.cache_clear()


def write(path):
  solution = LabelledSolution('make 20 from 1,10,10', ('10+10=20', '20-1=19'), (1, 0))
  write_stepwise(path, [solution, solution._replace(labels=(None, None)), solution])
  return str(path)


def test_planted_solutions_are_of_training_problems_alone(experiment, section):
  rows = rows_of(experiment, 'steps')
  assert 1 < rows.mask.sum() < rows.written.sum()
  told = set(rows.target[rows.mask].tolist())
  assert told == {0.0, 1.0}
  texts = {
    experiment.tokenizer.decode(row[(mark == n) & ~written]).strip()
    for row, mark, written in zip(rows.tokens, rows.segment, rows.written)
    for n in range(1, mark.max() + 1)
  }
  tested = {p.prompt.strip() for p in experiment.data.test_problems}
  assert len(texts) == 128 and not texts & tested  # 64 demonstrations, and the pool


def test_settings_say_what_is_read(experiment, section, tmp_path):
  section.solutions = 4
  assert 3 < rows_of(experiment, 'steps').segment.max(1).sum() <= 4
  rows_of.cache_clear()
  section.update(source='stepwise', file=write(tmp_path / 'a.jsonl'), solutions=0)
  rows = rows_of(experiment, 'steps')
  # The one without any label is left out.
  assert rows.segment.max(1).sum() == 2 and rows.target[rows.mask].tolist() == [1, 0.5, 1, 0.5]
  rows_of.cache_clear()
  section.neutral = 'masked'
  assert rows_of(experiment, 'steps').target[rows.mask].sum() == 2


def test_a_config_without_them_has_the_defaults(experiment):
  bare = steps.get_config('smoke')
  for key in ('file', 'solutions', 'neutral', 'learns', 'keep', 'start'):
    del bare.steps[key]
  found = complete(bare).steps
  assert (found.start, found.keep, found.neutral) == ('initialise', 0.0, 'half')
  full = complete(steps.get_config())
  assert complete(full) == full and flatten(full)['steps.keep'] == 0.0
  assert graph.trains_critic(full, 'steps')
  full.steps.unlock()
  full.steps.learns = ('policy',)
  full.steps.start = 'initialise'
  assert not graph.trains_critic(full, 'steps')


@pytest.mark.parametrize(
  'changes, message',
  [
    (dict(source='hearsay'), "config.steps.source is 'hearsay': choose one of processbench, "),
    (dict(source='stepwise'), 'config.steps.file names no file of stepwise: give its path'),
    (dict(source='stepwise', file='none.jsonl'), 'none.jsonl'),
    (dict(file='a.jsonl'), "config.steps.file='a.jsonl' has no effect: source=planted reads no"),
    (dict(neutral='masked'), "config.steps.neutral='masked' has no effect"),
    (dict(source='stepwise', file='a', neutral='wrong'), "neutral is 'wrong': choose one of half"),
    (dict(keep=-1.0), 'config.steps.keep=-1.0: give at least 0'),
    (dict(batch=0), 'config.steps.batch=0: give at least 1'),
    (dict(solutions=-1), 'config.steps.solutions=-1: give at least 0'),
    (dict(learns=('policy',)), 'learns=.*: it is the critic that learns from labels, name it'),
    (dict(learns=('critic', 'judge')), 'learns=.*: choose from policy, critic'),
    (dict(keep=1.0), 'keep=1.0 has no effect: the policy does not learn'),
    (dict(optimizer=dict(name='sgd')), "optimizer 'sgd' is unknown"),
  ],
)
def test_what_cannot_be_learned_is_one_line(experiment, section, changes, message):
  section.update(changes)
  with pytest.raises(ConfigError, match=message) as error:
    check(experiment)
  assert '\n' not in str(error.value)


def test_labels_do_not_reach_the_policy_of_a_critic_with_a_trunk_of_its_own(tmp_path):
  config = steps.get_config('smoke')
  config.steps.learns = ('policy', 'critic')
  with pytest.raises(ConfigError, match='labels do not reach the policy; leave it out'):
    build(config, tmp_path / 'a')
  config.steps.learns = ('critic',)
  build(config, tmp_path / 'b')


def test_what_is_too_long_is_left_out_and_nothing_left_is_refused(experiment, section, tmp_path):
  solution = LabelledSolution('make 20 from 1,10,10', ('10+10=20',) * 90, (1,) * 90)
  path = tmp_path / 'long.jsonl'
  write_stepwise(path, [solution])
  section.update(source='stepwise', file=str(path))
  with pytest.raises(ConfigError, match='of 1 solutions none that has a label fits in a row of'):
    check_label(experiment, 'steps', None)
  write_stepwise(path, [solution, solution._replace(steps=('20',), labels=(1,))])
  assert rows_of(experiment, 'steps').mask.sum() == 1
  rows_of.cache_clear()
  section.neutral = 'masked'
  write_stepwise(path, [solution._replace(steps=('20',), labels=(0,))])
  with pytest.raises(ConfigError, match="neutral='masked' leaves no label"):
    rows_of(experiment, 'steps')


def test_rows_are_those_that_are_compiled_for(experiment):
  rows = rows_of(experiment, 'steps')
  assert rows.tokens.shape[1] == experiment.config.shapes.row_length
  assert (rows.length <= rows.tokens.shape[1]).all()
  assert {x.dtype for x in (rows.tokens, rows.length, rows.segment)} == {np.dtype(np.int32)}
