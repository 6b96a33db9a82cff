"""Methods at equal compute: each measurement against the best sampling method that spends as much,
in tokens and in FLOPs, and by the difficulty of the problems."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from o1jax.evaluation.methods import GREEDY, UNSEEN, method
from o1jax.evaluation.pairs import Difference, Pairs, paired_difference, share_interval
from o1jax.evaluation.problems import Table, by_measurement
from o1jax.evaluation.results import Result, Summary, summarise
from o1jax.evaluation.statistics import pass_at_k, seeds_interval
from o1jax.search import CHOICES
from o1jax.search.budget import TOLERANCE

AXES = ('tokens', 'flops')
# A search pays where it is ahead by as much, and its interval above 0.
MARGIN = 0.03
HOLDS, FAILS, UNDECIDED = 'holds', 'does not hold', 'undecided'
LESS, MORE = 'less', 'more'
BINS = 5


class Measured(NamedTuple):
  """One measurement of one seed, by problem, N in their order.

  row: of results.csv. right: 1, 0, or nan where it was not judged. cluster: '' = unknown. rate: the
  share right of all solutions that the search began.
  """

  row: Result
  right: np.ndarray  # [N]
  cluster: np.ndarray  # [N] str
  rate: np.ndarray  # [N]


class Lead(NamedTuple):
  """A measurement against the best sampling method at its spend: `base` names the method.
  `difference` is None where the sampling methods would have to be extrapolated, because the
  measurement spends `beyond` (`LESS` or `MORE`) what any of them did."""

  base: str
  difference: Difference | None
  beyond: str = ''

  @property
  def verdict(self) -> str:
    """Whether the lead is at least `MARGIN` with an interval above 0. It does not hold where even
    the end of the interval is below `MARGIN`. Else it is undecided."""
    if self.difference is None:
      return UNDECIDED
    if self.difference.mean >= MARGIN and self.difference.low > 0:
      return HOLDS
    return FAILS if self.difference.high < MARGIN else UNDECIDED


class Standing(NamedTuple):
  """A row of a table of results, and its leads at equal tokens and at equal FLOPs."""

  summary: Summary
  tokens: Lead
  flops: Lead


class Bin(NamedTuple):
  """Problems of like difficulty. `low` and `high`: their pass rates. `accuracy`: {method: (mean,
  low, high)}."""

  low: float
  high: float
  problems: int
  accuracy: dict[str, tuple[float, float, float]]


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
  elif method(row.method).oracle and (row.task, row.stage, row.seed) in chains:
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


def distinct(rows: Sequence[Summary]) -> list[Summary]:
  """The rows, without those in which a method spends and finds just what it does in another: it
  could not spend as little, or as much, as it was asked for. The one nearest to what was asked
  stays."""
  nearest = {}
  for row in rows:
    key = (row.task, row.stage, row.method, row.seeds, row.tokens, row.flops, row.accuracy)
    if key not in nearest or _miss(row) < _miss(nearest[key]):
      nearest[key] = row
  return [row for row in rows if any(row is kept for kept in nearest.values())]


def _miss(row):
  return abs(np.log(row.budget / row.tokens)) if row.budget and row.tokens else 0.0


def standings(rows: Sequence[Result], table: Table | None) -> list[Standing]:
  """Every distinct measurement that has answers by problem, where its policy was sampled too, with
  its leads; those of few tokens first."""
  groups = {}
  for one in measured(rows, table):
    groups.setdefault((one.row.task, one.row.stage), {}).setdefault(_asked(one.row), []).append(one)
  found = []
  for summary in distinct(summarise(rows)):
    group = groups.get((summary.task, summary.stage), {})
    mine = group.get(_asked(summary), [])
    sampled = [one for each in group.values() for one in each if samples(one.row.method)]
    leads = [lead(mine, sampled, axis) for axis in AXES]
    if None not in leads:
      found.append(Standing(summary, *leads))
  return found


def _asked(row):
  return row.method, row.budget, 0 if row.budget else row.units


def lead(mine: Sequence[Measured], sampled: Sequence[Measured], axis: str) -> Lead | None:
  """What one method has right more than the best sampling method that spends as much.

  Which is best is seen on the problems of the comparison itself, which can only favour sampling.

  Args:
    mine: a method at one budget, one measurement a seed.
    sampled: what may be the best, of the same policy, at all budgets.
    axis: what is equal, one of `AXES`.

  Returns:
    None where they share no seed, or one spends nothing.
  """
  seeds = {one.row.seed for one in sampled}
  mine = [one for one in mine if one.row.seed in seeds]
  spends = [getattr(one.row, axis) for one in (*mine, *sampled)]
  if not mine or min(spends) <= 0:
    return None
  options, beyond = {}, []
  # A method that ties with another is its own equal.
  own = mine[0].row.method
  names = dict.fromkeys(one.row.method for one in sampled)
  for name in sorted(names, key=lambda name: name != own):
    pairs, past = _pairs(mine, [one for one in sampled if one.row.method == name], axis)
    beyond += past
    if pairs:
      options[name] = pairs
  if not options:
    return Lead('', None, beyond[0]) if beyond else None
  mean = lambda pairs: np.mean([one.other.mean() for one in pairs])
  best = max(options, key=lambda name: mean(options[name]))
  pairs = options[best]
  if best == own and all((one.one == one.other).all() for one in pairs):
    count = sum(len(one.one) for one in pairs)
    return Lead(best, Difference(0.0, 0.0, 0.0, count, len(pairs)))
  return Lead(best, paired_difference(pairs))


def _pairs(mine, sampled, axis):
  """`Pairs` of each seed, and none where one of them would have to be extrapolated: then how."""
  pairs = []
  for one in mine:
    curve = [other for other in sampled if other.row.seed == one.row.seed]
    if not curve:
      return [], []
    base = at_spend(curve, getattr(one.row, axis), axis)
    if isinstance(base, str):
      return [], [base]
    both = ~np.isnan(one.right) & ~np.isnan(base)
    if not both.any():
      return [], []
    pairs.append(Pairs(one.right[both], base[both], one.cluster[both]))
  return pairs, []


def at_spend(curve: Sequence[Measured], spend: float, axis: str) -> np.ndarray | str:
  """What a method has right of each problem, [N] in [0, 1], at a spend between those of its
  measurements: linear in the logarithm of the spend.

  Within `TOLERANCE` beyond an end it is that end; farther out, `LESS` or `MORE` says where.
  """
  by_spend = {getattr(one.row, axis): one for one in reversed(curve)}
  spends = np.array(sorted(by_spend))
  if spend < spends[0] * (1 - TOLERANCE):
    return LESS
  if spend > spends[-1] * (1 + TOLERANCE):
    return MORE
  logs, at = np.log(spends), np.clip(np.log(spend), *np.log(spends[[0, -1]]))
  above = int(np.searchsorted(logs, at))
  if logs[above] == at:
    return by_spend[spends[above]].right
  share = (at - logs[above - 1]) / (logs[above] - logs[above - 1])
  low, high = (by_spend[spends[i]].right for i in (above - 1, above))
  return (1 - share) * low + share * high


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
