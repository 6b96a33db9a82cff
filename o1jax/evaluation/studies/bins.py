"""Does the best method depend on the difficulty of a problem, and does it pay to choose by it?
(arXiv:2408.03314)"""

from collections.abc import Sequence

import numpy as np

from o1jax.evaluation.equal_compute import UNDECIDED
from o1jax.evaluation.methods import method
from o1jax.evaluation.problems import by_measurement
from o1jax.evaluation.splits import TEST, VALIDATION, split_of
from o1jax.evaluation.studies.evidence import (
  Evidence,
  Grid,
  Number,
  Plot,
  Series,
  Verdict,
  all_of,
  chosen,
  compared,
  estimate,
  lead,
  lies,
)

BINS = 5
BUDGETS = 2  # that the methods share at least
_SIDE = 2  # bins that are hard, and that are easy


def bins(
  evidence: Evidence, *, predict: str, sampling: str, not_best: str, match: float
) -> Verdict:
  """Methods by predicted difficulty, which no verdict tells: the mean critic score of a few chains.

  Bins end at quantiles of the validation problems of each seed, and are frozen. Three parts:
    interaction: the lead of the best search over sampling at equal tokens, in the two hardest bins
      minus the two easiest, is above 0.
    `not_best` is behind the best other method at equal tokens.
    compute-optimal: each bin has the method that is best on validation problems. At a budget whose
      tokens are at most half of the best fixed method's largest, it is no more than `match` behind.
  The bill of a compute-optimal choice leaves out what predicts the difficulty, as the source does.

  Args:
    evidence: of the rows that are named, and of other searches.
    predict: row of the chains that predict difficulty. Its solutions are no others'.
    sampling: row of independent solutions.
    not_best: row of a search; '' = there is none, and that part is undecided.
    match: share of problems.

  Raises:
    ValueError: nothing was measured on validation problems, or scores were not kept.
  """
  labels = {arm.name: arm.labels[0] for arm in evidence.arms}
  methods = [label for name, label in labels.items() if name != predict]
  place = {split: _places(evidence, labels[predict], split) for split in (VALIDATION, TEST)}
  trees = [arm.labels[0] for arm in evidence.arms if arm.tree]
  base = labels[sampling]
  best = chosen(evidence, trees, lambda label: _lead(evidence, label, base, VALIDATION))
  interaction = _interaction(evidence, best, base, place[TEST])
  parts = [lies(interaction, low=0.0)]
  numbers = [interaction]
  words = [f'{interaction.name}: {interaction.words}; above 0 {parts[0]}.']
  if not_best:
    late = _not_best(evidence, labels[not_best], [x for x in methods if x != labels[not_best]])
    numbers.append(late)
    parts.append(lies(late, high=0.0))
    words.append(f'{late.name}: {late.words}; not above 0 {parts[-1]}.')
  else:
    parts.append(UNDECIDED)
  optimal, grid, plot = _optimal(evidence, methods, place)
  numbers.append(optimal)
  parts.append(lies(optimal, low=-match))
  words.append(f'{optimal.name}: {optimal.words}; at least -{match} {parts[-1]}.')
  return Verdict(all_of(parts), ' '.join(words), tuple(numbers), (plot,), (grid,))


def _lead(evidence, label, base, split):
  found = lead(evidence, label, base, split)
  return found.mean if found else None


def _places(evidence, label, split):
  """{seed: bin [N] of each problem, 0 the hardest}; a problem without a finished solution is."""
  scores = {of: _scores(evidence, label, of) for of in (VALIDATION, split)}
  if not scores[VALIDATION]:
    raise ValueError(f'{label} kept no scores of {VALIDATION} problems, by which bins are made')
  ends = np.arange(1, BINS) / BINS
  return {
    seed: np.searchsorted(np.quantile(scores[VALIDATION][seed], ends), score)
    for seed, score in scores[split].items()
    if seed in scores[VALIDATION]
  }


def _scores(evidence, label, split):
  table, found = evidence.table, {}
  for at in by_measurement(table).values():
    first = at[0]
    if table['method'][first] == label and split_of(table['task'][first]) == split:
      found[int(table['seed'][first])] = table['score'][at[np.argsort(table['problem'][at])]]
  return {seed: score for seed, score in found.items() if not np.isnan(score).any()}


def _interaction(evidence, label, base, places):
  both = {s: x for s, x in compared(evidence, label, base).items() if s in places}

  def statistic(i, rows):
    seed = list(both)[i]
    apart, place = (both[seed].one - both[seed].other)[rows], places[seed][rows]
    hard, easy = place < _SIDE, place >= BINS - _SIDE
    return [_known(apart[hard]) - _known(apart[easy])]

  name = f'{method(label).words} over {method(base).words}, hard minus easy bins'
  if not both:
    return Number(name, *[float('nan')] * 3)
  (row,) = estimate([pairs.cluster for pairs in both.values()], statistic)
  return Number(name, *row)


