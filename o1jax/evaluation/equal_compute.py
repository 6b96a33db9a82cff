"""Methods at equal compute: each row against the best sampling method that spends as much, in
tokens and in FLOPs."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from o1jax.evaluation.measured import Measured, measured, samples
from o1jax.evaluation.pairs import Difference, Pairs, paired_difference
from o1jax.evaluation.problems import Table
from o1jax.evaluation.results import Result, Summary, summarise
from o1jax.search.budget import TOLERANCE

AXES = ('tokens', 'flops')
# A search pays where it is ahead by as much, and its interval above 0.
MARGIN = 0.03
HOLDS, FAILS, UNDECIDED = 'holds', 'does not hold', 'undecided'
LESS, MORE = 'less', 'more'


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
