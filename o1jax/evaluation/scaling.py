"""Scaling fits: accuracy against log compute, coverage against the number of samples. Host side."""

import dataclasses

import numpy as np
from scipy import optimize, stats

NAN = float('nan')


@dataclasses.dataclass(frozen=True)
class LogFit:
  """accuracy = intercept + slope * log10(compute).

  Attributes:
    slope: gain in accuracy (a share, not points) for ten times the compute; nan where nothing could
      be fitted.
    intercept: accuracy at compute 1.
    slope_low: lower end of the slope's 95% interval.
    slope_high: upper end.
    r_squared: share of the variance explained; nan where the accuracy never changes.
    points: how many points were used.
    note: '' or, in plain words, why a number is missing.
  """

  slope: float = NAN
  intercept: float = NAN
  slope_low: float = NAN
  slope_high: float = NAN
  r_squared: float = NAN
  points: int = 0
  note: str = ''

  def predict(self, compute):
    """Fitted accuracy at `compute`, not clipped to [0, 1]."""
    return self.intercept + self.slope * np.log10(compute)


@dataclasses.dataclass(frozen=True)
class PowerLaw:
  """coverage = exp(a * k**b), the exponentiated power law of arXiv:2407.21787; both numbers are
  negative.

  Attributes:
    a: log coverage of one sample; nan where nothing could be fitted.
    b: exponent; the nearer to 0 the slower more samples help.
    r_squared: share of the variance of coverage explained.
    points: how many points were used.
    note: '' or why a number is missing.
  """

  a: float = NAN
  b: float = NAN
  r_squared: float = NAN
  points: int = 0
  note: str = ''

  def predict(self, k):
    """Fitted coverage with `k` samples."""
    return np.exp(self.a * np.asarray(k, float) ** self.b)


def fit_log_compute(compute, accuracy, *, confidence=0.95):
  """Least squares of accuracy on log10(compute), with the Student t interval of the slope.

  Args:
    compute: [N] budgets, tokens or FLOPs. Points with compute <= 0 have no logarithm and are left
      out.
    accuracy: [N] shares in [0, 1].
    confidence: coverage of the slope's interval.

  Returns:
    A LogFit. Fewer than three different computes give nan and a note, since two points fit any
    line; a constant accuracy gives slope 0 and no R^2.
  """
  compute, accuracy = _points(compute, accuracy)
  points = len(compute)
  if len(np.unique(compute)) < 3:
    return LogFit(
      points=points, note=f'a fit needs 3 different budgets, there are {len(np.unique(compute))}'
    )
  line = stats.linregress(np.log10(compute), accuracy)
  if np.ptp(accuracy) == 0:
    return LogFit(
      0.0,
      float(accuracy[0]),
      0.0,
      0.0,
      points=points,
      note='the accuracy is the same at every budget',
    )
  half = stats.t.ppf((1 + confidence) / 2, points - 2) * line.stderr
  slope, intercept = float(line.slope), float(line.intercept)
  return LogFit(
    slope, intercept, float(slope - half), float(slope + half), float(line.rvalue**2), points
  )


def fit_power_law(k, coverage):
  """Least squares of coverage on exp(a * k**b), in the space of coverage (arXiv:2407.21787).

  Args:
    k: [N] numbers of samples, positive.
    coverage: [N] pass@k, in [0, 1]; zeros and ones are allowed.

  Returns:
    A PowerLaw; nan and a note with fewer than three different k, or where coverage never changes.
  """
  k, coverage = _points(k, coverage)
  if len(np.unique(k)) < 3:
    return PowerLaw(points=len(k), note=f'a fit needs 3 different k, there are {len(np.unique(k))}')
  if np.ptp(coverage) == 0:
    return PowerLaw(points=len(k), note='the coverage is the same at every k')
  # log(-log coverage) is a line in log k: a start that is exact on exact data. Ends are clipped for
  # the start only.
  bent = np.log(-np.log(np.clip(coverage, 1e-3, 1 - 1e-3)))
  start = np.polyfit(np.log(k), bent, 1)

  def curve(x, exponent, log_scale):
    return np.exp(-np.exp(np.clip(log_scale + exponent * np.log(x), -50, 50)))

  try:
    (exponent, log_scale), _ = optimize.curve_fit(curve, k, coverage, p0=start)
  except RuntimeError:
    return PowerLaw(points=len(k), note='the least squares did not converge')
  residual = np.sum((curve(k, exponent, log_scale) - coverage) ** 2)
  r_squared = 1 - residual / np.sum((coverage - coverage.mean()) ** 2)
  return PowerLaw(float(-np.exp(log_scale)), float(exponent), float(r_squared), len(k))


def _points(compute, accuracy):
  compute, accuracy = np.asarray(compute, float), np.asarray(accuracy, float)
  if compute.ndim != 1 or compute.shape != accuracy.shape:
    raise ValueError(
      f'a fit needs as many computes as accuracies, got shapes {compute.shape} and {accuracy.shape}'
    )
  keep = (compute > 0) & np.isfinite(compute) & np.isfinite(accuracy)
  return compute[keep], accuracy[keep]
