"""Planted errors of countdown: one step of a demonstration becomes wrong, and those after it follow
from it.

    make 26 from 7,3,5
    <completion>3*7=21;5,21
    <completion>5+21=25                  wrong: a result
    <evaluation>25 for 26 no             follows from it
"""

import re
from typing import NamedTuple

from o1jax.tasks.walks import Move, State, expression, moves, paths, reachable
from o1jax.text.steps import ANSWER, RIGHT, TAGS, WRONG

_MOVE = re.compile(r'<(completion|alternative)>(\d+)([-+*/])(\d+)=(\d+)(?:;([\d,]+))?')
_VERDICT = re.compile(r'<evaluation>(\d+) for (\d+) (ok|no)')
_BACK = re.compile(r'<correction>back;([\d,]+)')
_NEAR = 9  # a wrong number is that far from the right one at most


class _Place(NamedTuple):
  """Where a demonstration stands: what was given, the moves that count, the next step's index."""

  target: int
  given: list[int]
  path: tuple[Move, ...]
  index: int

  @property
  def state(self) -> State:
    """The numbers that are left."""
    return self.path[-1].state if self.path else tuple(sorted(self.given))

  @property
  def unused(self) -> list[int]:
    """The given numbers among them."""
    left, made = list(self.given), []
    for move in self.path:
      for number in (move.left, move.right):
        (left if number in left else made).remove(number)
      made.append(move.result)
    return left


def plant(numbers, steps: list[str], rng) -> tuple[list[str], list[int | None]]:
  """A demonstration with one wrong step: a result of a move, a number that is not left, the verdict
  of an evaluation, or the answer. Each kind that the demonstration has room for is as likely.

  Args:
    numbers: the target, and the given numbers in the order of the prompt.
    steps: a demonstration, the last step of which is the answer.
    rng: a NumPy generator.

  Returns:
    The steps and their labels: RIGHT, then WRONG once, then None.
  """
  options: dict = {}
  for place in _places(numbers, steps):
    for kind, pattern in _KINDS.items():
      if pattern(steps[place.index]):
        options.setdefault(kind, []).append(place)
  kind = _choose(list(options), rng)
  place = _choose(options[kind], rng)
  wrong, *after = kind(place, steps, rng)
  labels = [RIGHT] * place.index + [WRONG] + [None] * len(after)
  return [*steps[: place.index], wrong, *after], labels


def _places(numbers, steps):
  """Where each step finds the demonstration."""
  target, *given = numbers
  path: tuple[Move, ...] = ()
  for index, step in enumerate(steps):
    yield _Place(target, given, path, index)
    move, back = _MOVE.fullmatch(step), _BACK.fullmatch(step)
    if move:
      path = (*path, _move(move))
    elif back:
      state = _numbers(back[1])
      path = path[: 1 + max((i for i, m in enumerate(path) if m.state == state), default=-1)]


def _move(found) -> Move:
  left, right, result = (int(found[i]) for i in (2, 4, 5))
  return Move(left, found[3], right, result, _numbers(found[6]) if found[6] else (result,))


def _numbers(text: str) -> State:
  return tuple(map(int, text.split(',')))


def _wrong_result(place, steps, rng):
  """A move whose result is near the right one, or makes the target look possible."""
  found = _MOVE.fullmatch(steps[place.index])
  move = _move(found)
  rest = list(move.state)
  rest.remove(move.result)
  near = {*range(max(move.result - _NEAR, 0), move.result + _NEAR + 1), place.target}
  near = sorted(near - {move.result})
  tempting = [n for n in near if place.target in reachable(tuple(sorted((*rest, n))))]
  result = _choose(tempting if tempting and rng.random() < 0.5 else near, rng)
  wrong = move._replace(result=result, state=tuple(sorted((*rest, result))))
  return [_told(wrong, found[1]), *_follow(place, wrong, place.given, rng)]


def _wrong_number(place, steps, rng):
  """A move with a number that is not left, in the place of one that is."""
  tag, state = _MOVE.fullmatch(steps[place.index])[1], list(place.state)
  lost = state.pop(int(rng.integers(len(state))))
  near = [n for n in range(max(lost - _NEAR, 1), lost + _NEAR + 1) if n not in place.state]
  number = _choose(near, rng)
  options = moves(tuple(sorted((*state, number))))
  wrong = _choose([move for move in options if number in (move.left, move.right)], rng)
  # An answer has the wrong number too. There is none where the lost one was the result of a move.
  given = list(place.given) if lost in place.unused else None
  if given:
    given[given.index(lost)] = number
  return [_told(wrong, tag), *_follow(place, wrong, given, rng)]


def _wrong_verdict(place, steps, rng):
  """ok for a result that is not the target, or no for one that is, with which a solution ends."""
  result, target, verdict = _VERDICT.fullmatch(steps[place.index]).groups()
  if verdict == 'no':
    return [f'{TAGS["evaluation"]}{result} for {target} ok', _answer(place.given, place.path)]
  return [f'{TAGS["evaluation"]}{result} for {target} no']


def _wrong_answer(place, steps, rng):
  """What another way through the same numbers makes, or the right answer with another number."""
  others = paths(tuple(sorted(place.given)))
  options = [_answer(place.given, path) for path in others if path[-1].result != place.target]
  spelled = steps[place.index]
  swapped = [
    spelled[: found.start()] + str(n) + spelled[found.end() :]
    for found in re.finditer(r'\d+', spelled)
    for n in (int(found[0]) - 1, int(found[0]) + 1)
    if n > 0
  ]
  return [_choose(options if options and rng.random() < 0.5 else swapped, rng)]


# What goes wrong, by the steps that it can go wrong in.
_KINDS = {
  _wrong_result: _MOVE.fullmatch,
  _wrong_number: _MOVE.fullmatch,
  _wrong_verdict: _VERDICT.fullmatch,
  _wrong_answer: re.compile(f'{ANSWER}.*').fullmatch,
}


def _follow(place, wrong, given, rng):
  """The steps after a wrong move: on to a result, by a way to the target if there is one, and to an
  answer if that is the result. given: the numbers of the answer, None = it has none."""
  state, target = wrong.state, place.target
  tail = _choose(paths(state, target) or paths(state), rng)
  result = tail[-1].result if tail else wrong.result
  verdict = 'ok' if result == target else 'no'
  steps = [_told(move, 'completion') for move in tail]
  steps.append(f'{TAGS["evaluation"]}{result} for {target} {verdict}')
  path = (*place.path, wrong, *tail)
  return [*steps, _answer(given, path)] if result == target and given else steps


def _answer(given, path) -> str:
  return ANSWER + expression(given, path)


def _told(move: Move, tag: str) -> str:
  left = f';{",".join(map(str, move.state))}' if len(move.state) > 1 else ''
  return f'{TAGS[tag]}{move}{left}'


def _choose(options: list, rng):
  return options[int(rng.integers(len(options)))]
