"""Laws of the calculator: two answers that never differ, and demonstrations that use what it says."""

import jax
import numpy as np
import pytest

from o1jax.tasks import calculator, countdown
from o1jax.text.steps import Behaviours, Given

ANSWER = jax.jit(jax.vmap(calculator.answer))


def answers(texts):
  rows = np.zeros((len(texts), 32), np.uint8)
  for row, text in zip(rows, texts):
    row[: len(text)] = list(text.encode())
  said, length = ANSWER(rows, np.array([len(text) for text in texts]))
  return [bytes(np.asarray(line[:n])).decode() for line, n in zip(said, np.asarray(length))]


def test_it_answers_as_arithmetic_does():
  rng = np.random.default_rng(0)
  size = 10 ** rng.integers(0, 7, (4000, 2))
  numbers = rng.integers(0, size)
  asked = [f'{a}{rng.choice(list("+-*/"))}{b}' for a, b in numbers]
  asked += ['7*8', '21/7', '5-9', '5/0', '0/5', '99999+0', '99999+1', '317*316', '100000-1', '9/2']
  said = answers([f'calc {operation}\n' for operation in asked])
  assert said == [calculator.say(operation) + '\n' for operation in asked]
  assert said[4000] == '= 56\n' and said[4003] == '= no\n' and len(set(said)) > 500


@pytest.mark.parametrize(
  'text',
  [
    '',
    '\n',
    'calc 7*8',
    'calc \n',
    'calc 7\n',
    'calc *8\n',
    'calc 7*\n',
    'calc 7**8\n',
    'calc 7*8*2\n',
    'calc 7 * 8\n',
    'calc -7*8\n',
    'calc 7x8\n',
    'calc 7.5*2\n',
    ' calc 7*8\n',
    'cal 7*8\n',
    '<completion>3*7=21;5,21\n',
  ],
)
def test_it_says_nothing_to_what_is_no_operation(text):
  assert answers([text]) == ['']


def test_demonstrations_ask_before_each_move_and_use_what_they_are_told():
  behaviours = Behaviours(dead_end=0.5)
  task, plain = (make(behaviours=behaviours) for make in (calculator.task, countdown.task))
  asked = 0
  for i, problem in enumerate(task.problems('train', 40, 0)):
    steps = task.demonstrate(problem, np.random.default_rng(i))
    without = [s for s in steps if not s.startswith('calc ') and not isinstance(s, Given)]
    assert without == plain.demonstrate(problem, np.random.default_rng(i))
    for before, said, after in zip(steps, steps[1:], steps[2:]):
      assert isinstance(said, Given) == before.startswith('calc ')
      if isinstance(said, Given):
        assert answers([before + '\n']) == [said + '\n']
        assert after.split('>')[1].split(';')[0] == before[5:] + said.replace(' ', '')
        asked += 1
    assert task.check(problem, '\n'.join(steps))
  assert asked > 80
