"""Laws of countdown: every demonstration is a true walk through states, and the splits are
apart."""

import itertools
import re

import numpy as np
import pytest

from o1jax.tasks import countdown, walks
from o1jax.text.steps import ANSWER, Behaviours, count_behaviours, join_steps
from o1jax.text.tokenizer import Tokenizer

SPLITS = ('train', 'validation', 'test', 'test_targets')


def identity(problem):
  target, *given = problem.numbers
  return target, tuple(sorted(given))


def tree_search(numbers):
  """The values of all expressions, by the plainest recursion: an independent count of what can be
  solved."""
  if len(numbers) == 1:
    return set(numbers)
  values = set()
  for i, j in itertools.permutations(range(len(numbers)), 2):
    rest = [n for k, n in enumerate(numbers) if k not in (i, j)]
    a, b = numbers[i], numbers[j]
    for value in [
      a + b,
      a * b,
      *([a - b] if a >= b else []),
      *([a // b] if b and a % b == 0 else []),
    ]:
      values |= tree_search([*rest, value])
  return values


def everything(task, split):
  """All problems of a split, found by asking for too many and reading the error."""
  with pytest.raises(
    ValueError, match=f'gave \\d+ problems in split {split!r}, 100000 were asked'
  ) as error:
    task.problems(split, 100_000, 0)
  (count,) = re.findall(r'gave (\d+)', str(error.value))
  return task.problems(split, int(count), 0)


def test_splits_hold_each_solvable_problem_once():
  task = countdown.task(max_number=6)
  found = [identity(p) for split in SPLITS for p in everything(task, split)]
  solvable = {
    (target, given)
    for given in itertools.combinations_with_replacement(range(1, 7), 3)
    for target in tree_search(list(given))
    if 10 <= target <= 100
  }
  assert len(found) == len(set(found)) and set(found) == solvable


def test_held_out_targets_are_in_their_split_alone():
  task = countdown.task()
  for split in SPLITS:
    problems = everything(task, split)
    assert len(problems) >= 400
    assert {p.numbers[0] % 10 == 7 for p in problems} == {split == 'test_targets'}


@pytest.mark.parametrize('numbers', [3, 4])
def test_problems_repeat_by_seed_and_fewer_are_the_first_of_more(numbers):
  task = countdown.task(numbers=numbers)
  more = task.problems('test', 60, 5)
  assert task.problems('test', 20, 5) == more[:20] and task.problems('test', 60, 6) != more
  assert len({identity(p) for p in more}) == 60
  for p in more:
    target, *given = p.numbers
    assert p.prompt == f'make {target} from {",".join(map(str, given))}\n' and len(given) == numbers


def test_sampled_splits_are_apart():
  task = countdown.task(numbers=4, max_number=5)
  found = [
    {identity(p) for seed in (0, 1) for p in task.problems(split, 80, seed)} for split in SPLITS
  ]
  assert not any(a & b for a, b in itertools.combinations(found, 2))


def walk(problem, steps):
  """Follows a demonstration and checks each step against the rules; returns the number of dead
  ends."""
  target, *given = problem.numbers
  root = sorted(given)
  visited, lost, corrected = [root], [], False
  for step in steps[:-1]:
    tag, content = re.fullmatch(r'<(\w+)>(.*)', step).groups()
    if tag == 'analysis':
      assert content == f'{",".join(map(str, root))} to {target}' and step is steps[0]
    elif tag == 'decomposition':
      goals = content.split(' then ')
      assert len(goals) == len(root) - 1 and goals[-1] == str(target) and visited == [root]
    elif tag in ('completion', 'alternative'):
      assert corrected == (tag == 'alternative')
      left, op, right, result, state = re.fullmatch(
        r'(\d+)([-+*/])(\d+)=(\d+)(?:;([\d,]+))?', content
      ).groups()
      left, right, result = int(left), int(right), int(result)
      # The last number is the result.
      state = list(map(int, state.split(','))) if state else [result]
      assert (
        {'+': left + right, '-': left - right, '*': left * right, '/': left / (right or 1)}[op]
        == result
        >= 0
      )
      expected = visited[-1].copy()
      expected.remove(left)
      expected.remove(right)
      assert state == sorted([*expected, result])
      visited.append(state)
      corrected = False
    elif tag == 'evaluation':
      (value,) = visited[-1]
      assert content == f'{value} for {target} {"ok" if value == target else "no"}'
    elif tag == 'correction':
      # To a state that was visited and from which the target can be reached, unlike from the one
      # after it.
      back = list(map(int, content.removeprefix('back;').split(',')))
      place = visited.index(back)
      assert target in tree_search(back) and target not in tree_search(visited[place + 1])
      lost.append(visited[place + 1])
      del visited[place + 1 :]
      corrected = True
  assert visited[-1] == [target]
  assert steps[-1].startswith(ANSWER) and sum(step.startswith(ANSWER) for step in steps) == 1
  assert sum(step.endswith(' no') for step in steps) == len(lost)
  assert all(lost.count(state) == 1 for state in lost)  # the same mistake is not made twice
  return len(lost)


@pytest.mark.parametrize('numbers,max_dead_ends', [(2, 1), (3, 1), (3, 3), (4, 2)])
def test_demonstrations_are_true(numbers, max_dead_ends):
  task = countdown.task(
    numbers=numbers, behaviours=Behaviours(dead_end=0.7, max_dead_ends=max_dead_ends)
  )
  rng = np.random.default_rng(0)
  seen = set()
  for problem in task.problems('train', 60, 0):
    steps = task.demonstrate(problem, rng)
    assert task.check(problem, join_steps(steps))
    seen.add(walk(problem, steps))
  assert {0, 1} <= seen <= set(range(max_dead_ends + 1))


def test_dead_ends_end_near_the_target():
  task = countdown.task(behaviours=Behaviours(dead_end=1))
  rng = np.random.default_rng(0)
  misses = []
  for problem in task.problems('train', 200, 0):
    text = join_steps(task.demonstrate(problem, rng))
    misses += [
      abs(int(value) - problem.numbers[0])
      for value in re.findall(r'<evaluation>(\d+) for \d+ no', text)
    ]
  assert len(misses) == 200 and np.median(misses) < 15


def test_behaviours_occur_at_their_shares():
  shares = Behaviours(analysis=0.2, decomposition=0.8, evaluation=0.6, dead_end=0.4)
  task = countdown.task(behaviours=shares)
  rng = np.random.default_rng(0)
  counts = count_behaviours(
    join_steps(task.demonstrate(p, rng)) for p in task.problems('train', 1500, 0)
  )
  for behaviour, share in [
    ('analysis', 0.2),
    ('decomposition', 0.8),
    ('correction', 0.4),
    ('alternative', 0.4),
    ('completion', 1.0),
    ('evaluation', 0.4 + 0.6 * 0.6),
  ]:
    assert counts[behaviour].share == pytest.approx(share, abs=0.05)


def test_demonstrations_are_short_and_repeat_by_key(tmp_path):
  task = countdown.task()
  problems = task.problems('train', 800, 0)
  texts = [
    task.demonstrate(problem, np.random.default_rng(i)) for i, problem in enumerate(problems)
  ]
  assert texts[7] == task.demonstrate(problems[7], np.random.default_rng(7))
  tokenizer = Tokenizer.train(
    [p.prompt + join_steps(t) for p, t in zip(problems, texts)], tmp_path / 'tokenizer.model'
  )
  lengths = np.array([len(tokenizer.encode(step)) + 1 for steps in texts for step in steps])
  assert np.mean(lengths <= 16) > 0.99 and lengths.max() <= 18
  for steps in texts:
    assert len(steps) <= (10 if any('<correction>' in step for step in steps) else 6)


@pytest.mark.parametrize(
  'given,target,expected',
  [
    ([3, 5, 7], 26, {'5+3*7'}),
    ([3, 5, 7], 56, {'7*(3+5)'}),
    ([9, 3, 2], 8, {'2+9-3', '9-(3-2)'}),
    ([24, 4, 3], 18, {'3*24/4'}),
    ([9, 3, 2], 4, {'9-(2+3)', '9-3-2', '9-2-3'}),
    ([12, 6, 2], 4, {'12-2-6', '12-(2+6)', '2+12/6', '2*12/6', '12/(6/2)', '12-6-2'}),
  ],
)
def test_expressions_have_the_parentheses_they_need(given, target, expected):
  paths = walks.paths(tuple(sorted(given)), target)
  assert {walks.expression(given, path) for path in paths} == expected


def test_moves_by_hand():
  assert {str(move) for move in walks.moves((3, 6))} == {'3+6=9', '3*6=18', '6-3=3', '6/3=2'}
  assert {str(move) for move in walks.moves((0, 5))} == {'0+5=5', '0*5=0', '5-0=5'}


def test_facts_are_true_and_give_no_problem_away():
  task = countdown.task(behaviours=Behaviours(dead_end=0.5, max_dead_ends=2))
  rng = np.random.default_rng(0)
  held = {identity(p) for split in SPLITS[1:] for p in everything(task, split)}
  endings, attempts, last = set(), set(), set()
  for _ in range(600):
    text = task.facts(rng)
    for left, op, right, result in re.findall(r'(\d+)([-+*/])(\d+)=(\d+)', text):
      assert eval(f'{left}{op}{right}') == int(result)
    assert not text.startswith('make')  # work is worded otherwise than a problem
    if ' from ' not in text:
      continue
    prompt, *lines = text.split('\n')
    target, *given = map(int, re.findall(r'\d+', prompt))
    claims = [
      (int(value), claim) for value, claim in re.findall(rf'\n(\d+) for {target} (ok|no)', text)
    ]
    for value, claim in claims:
      assert (value == target) == (claim == 'ok')
      assert not {(target, tuple(sorted(given))), (value, tuple(sorted(given)))} & held
    solved = claims[-1][1] == 'ok'
    assert [claim for _, claim in claims[:-1]] == ['no'] * (len(claims) - 1)
    assert (
      lines[-1] == f'{claims[-1][0]} for {target} no'
      if not solved
      else (countdown.infix.check((target, *given), ANSWER + lines[-1]))
    )
    endings.add(solved)
    attempts.add(len(claims))
    if len(claims) == 3:
      last.add(solved)
  # No attempt, not even the last one there may be, is sure to succeed.
  assert endings == last == {True, False} and attempts == {1, 2, 3}


def test_dead_ends_give_no_problem_away():
  task = countdown.task(behaviours=Behaviours(dead_end=1))
  held = {identity(p) for split in SPLITS[1:] for p in everything(task, split)}
  rng = np.random.default_rng(0)
  failed = 0
  for problem in task.problems('train', 500, 0):
    for step in task.demonstrate(problem, rng):
      if step.endswith(' no'):
        failed += 1
        assert (int(re.findall(r'\d+', step)[0]), tuple(sorted(problem.numbers[1:]))) not in held
  assert failed > 400


@pytest.mark.parametrize(
  'setting', [{'numbers': 1}, {'numbers': 5}, {'max_number': 1}, {'max_target': 9}]
)
def test_settings_out_of_range_name_themselves(setting):
  ((name, value),) = setting.items()
  with pytest.raises(ValueError, match=f'{name}={value}: give'):
    countdown.task(**setting)


def test_an_unknown_split_and_an_unsolvable_problem_are_refused():
  task = countdown.task()
  with pytest.raises(ValueError, match="no split 'dev'"):
    task.problems('dev', 1, 0)
  with pytest.raises(ValueError, match='no solution exists'):
    task.demonstrate(
      countdown.types.Problem(prompt='make 100 from 1,1,1\n', numbers=(100, 1, 1, 1)),
      np.random.default_rng(0),
    )
