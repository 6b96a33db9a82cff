"""Walks through states of countdown: moves, what they reach, attempts at a target, and expressions.

A state is the numbers that are left, sorted. `o1jax.tasks.countdown` poses the problems and writes
walks as steps.
"""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

_NEAR_MISSES = 8  # a dead end is one of so many attempts: those that end nearest to the target

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
  """Every way to use up the numbers. With a target, only the ways that end there."""
  if len(state) == 1:
    return [()]
  return [
    (move, *rest)
    for move in moves(state)
    if target is None or target in reachable(move.state)
    for rest in paths(move.state, target)
  ]


def _cost(path: Path) -> int:
  """How unnatural a path looks. Large results, zeros and moves that multiply or divide by one
  count, and divisions a little."""
  return sum(
    3 * (m.result > 99)
    + 2 * (m.result == 0)
    + 2 * (m.op in '*/' and 1 in (m.left, m.right))
    + (m.op == '/')
    for m in path
  )


def attempts_at(
  target: int, root: State, rng, *, dead_ends: int, avoid: Callable[[int], bool]
) -> list[tuple[Path, Path]]:
  """Attempts in order, each as (moves kept from before, moves made now). Only the last one reaches
  the target.

  Args:
    target: a value that the root can make.
    root: the numbers to begin with.
    rng: a NumPy generator.
    dead_ends: most failed attempts before the one that succeeds.
    avoid: no attempt ends in a result for which this is True.
  """
  attempts, kept, failed = [], (), set()
  for _ in range(dead_ends):
    state = kept[-1].state if kept else root
    wrong = []
    for path in paths(state):
      if path[-1].result != target and not avoid(path[-1].result):
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