def _known(right):
  """The mean of what was judged, nan where nothing was."""
  known = right[~np.isnan(right)]
  return known.mean() if len(known) else np.nan


def _not_best(evidence, label, others):
  behind = lambda other: _lead(evidence, label, other, VALIDATION)
  other = chosen(evidence, others, lambda x: None if behind(x) is None else -behind(x))
  found = lead(evidence, label, other)
  name = f'{method(label).words} minus {method(other).words}'
  return Number(name, *(found[:3] if found else [float('nan')] * 3))


def _optimal(evidence, methods: Sequence[str], places):
  """The compute-optimal choice against the best fixed method, its table and its plot."""
  at = {split: _by_budget(evidence, methods, split) for split in (VALIDATION, TEST)}
  budgets = sorted(set.intersection(*(set(at[VALIDATION][label]) for label in methods)))
  if len(budgets) < BUDGETS:
    raise ValueError('the methods share fewer than two budgets: ask all of them for the same')
  fixed = chosen(evidence, methods, lambda x: _mean(at[VALIDATION][x][budgets[-1]], 'right'))
  plan = {
    budget: [_best(at[VALIDATION], methods, budget, places[VALIDATION], i) for i in range(BINS)]
    for budget in budgets
  }
  spend = {b: _spent(at[VALIDATION], plan[b], b, places[VALIDATION]) for b in budgets}
  whole = _mean(at[VALIDATION][fixed][budgets[-1]], 'tokens')
  half = max((b for b in budgets if spend[b] <= whole / 2), default=None)
  name = f'compute-optimal minus {method(fixed).words}'
  number = Number(f'{name}, at no budget with half its tokens', *[float('nan')] * 3)
  if half is not None:
    seeds = list(places[TEST])
    one = {s: _planned(at[TEST], plan[half], half, places[TEST], s, 'right') for s in seeds}
    other = {s: at[TEST][fixed][budgets[-1]][s]['right'] for s in seeds}
    apart = lambda i, rows: [np.nanmean((one[seeds[i]] - other[seeds[i]])[rows])]
    clusters = [at[TEST][fixed][budgets[-1]][s]['cluster'] for s in seeds]
    (row,) = estimate(clusters, apart)
    share = spend[half] / whole
    number = Number(f'{name}, with {share:.2f} of its {whole:,.0f} tokens', *row)
  heads = ('asked', *(f'bin {i + 1}' for i in range(BINS)))
  cells = tuple((f'{b:,}', *(method(x).words for x in plan[b])) for b in budgets)
  grid = Grid('The method of each bin, hard ones first, by validation problems', heads, cells)
  return number, grid, _plot(at[TEST], methods, budgets[-1], places[TEST])


def _by_budget(evidence, methods, split):
  """{label: {asked: {seed: {right, tokens, cluster}}}}."""
  rows, found = by_measurement(evidence.table), {label: {} for label in methods}
  for label in methods:
    for seed, curve in evidence.curves(label, split).items():
      for one in curve:
        at = rows[one.row.key]
        tokens = evidence.table['tokens'][at[np.argsort(evidence.table['problem'][at])]]
        told = dict(right=one.right, tokens=tokens, cluster=one.cluster)
        found[label].setdefault(max(one.row.asked), {})[seed] = told
  return found


def _mean(seeds, name):
  return float(np.mean([np.nanmean(told[name]) for told in seeds.values()]))


def _best(at, methods, budget, places, i):
  """The method that is best in a bin; the first of equals, or where the bin is empty."""

  def share(label):
    seeds = at[label][budget]
    right = [np.nanmean(seeds[s]['right'][places[s] == i]) for s in seeds if (places[s] == i).any()]
    return float(np.mean(right)) if right else 0.0

  return max(methods, key=share)


def _planned(at, plan, budget, places, seed, name):
  values = [at[label][budget][seed][name] for label in plan]
  return np.choose(places[seed], values)


def _spent(at, plan, budget, places):
  return float(np.mean([_planned(at, plan, budget, places, s, 'tokens').mean() for s in places]))


def _plot(at, methods, budget, places):
  x, series = np.arange(1, BINS + 1), []
  for label in methods:
    seeds = [s for s in at[label][budget] if s in places]

    def shares(i, rows, told=at[label][budget], seeds=seeds):
      right, place = told[seeds[i]]['right'][rows], places[seeds[i]][rows]
      return [_known(right[place == b]) for b in range(BINS)]

    clusters = [at[label][budget][s]['cluster'] for s in seeds]
    y, low, high = 100 * estimate(clusters, shares, resamples=200).T
    series.append(Series(method(label).words, x, y, low, high))
  labels = 'predicted difficulty, hardest first', 'right (%)'
  return Plot(f'By difficulty, asked for {budget:,}', *labels, tuple(series))
