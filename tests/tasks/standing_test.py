"""Laws of walks that are not finished: two readers that never differ, and cases that a person can
follow."""

import functools
import itertools

import jax
import numpy as np
import pytest

from o1jax.tasks import calculator, countdown, infix, standing
from o1jax.text.steps import Behaviours
from o1jax.types import UNUSED, Reference
from tests.marks import some

SIZE, LONGEST = 400, 300  # bytes: the room for a text, and the longest that tests make


def references(numbers):
  """One problem a row, from rows of (target, n1, ..)."""
  count = len(numbers)
  empty = np.zeros((count, 1), np.uint8)
  return Reference(text=empty, length=np.zeros(count, np.int32), numbers=np.array(numbers))


@functools.cache
def reader(count, asides=()):
  return jax.jit(jax.vmap(functools.partial(standing.reachable, count=count, asides=asides)))


def read(numbers, texts, *, asides=(), size=SIZE):
  """The verdicts of the compiled reader."""
  rows = np.zeros((len(texts), size), np.uint8)
  for row, text in zip(rows, texts):
    row[: len(text)] = list(text.encode('latin-1'))
  length = np.array([len(text) for text in texts])
  return np.asarray(reader(len(numbers[0]) - 1, asides)(references(numbers), rows, length))


# --- the same in plain Python, by the methods of str ---


def number(text):
  """Its value, or None for what is no number of the format."""
  written = text.isascii() and text.isdigit() and str(int(text)) == text
  return int(text) if written and int(text) <= infix.LIMIT else None


def listed(text):
  """The state that a list of numbers names, or None."""
  numbers = [number(n) for n in text.split(',')]
  return None if None in numbers else tuple(sorted(numbers))


