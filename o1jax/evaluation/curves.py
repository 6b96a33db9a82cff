"""The report's sections on scaling: accuracy against test-time and train-time compute, with
fits."""

import collections
import html
import itertools

from o1jax.evaluation import figures, page, scaling
from o1jax.evaluation.measured import is_search
from o1jax.evaluation.methods import looks, method

SMALL = (
  'Small models reproduce the shape of a curve and the order of methods, not published percentages.'
)
CAPTION = (
  'Tokens: all that were sampled for a problem, pruned branches too. FLOPs: the critic’s too, '
  'where an answer depends on it. At equal spend the higher curve is the better method. pass@k: '
  'any of k samples is right, so it is the ceiling of choosing among samples. It is estimated from '
  'all samples, and a vote '
  'over k from the first k, so at small k chance may put the vote above it. '
)
AXES = {'tokens': 'tokens sampled for one problem', 'flops': 'FLOPs for one problem'}
# How the training curves of stages look, in their order.
TRAINING = (('blue', 'o'), ('orange', 's'), ('green', '^'), ('pink', 'D'))
# Older runs named no stage, and called the curve of search-and-learn this.
_OLDER = {'greedy': 'search and learn'}


def test_time(rows):
  """Panels of the test accuracy of one task against tokens and FLOPs, a panel a stage.

  Args:
    rows: list of `results.Summary`.

  Returns:
    HTML.
  """
  look = looks(row.method for row in rows)
  ceilings = [name for name in look if method(name).oracle]
  shared = 'Bars: 95% intervals. Dashed: fit on the logarithm. '
  legend = page.legend(look, _words, dotted=ceilings)
  return legend + _stage_panels(_by_stage(rows), look, CAPTION + shared + SMALL)


def panel(rows, axis):
  """The test accuracy of one task and policy against tokens or FLOPs (`axis`), as a figure that
  stands alone.

  Args:
    rows: list of `results.Summary`, with the intervals that are to be shown.
    axis: a key of `AXES`.

  Returns:
    SVG.
  """
  mine = [row for row in rows if getattr(row, axis) > 0]
  return figures.accuracy_figure(
    [_curve(name, list(own), axis) for name, own in _by_method(mine)],
    looks(row.method for row in rows),
    title=f'{mine[0].task}, {mine[0].stage} policy',
    x_label=AXES[axis],
    problems='test',
    base=10,
    limits=_limits(mine),
    alone=True,
  )


def leads(found, axis):
  """What each search of one task and policy has right more than the best sampling method at its
  spend, as a figure that stands alone.

  Args:
    found: list of `equal_compute.Standing`.
    axis: what is equal, a key of `AXES`.

  Returns:
    SVG, or a sentence in HTML where there is nothing to compare.
  """
  known = {}
  for one in found:
    difference = getattr(one, axis).difference
    if difference and is_search(one.summary.method):
      point = getattr(one.summary, axis), *difference[:3]
      known.setdefault(one.summary.method, []).append(point)
  if not known:
    return '<p>No search spent as much as any sampling method, so none can be compared.</p>'
  drawn = [figures.Curve(name, *zip(*sorted(points))) for name, points in known.items()]
  ends = [end for curve in drawn for end in (*curve.low, *curve.high, 0.0)]
  return figures.accuracy_figure(
    drawn,
    looks(known),
    title=f'{found[0].summary.task}, {found[0].summary.stage} policy',
    x_label=AXES[axis],
    problems='test',
    base=10,
    limits=(min(ends) - 0.01, max(ends) + 0.01),
    level=('the best sampling method', 0.0),
    alone=True,
    y_label='points above sampling',
  )


def slopes(rows):
  """A table of the slopes of one task's curves; `rows` as for `test_time`."""
  return _fit_table(_by_stage(rows))


def _by_stage(rows):
  groups = collections.defaultdict(list)
  for row in rows:
    groups[row.stage].append(row)
  return groups


def _stage_panels(groups, look, caption):
  limits = _limits([row for stage in groups.values() for row in stage])
  single = [stage for stage, rows in groups.items() if len({row.units for row in rows}) <= 2]
  if len(single) < len(groups):  # a panel of one or two points says less than the table of results
    caption += f' Not drawn, measured at too few budgets: {", ".join(single)}.' if single else ''
    groups = {stage: rows for stage, rows in groups.items() if stage not in single}
  drawings = [
    figures.accuracy_figure(
      [_curve(name, mine, axis) for name, mine in _by_method(rows) if _spent(mine, axis)],
      look,
      title=f'{stage} policy',
      x_label=label,
      problems='test',
      base=10,
      limits=limits,
    )
    for axis, label in AXES.items()
    for stage, rows in groups.items()
  ]
  return page.panels(drawings, html.escape(caption))


