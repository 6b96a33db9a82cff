"""Measurements by problem, for whatever compares them, and intervals of results made from them."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from o1jax.evaluation.methods import COVERAGE, GREEDY, UNSEEN, method
from o1jax.evaluation.pairs import share_interval
from o1jax.evaluation.problems import Table, by_measurement
from o1jax.evaluation.results import Result
from o1jax.evaluation.statistics import pass_at_k
from o1jax.search import CHOICES


class Measured(NamedTuple):
  """One measurement of one seed, by problem, N in their order.

  row: of results.csv. right: 1, 0, or nan where it was not judged. cluster: '' = unknown. rate: the
  share right of all solutions that the search began.
  """

  row: Result
  right: np.ndarray  # [N]
  cluster: np.ndarray  # [N] str
  rate: np.ndarray  # [N]


def samples(name: str) -> bool:
  """Whether a method chooses among independent solutions, unseen ones apart: what a search has to
  beat."""
  first = name.split(':')[0]
  return first in CHOICES and first != UNSEEN and not method(name).oracle


def is_search(name: str) -> bool:
  """Whether a method is neither sampling nor greedy decoding, nor told the verdicts."""
  return name != GREEDY and not samples(name) and not method(name).oracle


def measured(rows: Sequence[Result], table: Table | None) -> list[Measured]:
  """The measurements whose answers were kept, each with those of its problems."""
  found = by_measurement(table) if table else {}
  known = [row for row in rows if row.key in found]
  asked = {}  # (task, seed) -> numbers of its problems
  for row in known:
    asked.setdefault((row.task, row.seed), set()).update(table['problem'][found[row.key]].tolist())
  places = {key: np.array(sorted(numbers)) for key, numbers in asked.items()}
  return [_measured(row, table, found[row.key], places[row.task, row.seed]) for row in known]


def _measured(row, table, at, numbers):
  place = np.searchsorted(numbers, table['problem'][at])
  right, rate = np.full(len(numbers), np.nan), np.full(len(numbers), np.nan)
  cluster = np.full(len(numbers), '', object)
  right[place] = np.where(table['judged'][at], table['correct'][at], np.nan)
  rate[place] = table['right'][at] / np.maximum(table['samples'][at], 1)
  cluster[place] = table['cluster'][at]
  return Measured(row, right, cluster, rate)


def clustered(rows: Sequence[Result], table: Table | None) -> list[Result]:
  """The rows with intervals that treat clusters of problems as independent, where the answers were
  kept. What results.csv says treats problems so, which is too narrow."""
  found = {one.row.key: one for one in measured(rows, table)}
  chains = {
    (one.row.task, one.row.stage, one.row.seed): (one, table['samples'][at], table['right'][at])
    for key, at in (by_measurement(table) if table else {}).items()
    if (one := found.get(key)) and samples(one.row.method)
  }
  return [_clustered(row, found, chains) for row in rows]


def _clustered(row, found, chains):
  if row.key in found:
    one = found[row.key]
    known = ~np.isnan(one.right)
    if not known.any():
      return row
    low, high = share_interval(one.right[known], one.cluster[known])
  elif row.method == COVERAGE and (row.task, row.stage, row.seed) in chains:
    one, count, right = chains[row.task, row.stage, row.seed]
    if row.units > count.min() or len(one.cluster) != row.problems:
      return row
    each = pass_at_k(count, right, round(row.units))
    if not np.isclose(each.mean(), row.accuracy):  # samples without a verdict were left out
      return row
    low, high = share_interval(each, one.cluster)
  else:
    return row
  return dataclasses.replace(row, ci_low=low, ci_high=high)
