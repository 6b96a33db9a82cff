"""The page of a study: claim, criterion, plot, verdict, what it took, and where the rows are."""

import html
import json
import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from o1jax.evaluation import figures, page
from o1jax.evaluation.compute_page import INTERVALS
from o1jax.evaluation.problems import FILE, Table, by_measurement
from o1jax.evaluation.results import Result, replace_file
from o1jax.evaluation.splits import TEST, split_of
from o1jax.evaluation.studies import Verdict
from o1jax.reward.guide import ORACLE
from o1jax.search import CHOICES

PAGE, NUMBERS = 'index.html', 'verdict.json'
_RULES = (
  'The criterion was written before anything was run. Unless it says otherwise, a number meets its '
  'bound where its whole interval does, and misses it where the interval lies outside; else it is '
  'undecided. Choices are made on validation problems.'
)


class About(NamedTuple):
  """What a study is: its claim, where the claim comes from, the criterion, and the command."""

  name: str
  claim: str
  source: str
  criterion: str
  command: str


class Part(NamedTuple):
  """What was found of one start. runs: (folder, seed, versions) of each, the folder as it is seen
  from the page."""

  start: str
  verdict: Verdict
  rows: Sequence[Result]
  table: Table
  runs: Sequence[tuple[str, int, Mapping]]


def write_study(
  out: str | pathlib.Path, about: About, overall: str, parts: Sequence[Part]
) -> pathlib.Path:
  """Writes the page and the numbers of the verdict into a folder; returns the page's path."""
  out = pathlib.Path(out)
  numbers = {
    part.start: dict(
      verdict=part.verdict.verdict,
      words=part.verdict.words,
      numbers={n.name: [_plain(x) for x in n[1:]] for n in part.verdict.numbers},
    )
    for part in parts
  }
  told = about._asdict() | dict(verdict=overall, starts=numbers)
  replace_file(out / NUMBERS, (json.dumps(told, indent=2) + '\n').encode())
  body = (
    f'<h1>{html.escape(about.claim)}</h1>'
    f'<div class="subtitle">o1jax: the study {html.escape(about.name)}, after '
    f'{html.escape(about.source)}</div>'
    f'<p class="lead"><b>{html.escape(overall)}</b></p>'
    f'<p><b>Criterion:</b> {html.escape(about.criterion)}.</p>'
    f'<p class="caption">{html.escape(_RULES)}</p>'
    + ''.join(page.section(part.start, part.start, _part(part)) for part in parts)
    + page.section('took', 'What it took', _took(parts))
    + page.section('command', 'Again', f'<pre>{html.escape(about.command)}</pre>')
  )
  replace_file(out / PAGE, page.document(f'o1jax study: {about.claim}', body).encode())
  return out / PAGE


def study_text(about: About, overall: str, parts: Sequence[Part]) -> str:
  """The same for a terminal."""
  lines = [about.claim, f'criterion: {about.criterion}']
  for part in parts:
    lines += ['', f'{part.start}: {part.verdict.verdict}. {part.verdict.words}']
    lines += [f'  {number.name}: {number.words}' for number in part.verdict.numbers]
    for grid in part.verdict.grids:
      lines += [
        '',
        f'  {grid.title}',
        *('  ' + '  '.join(row) for row in (grid.heads, *grid.cells)),
      ]
  return '\n'.join([*lines, '', f'verdict: {overall}'])


def _plain(value):
  return None if math.isnan(value) else float(value)


def _part(part):
  verdict = part.verdict
  drawings = [figures.lines_figure(plot) for plot in verdict.plots]
  asked = {row.seed: row.problems for row in part.rows if split_of(row.task) == TEST}
  counted = f'{sum(asked.values()):,} problems of {len(asked)} seed{"s" * (len(asked) > 1)}. '
  tables = ''.join(
    f'<h3>{html.escape(grid.title)}</h3>'
    + page.table(grid.heads, grid.cells, words=_of_words(grid.cells))
    for grid in verdict.grids
  )
  cells = [(number.name, number.words) for number in verdict.numbers]
  numbers = page.table(('number', 'with its 95% interval'), cells, words=(0,)) if cells else ''
  return (
    f'<p><b>{html.escape(verdict.verdict)}</b>: {html.escape(verdict.words)}</p>'
    + page.panels(drawings, html.escape(f'{counted}Bars: 95% intervals. {INTERVALS}'))
    + numbers
    + tables
  )


def _of_words(cells):
  """The places of the columns in which some cell says more than a number."""
  says = re.compile(r'[A-Za-z]{2}').search
  return [i for i, column in enumerate(zip(*cells, strict=True)) if any(map(says, column))]


def _took(parts):
  """Totals of each run, its machine and versions, and its raw rows."""
  heads = ('run', 'seed', 'tokens', 'FLOPs', 'seconds', 'unjudged', 'machine', 'commit')
  cells, links, seen = [], [], {}
  for part in parts:
    for folder, seed, known in part.runs:
      mine = [row for row in part.rows if row.seed == seed]
      bill = (f'{total(part.table, seed, x):.3g}' for x in ('tokens', 'flops', 'seconds'))
      machine = f'{known.get("device_count", "?")} {known.get("device_kind", "?")}'
      unjudged = f'{sum(row.unjudged for row in mine):,}'
      commit = str(known.get('git_revision', ''))[:7] + '+' * bool(known.get('git_dirty'))
      cells.append((folder, str(seed), *bill, unjudged, machine, commit or '–'))
      name = html.escape(f'{folder}/{FILE}')
      links.append(f'<a href="{name}">{name}</a>')
      seen |= {k: v for k, v in known.items() if k in ('python', 'jax', 'flax', 'mctx', 'platform')}
  versions = ', '.join(f'{name} {value}' for name, value in seen.items())
  return (
    page.table(heads, cells, words=(0, 6, 7))
    + f'<p class="caption">{html.escape(versions)}. Scorers are in the FLOPs; compiling is not in '
    'the seconds. A + after a commit: files differed from it.</p>'
    + f'<p>Raw rows (problem, method, seed, tokens, FLOPs, verdict): {", ".join(links)}.</p>'
  )


def total(table: Table, seed: int, name: str) -> float:
  """What one seed spent of tokens, FLOPs or seconds. Readouts of one search share its cost: those
  of chains have a share of it each, those of a tree at one budget the whole."""
  searches = {}
  for key, at in by_measurement(table).items():
    stage, task, said, budget, units, of = key
    first, *others = said.split(':')
    if of != seed:
      continue
    apart = [part for part in others if part not in (*CHOICES, ORACLE)]
    bill = table[name][at]
    if first in CHOICES:
      bill = bill * table['samples'][at] / table['units'][at]
    else:
      apart += [first, budget, units]
    whole = stage, task, *apart
    searches[whole] = max(searches.get(whole, 0.0), float(bill.sum()))
  return sum(searches.values())
