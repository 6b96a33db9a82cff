"""What a walk of countdown says of itself: a rule of thumb against the same in plain Python, and the
line in which a policy judges it."""

import functools
import itertools
import math

import jax
import numpy as np
import pytest

from o1jax.tasks import calculator, countdown, hints
from o1jax.tasks.walks import moves
from o1jax.text.steps import Behaviours
from tests.marks import some

SIZE = 128


def _bytes(texts, size):
  rows = np.zeros((len(texts), size), np.uint8)
  for row, text in zip(rows, texts):
    end = text.encode()[-size:]
    row[: len(end)] = list(end)
  return rows, np.array([min(len(text), size) for text in texts])


@functools.cache
def _reader(function):
  return jax.jit(jax.vmap(function))


def ask(function, prompts, texts):
  return np.asarray(_reader(function)(*_bytes(prompts, 48), *_bytes(texts, SIZE)))


def _state(numbers, text):
  """What is left by the last closed line that says so, in plain Python."""
  for line in reversed(text.split('\n')[:-1]):
    body = line.partition('>')[2]
    if line.startswith(('<completion>', '<alternative>', '<correction>')):
      left = body.partition(';')[2] or body.partition('=')[2]
      return tuple(sorted(map(int, left.split(','))))
  return tuple(sorted(numbers))


def _nearness(target, state):
  if len(state) == 1:
    return 1 / (1 + abs(state[0] - target))
  made = {math.prod(state), sum(state)}
  for pair in itertools.combinations(state, 2):
    made |= {move.result for move in moves(pair)}
  return 1 / (1 + min(abs(number - target) for number in made))


@pytest.mark.parametrize('count', [3, 4])
def test_nearness_of_every_prefix_of_many_walks(count):
  behaviours = Behaviours(dead_end=0.6, max_dead_ends=2)
  task = countdown.task(numbers=count, behaviours=behaviours)
  rng, prompts, texts, expected = np.random.default_rng(0), [], [], []
  for problem in task.problems('train', 60, 0):
    target, *numbers = problem.numbers
    steps = task.demonstrate(problem, rng)
    for end in range(len(steps) + 1):
      text = '\n'.join(steps[:end]) + '\n' * (0 < end < len(steps))
      prompts.append(problem.prompt)
      texts.append(text)
      expected.append(_nearness(target, _state(numbers, text)))
  np.testing.assert_allclose(ask(task.heuristic, prompts, texts), expected, rtol=1e-5)
  assert len(set(np.round(expected, 3))) > 10


@pytest.mark.long
@pytest.mark.parametrize(
  'text, expected',
  [
    ('', 1 / 6),  # 21
    ('<completion>3*7=21;5,21\n', 1),
    ('<completion>3*7=21;5,21', 1 / 6),  # the line is open
    ('<completion>3*7=25;1,25\n', 1),  # it believes
    ('<completion>3*7=21;5,21\n<completion>21-5=16\n', 1 / 11),
    ('<completion>3*7=21;5,21\n<completion>21-5=16\n<correction>back;3,5,7\n', 1 / 6),
    ('<completion>3*7=21;5,21\nmake 16 from 1,1,1\n', 1),  # the prompt alone asks
  ],
)
def test_nearness_of_a_walk(text, expected):
  found = ask(countdown.task().heuristic, ['make 26 from 7,3,5\n'], [text])
  assert found[0] == pytest.approx(expected)


@pytest.mark.parametrize('target', some([105, 15, 35, 8, 2], 105, 2))
def test_a_product_a_sum_and_pairs_are_one_move_away(target):
  found = ask(countdown.task().heuristic, [f'make {target} from 7,3,5\n'], [''])
  assert found.tolist() == [1]


def test_a_prompt_of_another_form_is_near_nothing():
  asked = ['', 'make 26 from 7,3\n', 'take 26 from 7,3,5\n', 'make 26 from 7,3,5\n']
  found = ask(countdown.task().heuristic, asked, [''] * 4)
  assert found.tolist() == [0, 0, 0, pytest.approx(1 / 6)]


def test_a_calculator_is_as_near_as_countdown():
  text = 'calc 3*7\n= 21\n<completion>3*7=21;5,21\ncalc 5+21\n= 26\n'
  found = ask(calculator.task().heuristic, ['make 26 from 7,3,5\n'], [text])
  assert found.tolist() == [1]


def test_the_line_in_which_a_policy_judges():
  probe = hints.probe(count=3)
  evaluation, result, joint, target = probe.parts
  texts = [
    '<completion>3*7=21;5,21\n<completion>21-5=16\n',
    '<completion>3*7=21;5,21\n<alternative>5+21=26\n<evaluation>26 for 26 ok\n<answer>5+3*7',
    '<completion>3*7=21;5,21\n',  # two are left
    '<answer>5+3*7',
  ]
  asked = ['make 26 from 7,3,5\n'] * 4
  assert ask(result, asked, texts).tolist() == [16, 26, -1, -1]
  assert ask(target, asked, texts).tolist() == [26] * 4
  # As a demonstration says it.
  said = f'{evaluation}16{joint}26{probe.no}', f'{evaluation}26{joint}26{probe.yes}'
  assert said == ('<evaluation>16 for 26 no', '<evaluation>26 for 26 ok')
  assert ask(target, ['solve 3'], ['']).tolist() == [-1]
