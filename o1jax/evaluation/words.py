"""Leads at equal compute in words: cells of tables, verdicts, and the table of a terminal."""

from collections.abc import Sequence

from o1jax.evaluation.equal_compute import (
  AXES,
  FAILS,
  HOLDS,
  MARGIN,
  UNDECIDED,
  Difference,
  Lead,
  Standing,
  standings,
)
from o1jax.evaluation.measured import clustered, is_search
from o1jax.evaluation.methods import method
from o1jax.evaluation.problems import Table
from o1jax.evaluation.results import Result, Summary, format_table

NAMES = {'tokens': 'tokens', 'flops': 'FLOPs'}
CRITERION = (
  f'A search pays where it is better than the best sampling method by at least {100 * MARGIN:.0f} '
  'points, and the interval of its lead lies above 0. Where even the upper end is below '
  f'{100 * MARGIN:.0f} points, it does not. All else is undecided.'
)


def points(difference: Difference | None) -> str:
  """A lead in points of accuracy with its interval."""
  if difference is None:
    return ''
  mean, low, high = (_signed(100 * x) for x in difference[:3])
  return f'{mean} ({low} to {high})'


def _signed(value):
  text = f'{value:+.1f}'
  return '0.0' if float(text) == 0 else text


def lead_cell(lead: Lead, row: Summary) -> str:
  """What stands in a table for a lead of a row."""
  if lead.difference is None:
    return f'none spent so {"little" if lead.beyond == "less" else "much"}'
  return 'the best itself' if lead.base == row.method else points(lead.difference)


def against(row: Standing) -> str:
  """Which sampling methods a row stands against."""
  names = [method(getattr(row, axis).base).words for axis in AXES if getattr(row, axis).base]
  if len(set(names)) < 2:
    return names[0] if names else ''
  return f'{names[0]}; {names[1]} at equal FLOPs'


def claims(rows: Sequence[Standing]) -> list[tuple[str, str]]:
  """(method, verdicts) of each search of one policy on one task: at how many of its budgets it
  pays, at equal tokens and at equal FLOPs, and at which it does not."""
  searches = [row for row in rows if is_search(row.summary.method)]
  names = dict.fromkeys(row.summary.method for row in searches)
  found = []
  for name in names:
    mine = [row for row in searches if row.summary.method == name]
    parts = [_claim([(row, getattr(row, axis)) for row in mine]) for axis in AXES]
    same = parts[0] == parts[1]  # of both axes
    words = [f'at equal {NAMES[axis]} {part}' for axis, part in zip(AXES, parts, strict=True)]
    both = f'at equal {" and at equal ".join(NAMES.values())} {parts[0]}'
    found.append((method(name).words, both if same else '; '.join(words)))
  return found


def _claim(leads):
  by = {HOLDS: [], FAILS: [], UNDECIDED: []}
  alone = []
  for row, lead in leads:
    (by[lead.verdict] if lead.difference else alone).append(budget(row.summary))
  count = len(leads) - len(alone)
  if not count:
    return 'no sampling method spent so much or so little'
  many = f'{len(by[HOLDS]) or "none"} of {count} budget{"s" if count > 1 else ""}'
  said = {HOLDS: 'yes', FAILS: 'no', UNDECIDED: 'undecided'}
  told = [f'{said[verdict]} at {", ".join(at)}' for verdict, at in by.items() if at]
  told += [f'not compared at {", ".join(alone)}'] if alone else []
  return f'it pays at {many} ({"; ".join(told)})'


def budget(row: Summary) -> str:
  """What was asked of a row."""
  return f'{row.budget:,}' if row.budget else f'{row.units:,.0f} {method(row.method).unit}'


def result_text(rows: Sequence[Result], table: Table | None) -> str:
  """Results for a terminal: a table for each task and policy, with leads where the answers were
  kept, and the verdicts."""
  found = standings(rows, table)
  by = {_key(row.summary): row for row in found}
  more = [
    (f'at equal {NAMES[axis]}', lambda row, axis=axis: _brief(by.get(_key(row)), axis))
    for axis in (AXES if found else ())
  ]
  lines = [format_table(clustered(rows, table), more)]
  told = []
  for task, stage in dict.fromkeys((row.summary.task, row.summary.stage) for row in found):
    own = [row for row in found if (row.summary.task, row.summary.stage) == (task, stage)]
    told += [f'{task}, {stage} policy: {name}: {said}' for name, said in claims(own)]
  return '\n'.join([*lines, *(['', CRITERION, *told] if told else [])])


def _key(row):
  return row.task, row.stage, row.method, row.budget, row.units


def _brief(standing, axis):
  if standing is None:
    return ''
  lead, row = getattr(standing, axis), standing.summary
  cell = lead_cell(lead, row)
  return f'{cell} {lead.base}' if lead.difference and lead.base != row.method else cell
