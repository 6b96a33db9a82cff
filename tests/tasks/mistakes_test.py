"""Planted errors: what is labelled right is true, what is labelled wrong is not, and what comes
after follows from it."""

import itertools
import re

import numpy as np
import pytest

from o1jax.data.planted import planted
from o1jax.tasks import calculator, cipher, countdown, infix, mistakes, mixture
from o1jax.text.steps import RIGHT, WRONG, Behaviours
from o1jax.types import Problem

EVERY = Behaviours(analysis=0.5, decomposition=0.5, evaluation=0.8, dead_end=0.5, max_dead_ends=2)


def said_of_countdown(problem, steps):
  """For each step whether it is true, of the numbers that the steps before it say are left."""
  target, *given = problem.numbers
  states, result = [sorted(given)], None
  for step in steps:
    tag, text = re.fullmatch(r'<(\w+)>(.*)', step).groups()
    if tag in ('completion', 'alternative'):
      a, op, b, c, left = re.fullmatch(r'(\d+)(.)(\d+)=(\d+)(?:;([\d,]+))?', text).groups()
      a, b, result = int(a), int(b), int(c)
      left = list(map(int, left.split(','))) if left else [result]
      pool, held = states[-1].copy(), True
      for number in (a, b):
        held &= number in pool
        if number in pool:
          pool.remove(number)
      made = {'+': a + b, '-': a - b, '*': a * b, '/': a / b if b else None}[op]
      yield held and made == result and left == sorted([*pool, result])
      states.append(left)
    elif tag == 'evaluation':
      shown, wanted, verdict = re.fullmatch(r'(\d+) for (\d+) (ok|no)', text).groups()
      compared = (int(shown), int(wanted)) == (result, target)
      yield compared and (verdict == 'ok') == (result == target)
    elif tag == 'correction':
      back = list(map(int, text.removeprefix('back;').split(',')))
      yield back in states
      states = states[: states.index(back) + 1] if back in states else [back]
    elif tag == 'answer':
      yield infix.check(problem.numbers, step)
    else:
      yield True


@pytest.mark.parametrize('numbers', [3, 4])
def test_labels_of_countdown_are_true(numbers):
  task = countdown.task(numbers=numbers, behaviours=EVERY)
  problems = task.problems('train', 400, 0)
  kinds = {}
  for i, solution in enumerate(planted(task, problems, seed=1)):
    said = list(said_of_countdown(problems[i], solution.steps))
    wrong = solution.labels.index(WRONG) if i % 2 else len(said)
    assert solution.labels == (RIGHT,) * wrong + (WRONG,) * (i % 2) + (None,) * (
      len(said) - wrong - i % 2
    )
    assert all(said[:wrong]), solution
    if i % 2:
      assert not said[wrong], solution
      kind = solution.steps[wrong][1:].split('>')[0]
      kinds[kind] = kinds.get(kind, 0) + 1
      if kind in ('completion', 'alternative'):
        # What follows is a true account of what the wrong step says, but for the answer.
        after = zip(said[wrong + 1 :], solution.steps[wrong + 1 :])
        assert all(true for true, step in after if not step.startswith('<answer>')), solution
  assert kinds.keys() == {'completion', 'alternative', 'evaluation', 'answer'}
  assert min(kinds['completion'], kinds['evaluation'], kinds['answer']) > 15


def test_every_move_can_go_wrong_in_two_ways():
  """A result that is none, and a number that is not left, with and without a way back to a given
  number."""
  numbers = (30, 1, 8, 3)
  steps = ['<completion>1*8=8;3,8', '<completion>3+8=11', '<answer>1*8+3']
  results, strangers = 0, 0
  for seed in range(3000):
    wrong, labels = mistakes.plant(numbers, steps, np.random.default_rng(seed))
    at = labels.index(WRONG)
    said = list(said_of_countdown(Problem('', numbers=numbers), wrong))
    assert not said[at]
    if at == 1:
      a, _, b, _ = re.fullmatch(r'<completion>(\d+)(.)(\d+)=(\d+)', wrong[1]).groups()
      strangers += sorted([int(a), int(b)]) != [3, 8]
      results += sorted([int(a), int(b)]) == [3, 8]
  assert min(results, strangers) > 200


def test_labels_of_the_cipher_are_true():
  task = cipher.task(behaviours=EVERY)
  problems = task.problems('train', 300, 0)
  readings = answers = 0
  for i, solution in enumerate(planted(task, problems)):
    words = iter(problems[i].text.split(' '))
    for step, label in zip(solution.steps, solution.labels):
      tag, text = re.fullmatch(r'<(\w+)>(.*)', step).groups()
      assert tag not in ('correction', 'alternative')  # nothing is misread without a label
      if tag == 'completion':
        pairs, word = text.split('=')
        assert ''.join(pair[2] for pair in pairs.split(' ')) == word
        true = word == next(words)
        readings += not true
      elif tag == 'answer':
        true = text == problems[i].text
        answers += label == WRONG
      elif tag == 'evaluation':
        true = label is None or text == f'{word} ok' and word in problems[i].text
      else:
        true = True
      if label is not None:
        assert true == (label == RIGHT), solution
    assert solution.labels.count(WRONG) == i % 2
    assert task.check(problems[i], '\n'.join(solution.steps)) == (i % 2 == 0)
  assert readings > 60 and answers > 20


def test_a_solution_is_a_function_of_the_seed_and_its_place():
  task = countdown.task()
  problems = task.problems('train', 20, 0)
  one, again = list(planted(task, problems)), list(planted(task, problems[:10]))
  assert one[:10] == again and list(planted(task, problems, seed=1)) != one


def test_a_mixture_plants_what_its_parts_do_and_others_nothing():
  parts = [countdown.task(), cipher.task()]
  task = mixture.task(parts=parts, shares=[1, 1])
  problems = task.problems('train', 40, 0)
  found = list(planted(task, problems))
  kinds = {(p.task, s.labels.count(WRONG)) for p, s in zip(problems, found)}
  assert kinds == set(itertools.product((0, 1), (0, 1)))
  for problem, solution in zip(problems, found):
    assert solution.prompt == problem.prompt.strip()
  assert calculator.task().plant is None
  assert mixture.task(parts=[parts[0]], shares=[1]).plant is not None
  assert mixture.task(parts=[calculator.task()], shares=[1]).plant is None
  with pytest.raises(ValueError, match="the task 'calculator' plants no errors"):
    planted(calculator.task(), [])
