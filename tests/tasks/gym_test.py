"""Laws of the tasks that families of reasoning-gym become, and of the arrays that they are made
into."""

import ast
import functools
import types

import numpy as np
import pytest

from o1jax.data import builder, pipeline
from o1jax.tasks import gym, gym_family
from o1jax.tasks.ahead import AheadError
from o1jax.text.steps import ANSWER, DELIMITER, Behaviours, join_steps, split_steps
from o1jax.text.tokenizer import Tokenizer
from tests.tasks import ahead_test

SPLITS = ('train', 'validation', 'test')
SUDOKU = functools.partial(gym.task, family='mini_sudoku')


@pytest.fixture(scope='module')
def task():
  return SUDOKU(texts=30, workers=1, behaviours=Behaviours(analysis=1.0))


@pytest.mark.long
def test_splits_are_apart_and_fewer_are_the_first_of_more(task):
  found = {split: task.problems(split, count, 5) for split, count in zip(SPLITS, (60, 6, 9))}
  prompts = [problem.prompt for problems in found.values() for problem in problems]
  assert len(set(prompts)) == len(prompts) == 75
  assert all(
    prompt.endswith(DELIMITER) and not prompt.endswith(2 * DELIMITER) for prompt in prompts
  )
  assert task.problems('train', 20, 5) == found['train'][:20] != task.problems('train', 20, 6)
  other = SUDOKU(workers=2)  # asked in another order
  assert [other.problems(split, len(found[split]), 5) for split in reversed(SPLITS)] == [
    found[split] for split in reversed(SPLITS)
  ]


def test_seeds_beside_each_other_share_no_problem(task):
  """The library makes entry i of seed s that of seed s + i."""
  found = [{problem.prompt for problem in task.problems('train', 60, seed)} for seed in (5, 6)]
  assert not found[0] & found[1]


def test_a_small_family_tells_how_many_it_has():
  task = gym.task(family='coin_flip', settings=dict(min_trials=3, max_trials=4), workers=1)
  with pytest.raises(
    ValueError, match=r"'coin_flip' gave (\d+) problems in split 'train', 100 were asked"
  ) as error:
    task.problems('train', 100, 0)
  count = int(str(error.value).split()[4])
  assert 'the last 300 without a new question' in str(error.value) and '\n' not in str(error.value)
  problems = task.problems('train', count, 0)  # without drawing again
  assert len({problem.prompt for problem in problems}) == count > 3
  assert task.facts(np.random.default_rng(0)).partition(DELIMITER)[0] + DELIMITER in {
    p.prompt for p in problems
  }


def test_a_family_whose_own_answers_are_wrong_has_no_problems():
  sequence = gym._Sequence(types.SimpleNamespace(name='odd', draw=flawed), 0, workers=1, seconds=60)
  assert sequence.first('train', 5) == []
  assert (
    sequence.lack()
    == '300 draws, the last 300 without a new question (the score of its own answer is 0)'
  )


def flawed(index, *, seed):
  return gym_family.Drawn(f'question {index}', '{}', 'the score of its own answer is 0')


def test_a_process_that_ends_is_told_of():
  broken = types.SimpleNamespace(name='odd', config='SomeConfig(level=3)', draw=ahead_test.ends)
  with pytest.raises(
    AheadError, match=r'drawing problems of SomeConfig\(level=3\): a process ended with status 3'
  ):
    gym._Sequence(broken, 0, workers=1, seconds=60).first('train', 5)


def test_an_answer_of_several_lines_is_several_steps(task):
  for problem in task.problems('train', 20, 5):
    steps = task.demonstrate(problem, np.random.default_rng(0))
    assert (
      len(steps) == 4
      and steps[0].startswith(ANSWER)
      and not any(ANSWER in step for step in steps[1:])
    )
    assert split_steps(join_steps(steps)) == steps and task.check(problem, join_steps(steps))
    assert not task.check(problem, join_steps(steps[:-1])) and not task.check(
      problem, join_steps(steps[1:])
    )
    # The last answer counts.
    assert task.check(problem, f'{ANSWER}1{DELIMITER}{join_steps(steps)} {DELIMITER}')
    assert not task.check(gym.ask(problem.prompt), join_steps(steps))


def test_partial_scores_count_from_the_threshold_on(task):
  lax = SUDOKU(threshold=0.3)
  problem = task.problems('train', 1, 5)[0]
  first, *rest = task.demonstrate(problem, np.random.default_rng(0))
  nearly = join_steps([ANSWER + first.removeprefix(ANSWER)[::-1], *rest])
  assert lax.check(problem, nearly) and not task.check(problem, nearly)
  assert not lax.check(problem, nearly.replace(ANSWER, ''))


def test_plain_texts_are_training_problems_with_their_answers(task):
  bank = {p.prompt + ast.literal_eval(p.text)['answer'] for p in task.problems('train', 30, 0)}
  texts = [task.facts(np.random.default_rng(i)) for i in range(200)]
  assert set(texts) == bank


def test_problems_and_demonstrations_become_arrays(task, tmp_path):
  problems = task.problems('train', 10, 5)
  builder.write(task, tmp_path, counts={'train': 10}, texts=5, seed=5)
  shown = builder.read(task.name, tmp_path, 'train')
  assert [d.problem for d in shown] == problems and task.name == 'gym_mini_sudoku'
  assert shown == pipeline.demonstrate(task, problems, seed=5)
  tokenizer = Tokenizer.train(
    pipeline.corpus(builder.read_text(task.name, tmp_path), shown), tmp_path / 'tokenizer'
  )
  prompt, reference = pipeline.encode_problems(tokenizer, problems, prompt_length=500)
  for i, problem in enumerate(problems):
    assert (
      tokenizer.decode(prompt.tokens[i, : prompt.length[i]]) == problem.prompt
      and problem.prompt.count('\n') > 8
    )
    assert bytes(reference.text[i, : reference.length[i]]).decode() == problem.text
  rows = pipeline.instruction_rows(tokenizer, shown, row_length=600)
  pipeline.check_steps(tokenizer, shown, step_length=9, max_steps=4)
  targets = [tokenizer.decode(part[mask]) for part, mask in zip(rows.tokens, rows.mask)]
  assert ''.join(targets) == ''.join(join_steps(d.steps) for d in shown)


def test_without_an_answer_of_its_own_a_family_has_no_demonstrations():
  task = gym.task(family='rush_hour', texts=5, workers=1)
  problem, *_ = task.problems('train', 5, 0)
  with pytest.raises(
    ValueError, match="'rush_hour' tells no answers, so there is nothing to demonstrate"
  ):
    task.demonstrate(problem, np.random.default_rng(0))
  assert task.facts(np.random.default_rng(0)) in {p.prompt for p in task.problems('train', 5, 0)}
  assert not task.check(problem, ANSWER + 'A+1')


@pytest.mark.parametrize(
  'setting, words',
  [
    (dict(threshold=0.0), 'threshold=0.0: it is a score'),
    (dict(threshold=1.5), 'threshold=1.5: it is a score'),
    (dict(texts=0), 'texts=0, workers=0'),
    (dict(workers=-1), 'workers=-1, seconds=120.0: give'),
    (dict(seconds=0), 'seconds=0: give'),
    (dict(family='sudoko'), "no family 'sudoko'"),
  ],
)
def test_settings_out_of_range_name_themselves(setting, words):
  with pytest.raises(ValueError, match=words):
    gym.task(**{'family': 'chain_sum'} | setting)


def test_an_unknown_split_is_refused(task):
  with pytest.raises(ValueError, match="no split 'test_targets'"):
    task.problems('test_targets', 1, 0)
