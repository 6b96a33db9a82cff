"""The section *Search at equal compute* of a page: curves, verdicts, leads and difficulty."""

import html
from collections.abc import Sequence

from o1jax.evaluation import curves, page
from o1jax.evaluation.difficulty import BINS, difficulty
from o1jax.evaluation.equal_compute import Standing, distinct, standings
from o1jax.evaluation.measured import Measured, measured
from o1jax.evaluation.methods import GREEDY, method
from o1jax.evaluation.problems import FILE, Table
from o1jax.evaluation.results import Result, summarise
from o1jax.evaluation.stopping import Stopping, stoppings
from o1jax.evaluation.words import CRITERION, against, budget, claims, lead_cell, points

NAME, TITLE = 'equal-compute', 'Test problems: search at equal compute'
INTERVALS = (
  'Intervals of 95%: with several seeds Student’s over the seeds, since each trained a policy of '
  'its own. With one seed they are over clusters of problems, such as all with one target, since '
  'the problems of a cluster are not independent.'
)
LEADS = (
  'Points of accuracy above the best sampling method (a vote or the critic’s choice among '
  'independent solutions) on the same problems. Equal: as many tokens, or FLOPs, as the row spent. '
  'Between its budgets a sampling method is interpolated, for each problem, linearly in the '
  'logarithm of the spend; beyond them it is not compared. The best one is picked on the test '
  'problems themselves, for each row anew. That favours sampling, on purpose: a search that is '
  'ahead is ahead in spite of it. A search that spent the same for several budgets has one row.'
)
DIFFICULTY = (
  'Oracle difficulty: the share right of all solutions sampled for a problem. Bins end at its '
  f'{BINS - 1} inner quantiles, and problems of equal share stay together, so bins differ in size. '
  'The sampling methods choose among those same solutions, so chance sorts their luck into the '
  'bins: in the hardest bin they look worse than they are, and in the easiest better. Where no '
  'sampled solution is right, none of them can be.'
)

STOPS = (
  'Each search with a rule against the same search without, of as many units and the same random '
  'numbers, so that it is its beginning. Stopped: on so many problems it spent less. Premature: it '
  'was stopped, its answer is wrong, and the whole search has the right one. Late tokens: sampled '
  'on a problem after its first right solution was finished, 0 where none is right.'
)


def equal_compute(rows: Sequence[Result], table: Table | None) -> str:
  """The section's HTML.

  Args:
    rows: of results.csv, with the intervals that are to be shown.
    table: answers by problem; without them there are curves only.
  """
  if not rows:
    return page.missing('results.csv', page.MEASURING)
  summary, found = distinct(summarise(rows)), standings(rows, table)
  by_problem, stopped = measured(rows, table), stoppings(rows, table)
  parts = []
  for task in dict.fromkeys(row.task for row in summary):
    mine = [row for row in summary if row.task == task]
    parts.append(f'<h3>{html.escape(task)}</h3>' + curves.test_time(mine))
    for stage in dict.fromkeys(row.stage for row in mine):
      leads = [row for row in found if (row.summary.task, row.summary.stage) == (task, stage)]
      asked = [one for one in by_problem if (one.row.task, one.row.stage) == (task, stage)]
      title = f'{task}, {stage} policy'
      parts += [_verdicts(leads, title), _leads(leads, title), _difficulty(asked, title)]
      ruled = [one for one in stopped if (one.row.task, one.row.stage) == (task, stage)]
      parts.append(_stops(ruled, title))
    parts.append(f'<h3>What more tokens bring: {html.escape(task)}</h3>' + curves.slopes(mine))
  if not table:
    parts.append(f'<p class="caption">No leads: <code>{FILE}</code> is missing.</p>')
  return ''.join(parts)


def _verdicts(rows, title):
  said = claims(rows)
  if not said:
    return ''
  items = ''.join(
    f'<li><b>{html.escape(name)}</b>: {html.escape(verdicts)}.</li>' for name, verdicts in said
  )
  return (
    f'<h3>Does search pay? {html.escape(title)}</h3><p>{html.escape(CRITERION)}</p>'
    f'<ul class="verdicts">{items}</ul>'
  )


def _leads(rows: Sequence[Standing], title: str) -> str:
  shown = [row for row in rows if row.summary.method != GREEDY]
  if not shown:
    return ''
  # As they were asked, the least accurate first.
  shown = sorted(shown, key=lambda row: (*_asked(row.summary), row.summary.accuracy))
  seeds = len({row.summary.seeds for row in rows}) > 1
  heads = ('asked', 'method', 'lead at equal tokens', 'lead at equal FLOPs', 'against')
  heads += ('right', 'tokens', 'seconds', *(('seeds',) if seeds else ()))
  cells = [
    (
      *(budget(row.summary), method(row.summary.method).words),
      *(lead_cell(lead, row.summary) for lead in (row.tokens, row.flops)),
      *(against(row), f'{100 * row.summary.accuracy:.1f}%', f'{row.summary.tokens:,.0f}'),
      *(f'{row.summary.seconds:.2g}', *((str(row.summary.seeds),) if seeds else ())),
    )
    for row in shown
  ]
  return (
    f'<h3>Leads: {html.escape(title)}</h3>'
    + page.table(heads, cells, words=(1, 4), group=1)
    + f'<p class="caption">{html.escape(LEADS)} {html.escape(INTERVALS)}</p>'
  )


def _asked(row):
  return row.budget, 0 if row.budget else row.units


def _difficulty(rows: Sequence[Measured], title: str) -> str:
  asked, seeds, bins = difficulty(rows)
  if len(bins) < 2:
    return ''
  heads = ('method', *(f'{_rates(one)} ({one.problems:,})' for one in bins))
  cells = [
    (method(name).words, *(_share(one.accuracy[name]) for one in bins)) for name in bins[0].accuracy
  ]
  several = len({one.row.seed for one in rows}) > 1
  of = f' in the {seeds} seed{"s" * (seeds > 1)} that all methods share' if several else ''
  return (
    f'<h3>By difficulty, asked for {asked:,} tokens: {html.escape(title)}</h3>'
    + page.table(heads, cells, words=(0,))
    + f'<p class="caption">Per cent right{of}, with its interval. Above: a bin’s share '
    f'right of the sampled solutions, and its number of problems. {html.escape(DIFFICULTY)}</p>'
  )


def _stops(rows: Sequence[Stopping], title: str) -> str:
  if not rows:
    return ''
  heads = ('asked', 'method', 'tokens', 'without it', 'more right', 'stopped', 'premature')
  heads += ('late tokens', 'without it')
  cells = [
    (
      budget(one.row),
      *(method(one.row.method).words, f'{one.tokens:,.0f}', f'{one.whole:,.0f}'),
      *(points(one.lead), _percent(one.stopped), _percent(one.premature)),
      *(f'{one.late:,.0f}', f'{one.idle:,.0f}'),
    )
    for one in sorted(rows, key=lambda one: (one.whole, one.tokens))
  ]
  return (
    f'<h3>Rules that stop a search: {html.escape(title)}</h3>'
    + page.table(heads, cells, words=(1,), group=1)
    + f'<p class="caption">{html.escape(STOPS)} {html.escape(INTERVALS)}</p>'
  )


def _percent(share):
  return f'{100 * share:.1f}%'


def _rates(one):
  low, high = f'{100 * one.low:.0f}', f'{100 * one.high:.0f}'
  return f'{low}%' if low == high else f'{low} to {high}%'


def _share(share):
  mean, low, high = (100 * value for value in share)
  return '–' if mean != mean else f'{mean:.0f} ({low:.0f} to {high:.0f})'
