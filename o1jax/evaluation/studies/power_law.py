"""Is coverage a power law in the number of samples, and is its exponent known from a few?
(arXiv:2407.21787, arXiv:2502.17578)"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize, special, stats

from o1jax.evaluation.splits import TEST, split_of
from o1jax.evaluation.statistics import pass_at_k
from o1jax.evaluation.studies.evidence import (
  Evidence,
  Number,
  Plot,
  Series,
  Verdict,
  all_of,
  estimate,
  lies,
)

_POINTS, _RESAMPLES = 20, 200


def power_law(
  evidence: Evidence, *, few: int, least: int, most: int, fit: float, apart: float
) -> Verdict:
  """log(-log coverage) is a line in log k, whose slope a few samples tell.

  Coverage is the mean of the unbiased pass@k. The forecast fits a scaled Beta distribution of the
  problems' success rates to `few` of their samples by maximum likelihood. Its coverage has the
  exponent that is compared, over the same k; the exponent of its tail, which that tends to, stands
  beside.

  Args:
    evidence: of one sampling arm.
    few: samples of each problem that the forecast sees, drawn from all without replacement.
    least: k from which the line is fitted.
    most: k up to which it is.
    fit: R² that the line has at least.
    apart: share by which the forecast may miss.

  Raises:
    ValueError: a problem has fewer samples than `most` or `few`.
  """
  counts = _counts(evidence)
  k = np.unique(np.round(np.geomspace(least, most, _POINTS)).astype(int))
  short = min(samples.min() for samples, *_ in counts)
  if short < max(most, few):
    raise ValueError(f'a problem has {short} samples, and most={most}, few={few} ask for more')
  each = [_coverages(samples, right, k) for samples, right, _ in counts]
  seen = [
    np.random.default_rng([i, few]).hypergeometric(right, samples - right, few)
    for i, (samples, right, _) in enumerate(counts)
  ]

  fitted = [scaled_beta(right, few) for right in seen]

  def statistic(seed, rows):
    slope, r_squared = line(k, each[seed][rows].mean(axis=0))
    rates = scaled_beta(seen[seed][rows], few, fitted[seed])
    forecast, _ = line(k, coverage_of(k, rates))
    return slope, r_squared, forecast, forecast / slope, -rates.alpha

  names = ('exponent', 'R²', 'forecast', 'forecast / exponent', "exponent of the forecast's tail")
  found = estimate([cluster for *_, cluster in counts], statistic, resamples=_RESAMPLES)
  numbers = [Number(name, *row) for name, row in zip(names, found, strict=True)]
  straight = lies(numbers[1], low=fit)
  foretold = lies(numbers[3], 1 - apart, 1 + apart)
  words = (
    f'The line has R² {numbers[1].words} over k from {k[0]:,} to {k[-1]:,}: at least {fit} '
    f'{straight}. The forecast from {few} samples a problem is {numbers[3].words} of the exponent: '
    f'within {apart:.0%} {foretold}.'
  )
  plot = _plot(k, each, fitted, few, [cluster for *_, cluster in counts])
  return Verdict(all_of([straight, foretold]), words, tuple(numbers), (plot,))


def line(k: Sequence[int], coverage: np.ndarray) -> tuple[float, float]:
  """Slope and R² of log(-log coverage) in log k; nan where fewer than three points are neither 0
  nor 1."""
  inside = (coverage > 0) & (coverage < 1)
  if inside.sum() < 3:
    return float('nan'), float('nan')
  found = stats.linregress(np.log(np.asarray(k)[inside]), np.log(-np.log(coverage[inside])))
  return float(found.slope), float(found.rvalue**2)


class Beta(NamedTuple):
  """Rates of success that are `scale` times Beta(alpha, beta)."""

  alpha: float
  beta: float
  scale: float


def scaled_beta(right: np.ndarray, count: int, start: Beta | None = None) -> Beta:
  """By maximum likelihood, where `right` [N] of each problem's `count` samples were right. `start`
  is near to it, if one is known."""
  seen, many = np.unique(right, return_counts=True)
  ways = special.gammaln(count + 1) - special.gammaln(seen + 1) - special.gammaln(count - seen + 1)
  power = seen[:, None] * np.log(_RATES) + (count - seen)[:, None] * np.log1p(-_RATES)
  likelihood = np.exp(ways[:, None] + power)  # of what was seen, at each rate

  def surprise(free):
    return -float(many @ np.log(np.maximum(likelihood @ _weights(_shape(free)), 1e-300)))

  if start is None:
    mean = np.clip(right.mean() / count, 0.01, 0.9)
    start = Beta(0.5, 0.5 * (1 - mean) / mean, 0.95)
  free = np.log(start.alpha), np.log(start.beta), special.logit(min(start.scale, 1 - 1e-6))
  found = optimize.minimize(
    surprise, free, method='Nelder-Mead', options=dict(xatol=0.01, fatol=0.01)
  )
  return _shape(found.x)


def coverage_of(k: Sequence[int], rates: Beta) -> np.ndarray:
  """pass@k, [K], over problems of these rates."""
  return 1 - np.exp(np.asarray(k)[:, None] * np.log1p(-_RATES)) @ _weights(rates)


def _shape(free):
  alpha, beta = np.exp(np.clip(free[:2], -4, 6))
  return Beta(float(alpha), float(beta), float(special.expit(free[2])))


# Distributions of rates are sums over these, which lie close at both ends.
_EDGES = special.expit(np.linspace(-18, 18, 1200))
_RATES = np.sqrt(_EDGES[1:] * _EDGES[:-1])


def _weights(rates: Beta) -> np.ndarray:
  """The share of problems at each of `_RATES`."""
  below = special.betainc(rates.alpha, rates.beta, np.minimum(_EDGES / rates.scale, 1))
  below[0], below[-1] = 0, 1
  return np.diff(below)


def _coverages(samples, right, k):
  """pass@k of each problem, [N, K]. Problems of equal counts have the same, and are asked once."""
  pairs, place = np.unique(np.stack([samples, right]), axis=1, return_inverse=True)
  return np.stack([pass_at_k(*pairs, one) for one in k], axis=1)[place.reshape(-1)]


def _counts(evidence):
  """(samples [N], right [N], cluster [N]) of each seed."""
  labels = {label for arm in evidence.arms for label in arm.labels}
  found = []
  for seed in np.unique(evidence.table['seed']):
    table = evidence.table
    mine = [
      seed == s and method in labels and split_of(task) == TEST
      for s, method, task in zip(table['seed'], table['method'], table['task'], strict=True)
    ]
    rows = np.flatnonzero(mine)
    _, first = np.unique(table['problem'][rows], return_index=True)
    rows = rows[first]  # readouts of one search count the same solutions
    if len(rows):
      found.append((table['samples'][rows], table['right'][rows], table['cluster'][rows]))
  if not found:
    raise ValueError('no test problem was sampled')
  return found


def _plot(k, each, fitted, few, clusters):
  """-log coverage against k, of all samples and as forecast."""
  curve = lambda seed, rows: -np.log(np.clip(each[seed][rows].mean(axis=0), 1e-12, 1 - 1e-12))
  y, low, high = estimate(clusters, curve).T
  told = np.mean([coverage_of(k, rates) for rates in fitted], axis=0)
  none = [float('nan')] * len(k)
  series = (
    Series('measured', k, y, low, high),
    Series(f'forecast from {few} samples', k, -np.log(np.maximum(told, 1e-12)), none, none),
  )
  return Plot('Coverage', 'samples k', '-log pass@k', series, log='xy')
