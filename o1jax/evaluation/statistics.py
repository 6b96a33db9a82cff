"""Statistics of a measurement: intervals of proportions, pass@k, spread over seeds, AUC,
calibration. NumPy, host side."""

import numpy as np
from scipy import special


def wilson_interval(successes, count, *, confidence=0.95):
  """Wilson score interval of a proportion: honest at 0 and 1 and for few problems, where the normal
  one is not.

  Args:
    successes: number or array in [0, count]; may be fractional (a mean of pass@k estimates times
      `count`).
    count: number or array of trials, at least 1.
    confidence: coverage in (0, 1).

  Returns:
    (low, high), floats or arrays in [0, 1].
  """
  successes, count = np.asarray(successes, float), np.asarray(count, float)
  if np.any(count < 1):
    raise ValueError(
      f'wilson_interval needs at least one trial, got count={count}: measure some problems first'
    )
  if np.any(successes < 0) or np.any(successes > count):
    raise ValueError(f'wilson_interval needs 0 <= successes <= count, got {successes} of {count}')
  z = _normal_quantile(confidence)
  share = successes / count
  centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
  half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
  # Exact at the ends, where rounding would otherwise leave 1e-17 and make an interval miss its own
  # estimate.
  low = np.where(successes == 0, 0.0, np.maximum(centre - half, 0.0))
  high = np.where(successes == count, 1.0, np.minimum(centre + half, 1.0))
  return low[()], high[()]


def pass_at_k(count, correct, k):
  """Unbiased estimate of P(at least one of k samples is correct), 1 - C(n-c, k) / C(n, k)
  (arXiv:2107.03374).

  Args:
    count: n, samples drawn a problem; int or array.
    correct: c, how many of them were correct, in [0, n]; int or array.
    k: samples allowed, in [1, n]; int or array. The three broadcast.

  Returns:
    Float or array in [0, 1].
  """
  count, correct, k = np.broadcast_arrays(
    *(np.asarray(value, int) for value in (count, correct, k))
  )
  if np.any(k < 1) or np.any(k > count):
    raise ValueError(
      f'pass_at_k needs 1 <= k <= count, got k={k} of {count} samples: sample more or ask for less'
    )
  if np.any(correct < 0) or np.any(correct > count):
    raise ValueError(f'pass_at_k needs 0 <= correct <= count, got {correct} of {count}')
  # The k draws one after the other: each factor is P(wrong again), so no factorial is ever formed.
  draw = np.arange(max(k.max(initial=1), 1))
  wrong = np.maximum((count - correct)[..., None] - draw, 0)
  left = np.maximum(count[..., None] - draw, 1)
  factor = np.where(draw < k[..., None], wrong / left, 1.0)
  return (1.0 - np.prod(factor, axis=-1))[()]


def seeds_interval(values, *, confidence=0.95):
  """Student t interval of the mean over seeds.

  Args:
    values: one number a seed.
    confidence: coverage in (0, 1).

  Returns:
    (low, high). One seed says nothing about the spread: both are nan. Not clipped: the values may
    be anything.
  """
  values = np.asarray(values, float)
  if values.ndim != 1 or values.size == 0:
    raise ValueError(f'seeds_interval needs one number a seed, got shape {values.shape}')
  if values.size == 1:
    return float('nan'), float('nan')
  half = (
    special.stdtrit(values.size - 1, (1 + confidence) / 2)
    * values.std(ddof=1)
    / np.sqrt(values.size)
  )
  return float(values.mean() - half), float(values.mean() + half)


def mean_interval(values, *, clusters=None, confidence=0.95):
  """Normal interval of the mean of many numbers, such as one for each problem.

  Args:
    values: [N] numbers.
    clusters: [N] labels: numbers of one cluster may depend on each other, those of two may not
      (Liang and Zeger 1986). None = all are independent.
    confidence: coverage in (0, 1).

  Returns:
    (low, high), not clipped. One cluster says nothing about the spread: both are the mean.
  """
  values = np.asarray(values, float)
  if values.ndim != 1 or values.size == 0:
    raise ValueError(f'mean_interval needs one number a problem, got shape {values.shape}')
  apart = values - values.mean()
  if clusters is not None:
    _, index = np.unique(np.asarray(clusters, str), return_inverse=True)
    apart = np.bincount(index, apart)
  count = apart.size
  error = np.sqrt(np.sum(apart**2) * count / max(count - 1, 1)) / values.size
  half = _normal_quantile(confidence) * error if count > 1 else 0.0
  return float(values.mean() - half), float(values.mean() + half)