def _curve(name, rows, axis):
  return figures.Curve(
    name,
    *zip(*((getattr(r, axis), r.accuracy, r.ci_low, r.ci_high) for r in rows), strict=True),
    fit=_fit(rows, axis),
    ceiling=method(name).oracle,
  )


def _spent(rows, axis):
  """Whether all rows have a place on a logarithmic axis."""
  return all(getattr(row, axis) > 0 for row in rows)


def _words(name):
  return method(name).words


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
    for name, mine in _by_method(rows):
      if len(mine) > 1:
        cells.append((_words(name), *_fit_cells(_fit(mine, 'tokens'), 0.30103), stage))
  heads = ('method', 'points per doubling of tokens', 'R²', 'policy')
  laws = [
    (stage, scaling.fit_power_law([r.units for r in mine], [r.accuracy for r in mine]))
    for stage, rows in groups.items()
    for name, mine in _by_method(rows)
    if method(name).oracle
  ]
  coverage = ' '.join(
    f'{stage}: exp({law.a:.2f} · k^{law.b:.2f}), R² {law.r_squared:.2f}.'
    for stage, law in laws
    if not law.note
  )
  caption = 'Slopes of accuracy on the logarithm of tokens, with 95% intervals of the slope.'
  if coverage:
    caption += f' Coverage (pass@k) as an exponentiated power law (arXiv:2407.21787): {coverage}'
  if not cells:
    return (
      '<p class="caption">No method was measured at more than one budget, '
      'so there is no slope to fit.</p>'
    )
  return page.table(heads, cells, words=(0, 3)) + f'<p class="caption">{html.escape(caption)}</p>'


def _fit_cells(fit, scale):
  """Slope in points for `scale` decades, and R^2, as text."""
  if fit.slope != fit.slope:
    return f'{fit.points} measured, a fit needs 3', '–'
  points = [100 * scale * slope for slope in (fit.slope, fit.slope_low, fit.slope_high)]
  r_squared = '–' if fit.r_squared != fit.r_squared else f'{fit.r_squared:.2f}'
  return f'{points[0]:+.1f} ({points[1]:+.1f} to {points[2]:+.1f})', r_squared


def train_time(curve, order=()):
  """Validation accuracy of one greedy solution against FLOPs spent in training, with its fit.

  Args:
    curve: list of points as in train_curve.json (see `report.build_report`), or None.
    order: stages of the job. Their curves take the colours in this order, as policies do.

  Returns:
    HTML.
  """
  if not curve:
    return page.missing('report/data/train_curve.json', 'searches and learns')
  found = dict.fromkeys(_stage(point) for point in curve)
  stages = [*(stage for stage in order if stage in found), *found]
  stages = list(dict.fromkeys(stages))
  curves, sentences = [], []
  for stage in stages:
    mine = sorted(
      (p for p in curve if _stage(p) == stage and p['flops'] > 0), key=lambda p: p['flops']
    )
    if not mine:
      continue
    fit = scaling.fit_log_compute([p['flops'] for p in mine], [p['accuracy'] for p in mine])
    values = zip(
      *((p['flops'], p['accuracy'], p['ci_low'], p['ci_high']) for p in mine), strict=True
    )
    curves.append(figures.Curve(stage, *values, fit=fit))
    slope, r_squared = _fit_cells(fit, 1.0)
    sentences.append(
      f'{stage}: {slope} points per tenfold FLOPs, R² {r_squared}.'
      if not fit.note
      else f'{stage}: no slope, {fit.note}.'
    )
  if not curves:
    return (
      '<p class="missing">Only the policy before the first update was measured: '
      'let the stage that learns run on.</p>'
    )
  # The policy before the first update has spent nothing, and 0 has no logarithm: it is drawn as a
  # level.
  start = [point['accuracy'] for point in curve if point['flops'] <= 0]
  every = [value for point in curve for value in (point['ci_low'], point['ci_high'])]
  drawing = figures.accuracy_figure(
    curves,
    dict(zip(stages, itertools.cycle(TRAINING))),
    title='greedy decoding while training goes on',
    x_label='FLOPs spent in training (search included)',
    problems='validation',
    base=10,
    limits=(max(0.0, min(every) - 0.03), min(1.0, max(every) + 0.03)),
    level=('before the first update', start[0]) if start else None,
    alone=True,
  )
  caption = (
    'One greedy solution for each validation problem. Training is steered by this curve, so it is '
    'not the test accuracy, and validation problems may be easier: where a task holds targets out, '
    'only the test has them. Bars: 95% intervals over problems. Dashed: least-squares fit on the '
    'logarithm. ' + ' '.join(sentences) + ' ' + SMALL
  )
  return page.panels([drawing], html.escape(caption))


def _stage(point):
  return point.get('stage') or _OLDER.get(point['method'], point['method'])
