"""Countdown: reach a target with + - * / from given numbers, each used exactly once.

After Stream of Search (arXiv:2404.03683): solutions are walks through states (the numbers left), so
a dead end and the return from it can be written down and learned. Every step shows the numbers it
leaves, sorted, so that it can be judged on its own:

    make 26 from 7,3,5
    <analysis>3,5,7 to 26
    <decomposition>21 then 26            the results it intends to pass through
    <completion>3*7=21;5,21              a move; the numbers left
    <completion>21-5=16                  the last number is the result
    <evaluation>16 for 26 no             side by side, so that they are easy to compare
    <correction>back;5,21                the last state from which the target can be reached
    <alternative>5+21=26                 the first move after a correction
    <evaluation>26 for 26 ok
    <answer>5+3*7
"""

import functools
import itertools
import math
import re
from typing import NamedTuple

import numpy as np

from o1jax import types
from o1jax.tasks import infix, splits
from o1jax.text.steps import ANSWER, DELIMITER, TAGS, Behaviours

MIN_TARGET = 10
HELD_OUT_DIGIT = (
  7  # targets ending in it are a tenth of all, and are met in the split 'test_targets' alone
)
_ENUMERABLE = {
  2: 10_000,
  3: 5_000,
  4: 0,
}  # multisets: up to that many are listed (in a second), more are sampled
_NEAR_MISSES = 8  # a dead end is one of that many attempts, those that end nearest to the target

State = tuple[int, ...]


class Move(NamedTuple):
  """`left op right = result`, and the sorted numbers it leaves."""

  left: int
  op: str
  right: int
  result: int
  state: State

  def __str__(self):
    return f'{self.left}{self.op}{self.right}={self.result}'


Path = tuple[Move, ...]


def task(
  *,
  numbers: int = 3,
  max_number: int = 15,
  max_target: int = 100,
  fact_share: float = 0.5,
  behaviours: Behaviours = Behaviours(),
) -> types.Task:
  """Countdown with `numbers` numbers in 1..max_number and targets in 10..max_target.

  Problems carry `numbers=(target, n1, ..)` in the order of the prompt. The splits are 'train',
  'validation' and 'test', which share no multiset with target, and 'test_targets', whose targets no
  other split has. Verdicts follow the grammar of `o1jax.tasks.infix`. Of the plain texts,
  `fact_share` are number facts, the rest untagged work on training problems, half of it attempts
  that mostly fail.

  Raises:
    ValueError: for settings out of range.
  """
  if not 2 <= numbers <= 4:
    raise ValueError(f'countdown with numbers={numbers}: give 2, 3 or 4.')
  if max_number < 2:
    raise ValueError(f'countdown with max_number={max_number}: give at least 2.')
  if not MIN_TARGET <= max_target <= infix.LIMIT:
    raise ValueError(f'countdown with max_target={max_target}: give {MIN_TARGET}..{infix.LIMIT}.')
  if not 0 <= fact_share <= 1:
    raise ValueError(
      f'countdown with fact_share={fact_share}: it is a share, give a number in [0, 1].'
    )
  return types.Task(
    name='countdown',
    problems=functools.partial(
      _problems, numbers=numbers, max_number=max_number, max_target=max_target
    ),
    demonstrate=functools.partial(_demonstrate, behaviours=behaviours),
    facts=functools.partial(
      _facts,
      numbers=numbers,
      max_number=max_number,
      max_target=max_target,
      fact_share=fact_share,
      behaviours=behaviours,
    ),
    verify=lambda reference, text, length: infix.verify(text, length, reference.numbers),
    check=_check,
    ask=functools.partial(ask, numbers=numbers),
  )


def ask(question: str, *, numbers: int) -> types.Problem:
  """'make 26 from 3 5 7': the first number is the target, or the one behind '='.

  Raises:
    ValueError: the question has another count of numbers, or one that is not in 1..LIMIT.
  """
  text, sign, behind = question.partition('=')
  found = [
    int(digits) for digits in re.findall('[0-9]+', behind + ' ' + text if sign else question)
  ]
  if len(found) != 1 + numbers or not all(0 < number <= infix.LIMIT for number in found):
    some = range(3, 3 + numbers)
    raise ValueError(
      f'{question!r} is no countdown with {numbers} numbers, from 1 to {infix.LIMIT}: ask such as '
      f'"make '
      f'{sum(some)} from {" ".join(map(str, some))}"'
    )
  return _problem(found[1:], found[0])


def _check(problem: types.Problem, text: str) -> bool:
  return infix.check(problem.numbers, text)


