"""problems.csv.gz: what every search answered to every problem, and what that cost.

table = read_problems('runs/quickstart/problems.csv.gz')
mcts = where(table, stage='initialised', method='gumbel', budget=800)
table['tokens'][mcts].mean()
difference(table, dict(method='majority', budget=800), dict(method='gumbel', budget=800))

`budget` is tokens asked. Where a search was asked in its own units it is 0, and `units` tells them.
"""

import csv
import gzip
import hashlib
import io
import pathlib
import zlib
from collections.abc import Sequence

import numpy as np

from o1jax.evaluation.accuracy import Readout, Verdicts, flops_of, share_of
from o1jax.evaluation.pairs import Difference, Pairs, paired_difference
from o1jax.evaluation.results import replace_file
from o1jax.text.answer import told
from o1jax.types import Problem

FILE = 'problems.csv.gz'
KEY = ('stage', 'task', 'method', 'budget', 'units', 'seed')  # units where they were asked
COLUMNS = {
  'stage': str,  # these six as in results.csv
  'task': str,
  'method': str,
  'budget': int,
  'units': int,
  'seed': int,
  'problem': int,  # its place among the test problems
  'prompt': str,  # a hash, by which runs are compared
  'cluster': str,  # shared with similar problems, see `types.Problem`
  'answer': str,  # '' = no solution was finished, or it has no answer
  'correct': bool,
  'judged': bool,  # False where the verifier had no verdict
  'finished': bool,  # the search finished a solution
  'samples': int,  # solutions begun, of the whole search
  'right': int,  # of its finished solutions, those that are right
  'score': float,  # mean of what the critic gives them, 0 = there are none; nan = not kept
  'tokens': float,  # of a readout of some of the chains, its share
  'flops': float,
  'seconds': float,  # of its batch, shared evenly
  'late': float,  # tokens spent after the first right solution was finished, 0 where none is right
}

Table = dict[str, np.ndarray]  # by column, each [M]


def problem_rows(
  readout: Readout,
  verdicts: Verdicts,
  problems: Sequence[Problem],
  *,
  stage: str,
  task: str,
  seed: int,
  marker: str = '',
) -> Table:
  """The rows of one readout over N problems, in their order.

  marker: what stands before an answer in a solution, see `types.Task`.
  """
  answers, share = verdicts.answers[readout], share_of(readout, verdicts)
  count = len(problems)
  columns = dict(
    stage=[stage] * count,
    task=[task] * count,
    method=[readout.method] * count,
    budget=[readout.budget.tokens] * count,
    units=[readout.budget.units] * count,
    seed=[seed] * count,
    problem=range(count),
    prompt=[hashlib.sha256(p.prompt.encode()).hexdigest()[:12] for p in problems],
    cluster=[p.cluster for p in problems],
    answer=[told(text, marker) for text in answers.text],
    correct=answers.correct,
    judged=answers.known,
    finished=answers.chosen > 0,
    samples=verdicts.samples,
    right=verdicts.right,
    score=verdicts.score,
    tokens=verdicts.tokens * share,
    flops=flops_of(verdicts, critic=readout.critic) * share,
    seconds=verdicts.seconds * share,
    late=verdicts.late * share,
  )
  return {name: _column(name, columns[name]) for name in COLUMNS}


def append_problems(path: str | pathlib.Path, parts: Sequence[Table]) -> None:
  """Adds rows to the file, made if absent. New rows replace those of the same measurement (the same
  `KEY`).

  An interruption leaves the old file or the new one, never a half.

  Raises:
    ValueError: the file exists and is no such table.
  """
  path = pathlib.Path(path)
  new = {key for part in parts for key in _keys(part)}
  if path.exists():
    old = read_problems(path)
    stays = np.array([key not in new for key in _keys(old)], bool)
    parts = [{name: values[stays] for name, values in old.items()}, *parts]
  text = io.StringIO(newline='')
  writer = csv.writer(text)
  writer.writerow(COLUMNS)
  for part in parts:
    # Python's own numbers, which are written with all their digits.
    columns = [
      (values.astype(int) if COLUMNS[name] is bool else values).tolist()
      for name, values in part.items()
    ]
    writer.writerows(zip(*columns, strict=True))
  replace_file(path, gzip.compress(text.getvalue().encode(), compresslevel=6, mtime=0))