def paired_difference_interval(a, b, *, confidence=0.95):
  """Interval of accuracy(a) - accuracy(b) when both answered the same problems.

  Only the problems on which the two disagree carry information, so this is much narrower than
  comparing two Wilson intervals. Agresti and Min (2005): half a problem is added to each of the
  four cells, which keeps the interval sensible when the two never disagree.

  Args:
    a: bool [problems], was problem i answered correctly by the first method.
    b: bool [problems], the same for the second, in the same order.
    confidence: coverage in (0, 1).

  Returns:
    (low, high) in [-1, 1].
  """
  a, b = np.asarray(a, bool), np.asarray(b, bool)
  if a.ndim != 1 or a.shape != b.shape or a.size == 0:
    raise ValueError(
      f'paired_difference_interval needs the same problems twice, got shapes {a.shape} and '
      f'{b.shape}'
    )
  only_a, only_b = np.sum(a & ~b) + 0.5, np.sum(b & ~a) + 0.5
  count = a.size + 2
  centre = (only_a - only_b) / count
  half = (
    _normal_quantile(confidence) * np.sqrt(only_a + only_b - (only_a - only_b) ** 2 / count) / count
  )
  return float(max(centre - half, -1.0)), float(min(centre + half, 1.0))


def auc(scores, right):
  """Area under the ROC curve: the chance that a right one scores above a wrong one. Ties count
  half.

  Args:
    scores: [N] numbers.
    right: [N] bool.

  Returns:
    Float in [0, 1]; None where all are right or all are wrong, which says nothing.
  """
  scores, right = np.asarray(scores, float), np.asarray(right, bool)
  if scores.shape != right.shape:
    raise ValueError(f'auc needs as many scores as verdicts, got {scores.size} and {right.size}')
  good, bad = scores[right], np.sort(scores[~right])
  if not good.size or not bad.size:
    return None
  beaten = np.searchsorted(bad, good, 'left') + np.searchsorted(bad, good, 'right')
  return float(beaten.mean() / (2 * bad.size))


def calibration(scores, outcomes, *, bins=10):
  """Whether a critic's probabilities can be believed: a reliability table with equal-width bins on
  [0, 1].

  Args:
    scores: [N] predicted P(correct), in [0, 1].
    outcomes: [N] bool, 0/1, or a share in [0, 1]: what happened.
    bins: number of bins.

  Returns:
    Dict ready for JSON, with lists of length `bins`: `low` and `high` (bin borders), `score` (mean
      prediction), `accuracy` (share that was correct) and `count`. Score and accuracy are None in
      an empty bin. `error` is the expected calibration error: the mean of |score - accuracy|
      weighted by count (arXiv:1706.04599).
  """
  scores, outcomes = np.asarray(scores, float).ravel(), np.asarray(outcomes, float).ravel()
  if scores.size == 0 or scores.shape != outcomes.shape:
    raise ValueError(
      f'calibration needs as many scores as outcomes, got {scores.size} and {outcomes.size}'
    )
  if not np.all((scores >= 0) & (scores <= 1)):
    raise ValueError(
      f'calibration needs scores in [0, 1], got {scores.min()} to {scores.max()}: apply a sigmoid '
      'first'
    )
  index = np.minimum((scores * bins).astype(int), bins - 1)
  count = np.bincount(index, minlength=bins)
  some = np.maximum(count, 1)
  score = np.bincount(index, scores, minlength=bins) / some
  accuracy = np.bincount(index, outcomes, minlength=bins) / some
  edges = np.linspace(0, 1, bins + 1)
  return {
    'low': edges[:-1].tolist(),
    'high': edges[1:].tolist(),
    'score': [float(s) if n else None for s, n in zip(score, count, strict=True)],
    'accuracy': [float(a) if n else None for a, n in zip(accuracy, count, strict=True)],
    'count': count.tolist(),
    'error': float(np.sum(count * np.abs(score - accuracy)) / scores.size),
  }


def calibration_of_states(value, right, depth, finished, *, bins=10):
  """`calibration` of a critic on finished solutions and on prefixes apart, and at each depth.

  A finished solution shows all of its work, a prefix only its start: one number for both would hide
  a critic that can only check answers.

  Args:
    value: [M] predicted P(correct | prefix), in [0, 1].
    right: [M] share right of the solutions that ended at or below the state.
    depth: [M] steps from the prompt, from 1.
    finished: [M] bool.
    bins: number of bins.

  Returns:
    Dict ready for JSON: `finished` and `prefixes`, each what `calibration` returns or None where
    there is no such state, and `depths`, a list of {depth, states, score, accuracy, error} of the
    prefixes, with the means of value and right.
  """
  value, right, depth, finished = map(np.asarray, (value, right, depth, finished))

  def table(rows):
    return calibration(value[rows], right[rows], bins=bins) if rows.any() else None

  depths = []
  for at in np.unique(depth[~finished]):
    rows = ~finished & (depth == at)
    depths.append(
      dict(
        depth=int(at),
        states=int(rows.sum()),
        score=float(value[rows].mean()),
        accuracy=float(right[rows].mean()),
        error=table(rows)['error'],
      )
    )
  return dict(finished=table(finished), prefixes=table(~finished), depths=depths)


def _normal_quantile(confidence):
  if not 0 < confidence < 1:
    raise ValueError(f'confidence must lie between 0 and 1, got {confidence}: write 0.95 for 95%')
  return special.ndtri((1 + confidence) / 2)