@functools.lru_cache(1 << 17)
def moves(state: State) -> tuple[Move, ...]:
  """Legal moves from sorted numbers: no negative result, no remainder; `+` and `*` are written
  smaller first."""
  found = {}
  for i, j in itertools.combinations(range(len(state)), 2):
    a, b = state[i], state[j]
    rest = state[:i] + state[i + 1 : j] + state[j + 1 :]
    options = [(a, '+', b, a + b), (a, '*', b, a * b), (b, '-', a, b - a)]
    if a and b % a == 0:
      options.append((b, '/', a, b // a))
    for option in options:
      found[option[:3]] = Move(*option, tuple(sorted((*rest, option[3]))))
  return tuple(found.values())


@functools.lru_cache(1 << 17)
def reachable(state: State) -> frozenset[int]:
  """The values that all numbers of the state together can make."""
  if len(state) == 1:
    return frozenset(state)
  return frozenset().union(*(reachable(after) for after in {move.state for move in moves(state)}))


def paths(state: State, target: int | None = None) -> list[Path]:
  """Every way to use up the numbers, or with a target every way that ends there."""
  if len(state) == 1:
    return [()]
  return [
    (move, *rest)
    for move in moves(state)
    if target is None or target in reachable(move.state)
    for rest in paths(move.state, target)
  ]


def _cost(path: Path) -> int:
  """How unnatural a path looks: large results, zeros, doing nothing by one, and, a little,
  division."""
  return sum(
    3 * (m.result > 99)
    + 2 * (m.result == 0)
    + 2 * (m.op in '*/' and 1 in (m.left, m.right))
    + (m.op == '/')
    for m in path
  )


# --- problems ---


def _split(state: State, target: int) -> str:
  if target % 10 == HELD_OUT_DIGIT:
    return 'test_targets'
  return splits.split_of(f'countdown {target} {state}')


def _gives_away(root: State, result: int) -> bool:
  """Whether an attempt that ends in `result` solves a problem that training must not see."""
  return result >= MIN_TARGET and _split(root, result) != 'train'


def _targets(state: State, split: str, max_target: int) -> list[int]:
  return sorted(
    t for t in reachable(state) if MIN_TARGET <= t <= max_target and _split(state, t) == split
  )


@functools.lru_cache(16)
def _all_problems(split, numbers, max_number, max_target) -> list[tuple[State, int]]:
  states = itertools.combinations_with_replacement(range(1, max_number + 1), numbers)
  return [(state, target) for state in states for target in _targets(state, split, max_target)]


def _sampled_problems(
  split, count, rng, numbers, max_number, max_target
) -> list[tuple[State, int]]:
  # a dict keeps the order of discovery, so that a shorter list is the beginning of a longer one
  found = {}
  for _ in range(20 * count + 1000):
    if len(found) >= count:
      break
    state = _draw_state(rng, numbers, max_number)
    targets = _targets(state, split, max_target)
    if targets:
      found[state, int(rng.choice(targets))] = None
  return list(found)


def _problems(split, count, seed, *, numbers, max_number, max_target) -> list[types.Problem]:
  names = ('train', 'validation', 'test', 'test_targets')
  if split not in names:
    raise ValueError(f'countdown has no split {split!r}: give one of {names}.')
  rng = np.random.default_rng((seed, names.index(split)))
  if math.comb(max_number + numbers - 1, numbers) <= _ENUMERABLE[numbers]:
    listed = _all_problems(split, numbers, max_number, max_target)
    chosen = [listed[i] for i in rng.permutation(len(listed))[:count]]
  else:
    chosen = _sampled_problems(split, count, rng, numbers, max_number, max_target)[:count]
  if len(chosen) < count:
    raise ValueError(
      f'countdown with numbers={numbers}, max_number={max_number}, max_target={max_target} gave '
      f'{len(chosen)} problems in split {split!r}, {count} were asked: ask fewer, or raise '
      f'max_number.'
    )
  order = np.random.default_rng((seed, names.index(split), 1))
  return [_problem([int(n) for n in order.permutation(state)], target) for state, target in chosen]


def _problem(given: list[int], target: int) -> types.Problem:
  return types.Problem(
    prompt=f'make {target} from {_join(given)}{DELIMITER}', numbers=(target, *given)
  )


def _draw_state(rng, numbers, max_number) -> State:
  return tuple(sorted(int(n) for n in rng.integers(1, max_number + 1, numbers)))


def _join(numbers) -> str:
  return ','.join(map(str, numbers))


# --- demonstrations ---


def _demonstrate(
  problem: types.Problem, rng: np.random.Generator, *, behaviours: Behaviours
) -> list[str]:
  target, *given = problem.numbers
  root = tuple(sorted(given))
  if target not in reachable(root):
    raise ValueError(f'countdown cannot demonstrate {problem.prompt!r}: no solution exists.')
  analyse, plan, evaluate = rng.random(3) < (
    behaviours.analysis,
    behaviours.decomposition,
    behaviours.evaluation,
  )
  attempts = _attempts(root, target, behaviours.draw_dead_ends(rng), rng)

  steps = [f'{TAGS["analysis"]}{_join(root)} to {target}'] if analyse else []
  if plan:
    # What it sets out to do: the first attempt's intermediate results, then the target.
    goals = [*(move.result for move in attempts[0][1][:-1]), target]
    steps.append(TAGS['decomposition'] + ' then '.join(map(str, goals)))
  return steps + _write(attempts, root, target, given, evaluate=evaluate)


def _write(
  attempts: list[tuple[Path, Path]], root: State, target: int, given: list[int], *, evaluate: bool
):
  """The steps of attempts in order, and the answer if the last one reaches the target."""
  steps = []
  for i, (kept, tail) in enumerate(attempts):
    if i:
      steps.append(f'{TAGS["correction"]}back;{_join(kept[-1].state if kept else root)}')
    for j, move in enumerate(tail):
      tag = TAGS['alternative'] if i and not j else TAGS['completion']
      left = f';{_join(move.state)}' if len(move.state) > 1 else ''
      steps.append(f'{tag}{move}{left}')
    result = tail[-1].result
    if result != target:
      steps.append(f'{TAGS["evaluation"]}{result} for {target} no')
    elif evaluate:
      steps.append(f'{TAGS["evaluation"]}{result} for {target} ok')
  return [*steps, ANSWER + expression(given, kept + tail)] if result == target else steps


def _attempts(root: State, target: int, dead_ends: int, rng) -> list[tuple[Path, Path]]:
  """Attempts in order, each as (moves kept from before, moves made now); only the last one reaches
  the target."""
  attempts, kept, failed = [], (), set()
  for _ in range(dead_ends):
    state = kept[-1].state if kept else root
    wrong = []
    for path in paths(state):
      if path[-1].result != target and not _gives_away(root, path[-1].result):
        losing = next(move.state for move in path if target not in reachable(move.state))
        if losing not in failed:  # the same mistake is not made twice
          wrong.append(
            (
              any(m.result > 99 for m in path),
              abs(path[-1].result - target) + _cost(path),
              path,
              losing,
            )
          )
    if not wrong:
      break
    near = sorted(wrong, key=lambda entry: entry[:2])[:_NEAR_MISSES]
    *_, path, losing = near[int(rng.integers(len(near)))]
    attempts.append((kept, path))
    failed.add(losing)
    kept += tuple(itertools.takewhile(lambda move: target in reachable(move.state), path))
  solutions = paths(kept[-1].state if kept else root, target)
  least = min(map(_cost, solutions))
  natural = [path for path in solutions if _cost(path) == least]
  return [*attempts, (kept, natural[int(rng.integers(len(natural)))])]


_PRECEDENCE = {'+': 1, '-': 1, '*': 2, '/': 2}


def expression(given: list[int], path: Path) -> str:
  """An infix expression of what a full path computes, with the fewest parentheses: 3*(24/4) is
  written 3*24/4."""
  terms = [(number, str(number), 3) for number in given]  # value, text, precedence

  def take(value, at_least):
    index = next(i for i, term in enumerate(terms) if term[0] == value)
    _, text, precedence = terms.pop(index)
    return text if precedence >= at_least else f'({text})'

  for move in path:
    own = _PRECEDENCE[move.op]
    left = take(move.left, own)
    right = take(move.right, own + (move.op in '-/'))
    terms.append((move.result, f'{left}{move.op}{right}', own))
  return terms[0][1]


# --- plain text ---


def _facts(
  rng: np.random.Generator, *, numbers, max_number, max_target, fact_share, behaviours
) -> str:
  """Number facts as they occur on the way ('3*7=21 5+21=26'), or untagged work on a training
  problem.

  Half of the work is random attempts, up to as many as a demonstration may hold, which mostly fail:
  if all work led to its target, a policy would learn to write the target for the last result
  instead of computing it.
  """
  if rng.random() < fact_share:
    return ' '.join(
      str(_random_move(rng, numbers, max_number)) for _ in range(int(rng.integers(2, 5)))
    )
  while True:
    root = _draw_state(rng, numbers, max_number)
    targets = _targets(root, 'train', max_target)
    if targets:
      break
  target = int(rng.choice(targets))
  given = [int(n) for n in rng.permutation(root)]
  if rng.random() < 0.5:
    attempts = _attempts(root, target, behaviours.draw_dead_ends(rng), rng)
  else:
    attempts = []
    for _ in range(1 + behaviours.draw_dead_ends(rng)):
      attempts.append(((), _random_path(rng, root)))
      if attempts[-1][1][-1].result == target:
        break
  steps = _write(attempts, root, target, given, evaluate=True)
  # The prompt is worded otherwise than a problem's, so that tuning on demonstrations leaves this
  # text alone.
  lines = [f'{target} from {_join(given)}', *(step[step.index('>') + 1 :] for step in steps)]
  return DELIMITER.join(lines)


def _random_path(rng, root) -> Path:
  """A walk that gives no held-out problem away."""
  while True:
    path, state = [], root
    while len(state) > 1:
      path.append(_random_choice(rng, state))
      state = path[-1].state
    if not _gives_away(root, path[-1].result):
      return tuple(path)


def _random_choice(rng, state) -> Move:
  # Large products are rare on the way to a small target, so they are here.
  options = [move for move in moves(state) if move.result <= 99] or moves(state)
  return options[int(rng.integers(len(options)))]


def _random_move(rng, numbers, max_number) -> Move:
  state = _draw_state(rng, numbers, max_number)
  for _ in range(int(rng.integers(1, numbers))):
    move = _random_choice(rng, state)
    state = move.state
  return move
