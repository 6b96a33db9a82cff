"""Does one search get worse with its budget, and another not? (arXiv:2603.21162)"""

import numpy as np

from o1jax.evaluation.equal_compute import FAILS, HOLDS
from o1jax.evaluation.methods import method
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

BUDGETS = 3  # budgets of a slope


def slopes(evidence: Evidence, *, falling: str, rising: str) -> Verdict:
  """Accuracy per decade of tokens, by least squares over the budgets, on the same problems.

  It holds where the slope of `falling` lies below that of `rising`, by the interval of their
  difference, and the interval of `rising` does not lie below 0.

  Args:
    evidence: of the rows that are named.
    falling: row of the search that gets worse.
    rising: row of the one that does not.

  Raises:
    ValueError: one was measured at fewer than three budgets.
  """
  labels = {arm.name: arm.labels[0] for arm in evidence.arms}
  curves = [evidence.curves(labels[name]) for name in (falling, rising)]
  seeds = [seed for seed in curves[0] if seed in curves[1]]
  fewest = min((len(curve[seed]) for curve in curves for seed in seeds), default=0)
  if fewest < BUDGETS:
    raise ValueError(f'{falling} and {rising} share {fewest} budgets: a slope needs {BUDGETS}')
  right = [[np.stack([one.right for one in curve[seed]]) for curve in curves] for seed in seeds]
  decades = [[_decades(curve[seed]) for curve in curves] for seed in seeds]

  def statistic(seed, rows):
    one, other = (
      np.polyfit(x, np.nanmean(y[:, rows], axis=1), 1)[0]
      for x, y in zip(decades[seed], right[seed], strict=True)
    )
    return one, other, one - other

  clusters = [curves[0][seed][0].cluster for seed in seeds]
  words = [method(labels[name]).words for name in (falling, rising)]
  names = (*(f'{name}: accuracy a decade of tokens' for name in words), 'difference')
  found = [
    Number(name, *row) for name, row in zip(names, estimate(clusters, statistic), strict=True)
  ]
  below = lies(found[2], high=0.0)
  level = FAILS if found[1].high < 0 else HOLDS
  told = (
    f'{words[0]} minus {words[1]} is {found[2].words} a decade: below 0 {below}. '
    f'{words[1]} has {found[1].words}: not below 0 {level}.'
  )
  series = tuple(
    _series(name, clusters, [pair[i] for pair in right], [curve[seed] for seed in seeds])
    for i, (name, curve) in enumerate(zip(words, curves, strict=True))
  )
  plot = Plot('Accuracy by tokens', 'tokens sampled for one problem', 'right (%)', series, log='x')
  return Verdict(all_of([below, level]), told, tuple(found), (plot,))


def _decades(curve):
  return np.log10([one.row.tokens for one in curve])


def _series(name, clusters, right, curves):
  y, low, high = 100 * estimate(clusters, lambda i, rows: np.nanmean(right[i][:, rows], axis=1)).T
  tokens = np.mean([[one.row.tokens for one in curve] for curve in curves], axis=0)
  return Series(name, tokens, y, low, high)