@functools.cache
def ways(state):
  """{'3*7=21': numbers left}: every move, by the plainest rules."""
  found = {}
  for i, j in itertools.permutations(range(len(state)), 2):
    a, b = state[i], state[j]
    rest = [n for k, n in enumerate(state) if k not in (i, j)]
    made = {'+': a + b, '*': a * b} if a <= b else {}
    made |= {'-': a - b} if a >= b else {}
    made |= {'/': a // b} if a >= b > 0 and a % b == 0 else {}
    for op, result in made.items():
      if result <= infix.LIMIT:
        found[f'{a}{op}{b}={result}'] = tuple(sorted([*rest, result]))
  return found


@functools.cache
def leads(state, target):
  if len(state) == 1:
    return state == (target,)
  return any(leads(left, target) for left in ways(state).values())


def stands(numbers, text, asides=()):
  """The verdict on a walk so far."""
  target, root = numbers[0], tuple(sorted(numbers[1:]))
  been, state = [root], root  # None: lost
  for line in text.split('\n')[:-1]:
    tag, bracket, body = line.partition('>')
    if tag in ('<analysis', '<decomposition') and bracket or line.startswith(asides):
      continue
    if tag not in ('<completion', '<alternative', '<evaluation', '<correction') or not bracket:
      state = None
    elif body.endswith(' no'):
      said = body.removesuffix(' no').split(' for ')
      state = state if len(said) == 2 and None not in map(number, said) else None
    elif body.endswith(' ok'):
      state = state if state == (target,) and body == f'{target} for {target} ok' else None
    elif body.startswith('back;'):
      named = listed(body.removeprefix('back;'))
      state = named if named in been else None
    else:
      move, semicolon, left = body.partition(';')
      state = ways(state).get(move) if state else None
      if state and not (
        len(state) == 1 and not semicolon or len(state) > 1 and listed(left) == state
      ):
        state = None
      been += [state] * bool(state)
  return bool(state) and leads(state, target)


# --- laws ---


def demonstrated(task, count, seed=0):
  """(numbers, text): demonstrations up to each of their lines, closed."""
  rng = np.random.default_rng(seed)
  found = []
  for problem in task.problems('train', count, seed):
    steps = task.demonstrate(problem, rng)
    found += [
      (problem.numbers, ''.join(step + '\n' for step in steps[:n])) for n in range(len(steps) + 1)
    ]
  return [case for case in found if len(case[1]) <= LONGEST]


def agree(cases, asides=()):
  """Both readers' one verdict on each case."""
  found = read(*zip(*cases), asides=asides)
  wrong = [
    (case, verdict) for case, verdict in zip(cases, found) if verdict != stands(*case, asides)
  ]
  assert not wrong, wrong[0]
  return found


def restless(numbers):
  behaviours = Behaviours(dead_end=0.6, max_dead_ends=3, analysis=0.5, decomposition=0.5)
  return countdown.task(numbers=numbers, behaviours=behaviours)


@pytest.mark.parametrize('count', some([2, 3, 4], 4))
def test_a_demonstration_can_reach_its_target_but_at_its_dead_ends(count):
  cases = demonstrated(restless(count), 120)
  verdicts = agree(cases)
  lost = returned = 0
  for (_, text), verdict in zip(cases, verdicts):
    last = text.split('\n')[-2] if text else ''
    if '<answer>' in text or last.endswith(' no'):
      assert not verdict  # a closed line is no answer; a dead end is dead until the walk returns
    elif last.startswith(('<correction>', '<analysis>', '<decomposition>')) or last.endswith(' ok'):
      assert verdict
      returned += last.startswith('<correction>')
    lost += last.startswith('<completion>') and not verdict
    assert text or verdict
  assert returned > 20 and lost > 20


@pytest.mark.parametrize('count', some([2, 3, 4], 4))
def test_both_readers_agree_on_what_is_damaged(count):
  rng = np.random.default_rng(1)
  marks = list('0123456789+-*/;,=\n <>abco') + ['10', '\n\n', ' ok', ' no', '999999', 'é']
  cases = []
  for numbers, text in demonstrated(restless(count), 120, seed=1):
    for _ in range(4):
      if text:
        at, kind = int(rng.integers(len(text))), rng.integers(4)
        other = marks[int(rng.integers(len(marks)))]
        lines = text.splitlines(keepends=True)
        place = int(rng.integers(len(lines)))
        damaged = (
          text[:at] + other + text[at + 1 :],
          text[:at] + other + text[at:],
          text[:at] + text[at + 1 :],
          ''.join(lines[:place] + lines[place : place + 1] * 2 + lines[place + 1 :]),
        )
        cases.append((numbers, damaged[kind]))
  verdicts = agree(cases)
  assert len(verdicts) > 1000 and 0.1 < verdicts.mean() < 0.9


def test_both_readers_agree_on_walks_that_wander():
  """Random moves, true or nearly, and returns to anywhere: longer than any demonstration."""
  rng = np.random.default_rng(2)
  cases = []
  while len(cases) < 1500:
    root = tuple(sorted(int(n) for n in rng.integers(1, 13, 4)))
    target = int(rng.integers(1, 60))
    been, state, text = [root], root, ''
    for _ in range(int(rng.integers(1, 12))):
      if len(state) == 1 or rng.random() < 0.3:
        if rng.random() < 0.5:
          text += f'<evaluation>{state[0]} for {target} {"ok" if state == (target,) else "no"}\n'
        state = been[int(rng.integers(len(been)))]
        text += f'<correction>back;{",".join(map(str, state))}\n'
      else:
        options = list(ways(state).items())
        move, state = options[int(rng.integers(len(options)))]
        if rng.random() < 0.05:  # it leaves what it does not
          state = tuple(sorted((*state[1:], int(rng.integers(1, 30)))))
        text += f'<completion>{move}{";" * (len(state) > 1)}'
        text += ','.join(map(str, state)) * (len(state) > 1) + '\n'
        been.append(state)
    if len(text) <= LONGEST:
      cases.append(((target, *root), text))
  verdicts = agree(cases)
  assert 0.1 < verdicts.mean() < 0.9


MOVE = '<completion>3*7=21;5,21\n'
DEAD = MOVE + '<completion>21-5=16\n'


@pytest.mark.parametrize(
  'text, verdict',
  [
    ('', True),
    ('<analysis>17 to 3\n<decomposition>nonsense 9\n', True),
    (MOVE, True),
    (MOVE + '<completion>5+21=26\n', True),
    (MOVE + '<completion>21+5=26\n', False),
    (MOVE + '<completion>5+21=26\n<evaluation>26 for 26 ok\n', True),
    (MOVE + '<completion>5+21=26\n<evaluation>26 for 26 no\n', True),  # wrong, and nothing is lost
    (DEAD, False),
    (DEAD + '<evaluation>16 for 26 no\n', False),
    (DEAD + '<evaluation>16 for 26 no\n<correction>back;5,21\n', True),
    (DEAD + '<correction>back;3,5,7\n', True),
    (DEAD + '<correction>back;5,20\n', False),  # it has never been there
    (DEAD + '<correction>back;21,5\n', True),
    (DEAD + '<correction>back;5,5,21\n', False),
    (DEAD + '<evaluation>back;5,21\n<evaluation>5+21=26\n<correction>26 for 26 ok\n', True),
    (DEAD + '<analysis>back;5,21\n', False),
    # what an analysis says is no state in which the walk has been
    ('<analysis>3*7=21;5,21\n<completion>5+21=26\n<correction>back;5,21\n', False),
    (DEAD + '<correction>back;5,21\n<alternative>5+21=26\n', True),
    (DEAD + '<correction>back;5,21\n<alternative>5+21=27\n', False),
    ('<completion>3+5=8;7,8\n', False),  # true, and 26 is out of reach
    ('<completion>5+7=12;3,12\n<correction>back;3,5,7\n', True),
    ('<completion>3*7=20;5,20\n', False),  # wrong arithmetic
    ('<completion>3*7=21;5,22\n', False),  # the state is another
    ('<completion>3*7=21\n', False),  # two numbers are left
    ('<completion>3*7=21;5,21,\n', False),
    ('<completion>3*7=21;21,5\n', True),
    ('<completion>3*7=21;21;5\n', False),
    ('<completion>7*3=21;5,21\n', False),  # no move of the walks: the smaller one stands first
    ('<completion>03*7=21;5,21\n', False),
    ('<completion>3*8=24;5,24\n', False),  # there is no 8
    ('3*7=21;5,21\n', False),
    ('<completion>3*7=21;5,21 \n', False),
    (MOVE + '\n', False),
    (MOVE + 'hm\n<correction>back;5,21\n', True),  # a true return finds the walk again
    ('<completion>3*7=20;5,20\n<correction>back;5,20\n', False),  # a claimed state is not visited
    ('<completion>3*7=20;5,20\n<correction>back;3,5,7\n', True),
    ('<evaluation>26 for 26 ok\n', False),  # it claims to be done
    (MOVE + '<answer>5+3*7\n', False),  # a closed line is no end
    (MOVE + '<answer>5+3*8', True),  # an open line is not read
    (MOVE + '<completion>21-5=1', True),
    (MOVE[:-1], True),
  ],
)
def test_what_a_person_would_say(text, verdict):
  assert stands((26, 7, 3, 5), text) == verdict
  assert read([(26, 7, 3, 5)], [text]) == [verdict]


@pytest.mark.parametrize(
  'numbers, text',
  [
    ((8, 1, 3, 5), '<completion>9/1=9;3,5\n'),  # a number that is not there makes itself
    ((7, 3, 3, 5, 5), '<completion>3-3=0;0,5,5\n<completion>5-5=0;0,0\n<completion>0/0=7\n'),
    ((21, 3, 7), '<completion>3*7=21;21\n'),  # the last number is not written twice
  ],
)
def test_what_is_almost_true(numbers, text):
  assert not stands(numbers, text)
  assert not read([numbers], [text]).any()


def test_no_result_is_larger_than_an_answer_may_hold():
  """The one way to 513,501 passes 1009 * 1500; that to 999,501 stays below the limit."""
  numbers = [(513_501, 1009, 1500, 999_999), (999_501, 1009, 500, 495_001)]
  assert read(numbers, ['', '']).tolist() == [False, True]
  assert [stands(n, '') for n in numbers] == [False, True]
  moved = '<completion>1009*1500=1513500;999999,1513500\n'
  assert not read(numbers[:1], [moved]).any()


@pytest.mark.long
def test_the_verdict_does_not_depend_on_the_room_nor_on_what_lies_behind_text_and_numbers():
  cases = [case for case in demonstrated(restless(3), 40) if len(case[1]) <= 200]
  numbers, texts = zip(*cases)
  whole = read(numbers, texts)
  np.testing.assert_array_equal(whole, read(numbers, texts, size=200))
  rows = np.zeros((len(texts), SIZE), np.uint8)
  for row, text in zip(rows, texts):
    row[:] = list((text + '<completion>9\n' * SIZE)[:SIZE].encode())
  length = np.array(list(map(len, texts)))
  wider = references([(*row, UNUSED, UNUSED, UNUSED) for row in numbers])
  np.testing.assert_array_equal(whole, reader(3)(wider, rows, length))


def test_a_text_of_more_lines_than_there_is_room_for_cannot_reach_anything():
  silent = '=\n' * 50
  for lines, verdict in ((silent, True), (silent + '=\n', False)):
    assert read([(26, 7, 3, 5)], [lines], asides=('=',)) == [verdict]


@pytest.mark.long
def test_a_walk_with_a_calculator_is_read_past_what_it_asks_and_hears():
  task = calculator.task(behaviours=Behaviours(dead_end=0.6))
  cases = demonstrated(task, 60)
  verdicts = agree(cases, ('calc ', '= '))
  numbers, texts = zip(*cases)
  rows = np.zeros((len(texts), SIZE), np.uint8)
  for row, text in zip(rows, texts):
    row[: len(text)] = list(text.encode())
  own = jax.jit(jax.vmap(task.reachable))
  length = np.array(list(map(len, texts)))
  np.testing.assert_array_equal(own(references(numbers), rows, length), verdicts)
  assert 0.3 < verdicts.mean() < 0.95
  asking = np.array(['calc' in text.split('\n')[-2:][0] for text in texts])
  assert not read(numbers, texts)[asking].any()  # plain countdown knows no such lines
