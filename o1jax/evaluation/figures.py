"""The report's charts: Matplotlib drawings as inline SVG whose colours follow the page, light or
dark."""

import dataclasses
import html
import io
import itertools
import re

import matplotlib
import numpy as np
from matplotlib import figure as mpl_figure
from matplotlib import ticker

from o1jax.evaluation import scaling, statistics

# Okabe and Ito's colour-blind-safe palette. Matplotlib knows nothing of CSS, so each colour drawn
# is replaced by the page's variable of that name afterwards; a drawing outside such a page falls
# back to the colour itself.
PALETTE = {
  'ink': '#1f2328',
  'muted': '#59636e',
  'line': '#d1d9e0',
  'paper': '#fffffe',
  'blue': '#0072b2',
  'red': '#d55e00',
  'green': '#009e73',
  'pink': '#cc79a7',
  'orange': '#e69f00',
  'sky': '#56b4e9',
}

SERIES = ('sky', 'blue', 'orange', 'green', 'pink', 'red')

RC = {
  'svg.fonttype': 'none',
  'font.size': 10,
  'axes.labelsize': 10,
  'text.parse_math': False,
  'text.color': PALETTE['ink'],
  'axes.edgecolor': PALETTE['muted'],
  'axes.labelcolor': PALETTE['ink'],
  'axes.titlesize': 10.5,
  'axes.titleweight': 'bold',
  'axes.titlelocation': 'left',
  'axes.spines.top': False,
  'axes.spines.right': False,
  'axes.grid': True,
  'axes.axisbelow': True,
  'grid.color': PALETTE['line'],
  'grid.linewidth': 0.7,
  'xtick.color': PALETTE['muted'],
  'ytick.color': PALETTE['muted'],
  'xtick.labelcolor': PALETTE['ink'],
  'ytick.labelcolor': PALETTE['ink'],
  'legend.frameon': False,
}


@dataclasses.dataclass(frozen=True)
class Curve:
  """Accuracies against compute, all of one length. `compute` is > 0, the others are shares in
  [0, 1]. `fit` is drawn as a thin line, and `ceiling` as dots, since no method reaches it."""

  name: str
  compute: tuple[float, ...]
  accuracy: tuple[float, ...]
  low: tuple[float, ...]
  high: tuple[float, ...]
  fit: scaling.LogFit | None = None
  ceiling: bool = False


def accuracy_figure(
  curves, look, *, title, x_label, problems, base, limits, level=None, alone=False, y_label=''
):
  """Accuracy with intervals against compute on a log axis.

  Args:
    curves: list of Curve.
    look: colour (a key of PALETTE) and marker of each of their names, see `methods.looks`.
    title: heading of the panel.
    x_label: axis label with its unit.
    problems: which ones were asked: 'test' or 'validation'.
    base: 2 or 10, base of the axis.
    limits: (low, high) of the accuracy axis, shared by the panels to be compared.
    level: (name, accuracy) of a level to compare with, drawn as a dotted line, or None.
    alone: a wider panel that explains its curves itself; otherwise one of several below a common
      legend.
    y_label: what is drawn, in points; by default the share of the problems that is right.

  Returns:
    SVG element as a string.
  """
  with matplotlib.rc_context(RC):
    figure, axes = _axes(title, *((5.4, 3.8) if alone else (4.5, 3.5)))
    for i, curve in enumerate(curves):
      colour, marker = look[curve.name]
      colour = PALETTE[colour]
      x, y = np.asarray(curve.compute), 100 * np.asarray(curve.accuracy)
      # Methods share their budgets: a slight shift keeps the intervals apart.
      x_shown = x * 1.035 ** (i - (len(curves) - 1) / 2) if base == 2 else x
      low, high = (
        np.maximum(np.abs(100 * np.asarray(end) - y), 0) for end in (curve.low, curve.high)
      )
      dash = ':' if curve.ceiling else '-'
      axes.errorbar(
        *(x_shown, y),
        **dict(yerr=(low, high), color=colour, marker=marker, linestyle=dash, label=curve.name),
        **dict(
          markersize=5, linewidth=1.8, elinewidth=1, capsize=0, markeredgecolor=PALETTE['paper']
        ),
      )
      if curve.fit and np.isfinite(curve.fit.slope):
        ends = np.geomspace(x.min(), x.max(), 2)
        axes.plot(
          ends,
          100 * curve.fit.predict(ends),
          color=colour,
          linewidth=0.9,
          linestyle=(0, (6, 3)),
          alpha=0.6,
        )
    if level:
      axes.axhline(
        100 * level[1], color=PALETTE['muted'], linewidth=1.2, linestyle=(0, (2, 2)), label=level[0]
      )
    _log_axis(axes, base)
    axes.set_ylim(100 * limits[0], 100 * limits[1])
    axes.set(xlabel=x_label, ylabel=y_label or f'right (% of {problems} problems)')
    if alone:
      # Inside it would meet an interval.
      _legend(figure, axes)
    return _svg(figure, title)