def read_problems(path: str | pathlib.Path) -> Table:
  """All rows of the file, in its order, as arrays by column. An older file says nothing of late
  tokens, kept no scores, or was asked for its budget in units.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is no such table.
  """
  try:
    text = gzip.decompress(pathlib.Path(path).read_bytes()).decode()
    head, *rows = csv.reader(io.StringIO(text, newline='')) if text else [[]]
  except (gzip.BadGzipFile, zlib.error, EOFError, UnicodeDecodeError, csv.Error) as error:
    raise ValueError(f'{path} is damaged ({error}): move it away and measure again') from error
  # Of this version, and of older ones.
  lacks = (), ('late',), ('late', 'score'), ('late', 'score', 'units')
  known = [[name for name in COLUMNS if name not in some] for some in lacks]
  kinds = {name: COLUMNS.get(name) for name in head}
  if list(head) not in known:
    raise ValueError(
      f'{path} has the columns {",".join(head) or "none"}, expected {",".join(COLUMNS)}: move it '
      'away and measure again'
    )
  try:
    columns = list(zip(*rows, strict=True)) or [()] * len(head)
    table = {
      name: _column(name, [int(x) for x in values] if kind is bool else values)
      for (name, kind), values in zip(kinds.items(), columns, strict=True)
    }
  except ValueError as error:
    raise ValueError(f'{path} is damaged ({error}): move it away and measure again') from error
  if 'units' not in table:
    table |= dict(units=table['budget'], budget=np.zeros_like(table['budget']))
  if 'score' not in table:
    table['score'] = np.full(len(table['seed']), np.nan)
  table.setdefault('late', np.zeros(len(table['problem'])))
  return {name: table[name] for name in COLUMNS}


def where(table: Table, **columns) -> np.ndarray:
  """Which rows have these values, bool [M]: `where(table, method='greedy', stage='learned')`."""
  unknown = [name for name in columns if name not in table]
  if unknown:
    raise ValueError(f'there is no column {unknown[0]!r}: choose from {", ".join(table)}')
  return np.logical_and.reduce([table[name] == value for name, value in columns.items()])


def difference(table: Table, a: dict, b: dict) -> Difference:
  """How much more accurate one measurement is than another, on the problems that both were asked;
  see `pairs.paired_difference`.

  Args:
    table: rows of both.
    a: columns that identify the rows of the one, such as dict(stage='learned', method='greedy').
    b: those of the other.

  Raises:
    ValueError: no problem was asked and judged in both, or one of them was asked twice.
  """
  one, other = (_by_problem(table, where(table, **columns)) for columns in (a, b))
  shared = [key for key in one if key in other]
  if not shared:
    raise ValueError(f'{a} and {b} have no judged problem in common')
  rows, others = np.array([(one[key], other[key]) for key in shared]).T
  seeds = table['seed'][rows]
  right = table['correct'].astype(float)
  return paired_difference(
    [
      Pairs(right[rows[of]], right[others[of]], table['cluster'][rows[of]])
      for of in (seeds == seed for seed in np.unique(seeds))
    ]
  )


def apart(table: Table, one: dict, other: dict) -> np.ndarray:
  """Numbers of the problems, of one task and seed, that one measurement has right and the other
  wrong; arguments as of `difference`."""
  mine, theirs = (_by_problem(table, where(table, **columns)) for columns in (one, other))
  right, number = table['correct'], table['problem']
  found = [row for key, row in mine.items() if key in theirs and right[row] > right[theirs[key]]]
  return np.sort(number[found]) if found else np.zeros(0, int)


def by_measurement(table: Table) -> dict[tuple, np.ndarray]:
  """{`Result.key` of a measurement: its rows}, in order of first appearance."""
  found = {}
  for row, key in enumerate(_keys(table)):
    found.setdefault(key, []).append(row)
  return {key: np.array(rows) for key, rows in found.items()}


def _by_problem(table, chosen):
  found = {}
  for row in np.flatnonzero(chosen & table['judged']):
    key = str(table['task'][row]), int(table['seed'][row]), str(table['prompt'][row])
    if key in found:
      raise ValueError(f'a problem of {key[0]} is there twice: name stage, method and budget too')
    found[key] = row
  return found


def _keys(table):
  asked = table | dict(units=np.where(table['budget'] > 0, 0, table['units']))
  return list(zip(*(asked[name].tolist() for name in KEY), strict=True))


def _column(name, values):
  kind = COLUMNS[name]
  return np.array(list(values), object if kind is str else kind)
