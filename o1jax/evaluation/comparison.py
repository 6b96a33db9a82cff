"""Several runs on one page, and as one table: index.html and comparison.csv."""

import csv
import dataclasses
import html
import io
import pathlib
from collections.abc import Sequence

from o1jax.evaluation import compute_page, findings, page
from o1jax.evaluation.equal_compute import AXES, standings
from o1jax.evaluation.measured import clustered
from o1jax.evaluation.problems import Table
from o1jax.evaluation.results import Result, Summary, replace_file, summarise
from o1jax.evaluation.splits import of_test

CSV, PAGE = 'comparison.csv', 'index.html'
LEAD = ('against', 'lead', 'low', 'high', 'verdict')


def write_comparison(
  out: str | pathlib.Path,
  rows: Sequence[Result],
  table: Table,
  runs: Sequence[tuple[str, int, str]],
) -> pathlib.Path:
  """Writes the page and the table of merged runs into the folder `out`; returns the page's path.

  rows, table: see `merge.merge`; those of the test are shown. runs: name, seed and commit of each.
  """
  out, shown = pathlib.Path(out), clustered(of_test(rows), table)
  replace_file(out / CSV, _csv(shown, table).encode())
  sections = (
    ('results', 'Test problems: all results', findings.all_results(shown, table)),
    (compute_page.NAME, compute_page.TITLE, compute_page.equal_compute(shown, table)),
    ('runs', 'Runs', _runs(runs)),
  )
  links = ''.join(f'<a href="#{name}">{title}</a>' for name, title, _ in sections)
  title = f'{len(runs)} run{"s" if len(runs) > 1 else ""} side by side'
  body = (
    f'<h1>{title}</h1><div class="subtitle">o1jax: methods and policies on the same problems</div>'
    f'{findings.headline(shown, table)}<nav>{links}</nav>'
    + ''.join(page.section(*parts) for parts in sections)
  )
  replace_file(out / PAGE, page.document(f'o1jax: {title}', body).encode())
  return out / PAGE


def _runs(runs):
  cells = [(name, str(seed), commit or '–') for name, seed, commit in runs]
  return page.table(('run', 'seed', 'commit'), cells, words=(0, 2)) + (
    f'<p class="caption"><code>{html.escape(CSV)}</code> has the rows of this page. A measurement '
    'that several runs made alike counts once, with the fewest seconds.</p>'
  )


def _csv(rows, table):
  """A row for each of the summary, and its leads at equal tokens and at equal FLOPs."""
  leads = {row.summary: row for row in standings(rows, table)}
  text = io.StringIO(newline='')
  writer = csv.writer(text)
  names = [field.name for field in dataclasses.fields(Summary)]
  writer.writerow([*names, *(f'{axis}_{name}' for axis in AXES for name in LEAD)])
  for row in summarise(rows):
    cells = [
      cell for axis in AXES for cell in _lead(getattr(leads[row], axis) if row in leads else None)
    ]
    writer.writerow([*dataclasses.astuple(row), *cells])
  return text.getvalue()


def _lead(lead):
  if lead is None or lead.difference is None:
    return ('',) * len(LEAD)
  return (lead.base, *lead.difference[:3], lead.verdict)