def lines_figure(plot):
  """Lines with intervals, see `studies.evidence.Plot`."""
  with matplotlib.rc_context(RC):
    figure, axes = _axes(plot.title, 5.4, 3.8)
    for series, colour in zip(plot.series, itertools.cycle(SERIES[1:]), strict=False):
      y, low, high = (np.asarray(x, float) for x in series[2:])
      # No interval is drawn as none.
      ends = [np.nan_to_num(np.maximum(end, 0)) for end in (y - low, high - y)]
      style = dict(marker='o', markersize=4, linewidth=1.8, elinewidth=1)
      axes.errorbar(
        series.x, y, yerr=ends, color=PALETTE[colour], label=series.name, capsize=0, **style
      )
    for axis in plot.log:
      getattr(axes, f'set_{axis}scale')('log')
      _mark_log(getattr(axes, f'{axis}axis'))
    if 'x' not in plot.log and all(float(x).is_integer() for one in plot.series for x in one.x):
      axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))  # such as bins
    if 'y' not in plot.log:
      axes.axhline(0, color=PALETTE['muted'], linewidth=1, linestyle=(0, (2, 2)))
    axes.set(xlabel=plot.x_label, ylabel=plot.y_label)
    _legend(figure, axes)
    return _svg(figure, plot.title)


def bars_figure(shares, *, x_label):
  """Grouped horizontal bars.

  Args:
    shares: {group: {name: share in [0, 1]}}; a name that a group lacks has no bar.
    x_label: axis label with its unit.
  """
  names = list(dict.fromkeys(name for group in shares.values() for name in group))
  with matplotlib.rc_context(RC):
    figure, axes = _axes('', 5.4, 0.9 + len(names) * (0.16 + 0.2 * len(shares)))
    thick = 0.8 / len(shares)
    for i, ((group, share), colour) in enumerate(
      zip(shares.items(), itertools.cycle(SERIES), strict=False)
    ):
      present = [(j, 100 * share[name]) for j, name in enumerate(names) if name in share]
      at = [j + (i - (len(shares) - 1) / 2) * thick for j, _ in present]
      drawn = axes.barh(
        at, [value for _, value in present], 0.9 * thick, color=PALETTE[colour], label=group
      )
      axes.bar_label(drawn, fmt='%.0f', padding=3, fontsize=9, color=PALETTE['muted'])
    axes.set_yticks(range(len(names)), [name.replace('_', ' ') for name in names])
    axes.invert_yaxis()
    axes.grid(False, axis='y')
    axes.tick_params(axis='y', length=0)
    axes.set_xlim(
      0,
      min(
        108, 8 + max(100 * value for group in shares.values() for value in group.values()) * 1.08
      ),
    )
    axes.set_xlabel(x_label)
    axes.legend(loc='lower center', bbox_to_anchor=(0.45, 1.0), ncols=len(shares), fontsize=9.5)
    return _svg(figure, x_label)


