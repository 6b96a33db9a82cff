"""Verdicts on infix arithmetic: does the expression reach the target from exactly the given
numbers?

The grammar of an answer, which both verifiers below follow:

    sum     = product (('+' | '-') product)*         left to right
    product = factor (('*' | '/') factor)*           left to right
    factor  = number | '(' sum ')'
    number  = '0' | a digit 1-9, then digits         no sign, no leading zero

ASCII spaces may stand anywhere except inside a number. Nothing else may. An answer is the text
after the last answer tag, to the end: at most `SIZE` bytes, with parentheses nested at most `DEPTH`
deep. It is correct when

- its numbers are the given ones, each as often as given;
- every intermediate result is a whole number in 0..LIMIT;
- the result is the target.
"""

import ast
import fractions
import functools
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp

from o1jax.text import bytes as text_bytes
from o1jax.text.steps import ANSWER

SIZE = 48
DEPTH = 4
# float32 is exact up to 16 times that, so one multiplication cannot hide an overflow.
LIMIT = 1_000_000


class _Frame(NamedTuple):
  """An open parenthesis: its value so far is total + sign * product. All float32 []."""

  total: jax.Array
  sign: jax.Array
  product: jax.Array
  divide: jax.Array  # 1.0 where the next factor divides the product


class _Reader(NamedTuple):
  """The state of reading an expression."""

  ok: jax.Array  # bool []
  depth: jax.Array  # int32 [], -1 = the closing parenthesis of the whole answer has been read
  # One a level. They are separate scalars, so that XLA fuses a step of the scan into one loop.
  frames: tuple[_Frame, ...]
  reading: jax.Array  # bool [], inside a number
  number: jax.Array  # float32 []
  operand: jax.Array  # bool [], an operand stands to the left
  left: tuple[jax.Array, ...]  # M times bool [], given numbers not used yet
  value: jax.Array  # float32 [], of the whole


_EMPTY = _Frame(0.0, 1.0, 1.0, 0.0)


def verify(text: jax.Array, length: jax.Array, numbers: jax.Array) -> jax.Array:
  """The verdict on one solution, in jnp; vmap it over many.

  Args:
    text: uint8 [N], the solution.
    length: int32 [].
    numbers: int32 [1 + M]: the target, then the given numbers; -1 where there is none.

  Returns:
    bool [].
  """
  answer, size = text_bytes.after_last(text, length, ANSWER.encode(), size=SIZE)
  given = tuple(numbers[1:].astype(jnp.float32))
  # One more parenthesis closes the whole answer. After it only padding may come.
  answer = jnp.where(jnp.arange(SIZE + 1) == size, ord(')'), jnp.pad(answer, (0, 1)))
  start = _Reader(
    ok=jnp.bool_(True),
    depth=jnp.int32(0),
    frames=(jax.tree.map(jnp.float32, _EMPTY),) * (1 + DEPTH),
    reading=jnp.bool_(False),
    number=jnp.float32(0),
    operand=jnp.bool_(False),
    left=tuple(number >= 0 for number in given),
    value=jnp.float32(-1),
  )
  end, _ = jax.lax.scan(functools.partial(_read, given=given), start, answer)
  return end.ok & (size <= SIZE) & (end.depth == -1) & ~_any(end.left) & (end.value == numbers[0])


