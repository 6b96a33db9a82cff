"""The messages that a compiled program sends between devices, and how often, read from its text
(`Compiled.as_text()`)."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

KINDS = (
  'all-gather',
  'all-reduce',
  'all-to-all',
  'collective-broadcast',
  'collective-permute',
  'ragged-all-to-all',
  'reduce-scatter',
)
_BITS = dict(pred=8, token=0, s4=4, u4=4)  # other types end with their bits

_HEAD = re.compile(r'(ENTRY )?%?([\w.-]+) \(.*\{$')
_LINE = re.compile(r'\s+(?:ROOT )?%?([\w.-]+) = (\(.*?\)|\S+) ([\w-]+)\((.*)$')
_SHAPE = re.compile(r'\b([a-z]+\d*\w*)\[([\d,]*)\]')
_CALLED = re.compile(
  r'(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.-]+)'
)
_BRANCHES = re.compile(r'branch_computations=\{([^}]*)\}')
_SCOPE = re.compile(r'op_name="([^"]*)"')
_TURNS = re.compile(r'turns_(\d+)/while$')


class Collective(NamedTuple):
  """One kind of message.

  kind: of `KINDS`. scope: the place in the source. size: bytes that a device holds before it, or,
  for an all-gather, after it. group: devices that take part in each. turns: how often it is sent at
  most.
  """

  kind: str
  scope: str
  size: int
  group: int
  turns: int


class _Line(NamedTuple):
  name: str
  shape: str
  kind: str
  rest: str

  @property
  def scope(self) -> str:
    found = _SCOPE.search(self.rest)
    return found[1] if found else ''


def collectives(text: str) -> list[Collective]:
  """All messages of a program. Of several branches, those of the one that sends most.

  A loop's condition says how often it runs at most. A loop that may end early has a scope `turns_N`
  around it that says so.
  """
  parts, entry = _parse(text)
  return list(_walk(parts, entry, 1).values())


def bytes_of(shape: str) -> int:
  """Bytes of a type as the text writes it, tuples included."""
  sizes = _SHAPE.findall(shape)
  return sum(
    math.prod(map(int, filter(None, dims.split(',')))) * _bits(kind) // 8 for kind, dims in sizes
  )


def _bits(kind: str) -> int:
  return _BITS[kind] if kind in _BITS else int(re.match(r'[a-z]+(\d+)', kind)[1])


def _parse(text: str) -> tuple[dict[str, list[_Line]], str]:
  parts, entry, lines = {}, None, []
  for row in text.splitlines():
    head, line = _HEAD.match(row), _LINE.match(row)
    if head:
      lines = parts[head[2]] = []
      entry = head[2] if head[1] else entry
    elif line:
      lines.append(_Line(*line.groups()))
  return parts, entry


def _walk(parts, name, turns) -> dict[str, Collective]:
  """The messages of a computation that runs `turns` times, by the number of each."""
  shapes, found = {line.name: line.shape for line in parts[name]}, {}

  def add(more):
    # On a TPU, the loops that an asynchronous message overlaps with repeat it under the same
    # number. It begins outside of them.
    for key, one in more.items():
      if key not in found or one.turns < found[key].turns:
        found[key] = one

  for line in parts[name]:
    kind = line.kind.removesuffix('-start')
    if kind in KINDS:
      number = re.search(r'channel_id=(\d+)', line.rest)
      one = Collective(kind, line.scope, _size(line, kind, shapes), _group(line.rest), turns)
      add({number[1] if number else line.name: one})
    inside = turns * _turns(parts, line) if line.kind == 'while' else turns
    for part in _CALLED.findall(line.rest):
      add(_walk(parts, part, inside))
    for branches in _BRANCHES.findall(line.rest):
      sent = [_walk(parts, part, inside) for part in re.findall(r'[\w.-]+', branches)]
      add(max(sent, key=lambda branch: sum(one.size * one.turns for one in branch.values())))
  return found


def _turns(parts, line: _Line) -> int:
  named = _TURNS.search(line.scope)
  if named:
    return int(named[1])
  condition = re.search(r'condition=%?([\w.-]+)', line.rest)[1]
  limits = [int(found) for found in _constants(parts, condition)]
  return max(limits, default=1)


def _constants(parts, name) -> Iterator[str]:
  for line in parts[name]:
    if line.kind == 'constant' and re.match(r'[su]32\[\]', line.shape):
      yield re.match(r'(-?\d+)', line.rest)[1]
    for part in _CALLED.findall(line.rest):
      yield from _constants(parts, part)


def _size(line: _Line, kind: str, shapes: dict[str, str]) -> int:
  given = re.findall(r'%?([\w.-]+)', line.rest.split(')')[0])
  size = sum(bytes_of(shapes[name]) for name in given if name in shapes)
  return size * _group(line.rest) if kind == 'all-gather' else size


def _group(rest: str) -> int:
  """Devices in one of the `replica_groups`, which are lists, or a grid whose last axis is a group.
  1 = a permutation."""
  grid = re.search(r'replica_groups=\[(\d+),(\d+)\]', rest)
  if grid:
    return int(grid[2])
  first = re.search(r'replica_groups=\{\{([\d,]*)\}', rest)
  if first:
    return len(first[1].split(','))
  axes = re.search(r'replica_groups=mesh\[([^\]]*)\](?:, device_ids=\([^{]*\))? ?\{([^}]*)\}', rest)
  if axes:
    sizes = dict(re.findall(r"'(\w+)'=(\d+)", axes[1]))
    # A part of an axis is written 'axis':(size before it)its size.
    return math.prod(
      int(part or sizes[axis]) for axis, part in re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", axes[2])
    )
  return 1
