"""Where a walk of countdown stands: can the target still be reached from what is left?

This is the verdict on a solution that is not finished. It reads the lines that
`o1jax.tasks.countdown` writes:

- A move is true where its numbers are in the state, it is one of `walks.moves`, and the numbers
  written behind it are those that it leaves. No result is above `infix.LIMIT`.
- A return is true where it names a state in which the walk has truly been, or the first one.
- `16 for 26 no` changes nothing. The walk stands at its dead end until it returns.
- `26 for 26 ok` is true where the target is the one number left.
- Analysis and plan may say anything, and change nothing.
- Of the other tags any may stand before a move, a return or an evaluation, since a line is what it
  says. The numbers of a state may stand in any order.
- All else is not true: an answer as well, since a closed line is no end of a solution.

A line that is not true loses the walk. Only a true return finds it again. The target can be reached
where the walk is not lost and some moves lead from its state to the target. The verdict is on the
whole lines. An open line behind them is not read.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from o1jax.tasks.infix import LIMIT
from o1jax.text.lines import Lines, byte_at, next_place, says, whole_lines
from o1jax.text.steps import SILENT, TAGS
from o1jax.types import UNUSED, Reference

_DIGITS = len(str(LIMIT))
_ABSENT = LIMIT + 1  # in a state that has fewer numbers than there is room for; sorts last
_BACK = 'back;'
_BYTES = 16  # the room for lines is one for so many bytes: a true line has more
_ASIDE_BYTES = 8  # where there are asides, which are short

_State = tuple[jax.Array, ...]  # M numbers, sorted, `_ABSENT` last


class _Numbers(NamedTuple):
  """The numbers of each line in the order of the text: K tuples of [S]."""

  value: tuple[jax.Array, ...]
  first: tuple[jax.Array, ...]  # place of the first digit
  last: tuple[jax.Array, ...]  # place of the last digit
  there: tuple[jax.Array, ...]  # bool, the line has so many numbers
  proper: jax.Array  # bool [S], all are in 0..LIMIT, without leading zeros


class _Read(NamedTuple):
  """What the lines say, each [S]."""

  move: jax.Array  # bool: `left op right = result`, with numbers left
  back: jax.Array  # bool: a return
  ok: jax.Array  # bool: the value is claimed to be the target
  silent: jax.Array  # bool: changes nothing
  numbers: tuple[jax.Array, ...]  # the first three numbers
  op: jax.Array  # uint8: the byte between the first two
  state: _State  # of a move and a return: the numbers written, or the result where it is the last


def reachable(
  reference: Reference,
  text: jax.Array,
  length: jax.Array,
  *,
  count: int,
  asides: tuple[str, ...] = (),
) -> jax.Array:
  """The verdict on one unfinished solution, in jnp; vmap it over many.

  Args:
    reference: of one problem. Its numbers are the target, then the given ones; -1 where there is
      none.
    text: uint8 [N], the solution from its beginning. Where it has more than N / 16 lines,
      with asides N / 8, the verdict is no: true lines are longer.
    length: int32 [].
    count: M, how many numbers are given. It bounds the search: 4 at most.
    asides: how lines begin that change nothing, beside those of analysis and plan.

  Returns:
    bool [].
  """
  # Padded, since in a mixture a batch may hold no problem of this task, and no number.
  target, *given = jnp.pad(reference.numbers, (0, 1 + count), constant_values=UNUSED)[: 1 + count]
  lines = whole_lines(
    text, length, most=max(text.shape[0] // (_ASIDE_BYTES if asides else _BYTES), 1)
  )
  read = _read(text, lines, count, asides)
  root = _sorted([jnp.where(number == UNUSED, _ABSENT, number) for number in given])
  states = tuple(jnp.append(first, rest) for first, rest in zip(root, read.state))

  # Line s stands after row `stands[s]` of the states, the last one that was written before it.
  writes = jnp.append(False, read.move | read.back)
  stands = jax.lax.cummax(jnp.where(writes, jnp.arange(writes.shape[0]), 0))
  before = tuple(number[stands[:-1]] for number in states)
  done = (before[0] == target) & (read.numbers[0] == target) & (read.numbers[1] == target)
  for number in before[1:]:
    done &= number == _ABSENT
  true = read.silent | (read.ok & done) | (read.move & _legal(read, before))
  holds = _follow(states, writes[1:], read.back, true)
  return lines.all & holds & _leads(tuple(number[stands[-1]] for number in states), target)


def left(text: jax.Array, length: jax.Array, given: tuple[jax.Array, ...], *, count: int) -> _State:
  """The numbers that a walk says are left, be its lines true or not, sorted. Above `LIMIT` stands
  for none.

  Args:
    text: uint8 [N], the end of a solution. Without a move or a return in it, all are left.
    length: int32 [].
    given: M numbers, each []; -1 where there is none.
    count: M.
  """
  lines = whole_lines(text, length, most=max(text.shape[0] // _BYTES, 1))
  read = _read(text, lines, count, ())
  stands = jnp.max(jnp.where(read.move | read.back, 1 + jnp.arange(read.move.shape[0]), 0))
  root = _sorted([jnp.where(number == UNUSED, _ABSENT, number) for number in given])
  return tuple(jnp.append(first, rest)[stands] for first, rest in zip(root, read.state))


def first_numbers(text: jax.Array, length: jax.Array, *, most: int) -> tuple[jax.Array, ...]:
  """The first `most` numbers of a text, each [], and then whether there are so many, all of them in
  0..LIMIT."""
  found = _numbers(text, jnp.zeros(1, jnp.int32), jnp.reshape(length, 1), most)
  there = _all(found.there)[0] & found.proper[0]
  return *(value[0] for value in found.value), there


def makes(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
  """What two numbers make, [4, ...], and which of it is legal. A number and an absent one make that
  number."""
  low, high = jnp.minimum(x, y), jnp.maximum(x, y)
  alone = high == _ABSENT
  quotient = jnp.round(high / jnp.maximum(low, 1))
  made = jnp.stack([jnp.where(alone, low, high + low), high * low, high - low, quotient])
  both = ~alone & jnp.stack(
    [high * low <= LIMIT, high >= low, (low > 0) & (quotient * low == high)]
  )
  return made, jnp.concatenate([(alone | (high + low <= LIMIT))[None], both])


def _follow(states: _State, writes: jax.Array, back: jax.Array, true: jax.Array) -> jax.Array:
  """Whether the walk is not lost after its last line.

  Args:
    states: M times [1 + S], the first state, then that of each line.
    writes: bool [S], the line has a state.
    back: bool [S], it returns to that.
    true: bool [S], any other line is true where the walk was not lost before it.
  """
  rows = jnp.stack(states, axis=-1)  # [1 + S, M]
  index = jnp.arange(rows.shape[0])

  def step(carry, line):
    holds, now = carry
    place, state, writes, back, true = line
    found = jnp.any(holds & jnp.all(rows == state, axis=-1))
    now = jnp.where(back, found, now & true)
    return (holds | (now & writes & (index == place)), now), None

  start = (index == 0, jnp.bool_(True))
  (_, now), _ = jax.lax.scan(step, start, (index[1:], rows[1:], writes, back, true))
  return now


def _legal(read: _Read, before: _State) -> jax.Array:
  """Whether each move is one of `walks.moves` from the state before it, and leaves what it says."""
  left, right, result = read.numbers
  a, b, c = (x.astype(jnp.float32) for x in read.numbers)
  rules = {'+': (left <= right) & (a + b == c), '*': (left <= right) & (a * b == c)}
  rules |= {'-': a - b == c, '/': (left >= right) & (right > 0) & (c * b == a)}
  found = jnp.stack([(read.op == ord(op)) & rule for op, rule in rules.items()]).any(0)
  # What was there and the result are what is there, and the two that made it.
  absent = jnp.full_like(result, _ABSENT)
  for x, y in zip(
    _sorted([*before, result, absent]), _sorted([*read.state, left, right]), strict=True
  ):
    found &= x == y
  # Else a number that is not there could make itself.
  return found & jnp.stack([number == result for number in read.state]).any(0)


def _leads(state: _State, target: jax.Array) -> jax.Array:
  """Whether moves lead from a state to the target alone. Each number []."""
  # In float32, which holds all of 0..LIMIT, and divides many times faster than integers.
  state, possible = tuple(x.astype(jnp.float32) for x in state), jnp.bool_(True)
  while len(state) > 1:
    results, legal, rests = [], [], []
    for i in range(len(state)):
      for j in range(i + 1, len(state)):
        made, allowed = makes(state[i], state[j])
        results.append(made)
        legal.append(allowed & possible)
        rests.append(
          [jnp.broadcast_to(x, made.shape) for k, x in enumerate(state) if k not in (i, j)]
        )
    possible = jnp.stack(legal, axis=-1)
    state = (jnp.stack(results, axis=-1), *(jnp.stack(x, axis=-1) for x in zip(*rests)))
  return jnp.any(possible & (state[0] == target))


# --- what the lines say ---


def _read(text: jax.Array, lines: Lines, room: int, asides: tuple[str, ...]) -> _Read:
  """Reads every line. room: M, the most numbers of a state."""
  tagged = {name: says(text, lines.begin, tag) for name, tag in TAGS.items()}
  body = lines.begin + jnp.select(list(tagged.values()), [len(tag) for tag in TAGS.values()], 0)
  numbers = _numbers(text, body, lines.end, room + 2)
  value, first, last, there, proper = numbers
  between = [byte_at(text, place + 1) for place in last[:-1]]
  # Every number but the first follows the one before it and a byte.
  tight = [~t | (f == l + 2) for t, f, l in zip(there[1:], first[1:], last)]
  count = sum(x.astype(jnp.int32) for x in there)
  final = jnp.max(jnp.stack([jnp.where(t, l, -1) for t, l in zip(there, last)]), axis=0)
  closed = _all(tight) & (final + 1 == lines.end)
  tag = _any(tagged[name] for name in TAGS if name not in SILENT)
  formed = lines.there & proper & tag

  commas = [~t | (b == ord(',')) for t, b in zip(there[1:], between)]
  signs = jnp.stack([between[0] == ord(sign) for sign in '+-*/']).any(0)
  move = formed & closed & (first[0] == body)
  move &= signs & (between[1] == ord('=')) & (~there[3] | (between[2] == ord(';')))
  move &= _all(commas[3:]) & ((count == 3) | (count > 4))
  returns = says(text, body, _BACK) & (first[0] == body + len(_BACK))
  back = formed & closed & returns & _all(commas)
  back &= (count >= 1) & (count <= room)
  said = formed & (first[0] == body) & (count == 2)
  said &= says(text, last[0] + 1, ' for ') & (first[1] == last[0] + 6) & (last[1] + 4 == lines.end)
  ok, no = (said & says(text, last[1] + 1, word) for word in (' ok', ' no'))

  absent = jnp.full_like(value[0], _ABSENT)
  left = [jnp.where(t, v, absent) for t, v in zip(there, value)]
  left_by_move = [jnp.where(there[3], x, y) for x, y in zip(left[3:], [value[2], *[absent] * room])]
  written = _sorted([jnp.where(back, x, y) for x, y in zip(left, [*left_by_move, absent])])
  silent = _any(says(text, lines.begin, aside) for aside in asides)
  silent |= _any(tagged[name] for name in SILENT) | no | ~lines.there
  return _Read(move, back, ok, silent, value[:3], between[0], tuple(written))


def _numbers(text: jax.Array, begin: jax.Array, end: jax.Array, most: int) -> _Numbers:
  """The first `most` numbers between each `begin` and `end`."""
  digit = (text >= ord('0')) & (text <= ord('9'))
  last_of_one = digit & ~jnp.append(digit[1:], False)
  upcoming = next_place(last_of_one)
  # Value and length of the number that ends at each place. A longer one counts one digit too many.
  value, run, going = jnp.zeros(text.shape, jnp.int32), jnp.zeros(text.shape, jnp.int32), digit
  for k in range(_DIGITS + 1):
    earlier = jnp.pad(text, (k, 0))[: text.shape[0]].astype(jnp.int32) - ord('0')
    going = going & (earlier >= 0) & (earlier <= 9)
    run += going
    if k < _DIGITS:
      value += jnp.where(going, earlier * 10**k, 0)
  smallest = jnp.where(run > 1, 10 ** jnp.clip(run - 1, 0, _DIGITS), 0)
  good = (run <= _DIGITS) & (value <= LIMIT) & (value >= smallest)

  values, firsts, lasts, theres, proper = [], [], [], [], jnp.bool_(True)
  place = begin
  for _ in range(most):
    last = upcoming[jnp.minimum(place, text.shape[0])]
    there = last < end
    values.append(byte_at(value, last))
    firsts.append(last - byte_at(run, last) + 1)
    lasts.append(last)
    theres.append(there)
    proper &= ~there | byte_at(good, last)
    place = last + 1
  return _Numbers(tuple(values), tuple(firsts), tuple(lasts), tuple(theres), proper)


def _sorted(numbers: list[jax.Array]) -> list[jax.Array]:
  """Arrays of one shape, sorted at every place: for so few, faster on a CPU than a sort."""
  numbers = list(numbers)
  for end in range(len(numbers) - 1, 0, -1):
    for i in range(end):
      x, y = numbers[i], numbers[i + 1]
      numbers[i], numbers[i + 1] = jnp.minimum(x, y), jnp.maximum(x, y)
  return numbers


def _all(conditions) -> jax.Array:
  found = jnp.bool_(True)
  for condition in conditions:
    found &= condition
  return found


def _any(conditions) -> jax.Array:
  return ~_all(~condition for condition in conditions)