def reliability_figure(table, *, title, most):
  """Reliability diagram of `statistics.calibration`, with the number of scores in each bin below.

  Args:
    table: the dict that `statistics.calibration` returns.
    title: heading of the panel.
    most: top of the count axis, shared by the panels to be compared.
  """
  full = [i for i, count in enumerate(table['count']) if count]
  count = np.array([table['count'][i] for i in full])
  score, accuracy = (np.array([table[key][i] for i in full]) for key in ('score', 'accuracy'))
  low, high = statistics.wilson_interval(np.clip(accuracy, 0, 1) * count, count)
  with matplotlib.rc_context(RC):
    figure = mpl_figure.Figure(figsize=(4.5, 4.3), layout='constrained')
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    above.plot([0, 1], [0, 1], color=PALETTE['muted'], linewidth=1, linestyle=(0, (2, 2)))
    above.errorbar(
      *(score, accuracy),
      **dict(
        yerr=(np.maximum(accuracy - low, 0), np.maximum(high - accuracy, 0)),
        color=PALETTE['blue'],
        marker='o',
      ),
      **dict(markersize=5, linewidth=1.6, elinewidth=1, markeredgecolor=PALETTE['paper']),
    )
    above.text(
      0.98,
      0.04,
      'calibrated',
      color=PALETTE['muted'],
      ha='right',
      transform=above.transAxes,
      fontsize=9,
    )
    above.set(ylim=(0, 1), ylabel='share right')
    above.set_title(f'{title}: error {table["error"]:.3f}')
    edges, width = np.asarray(table['low']), np.subtract(table['high'], table['low'])
    below.bar(edges, table['count'], 0.92 * width, align='edge', color=PALETTE['sky'])
    below.grid(False, axis='x')
    below.set(xlim=(0, 1), ylim=(0, 1.1 * most), xlabel='critic’s P(correct)', ylabel='states')
    return _svg(figure, f'calibration of the critic, {title}')


def _legend(figure, axes):
  """Names below the plot, as many side by side as fit. More rows make the figure higher."""
  names = axes.get_legend_handles_labels()[1]
  size, longest = 9, max(map(len, names), default=0)
  letters = figure.get_figwidth() * 72 / (0.55 * size)
  columns = int(np.clip(letters // (longest + 8), 1, 3))  # a sample of the line takes 8 letters
  rows = -(-len(names) // columns)
  figure.set_figheight(figure.get_figheight() + max(rows - 3, 0) * 1.6 * size / 72)
  figure.legend(loc='outside lower center', ncols=columns, fontsize=size)


def _log_axis(axes, base):
  axes.set_xscale('log', base=base)
  if base == 2:
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f'{value:g}'))
  else:
    _mark_log(axes.xaxis)


def _mark_log(axis):
  """Marks a logarithmic axis so that at least two numbers stand on it, however short it is."""
  low, high = axis.get_view_interval()
  marks = ((1,), 1e3), ((1, 3), 30), ((1, 2, 5), 5)
  subs = next((subs for subs, least in marks if high / low > least), None)
  # Powers of ten and their multiples are too rare on the shortest axes.
  locator = (
    ticker.LogLocator(subs=subs, numticks=12)
    if subs
    else ticker.MaxNLocator(4, steps=(1, 2, 5, 10))
  )
  axis.set_major_locator(locator)
  axis.set_minor_locator(ticker.NullLocator())
  # Matplotlib labels powers of ten with its own mathematics, drawn in its own fonts; plain text
  # follows the page.
  axis.set_major_formatter(ticker.FuncFormatter(_power_of_ten))
  axis.set_view_interval(low, high, ignore=True)


def _power_of_ten(value, _):
  if value < 1e5:
    return f'{value:,g}'
  exponent = int(np.floor(np.log10(value) + 1e-9))
  factor = value / 10.0**exponent
  power = '10' + str(exponent).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))
  return power if round(factor) == 1 else f'{factor:.0f}·{power}'


def _axes(title, width, height):
  figure = mpl_figure.Figure(figsize=(width, height), layout='constrained')
  axes = figure.subplots()
  axes.set_title(title)
  return figure, axes


def _svg(figure, label):
  """The figure as an SVG element for a page. It has no prologue, metadata, style or fonts of its
  own, and its colours are variables."""
  file = io.StringIO()
  # Clips and markers are named by salted hashes. So two figures on a page share none, and a rerun
  # changes nothing.
  with matplotlib.rc_context({'svg.hashsalt': label}):
    figure.savefig(file, format='svg', transparent=True)
  text = file.getvalue()
  text = text[text.index('<svg') :]
  text = re.sub(r'<metadata>.*?</metadata>|<style.*?</style>', '', text, flags=re.DOTALL)
  text = re.sub(r' xmlns(:xlink)?="[^"]*"', '', text).replace('xlink:href', 'href')
  text = re.sub(r'<g id="[^"]*">', '<g>', text)
  text = re.sub(r'font-family: [^;\"]*; ', '', text)
  for name, colour in PALETTE.items():
    text = text.replace(colour, f'var(--{name}, {colour})')
  return text.replace(
    '<svg ', f'<svg class="figure" role="img" aria-label="{html.escape(label)}" ', 1
  )
