"""Countdown of reasoning-gym and ours give the same verdicts, where the rules of both are the same.

Ours are stricter: every result on the way is a whole number in 0..LIMIT, so there are no signs
either; an answer has at most SIZE bytes and nests DEPTH deep; and spaces are all that may stand
around it. The library takes any value within a hundred thousandth of the target, which is the same
for whole results and targets below 100 000.
"""

import ast
import collections
import fractions

import numpy as np
import pytest

from o1jax.tasks import countdown, gym, gym_family
from o1jax.tasks.infix import DEPTH, LIMIT, SIZE
from o1jax.text.steps import ANSWER
from o1jax.types import Problem

ALPHABET = [*'0123456789+-*/() .,=!x^%_\n\t', '**', '//', '()', '-(', ' 1 ', '\u00b2', '\u0665']
TREES = {
  '+': lambda a, b: a + b,
  '-': lambda a, b: a - b,
  '*': lambda a, b: a * b,
  '/': lambda a, b: a / b,
}


def both(given, target, text):
  """(verdict of reasoning-gym through our check, verdict of ours)."""
  entry = repr({'answer': '', 'metadata': {'numbers': given, 'target': target}})
  theirs = gym.check(Problem('', entry), ANSWER + text, family=FAMILY, threshold=1.0)
  return theirs, countdown.task().check(Problem('', numbers=(target, *given)), ANSWER + text)


FAMILY = gym_family.family('countdown')


def values(node):
  """The values of an expression and of all its parts. Raises ValueError where it is none, or has a
  sign."""
  if isinstance(node, ast.Constant) and type(node.value) is int:
    return [fractions.Fraction(node.value)]
  if not isinstance(node, ast.BinOp):
    raise ValueError
  left, right = values(node.left), values(node.right)
  op = {ast.Add: '+', ast.Sub: '-', ast.Mult: '*', ast.Div: '/'}[type(node.op)]
  return [TREES[op](left[0], right[0]), *left, *right]


def stricter(text):
  """Whether ours alone refuses an answer for how it is written, right though it may be."""
  depths = np.cumsum([(char == '(') - (char == ')') for char in text])
  if len(text.encode()) > SIZE or depths.max(initial=0) > DEPTH or text.strip(' ') != text.strip():
    return True
  try:
    found = values(ast.parse(text.strip(), mode='eval').body)
    return any(value.denominator > 1 or not 0 <= value <= LIMIT for value in found)
  except ValueError:
    return True
  except (SyntaxError, KeyError, ZeroDivisionError):
    return False  # for neither is it an answer


def expression(numbers, rng):
  """A random expression of the numbers, each used once, in random spelling."""
  if len(numbers) == 1:
    text = str(numbers[0])
    return (f'({text})' if rng.random() < 0.05 else text), fractions.Fraction(numbers[0])
  cut = int(rng.integers(1, len(numbers)))
  (left, a), (right, b) = expression(numbers[:cut], rng), expression(numbers[cut:], rng)
  op = rng.choice([*'+-**/']) if b else '+'
  space = ' ' * int(rng.random() < 0.2)
  return f'({left}{space}{op}{space}{right})', TREES[op](a, b)


def mutated(text, rng):
  for _ in range(int(rng.integers(1, 3))):
    i = int(rng.integers(len(text) + 1))
    text = text[:i] + rng.choice(['', *ALPHABET]) + text[i + int(rng.random() < 0.5) :]
  return text


def pairs(count):
  """Numbers, a target, and an answer that is right, misses, uses other numbers, or is broken."""
  rng = np.random.default_rng(0)
  for _ in range(count):
    given = [int(n) for n in rng.integers(1, 13, int(rng.integers(2, 5)))]
    text, value = expression([given[i] for i in rng.permutation(len(given))], rng)
    text = text[1:-1] if rng.random() < 0.8 else text
    hit = value.denominator == 1 and value > 0 and rng.random() < 0.8
    target = int(value) if hit else int(rng.integers(10, 100))
    kind = rng.random()
    if kind < 0.1:
      text, _ = expression([*given, 1], rng)
    elif kind < 0.2:
      given = [*given[1:], given[0] + 1]
    elif kind < 0.5:
      text = mutated(text, rng)
    elif kind < 0.55:
      text = f' {text}  '
    yield given, target, text


@pytest.mark.filterwarnings('ignore::SyntaxWarning')  # of the texts
def test_verdicts_are_those_of_reasoning_gym():
  counts = collections.Counter()
  for given, target, text in pairs(2500):
    theirs, ours = both(given, target, text)
    if stricter(text):
      assert not ours, (given, target, text)
      counts['stricter', theirs] += 1
    else:
      assert theirs == ours, (given, target, text)
      counts['same', ours] += 1
  assert (
    counts['same', True] > 300 and counts['same', False] > 700 and counts['stricter', True] > 20
  ), counts


@pytest.mark.parametrize(
  'given, target, text, theirs, ours',
  [
    ([3, 5, 7], 26, '5+3*7', True, True),
    ([3, 5, 7], 26, ' ( 5 + (3*7) ) ', True, True),
    ([3, 5, 7], 26, '5+21', False, False),  # not the given numbers
    ([3, 5, 7], 26, '5+3*7=26', False, False),
    ([3, 5, 5], 13, '5+5+3', True, True),  # a number as often as given
    ([3, 5, 5], 8, '5+3', False, False),
    ([2, 3], 9, '3**2', False, False),  # refused before the scorer sees them
    ([2, 7], 3, '7//2', False, False),
    ([3, 4], 28, '4+4!', False, False),
    ([5, 3], 8, '05+3', False, False),
    ([1, 3, 6], 2, '1/3*6', True, False),  # a third on the way
    ([3, 5, 7], 5, '3-5+7', True, False),  # -2 on the way
    ([3, 5], 2, '-3+5', True, False),
    ([3, 5], 8, '5+3\n', True, False),
    ([3, 5], 8, '(((((5+3)))))', True, False),
    ([3, 5], 8, '5' + ' ' * SIZE + '+3', True, False),
  ],
)
def test_where_the_rules_part(given, target, text, theirs, ours):
  assert both(given, target, text) == (theirs, ours)


def test_an_answer_of_ours_is_one_of_theirs():
  """Whole demonstrations, on problems of ours."""
  task = countdown.task(numbers=4)
  for i, problem in enumerate(task.problems('train', 60, 0)):
    target, *given = problem.numbers
    *_, answer = task.demonstrate(problem, np.random.default_rng(i))
    assert both(given, target, answer.removeprefix(ANSWER)) == (True, True)
