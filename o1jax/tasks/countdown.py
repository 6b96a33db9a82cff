"""Countdown: reach a target with + - * / from given numbers, each used exactly once.

After Stream of Search (arXiv:2404.03683), solutions are walks through states, which are the numbers
left. So a dead end and the return from it can be written down and learned. Every step shows the
numbers it leaves, sorted, so that it can be judged on its own:

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

import dataclasses
import functools
import itertools
import math

import numpy as np

from o1jax import types
from o1jax.tasks import asking, hints, infix, mistakes, splits, standing
from o1jax.tasks.walks import Move, Path, State, attempts_at, expression, moves, reachable
from o1jax.text.steps import ANSWER, DELIMITER, RIGHT, TAGS, Behaviours

MIN_TARGET = 10
HELD_OUT_DIGIT = (
  7  # targets ending in it are a tenth of all, and are met in the split 'test_targets' alone
)
_ENUMERABLE = {
  2: 10_000,
  3: 5_000,
  4: 0,
}  # most multisets that are listed (in a second); more are sampled


def task(
  *,
  numbers: int = 3,
  max_number: int = 15,
  max_target: int = 100,
  fact_share: float = 0.5,
  behaviours: Behaviours = Behaviours(),
) -> types.Task:
  """Countdown with `numbers` numbers in 1..max_number and targets in 10..max_target.

  Problems carry `numbers=(target, n1, ..)` in the order of the prompt. The splits 'train',
  'validation' and 'test' share no multiset with target. The targets of a fourth split,
  'test_targets', occur in no other. Verdicts follow the grammar of `o1jax.tasks.infix`. Whether an
  unfinished walk can still reach its target is told by `o1jax.tasks.standing`, and what it says of
  itself by `o1jax.tasks.hints`.

  A share `fact_share` of the plain texts is number facts. The rest is untagged work on training
  problems, half of it attempts that mostly fail.

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
    ask=functools.partial(ask, numbers=numbers, max_number=max_number, max_target=max_target),
    plant=functools.partial(_plant, behaviours=behaviours),
    reachable=functools.partial(standing.reachable, count=numbers),
    heuristic=functools.partial(hints.nearness, count=numbers),
    probe=hints.probe(count=numbers),
  )


def ask(
  question: str, *, numbers: int, max_number: int | None = None, max_target: int | None = None
) -> types.Problem:
  """'make 26 from 3 5 7', and the other forms of `asking.read_countdown`. A note tells of what
  training never showed.

  Raises:
    ValueError: the question has another form or count of numbers, or one that is not in 1..LIMIT.
  """
  target, given = asking.read_countdown(question, numbers=numbers, limit=infix.LIMIT)
  notes = []
  if max_number and max(given) > max_number:
    notes.append(f'trained on numbers up to {max_number}')
  if max_target and not MIN_TARGET <= target <= max_target:
    notes.append(f'trained on targets from {MIN_TARGET} to {max_target}')
  if target not in reachable(tuple(sorted(given))):
    notes.append(f'no way leads to {target}')
  return dataclasses.replace(_problem(given, target), note='; '.join(notes))


def _check(problem: types.Problem, text: str) -> bool:
  return infix.check(problem.numbers, text)


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
    prompt=f'make {target} from {_join(given)}{DELIMITER}',
    numbers=(target, *given),
    cluster=f'make {target}',
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
  attempts = _attempts(root, target, behaviours, rng)

  steps = [f'{TAGS["analysis"]}{_join(root)} to {target}'] if analyse else []
  if plan:
    # The plan: the intermediate results of the first attempt, then the target.
    goals = [*(move.result for move in attempts[0][1][:-1]), target]
    steps.append(TAGS['decomposition'] + ' then '.join(map(str, goals)))
  return steps + _write(attempts, root, target, given, evaluate=evaluate)


def _plant(problem: types.Problem, rng: np.random.Generator, wrong: bool, *, behaviours):
  steps = _demonstrate(problem, rng, behaviours=behaviours)
  if wrong:
    return mistakes.plant(problem.numbers, steps, rng)
  return steps, [RIGHT] * len(steps)


def _attempts(root, target, behaviours, rng) -> list[tuple[Path, Path]]:
  """Attempts; none solves a problem that training must not see."""
  avoid = functools.partial(_gives_away, root)
  return attempts_at(target, root, rng, dead_ends=behaviours.draw_dead_ends(rng), avoid=avoid)


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


# --- plain text ---


def _facts(
  rng: np.random.Generator, *, numbers, max_number, max_target, fact_share, behaviours
) -> str:
  """Number facts as they occur on the way ('3*7=21 5+21=26'), or untagged work on a training
  problem.

  Half of the work is random attempts, which mostly fail, up to as many as a demonstration may hold.
  If all work led to its target, a policy would learn to write the target for the last result
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
    attempts = _attempts(root, target, behaviours, rng)
  else:
    attempts = []
    for _ in range(1 + behaviours.draw_dead_ends(rng)):
      attempts.append(((), _random_path(rng, root)))
      if attempts[-1][1][-1].result == target:
        break
  steps = _write(attempts, root, target, given, evaluate=True)
  # The wording of the prompt differs from a problem's. So tuning on demonstrations does not change
  # this text.
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
  # Large products are rare on the way to a small target, so they are rare here.
  options = [move for move in moves(state) if move.result <= 99] or moves(state)
  return options[int(rng.integers(len(options)))]


def _random_move(rng, numbers, max_number) -> Move:
  state = _draw_state(rng, numbers, max_number)
  for _ in range(int(rng.integers(1, numbers))):
    move = _random_choice(rng, state)
    state = move.state
  return move
