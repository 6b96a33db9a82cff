"""The report's sections on scaling: accuracy against test-time and train-time compute, with
fits."""

import collections
import html
import itertools

from o1jax.evaluation import figures, page, results, scaling

SMALL = (
  'Small models reproduce the shape of a curve and the order of methods, not published percentages.'
)
BUDGET_CAPTION = (
  'Budget: solutions sampled, or simulations run, for one problem; greedy is one solution. pass@k '
  'counts a problem '
  f'as solved if any of k samples is right, so it is the ceiling of choosing among samples. {SMALL}'
)
FLOPS_CAPTION = (
  'The same measurements billed in arithmetic: every branch, pruned ones too, and the critic are '
  'counted, so methods '
  'with unlike budgets can be compared.'
)


def test_time(rows):
  """Panels of accuracy against budget and FLOPs, a panel a stage, and the fitted slopes, for each
  task.

  Args:
    rows: list of `results.Result`.

  Returns:
    HTML.
  """
  if not rows:
    return page.missing('results.csv', 'evaluate')
  summary = results.summarise(rows)
  look = figures.looks(row.method for row in summary)
  parts = [page.legend(look, page.method_words)]
  for task in dict.fromkeys(row.task for row in summary):
    groups = collections.defaultdict(list)
    for row in summary:
      if row.task == task:
        groups[row.stage].append(row)
    parts.append(f'<h3>{html.escape(task)}</h3>')
    seeds = max(row.seeds for stage in groups.values() for row in stage)
    over = 'seeds' if seeds > 1 else 'problems'
    shared = f'Bars: 95% intervals over {over}. Dashed: fit on the logarithm. '
    parts.append(_stage_panels(groups, look, 'budget', shared + BUDGET_CAPTION))
    parts.append(_stage_panels(groups, look, 'flops', shared + FLOPS_CAPTION))
    parts.append(_fit_table(groups))
  return ''.join(parts)


def _stage_panels(groups, look, axis, caption):
  limits = _limits([row for stage in groups.values() for row in stage])
  base, label = (
    (2, 'budget (solutions or simulations)') if axis == 'budget' else (10, 'FLOPs for one problem')
  )
  drawings, single = (
    [],
    [stage for stage, rows in groups.items() if len({row.budget for row in rows}) <= 2],
  )
  if len(single) < len(groups):  # a panel of one or two points says less than the table of results
    caption += f' Not drawn, measured at too few budgets: {", ".join(single)}.' if single else ''
    groups = {stage: rows for stage, rows in groups.items() if stage not in single}
  for stage, rows in groups.items():
    curves = [
      figures.Curve(
        method,
        *zip(*((getattr(r, axis), r.accuracy, r.ci_low, r.ci_high) for r in mine), strict=True),
        fit=_fit(mine, axis),
      )
      for method, mine in _by_method(rows)
      if all(getattr(row, axis) > 0 for row in mine)
    ]
    drawings.append(
      figures.accuracy_figure(
        curves, look, title=f'{stage} policy', x_label=label, base=base, limits=limits
      )
    )
  return page.panels(drawings, html.escape(caption))


def _by_method(rows):
  return [(name, list(mine)) for name, mine in itertools.groupby(rows, lambda row: row.method)]


def _fit(rows, axis):
  return scaling.fit_log_compute(
    [getattr(row, axis) for row in rows], [row.accuracy for row in rows]
  )


