"""results.csv: one row a measurement, and the table that a reader wants of it."""

import collections
import csv
import dataclasses
import io
import os
import pathlib

import numpy as np

from o1jax.evaluation import statistics
from o1jax.evaluation.splits import problems_of


@dataclasses.dataclass(frozen=True)
class Result:
  """One measurement of one policy with one method at one budget.

  Attributes:
    stage: which policy, e.g. 'initialised' or 'learned'.
    task: name of the task, and the split where it is not the test, see `evaluation.splits`.
    method: how it was decoded, see `evaluation.methods`.
    budget: tokens asked a problem; 0 = asked in units.
    units: chains sampled or simulations run a problem, see `search.Method.unit`.
    tokens: mean tokens generated a problem, pruned branches included.
    flops: mean floating point operations a problem, the critic's included where it is read.
    accuracy: share of the problems solved, in [0, 1].
    ci_low: lower end of its 95% interval.
    ci_high: upper end.
    problems: how many problems were asked and judged.
    seed: seed of the run.
    seconds: mean wall-clock seconds a problem.
    unjudged: how many more were asked, on whose answers the verifier had no verdict.
  """

  stage: str
  task: str
  method: str
  budget: int
  units: int
  tokens: float
  flops: float
  accuracy: float
  ci_low: float
  ci_high: float
  problems: int
  seed: int
  seconds: float
  unjudged: int = 0

  @property
  def key(self):
    """The values that identify a measurement when it is made again: what was asked. Units that
    spend the tokens asked may then be others."""
    return self.stage, self.task, self.method, *self.asked, self.seed

  @property
  def asked(self):
    """(tokens, units), one of them 0."""
    return self.budget, 0 if self.budget else self.units


@dataclasses.dataclass(frozen=True)
class Summary:
  """The same measurement over `seeds` seeds: means, and the interval of the mean accuracy.

  Fields as in `Result`; `units` and `problems` are means over the seeds, `unjudged` their sum, and
  `seeds` says how many seeds there were.
  """

  stage: str
  task: str
  method: str
  budget: int
  units: float
  tokens: float
  flops: float
  accuracy: float
  ci_low: float
  ci_high: float
  problems: int
  seeds: int
  seconds: float
  unjudged: int


# The former prefix of the names of tree searches.
_OLDER = 'mcts_'
COLUMNS = tuple(field.name for field in dataclasses.fields(Result))


def append_results(path, rows):
  """Adds rows to the csv file, made if absent. A row with the key of an older one takes its place.

  An interruption leaves the old file or the new one, never a half.
  """
  path = pathlib.Path(path)
  by_key = {row.key: row for row in read_results(path)} if path.exists() else {}
  by_key.update({row.key: row for row in rows})
  text = io.StringIO(newline='')
  writer = csv.DictWriter(text, COLUMNS)
  writer.writeheader()
  writer.writerows(dataclasses.asdict(row) for row in by_key.values())
  replace_file(path, text.getvalue().encode())


