"""Intervals of accuracies, and of differences between two measurements of the same problems.

What counts as independent: with several seeds, the seeds, since each trained a policy of its own
(Student's interval of their means). With one seed, the clusters of problems, such as all that share
a target (normal interval, Liang and Zeger 1986). Without clusters, the problems.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from o1jax.evaluation import statistics


class Difference(NamedTuple):
  """accuracy(a) - accuracy(b) on the same problems, its 95 % interval, how many problems those are
  over all seeds, and how many seeds."""

  mean: float
  low: float
  high: float
  problems: int
  seeds: int = 1


class Pairs(NamedTuple):
  """Two measurements of N problems of one seed, judged in both. `one` and `other` lie in [0, 1];
  `cluster` has '' where nothing is known."""

  one: np.ndarray  # [N]
  other: np.ndarray  # [N]
  cluster: np.ndarray  # [N] str


def paired_difference(seeds: Sequence[Pairs]) -> Difference:
  """The lead of `one` over `other`: the mean over the seeds of the mean over the problems of each.

  Args:
    seeds: one `Pairs` a seed, none of them empty.
  """
  means = [float(np.mean(pairs.one) - np.mean(pairs.other)) for pairs in seeds]
  count = sum(len(pairs.one) for pairs in seeds)
  several = len(means) > 1
  interval = statistics.seeds_interval(means) if several else _interval_of_one(seeds[0])
  return Difference(float(np.mean(means)), *interval, count, len(means))


def _interval_of_one(pairs):
  apart = np.asarray(pairs.one, float) - pairs.other
  # Where the two never disagree, the spread over clusters would be 0 and the interval a point.
  if clusters_known(pairs.cluster) and apart.any():
    return statistics.mean_interval(apart, clusters=pairs.cluster)
  whole = all(np.isin(side, (0, 1)).all() for side in pairs[:2])
  if whole or not apart.any():
    return statistics.paired_difference_interval(*(np.asarray(x) >= 0.5 for x in pairs[:2]))
  return statistics.mean_interval(apart)


def share_interval(right: np.ndarray, cluster: np.ndarray) -> tuple[float, float]:
  """Interval of the mean of N shares in [0, 1] of one seed: over clusters, and Wilson's where
  nothing is known of clusters or all shares are equal."""
  right = np.asarray(right, float)
  if clusters_known(cluster) and np.ptp(right) > 0:
    low, high = np.clip(statistics.mean_interval(right, clusters=cluster), 0, 1)
  else:
    low, high = statistics.wilson_interval(min(float(right.sum()), len(right)), len(right))
  return float(low), float(high)


def clusters_known(cluster: np.ndarray) -> bool:
  """Whether each problem has a cluster, and there are several."""
  return bool((cluster != '').all()) and len(set(cluster)) > 1
