"""Accuracy of methods by the difficulty of the problems."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from o1jax.evaluation.measured import Measured, samples
from o1jax.evaluation.methods import GREEDY
from o1jax.evaluation.pairs import share_interval
from o1jax.evaluation.statistics import seeds_interval

BINS = 5


class Bin(NamedTuple):
  """Problems of like difficulty. `low` and `high`: their pass rates. `accuracy`: {method: (mean,
  low, high)}."""

  low: float
  high: float
  problems: int
  accuracy: dict[str, tuple[float, float, float]]


def difficulty(rows: Sequence[Measured]) -> tuple[int, int, list[Bin]]:
  """Accuracy of each method by the difficulty of the problems, at the largest budget in tokens that
  all methods share.

  A problem is as difficult as the solutions sampled for it are wrong, those of the most chains.
  Bins end at the quantiles of that rate, and problems of equal rate are in one bin. So they are not
  equally large, and there may be fewer than `BINS`.

  Args:
    rows: of one policy on one task.

  Returns:
    The budget, the seeds that all methods share, and the bins, hard ones first; (0, 0, []) where
    no budget is shared, or nothing was sampled.
  """
  rows = [one for one in rows if one.row.budget and one.row.method != GREEDY]
  methods = list(dict.fromkeys(one.row.method for one in rows))
  asked = [{one.row.budget for one in rows if one.row.method == name} for name in methods]
  shared = set.intersection(*asked) if asked else set()
  rates = {one.row.seed: one.rate for one in sorted(rows, key=_units) if samples(one.row.method)}
  if not shared or not rates:
    return 0, 0, []
  budget = max(shared)
  at = {(one.row.method, one.row.seed): one for one in rows if one.row.budget == budget}
  seeds = [seed for seed in sorted(rates) if all((name, seed) in at for name in methods)]
  if not seeds:
    return 0, 0, []
  pooled = np.concatenate([rates[seed] for seed in seeds])
  edges = np.unique(np.quantile(pooled, np.arange(1, BINS) / BINS))
  place = {seed: np.searchsorted(edges, rates[seed]) for seed in seeds}
  bins = []
  for i in range(len(edges) + 1):
    own = {seed: place[seed] == i for seed in seeds if (place[seed] == i).any()}
    if own:
      rate = np.concatenate([rates[seed][rows] for seed, rows in own.items()])
      accuracy = {
        name: _mean_of([(at[name, seed], rows) for seed, rows in own.items()]) for name in methods
      }
      bins.append(Bin(rate.min(), rate.max(), len(rate), accuracy))
  return budget, len(seeds), bins


def _units(one):
  return one.row.units


def _mean_of(seeds):
  """Accuracy over some of the problems of each seed, with its interval."""
  parts = [(one.right[rows], one.cluster[rows]) for one, rows in seeds]
  parts = [(right[~np.isnan(right)], cluster[~np.isnan(right)]) for right, cluster in parts]
  parts = [part for part in parts if len(part[0])]
  if not parts:
    return (float('nan'),) * 3
  means = [float(right.mean()) for right, _ in parts]
  if len(means) == 1:
    return means[0], *share_interval(*parts[0])
  low, high = np.clip(seeds_interval(means), 0, 1)
  return float(np.mean(means)), float(low), float(high)
