"""Questions of published data: splits, demonstrations, verdicts, and what people ask."""

import numpy as np
import pytest

from o1jax.data.problems import SolvedProblem
from o1jax.tasks import gym, questions

TEST = [
  SolvedProblem(f'How many are {i} and 1?', (f'{i}+1={i + 1}.',), str(i + 1)) for i in range(10)
]
# The training set has some questions of the test set, and some twice.
TRAIN = TEST[:3] + 2 * [
  SolvedProblem(f'What is {i}?', ('Easy.', f'It is {i}.'), f'{i:,}') for i in range(2000)
]


def make():
  return questions.task(name='sums', train=lambda: TRAIN, test=lambda: TEST)


def test_splits_share_no_question_and_have_each_once():
  task = make()
  parts = {
    'test': task.problems('test', 10, 0),
    'validation': task.problems('validation', 150, 0),
    'train': task.problems('train', 1700, 0),
  }
  prompts = [problem.prompt for part in parts.values() for problem in part]
  assert len(set(prompts)) == len(prompts) and all(prompt.endswith('\n') for prompt in prompts)
  assert {problem.prompt.strip() for problem in parts['test']} == {
    solved.problem for solved in TEST
  }
  assert task.problems('train', 1700, 1) != parts['train'] == make().problems('train', 1700, 0)
  assert task.problems('train', 5, 0) == parts['train'][:5]


def test_a_demonstration_is_right_and_ends_with_the_answer_in_its_box():
  task = make()
  for problem in task.problems('train', 50, 0):
    steps = task.demonstrate(problem, np.random.default_rng(0))
    assert (
      steps[0] == 'Easy.' and task.marker in steps[-1] and all('\n' not in step for step in steps)
    )
    assert task.check(problem, '\n'.join(steps))
    assert not task.check(problem, '\n'.join(steps).replace(problem.text, problem.text + '1'))
    assert not task.check(problem, steps[0])


def test_blanks_and_commas_do_not_make_an_answer_wrong_and_nothing_is_never_right():
  (problem,) = [p for p in make().problems('train', 1700, 0) if p.text == '1,080']
  assert all(
    questions.check(problem, text) for text in (r'\boxed{1080}', r'\boxed{1,080}', '#### 1 080')
  )
  assert not any(
    questions.check(problem, text) for text in ('', r'\boxed{}', r'\boxed{108}', 'none')
  )


def test_too_many_and_unknown_splits():
  with pytest.raises(ValueError, match="10 problems in split 'test', 11 were asked"):
    make().problems('test', 11, 0)
  with pytest.raises(ValueError, match="no split 'dev'"):
    make().problems('dev', 1, 0)


def test_facts_are_questions_with_their_solutions():
  told = make().facts(np.random.default_rng(0))
  assert told.startswith('What is ') and told.endswith('.') and '\nEasy.\n' in told


def test_any_question():
  for ask in (questions.ask, gym.ask):
    assert ask('Why?\nAnd how?').prompt == 'Why?\nAnd how?\n' and ask('Why?').text == ''
    for nothing in ('', ' \n', '\u00a0'):
      with pytest.raises(ValueError, match='empty'):
        ask(nothing)
