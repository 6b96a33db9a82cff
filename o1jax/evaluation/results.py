"""results.csv: one row a measurement, and the table a reader wants of it."""

import collections
import csv
import dataclasses
import os
import pathlib

import numpy as np

from o1jax.evaluation import statistics


@dataclasses.dataclass(frozen=True)
class Result:
  """One measurement of one policy with one method at one budget.

  Attributes:
    stage: which policy, e.g. 'initialised' or 'learned'.
    task: name of the task.
    method: how it was decoded, e.g. 'greedy', 'majority', 'weighted', 'mcts_gumbel', 'pass@k'.
    budget: solutions sampled or simulations run a problem.
    tokens: mean tokens generated a problem, pruned branches included.
    flops: mean floating point operations a problem, the critic's included.
    accuracy: share of the problems solved, in [0, 1].
    ci_low: lower end of its 95% interval.
    ci_high: upper end.
    problems: how many problems were asked.
    seed: seed of the run.
    seconds: mean wall-clock seconds a problem.
  """

  stage: str
  task: str
  method: str
  budget: int
  tokens: float
  flops: float
  accuracy: float
  ci_low: float
  ci_high: float
  problems: int
  seed: int
  seconds: float

  @property
  def key(self):
    """What makes a measurement the same one when it is made again."""
    return self.stage, self.task, self.method, self.budget, self.seed


@dataclasses.dataclass(frozen=True)
class Summary:
  """The same measurement over `seeds` seeds: means, and the interval of the mean accuracy.

  Fields as in `Result`; `problems` is how many a seed was asked, `seeds` how many seeds there were.
  """

  stage: str
  task: str
  method: str
  budget: int
  tokens: float
  flops: float
  accuracy: float
  ci_low: float
  ci_high: float
  problems: int
  seeds: int
  seconds: float


COLUMNS = tuple(field.name for field in dataclasses.fields(Result))


def append_results(path, rows):
  """Adds rows to the csv file, made if absent. A row with the key of an older one takes its place.

  The file is written beside itself and renamed, so an interruption leaves the old file or the new
  one, never a half.
  """
  path = pathlib.Path(path)
  by_key = {row.key: row for row in read_results(path)} if path.exists() else {}
  by_key.update({row.key: row for row in rows})
  path.parent.mkdir(parents=True, exist_ok=True)
  beside = path.with_name(f'{path.name}.{os.getpid()}.tmp')
  with beside.open('w', newline='') as file:
    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in by_key.values())
  os.replace(beside, path)


def read_results(path):
  """All rows of the csv file, in its order.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: its columns are not those of `Result`, or a number is none.
  """
  kinds = {field.name: field.type for field in dataclasses.fields(Result)}
  with pathlib.Path(path).open(newline='') as file:
    reader = csv.DictReader(file)
    if tuple(reader.fieldnames or ()) != COLUMNS:
      found = ','.join(reader.fieldnames or ()) or 'none'
      raise ValueError(
        f'{path} has the columns {found}, expected {",".join(COLUMNS)}: move it away and measure '
        f'again'
      )
    try:
      return [Result(**{name: kinds[name](value) for name, value in row.items()}) for row in reader]
    except (TypeError, ValueError) as error:
      raise ValueError(f'{path}, line {reader.line_num}: {error}') from error


def summarise(rows):
  """One Summary for each (task, stage, method, budget), grouped in order of first appearance,
  budgets rising.

  With several seeds the interval is Student's over the seeds, clipped to [0, 1]; with one seed it
  is the row's own.
  """
  groups = collections.defaultdict(list)
  for row in rows:
    groups[row.task, row.stage, row.method, row.budget].append(row)
  rank = {
    name: i
    for i, name in enumerate(dict.fromkeys(n for r in rows for n in (r.task, r.stage, r.method)))
  }
  order = sorted(groups, key=lambda key: (*(rank[name] for name in key[:3]), key[3]))
  return [_summary(groups[key]) for key in order]


def _summary(group):
  first = group[0]
  low, high = first.ci_low, first.ci_high
  if len(group) > 1:
    low, high = np.clip(statistics.seeds_interval([row.accuracy for row in group]), 0, 1)
  return Summary(
    *(first.stage, first.task, first.method, first.budget),
    tokens=float(np.mean([row.tokens for row in group])),
    flops=float(np.mean([row.flops for row in group])),
    accuracy=float(np.mean([row.accuracy for row in group])),
    ci_low=float(low),
    ci_high=float(high),
    problems=round(np.mean([row.problems for row in group])),
    seeds=len(group),
    seconds=float(np.mean([row.seconds for row in group])),
  )


HEADINGS = (
  'task',
  'stage',
  'method',
  'budget',
  'accuracy',
  '95% interval',
  'tokens',
  'FLOPs',
  'seconds',
  'problems',
  'seeds',
)


def table_cells(rows):
  """The rows of `summarise(rows)` as text, one tuple a row in the order of HEADINGS."""
  return [
    (
      *(row.task, row.stage, row.method, str(row.budget), f'{100 * row.accuracy:.1f}%'),
      f'{100 * row.ci_low:.1f} to {100 * row.ci_high:.1f}',
      *(
        f'{row.tokens:,.0f}',
        f'{row.flops:.1e}',
        f'{row.seconds:.2g}',
        str(row.problems),
        str(row.seeds),
      ),
    )
    for row in summarise(rows)
  ]


def format_table(rows):
  """The results as a plain aligned table for a terminal; tokens, FLOPs and seconds are means a
  problem."""
  if not rows:
    return 'no results'
  cells = [HEADINGS, *table_cells(rows)]
  widths = [max(len(row[i]) for row in cells) for i in range(len(HEADINGS))]
  # Words are read from the left, numbers compared from the right.
  lines = [
    '  '.join(
      c.ljust(w) if i < 3 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
    )
    for row in cells
  ]
  return '\n'.join([lines[0], '  '.join('-' * width for width in widths), *lines[1:]])
