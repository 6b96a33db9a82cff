"""What a page says first: the headline, and all results with the policies side by side."""

import html
from collections.abc import Sequence
from typing import NamedTuple

from o1jax.evaluation import page, results
from o1jax.evaluation.equal_compute import Standing, standings
from o1jax.evaluation.measured import is_search
from o1jax.evaluation.methods import GREEDY, method
from o1jax.evaluation.problems import FILE, Difference, Table, difference
from o1jax.evaluation.results import Result, Summary
from o1jax.evaluation.words import points

SETS = (
  'Two sets of problems are kept apart. Validation problems steer the run, such as when cloning '
  'ends. Test problems are only measured.'
)


class Pair(NamedTuple):
  """Two measurements of one task. `difference` is the lead of the first; None where no answers were
  kept that could be paired."""

  row: Summary
  base: Summary
  difference: Difference | None

  @property
  def words(self) -> str:
    """The lead in points, with its interval where there is one."""
    gain = self.row.accuracy - self.base.accuracy
    return points(self.difference) or f'{100 * gain:+.1f}'


def learned_gains(rows: Sequence[Summary], table: Table | None = None) -> list[Pair]:
  """Greedy decoding of each later policy against the first, and of the last against each between.

  Args:
    rows: of one task.
    table: answers by problem, see `evaluation.problems`.
  """
  greedy = [row for row in rows if row.method == GREEDY]
  pairs = [_pair(row, greedy[0], table) for row in greedy[1:]]
  return pairs + [_pair(greedy[-1], row, table) for row in greedy[1:-1]]


def _pair(row, base, table):
  try:
    found = difference(table, _columns(row), _columns(base)) if table else None
  except ValueError:  # no answers of one of them were kept
    found = None
  return Pair(row, base, found)


def _columns(row):
  asked = ('budget',) if row.budget else ('budget', 'units')
  return {name: getattr(row, name) for name in ('task', 'stage', 'method', *asked)}


def headline(rows: Sequence[Result], answers: Table | None) -> str:
  """HTML: greedy decoding before and after learning, and each search at its largest budget."""
  if not rows:
    return (
      '<p class="lead">Nothing was measured on test problems yet: '
      '<code>results.csv</code> has no row of them.</p>'
    )
  summary, found = results.summarise(rows), standings(rows, answers)
  parts = [
    _of_task(
      task,
      [row for row in summary if row.task == task],
      [row for row in found if row.summary.task == task],
    )
    for task in dict.fromkeys(row.task for row in summary)
  ]
  return (
    ''.join(parts)
    + '<p class="subtitle">In brackets, 95% intervals. None of these methods sees the answer. '
    + f'{SETS}</p>'
  )


def _of_task(task: str, rows: list[Summary], found: list[Standing]) -> str:
  greedy = [row for row in rows if row.method == GREEDY]
  parts, tiles = [], []
  if greedy:
    parts.append(
      f'the {greedy[0].stage} policy solves {_percent(greedy[0])} with one greedy solution'
    )
    tiles.append((greedy[0], 'one greedy solution'))
  for row in greedy[1:]:
    gain = 100 * (row.accuracy - greedy[0].accuracy)
    words = f'{abs(gain):.1f} points {"more" if gain >= 0 else "less"}'
    parts.append(f'the {row.stage} policy {_percent(row)}, {words}')
    tiles.append((row, f'one greedy solution ({gain:+.1f} points)'))
  seeds = f' (mean of {rows[0].seeds} seeds)' if rows[0].seeds > 1 else ''
  text = f'On {rows[0].problems:,} {task} test problems{seeds} ' + '; '.join(parts) + '.'
  text = text if parts else ''
  largest = {(row.summary.stage, row.summary.method): row for row in found}
  leads = [
    (row, lead) for row, lead, _ in largest.values() if is_search(row.method) and lead.difference
  ]
  if leads:
    text += ' Searches at their largest budget, against the best of sampling at equal tokens: '
    text += '; '.join(_search(row, lead) for row, lead in leads) + '.'
    tiles += [
      (row, f'{_measured(row)}: {100 * lead.difference.mean:+.1f} points against {_base(lead)}')
      for row, lead in leads
    ]
  if not tiles:
    return ''
  numbers = [
    (f'{100 * row.accuracy:.1f}%', f'{task}, {row.stage}: {words}') for row, words in tiles
  ]
  return f'<p class="lead">{html.escape(text.strip())}</p>{page.tiles(numbers)}'


def _search(row, lead):
  return (
    f'{_measured(row)} with the {row.stage} policy {_percent(row)}, {points(lead.difference)} '
    f'points against {_base(lead)}'
  )


def _base(lead):
  return method(lead.base).words


def _percent(row):
  return f'{100 * row.accuracy:.1f}% ({100 * row.ci_low:.1f} to {100 * row.ci_high:.1f})'


def _measured(row):
  return f'{method(row.method).words} ({row.tokens:,.0f} tokens)'


def all_results(rows: Sequence[Result], answers: Table | None) -> str:
  """HTML: the table of each task and policy, and what learning changed."""
  if not rows:
    return page.missing('results.csv', page.MEASURING)
  parts = []
  for (task, stage), mine in results.tables(rows).items():
    heads, cells = results.table_cells(mine, lambda name: method(name).words)
    parts.append(f'<h3>{html.escape(f"{task}, {stage} policy")}</h3>')
    parts.append(page.table(heads, cells, words=(1,), group=1))
  parts.append(
    '<p class="caption">Tokens (sampled, pruned branches included), FLOPs and seconds are means '
    'for one problem; seconds are of this machine and batch. Units are solutions or simulations. '
    'Asked: how many tokens on average, and the units are those that spend about as many; empty '
    'where units were asked. A line sets off each number of tokens. '
    f'<code>{FILE}</code> has every answer.</p>'
  )
  return ''.join(parts) + _policies(rows, answers)


def _policies(rows, answers):
  summary = results.summarise(rows)
  cells = [
    (pair.words, f'{pair.row.stage} against {pair.base.stage}', *_tokens(pair), task)
    for task in dict.fromkeys(row.task for row in summary)
    for pair in learned_gains([row for row in summary if row.task == task], answers)
  ]
  if not cells:
    return ''
  heads = ('points', 'policies', 'tokens', 'against', 'task')
  return (
    '<h3>One greedy solution of each policy, on the same problems</h3>'
    + page.table(heads, cells, words=(1, 4))
    + '<p class="caption">Points of accuracy, with the 95% interval of the paired difference where '
    f'<code>{FILE}</code> has the answers of both.</p>'
  )


def _tokens(pair):
  return f'{pair.row.tokens:,.0f}', f'{pair.base.tokens:,.0f}'
