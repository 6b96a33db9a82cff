"""Several runs as one table: seeds of a config, or several searches of one policy."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from o1jax.evaluation.methods import method
from o1jax.evaluation.problems import COLUMNS, Table, by_measurement
from o1jax.evaluation.results import Result


class Part(NamedTuple):
  """What one run measured. `name`: what a message calls it."""

  name: str
  rows: list[Result]
  table: Table


class MergeError(ValueError):
  """Runs that do not match. The message is one line: which, in what, and the way out."""


def merge(parts: Sequence[Part]) -> tuple[list[Result], Table]:
  """All measurements of several runs, whatever their order. One that several runs made alike counts
  once, with the fewest seconds.

  Raises:
    MergeError: the runs are of different tasks, asked other problems with the same seed, or found
      different values for the same measurement.
  """
  _require_one_task(parts)
  _require_same_problems(parts)
  parts = sorted(parts, key=_order)
  kept = {}  # key -> (row, run, its rows of the table)
  for part in parts:
    found = by_measurement(part.table)
    for row in part.rows:
      mine = row, part, found.get(row.key)
      other = kept.setdefault(row.key, mine)
      if other is not mine:
        _require_alike(other, mine)
        if row.seconds < other[0].seconds:
          kept[row.key] = mine
  answers = [(part.table, at) for _, part, at in kept.values() if at is not None]
  if not answers:
    raise MergeError(
      f'{" and ".join(part.name for part in parts)} kept no answers to what they measured: run '
      'their stage evaluate again'
    )
  columns = {name: [table[name][at] for table, at in answers] for name in COLUMNS}
  table = {name: np.concatenate(some) for name, some in columns.items()}
  return [row for row, *_ in kept.values()], table


def _order(part):
  """By what was measured, so that no order of the runs shows."""
  return sorted({row.seed for row in part.rows}), -len(part.rows), [repr(r) for r in part.rows]


def _require_one_task(parts):
  tasks = {part.name: sorted({row.task for row in part.rows}) for part in parts}
  first, *others = tasks.items()
  for name, task in others:
    if task != first[1]:
      raise MergeError(
        f'{first[0]} measured {" and ".join(first[1])}, and {name} {" and ".join(task)}: compare '
        'runs of one task'
      )


def _require_same_problems(parts):
  """Runs of one seed asked the same problems, by their places."""
  asked = {}
  for part in parts:
    keys = sorted(set(zip(part.table['task'].tolist(), part.table['seed'].tolist(), strict=True)))
    for task, seed in keys:
      rows = (part.table['task'] == task) & (part.table['seed'] == seed)
      columns = (part.table[name][rows].tolist() for name in ('problem', 'prompt'))
      mine = set(zip(*columns, strict=True))
      name, other = asked.setdefault((task, seed), (part.name, mine))
      if mine != other:
        raise MergeError(
          f'{name} and {part.name} have seed {seed} and other {task} problems: '
          f'{len(mine & other):,} of {len(mine | other):,} are the same; compare runs that were '
          'asked the same, or runs of other seeds'
        )


def _require_alike(one, other):
  """Two measurements of one key have the same values, but for their seconds."""
  (row, part, at), (again, twin, there) = one, other
  names = ('accuracy', 'tokens', 'flops', 'problems', 'unjudged')
  differing = [name for name in names if not np.isclose(getattr(row, name), getattr(again, name))]
  if at is not None and there is not None and not differing:
    verdicts = (
      dict(zip(table['problem'][rows].tolist(), table['correct'][rows].tolist(), strict=True))
      for table, rows in ((part.table, at), (twin.table, there))
    )
    differing = ['answers'] if len({tuple(sorted(v.items())) for v in verdicts}) > 1 else []
  if differing:
    name = differing[0]
    values = ' and '.join(f'{getattr(each, name):g}' for each in (row, again) if name != 'answers')
    asked = f'{row.budget:,} tokens' if row.budget else f'{row.units} {method(row.method).unit}'
    raise MergeError(
      f'{part.name} and {twin.name} both measured {row.method} with {asked} of the {row.stage} '
      f'policy, seed {row.seed}, with other {name}{f" ({values})" if values else ""}: two '
      'policies, or two searches, have one name; compare them apart, or measure one under another '
      'name (config.evaluate.policies)'
    )


def averaged(one: Part, other: Part) -> bool:
  """Whether a table shows the mean of measurements of the two, which differ in the seed alone."""
  keys = [
    {dataclasses.replace(row, seed=0).key: row.seed for row in part.rows} for part in (one, other)
  ]
  return any(keys[0][key] != keys[1][key] for key in keys[0].keys() & keys[1].keys())


def pairs_averaged(parts: Sequence[Part]) -> list[tuple[int, int]]:
  """The places of all pairs of runs with `averaged` measurements."""
  return [
    (i, j)
    for (i, one), (j, other) in itertools.combinations(enumerate(parts), 2)
    if averaged(one, other)
  ]