def replace_file(path, data):
  """Writes the bytes to a file beside it and renames that, so a reader meets the old file or the
  new one. Makes the folder if need be."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  beside = path.with_name(f'{path.name}.{os.getpid()}.tmp')
  with beside.open('wb') as file:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())  # else a machine that goes down may leave an empty file
  os.replace(beside, path)


def read_results(path):
  """All rows of the csv file, in its order. A column that an older file lacks gets its default, and
  a method its present name. An older file without units was asked for them, as its budget.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: its columns are not those of `Result`, or a value is not a number.
  """
  fields = {field.name: field for field in dataclasses.fields(Result)}
  needed = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
  with pathlib.Path(path).open(newline='') as file:
    reader = csv.DictReader(file)
    found = reader.fieldnames or ()
    older = {} if 'units' in found else {'units': '0'}
    if not needed <= {*found, *older} <= fields.keys():
      raise ValueError(
        f'{path} has the columns {",".join(found) or "none"}, expected {",".join(COLUMNS)}: move '
        'it away and measure again'
      )
    try:
      rows = [
        Result(**{name: fields[name].type(value) for name, value in (row | older).items()})
        for row in reader
      ]
    except KeyError:  # DictReader's None
      raise ValueError(f'{path}, line {reader.line_num}: it has more values than columns') from None
    except (TypeError, ValueError) as error:
      raise ValueError(f'{path}, line {reader.line_num}: {error}') from error
  if older:
    rows = [dataclasses.replace(row, budget=0, units=row.budget) for row in rows]
  return [dataclasses.replace(row, method=row.method.removeprefix(_OLDER)) for row in rows]


def summarise(rows):
  """One Summary for each (task, stage, method) and what was asked, grouped in order of first
  appearance, tokens rising.

  With several seeds the interval is Student's over the seeds, clipped to [0, 1]; with one seed it
  is the row's own.
  """
  groups = collections.defaultdict(list)
  for row in rows:
    groups[row.task, row.stage, row.method, *row.asked].append(row)
  rank = {
    name: i
    for i, name in enumerate(dict.fromkeys(n for r in rows for n in (r.task, r.stage, r.method)))
  }
  found = [_summary(group) for group in groups.values()]
  return sorted(
    found,
    key=lambda row: (
      *(rank[name] for name in (row.task, row.stage, row.method)),
      *(row.tokens, row.units, row.budget),
    ),
  )


def _summary(group):
  first = group[0]
  low, high = first.ci_low, first.ci_high
  if len(group) > 1:
    low, high = np.clip(statistics.seeds_interval([row.accuracy for row in group]), 0, 1)
  return Summary(
    *(first.stage, first.task, first.method, first.budget),
    units=float(np.mean([row.units for row in group])),
    tokens=float(np.mean([row.tokens for row in group])),
    flops=float(np.mean([row.flops for row in group])),
    accuracy=float(np.mean([row.accuracy for row in group])),
    ci_low=float(low),
    ci_high=float(high),
    problems=round(np.mean([row.problems for row in group])),
    seeds=len(group),
    seconds=float(np.mean([row.seconds for row in group])),
    unjudged=sum(row.unjudged for row in group),
  )


# Cost first: methods are compared at equal tokens.
HEADINGS = (
  'tokens',
  'method',
  'units',
  'accuracy',
  '95% interval',
  'FLOPs',
  'seconds',
  'problems',
  'seeds',
)
# Where there is something to say in them.
ASKED, UNJUDGED = 'asked', 'unjudged'


def tables(rows):
  """The table of each task and stage, from few tokens to many.

  Args:
    rows: list of `Result`.

  Returns:
    {(task, stage): list of Summary}. Rows of about equal tokens stand together, the least accurate
    first.
  """
  found = collections.defaultdict(list)
  for row in summarise(rows):
    found[row.task, row.stage].append(row)
  return {
    key: sorted(mine, key=lambda row: (round(row.tokens), row.accuracy))
    for key, mine in found.items()
  }


def table_cells(rows, words=str, more=()):
  """Summaries as text: the heads of their table, and a tuple of cells for each.

  Args:
    rows: list of Summary.
    words: what to call a method.
    more: (head, function of a Summary) of further columns, shown where they hold something.

  Returns:
    HEADINGS, with `ASKED` where tokens were asked and `UNJUDGED` where there are unjudged answers,
    then those of `more`, and the cells in that order.
  """
  asked, unjudged = any(row.budget for row in rows), any(row.unjudged for row in rows)
  cells = [
    (
      *(f'{row.tokens:,.0f}', words(row.method), number(row.units), f'{100 * row.accuracy:.1f}%'),
      f'{100 * row.ci_low:.1f} to {100 * row.ci_high:.1f}',
      *(f'{row.flops:.1e}', f'{row.seconds:.2g}', str(row.problems), str(row.seeds)),
      *([f'{row.budget:,}' if row.budget else ''] if asked else []),
      *([str(row.unjudged)] if unjudged else []),
    )
    for row in rows
  ]
  heads = (*HEADINGS, *([ASKED] if asked else []), *([UNJUDGED] if unjudged else []))
  for head, cell in more:
    column = [cell(row) for row in rows]
    if any(column):
      heads = (*heads, head)
      cells = [(*one, text) for one, text in zip(cells, column, strict=True)]
  return heads, cells


def number(units):
  """Units as text; a mean over seeds need not be whole."""
  return f'{units:,.0f}' if units == round(units) else f'{units:,.1f}'


def format_table(rows, more=()):
  """The results as plain aligned tables for a terminal, one for each task and stage; tokens, FLOPs
  and seconds are means for one problem. `more`: columns as for `table_cells`."""
  if not rows:
    return 'no results'
  parts = {key: table_cells(mine, more=more) for key, mine in tables(rows).items()}
  every = [row for heads, cells in parts.values() for row in (heads, *cells)]
  widths = [max(len(row[i]) for row in every if i < len(row)) for i in range(max(map(len, every)))]
  lines = []
  for (task, stage), (heads, cells) in parts.items():
    lines += ['', f'{problems_of(task)}, {stage} policy']
    for row in (heads, tuple('-' * width for width in widths[: len(heads)]), *cells):
      # Words are read from the left, numbers compared from the right.
      aligned = [
        cell.ljust(width) if i == 1 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=False))
      ]
      lines.append('  '.join(aligned))
  return '\n'.join(lines[1:])
