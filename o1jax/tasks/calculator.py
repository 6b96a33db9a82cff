"""Countdown with a calculator: a task whose world answers.

A policy may write a step `calc 7*8`. The world then says `= 56`, which nobody sampled. The policy
must learn when to ask, and to use what it was told:

    make 26 from 7,3,5
    calc 3*7
    = 21                                  given
    <completion>3*7=21;5,21
"""

import functools
import operator
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from o1jax import types
from o1jax.tasks import countdown
from o1jax.text.steps import DELIMITER, Given

ASK = 'calc '
_SAID = '= '
_DIGITS = 5  # most digits of a number that it knows
LIMIT = 10**_DIGITS - 1
_READS = 32
_SAYS = len(f'= {LIMIT}{DELIMITER}')
_NOTHING = 'no'  # what it says of an operation that leaves the whole numbers from 0 to LIMIT
_OPERATIONS = {'+': operator.add, '-': operator.sub, '*': operator.mul, '/': operator.truediv}
_MOVE = re.compile('<(?:completion|alternative)>([0-9]+[-+*/][0-9]+)=')


def task(**settings) -> types.Task:
  """`countdown.task` with a calculator, whose demonstrations ask it before each move."""
  plain = countdown.task(**settings)

  def demonstrate(problem: types.Problem, rng: np.random.Generator) -> list[str]:
    return [line for step in plain.demonstrate(problem, rng) for line in _asked(step)]

  return plain._replace(
    name='calculator',
    demonstrate=demonstrate,
    world=types.TextWorld(answer, _READS, _SAYS, failed),
    plant=None,
    reachable=functools.partial(plain.reachable, asides=(ASK, _SAID)),
  )


def _asked(step: str) -> list[str]:
  """A demonstrated step, with the question to the calculator and its answer before a move."""
  move = _MOVE.match(step)
  if not move:
    return [step]
  return [ASK + move.group(1), Given(say(move.group(1))), step]


def say(operation: str) -> str:
  """The calculator's answer to an operation such as '7*8', in plain Python."""
  left, sign, right = re.fullmatch('([0-9]+)([-+*/])([0-9]+)', operation).groups()
  if max(len(left), len(right)) > _DIGITS or (sign == '/' and int(right) == 0):
    return f'= {_NOTHING}'
  result = _OPERATIONS[sign](int(left), int(right))
  return f'= {int(result) if result == int(result) and 0 <= result <= LIMIT else _NOTHING}'


def failed(text: jax.Array, length: jax.Array) -> jax.Array:
  """Whether an answer, uint8 [G] of so many bytes, says that there is no result. bool []."""
  error = np.frombuffer((_SAID + _NOTHING + DELIMITER).encode(), np.uint8)
  return (length == error.size) & jnp.all(text[: error.size] == error)


class _Number(NamedTuple):
  """value: [] int32, of up to `_DIGITS` digits; digits: [] how many it has."""

  value: jax.Array
  digits: jax.Array


def answer(text: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The calculator in jnp: a step `calc 7*8`, closed by the delimiter -> `= 56`, closed likewise.

  Args:
    text: uint8 [N], the end of a step.
    length: [].

  Returns:
    uint8 [G] and its length, 0 for any other step.
  """
  place = jnp.arange(text.shape[0])
  asks = jnp.all(text[: len(ASK)] == np.frombuffer(ASK.encode(), np.uint8))
  closed = (length > 0) & (text[jnp.maximum(length - 1, 0)] == ord(DELIMITER))
  inside = (place >= len(ASK)) & (place < length - 1)
  digit = inside & (text >= ord('0')) & (text <= ord('9'))
  other = inside & ~digit  # one sign, or it is no operation
  at = jnp.argmax(other)
  left, right = (_number(text, digit & part) for part in (place < at, place > at))
  signs = [text[at] == ord(sign) for sign in _OPERATIONS]
  formed = asks & closed & (other.sum() == 1) & jnp.any(jnp.stack(signs))
  formed &= (left.digits > 0) & (right.digits > 0)

  a, b = left.value, right.value
  results = [a + b, a - b, a * b, a // jnp.maximum(b, 1)]
  # A product may be too large for an integer, and is then known by its size.
  fits = [
    a + b <= LIMIT,
    a >= b,
    a * jnp.float32(b) <= LIMIT,
    (b > 0) & (a % jnp.maximum(b, 1) == 0),
  ]
  small = (left.digits <= _DIGITS) & (right.digits <= _DIGITS)
  good = small & jnp.select(signs, fits, False)
  said, size = _digits(jnp.where(good, jnp.select(signs, results, 0), 0))
  said = jnp.where(good, said, np.frombuffer(_NOTHING.encode().ljust(_DIGITS), np.uint8))
  size = jnp.where(good, size, len(_NOTHING))
  line = jnp.concatenate([np.frombuffer(b'= ', np.uint8), said, jnp.zeros(1, jnp.uint8)])
  return line.at[2 + size].set(ord(DELIMITER)), jnp.where(formed, 3 + size, 0)


def _number(text, digit) -> _Number:
  behind = jnp.cumsum(digit[::-1])[::-1] - digit  # digits after each
  power = jnp.where(digit & (behind < _DIGITS), 10 ** jnp.minimum(behind, _DIGITS - 1), 0)
  return _Number(jnp.sum((text.astype(jnp.int32) - ord('0')) * power), digit.sum())


def _digits(number) -> tuple[jax.Array, jax.Array]:
  """A number of 0..LIMIT as text, uint8 [_DIGITS] from the left, and its length."""
  powers = 10 ** jnp.arange(_DIGITS - 1, -1, -1)
  size = jnp.maximum(jnp.sum(number >= powers), 1)
  text = (number // powers % 10 + ord('0')).astype(jnp.uint8)
  return jnp.roll(text, size - _DIGITS), size