def _limits(rows):
  """Accuracy axis shared by panels: round numbers around all intervals."""
  low, high = min(row.ci_low for row in rows), max(row.ci_high for row in rows)
  return max(0.0, low // 0.1 * 0.1), min(1.0, -(-high // 0.1) * 0.1 + 0.02)


def _fit_table(groups):
  cells = []
  for stage, rows in groups.items():
    for method, mine in _by_method(rows):
      budget, flops = _fit(mine, 'budget'), _fit(mine, 'flops')
      if len(mine) > 1:
        cells.append(
          (stage, page.method_words(method), *_fit_cells(budget, 0.30103), *_fit_cells(flops, 1.0))
        )
  heads = (
    'stage',
    'method',
    'points per doubling of budget',
    'R²',
    'points per tenfold FLOPs',
    'R²',
  )
  laws = [
    (stage, method, scaling.fit_power_law([r.budget for r in mine], [r.accuracy for r in mine]))
    for stage, rows in groups.items()
    for method, mine in _by_method(rows)
    if method == 'pass@k'
  ]
  coverage = ' '.join(
    f'{stage}: exp({law.a:.2f} · k^{law.b:.2f}), R² {law.r_squared:.2f}.'
    for stage, _, law in laws
    if not law.note
  )
  caption = 'Slopes of accuracy on the logarithm of compute, with 95% intervals of the slope.'
  if coverage:
    caption += f' Coverage (pass@k) as an exponentiated power law (arXiv:2407.21787): {coverage}'
  if not cells:
    return (
      '<p class="caption">No method was measured at more than one budget, '
      'so there is no slope to fit.</p>'
    )
  return (
    page.table(heads, cells, words=2, group=1) + f'<p class="caption">{html.escape(caption)}</p>'
  )


def _fit_cells(fit, scale):
  """Slope in points for `scale` decades, and R^2, as text."""
  if fit.slope != fit.slope:
    return f'{fit.points} measured, a fit needs 3', '–'
  points = [100 * scale * slope for slope in (fit.slope, fit.slope_low, fit.slope_high)]
  r_squared = '–' if fit.r_squared != fit.r_squared else f'{fit.r_squared:.2f}'
  return f'{points[0]:+.1f} ({points[1]:+.1f} to {points[2]:+.1f})', r_squared


def train_time(curve):
  """Accuracy against FLOPs spent in training, with its fit.

  Args:
    curve: list of points as in train_curve.json (see `report.build_report`), or None.

  Returns:
    HTML.
  """
  if not curve:
    return page.missing('report/data/train_curve.json', 'learn')
  names = list(dict.fromkeys(point['method'] for point in curve))
  curves, sentences = [], []
  for name in names:
    mine = sorted(
      (p for p in curve if p['method'] == name and p['flops'] > 0), key=lambda p: p['flops']
    )
    if not mine:
      continue
    fit = scaling.fit_log_compute([p['flops'] for p in mine], [p['accuracy'] for p in mine])
    values = zip(
      *((p['flops'], p['accuracy'], p['ci_low'], p['ci_high']) for p in mine), strict=True
    )
    curves.append(figures.Curve(name, *values, fit=fit))
    slope, r_squared = _fit_cells(fit, 1.0)
    sentences.append(
      f'{name}: {slope} points per tenfold FLOPs, R² {r_squared}.'
      if not fit.note
      else f'{name}: no slope, {fit.note}.'
    )
  # The policy before the first update has spent nothing, and nothing has no logarithm: it is a
  # level.
  start = [point['accuracy'] for point in curve if point['flops'] <= 0]
  if not curves:
    return (
      '<p class="missing">Only the policy before the first update was measured: '
      'let the learn stage run on.</p>'
    )
  every = [value for point in curve for value in (point['ci_low'], point['ci_high'])]
  drawing = figures.accuracy_figure(
    curves,
    figures.looks(names),
    title='during search-and-learn',
    x_label='FLOPs spent in training (search included)',
    base=10,
    limits=(max(0.0, min(every) - 0.03), min(1.0, max(every) + 0.03)),
    level=('before the first update', start[0]) if start else None,
    alone=True,
  )
  caption = (
    'Accuracy on held-out problems while training goes on. Bars: 95% intervals. Dashed: '
    'least-squares fit on the '
    'logarithm. ' + ' '.join(sentences) + ' ' + SMALL
  )
  return page.panels([drawing], html.escape(caption))