def _read(reader: _Reader, char: jax.Array, *, given: jax.Array) -> tuple[_Reader, None]:
  """Reads one character: first what it ends (a number), then what it is."""
  is_ = lambda symbols: _any([char == ord(symbol) for symbol in symbols])
  digit = (char >= ord('0')) & (char <= ord('9'))
  plus_minus, times_divide, opens, closes = is_('+-'), is_('*/'), is_('('), is_(')')
  frame = _at(reader.frames, reader.depth)

  ends = reader.reading & ~digit
  found, left = jnp.bool_(False), []
  for number, unused in zip(given, reader.left):
    first = ends & unused & (number == reader.number) & ~found
    left.append(unused & ~first)
    found |= first
  multiplied, legal = _multiply(frame, reader.number)
  frame = _select(ends, multiplied, frame)
  ok = reader.ok & (~ends | (legal & found))
  operand = reader.operand | ends

  value = frame.total + frame.sign * frame.product
  below, below_legal = _multiply(_at(reader.frames, reader.depth - 1), value)
  final = closes & (reader.depth == 0)
  ok &= ~(plus_minus | closes) | ((value >= 0) & (value <= LIMIT))
  ok &= ~closes | final | below_legal
  ok &= jnp.where(
    digit | opens, ~operand, jnp.where(plus_minus | times_divide | closes, operand, is_(' '))
  )
  ok &= ~(opens & (reader.depth == DEPTH)) & ~(digit & reader.reading & (reader.number == 0))

  summed = _Frame(value, jnp.where(char == ord('-'), -1.0, 1.0), 1.0, 0.0)
  frame = frame._replace(
    divide=jnp.where(times_divide, (char == ord('/')).astype(jnp.float32), frame.divide)
  )
  frame = jax.tree.map(
    lambda *options: jnp.select([plus_minus, closes, opens], options[:3], options[3]),
    summed,
    below,
    _EMPTY,
    frame,
  )
  depth = reader.depth + opens - closes
  after = _Reader(
    ok=ok,
    depth=depth,
    reading=digit,
    frames=tuple(_select(level == depth, frame, old) for level, old in enumerate(reader.frames)),
    number=jnp.where(
      digit, jnp.minimum(reader.number * reader.reading * 10 + char - ord('0'), LIMIT + 1), 0
    ),
    operand=closes | (operand & ~plus_minus & ~times_divide),
    left=tuple(left),
    value=jnp.where(final, value, reader.value),
  )
  return _select(reader.depth < 0, reader._replace(ok=reader.ok & (char == 0)), after), None


def _any(conditions) -> jax.Array:
  return functools.reduce(jnp.logical_or, conditions, jnp.bool_(False))


def _select(condition, then, otherwise):
  return jax.tree.map(functools.partial(jnp.where, condition), then, otherwise)


def _at(frames: tuple[_Frame, ...], depth: jax.Array) -> _Frame:
  # Selects instead of an index: under vmap an index is a gather, which is many times slower on a
  # CPU.
  found = frames[0]
  for level, frame in enumerate(frames[1:], start=1):
    found = _select(depth == level, frame, found)
  return found


def _multiply(frame: _Frame, factor: jax.Array) -> tuple[_Frame, jax.Array]:
  """The frame with one more factor, and whether the result is a whole number up to LIMIT."""
  quotient = jnp.round(frame.product / jnp.where(factor == 0, 1, factor))
  divides = frame.divide > 0
  product = jnp.where(divides, quotient, frame.product * factor)
  exact = (factor != 0) & (quotient * factor == frame.product)
  return frame._replace(product=jnp.clip(product, -1, LIMIT)), (product <= LIMIT) & (
    exact | ~divides
  )


_VALID = re.compile(r'[0-9+\-*/() ]+')
_OPERATORS = {
  ast.Add: lambda a, b: a + b,
  ast.Sub: lambda a, b: a - b,
  ast.Mult: lambda a, b: a * b,
  ast.Div: lambda a, b: a / b,
}


def check(numbers: tuple[int, ...], text: str) -> bool:
  """The verdict on one solution, in plain Python through its own parser.

  Args:
    numbers: the target, then the given numbers.
    text: the solution.
  """
  _, tag, answer = text.rpartition(ANSWER)
  if not tag or len(answer.encode(errors='replace')) > SIZE or not _VALID.fullmatch(answer):
    return False
  if re.search(r'\b0[0-9]|\*\s*\*|/\s*/', answer):
    return False  # Python reads these in its own way
  depth = 0
  for char in answer:
    depth += (char == '(') - (char == ')')
    if depth > DEPTH:
      return False
  used: list[int] = []
  try:
    value = _value(ast.parse(answer.strip(' '), mode='eval').body, used)
  except (SyntaxError, ValueError, ZeroDivisionError):
    return False
  return value == numbers[0] and sorted(used) == sorted(numbers[1:])


def _value(node: ast.expr, used: list[int]) -> fractions.Fraction:
  """Value of a parsed expression; `used` collects its numbers. Raises ValueError outside the
  grammar."""
  if isinstance(node, ast.Constant) and type(node.value) is int:
    used.append(node.value)
    result = fractions.Fraction(node.value)
  elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
    result = _OPERATORS[type(node.op)](_value(node.left, used), _value(node.right, used))
  else:
    raise ValueError(f'not arithmetic on numbers: {type(node).__name__}')
  if result.denominator != 1 or not 0 <= result <= LIMIT:
    raise ValueError(f'an intermediate result of {result}')
  return result
