"""What a study has measured, what a judge says of it, and how sure that is."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from o1jax.evaluation.equal_compute import FAILS, HOLDS, UNDECIDED, at_spend
from o1jax.evaluation.measured import Measured
from o1jax.evaluation.pairs import Difference, Pairs, clusters_known, paired_difference
from o1jax.evaluation.problems import Table
from o1jax.evaluation.splits import TEST, VALIDATION, split_of
from o1jax.evaluation.statistics import seeds_interval


class Arm(NamedTuple):
  """A search that a study measures.

  name: its row of the config. labels: what its results are called, by its choices. tree: its
  solutions branch; else they are independent. flips: chance that its guide is flipped.
  """

  name: str
  labels: tuple[str, ...]
  tree: bool
  flips: float = 0.0


class Evidence(NamedTuple):
  """What a study has measured of the policies that one start gave, a policy a seed."""

  arms: tuple[Arm, ...]
  found: Sequence[Measured]
  table: Table

  def curves(self, label: str, split: str = TEST) -> dict[int, list[Measured]]:
    """The measurements of a label on a split by their seed, those of few tokens first."""
    curves = {}
    for one in sorted(self.found, key=lambda one: (one.row.seed, one.row.tokens)):
      if one.row.method == label and split_of(one.row.task) == split:
        curves.setdefault(one.row.seed, []).append(one)
    return curves


class Number(NamedTuple):
  """A number of a verdict with its 95 % interval; nan where there is none."""

  name: str
  value: float
  low: float
  high: float

  @property
  def words(self) -> str:
    """The value, and its interval where there is one."""
    told = f'{self.value:.3g}'
    return told if np.isnan(self.low) else f'{told} ({self.low:.3g} to {self.high:.3g})'


class Series(NamedTuple):
  """A line of a plot: K points with their intervals; `low` and `high` may be nan."""

  name: str
  x: Sequence[float]
  y: Sequence[float]
  low: Sequence[float]
  high: Sequence[float]


class Plot(NamedTuple):
  """A figure. `log`: which axes are logarithmic, of 'x' and 'y'."""

  title: str
  x_label: str
  y_label: str
  series: tuple[Series, ...]
  log: str = ''


class Grid(NamedTuple):
  """A table of texts."""

  title: str
  heads: tuple[str, ...]
  cells: tuple[tuple[str, ...], ...]


class Verdict(NamedTuple):
  """What the evidence says of a claim.

  verdict: `HOLDS`, `FAILS` or `UNDECIDED`. words: what decided, for a reader.
  """

  verdict: str
  words: str
  numbers: tuple[Number, ...] = ()
  plots: tuple[Plot, ...] = ()
  grids: tuple[Grid, ...] = ()


def lies(number: Number, low: float = -np.inf, high: float = np.inf) -> str:
  """Whether a number lies in a range: it does where its whole interval does, and does not where the
  interval lies outside. Without an interval it is undecided, or where that has no width: a policy
  that solves nothing says nothing."""
  if not number.low < number.high:  # nan too
    return UNDECIDED
  if number.low >= low and number.high <= high:
    return HOLDS
  return FAILS if number.high < low or number.low > high else UNDECIDED


def all_of(verdicts: Sequence[str]) -> str:
  """The verdict of a criterion with several parts."""
  if FAILS in verdicts:
    return FAILS
  return UNDECIDED if UNDECIDED in verdicts else HOLDS


def estimate(
  clusters: Sequence[np.ndarray],
  statistic: Callable[[int, np.ndarray], Sequence[float]],
  *,
  resamples: int = 500,
) -> np.ndarray:
  """Numbers with 95 % intervals, [K, 3]: value, low, high.

  A value is the mean over the seeds. With several seeds the interval is Student's over them, since
  each trained a policy of its own. With one it is that of a bootstrap over the clusters of its
  problems, a fixed one, so that a study that is judged again says the same.

  Args:
    clusters: [N] labels of the problems of each seed; '' = unknown.
    statistic: (place of the seed, rows of its problems) -> K numbers; rows may repeat.
    resamples: of the bootstrap.
  """
  whole = np.array([statistic(i, np.arange(len(of))) for i, of in enumerate(clusters)], float)
  values = whole.mean(axis=0)
  if len(clusters) > 1:
    ends = np.array([seeds_interval(column) for column in whole.T])
    return np.column_stack([values, ends])
  rng = np.random.default_rng(0)
  drawn = np.array([statistic(0, resampled(clusters[0], rng)) for _ in range(resamples)], float)
  return np.column_stack([values, *np.quantile(drawn, (0.025, 0.975), axis=0)])


def resampled(cluster: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Rows of as many clusters as there are, drawn with replacement."""
  if not clusters_known(cluster):
    return rng.integers(len(cluster), size=len(cluster))
  _, place = np.unique(cluster.astype(str), return_inverse=True)
  order, counts = np.argsort(place, kind='stable'), np.bincount(place)
  members = np.split(order, np.cumsum(counts)[:-1])
  return np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])


def compared(
  evidence: Evidence, label: str, base: str, split: str = TEST, axis: str = 'tokens'
) -> dict[int, Pairs]:
  """A method against another at equal spend, by the seed: the mean over the method's budgets of
  each problem, nan where it was not judged. The other is interpolated at what the method spent.
  Budgets at which it would have to be extrapolated are left out, and seeds without any other."""
  found, bases = {}, evidence.curves(base, split)
  for seed, curve in evidence.curves(label, split).items():
    both = []
    for one in curve:
      other = at_spend(bases[seed], getattr(one.row, axis), axis) if seed in bases else ''
      if not isinstance(other, str):
        both.append((one.right, other))
    if both:
      mine, theirs = (np.mean(side, axis=0) for side in zip(*both, strict=True))
      found[seed] = Pairs(mine, theirs, curve[0].cluster)
  return found


def lead(
  evidence: Evidence, label: str, base: str, split: str = TEST, axis: str = 'tokens'
) -> Difference | None:
  """What `compared` says, in a number; None where nothing can be compared."""
  pairs = []
  for mine, theirs, cluster in compared(evidence, label, base, split, axis).values():
    known = ~np.isnan(mine) & ~np.isnan(theirs)
    if known.any():
      pairs.append(Pairs(mine[known], theirs[known], cluster[known]))
  return paired_difference(pairs) if pairs else None


def chosen(evidence: Evidence, labels: Sequence[str], score: Callable[[str], float | None]) -> str:
  """The label of the highest score, which is read off validation problems; the first of equals.

  Raises:
    ValueError: no label has a score.
  """
  scores = {label: score(label) for label in dict.fromkeys(labels)}
  scores = {label: value for label, value in scores.items() if value is not None}
  if not scores:
    raise ValueError(
      f'none of {", ".join(labels)} can be compared on {VALIDATION} problems, on which a choice is '
      f'made: add {VALIDATION!r} to config.evaluate.splits, or give sampling budgets around theirs'
    )
  return max(scores, key=scores.get)


def accuracy(evidence: Evidence, label: str, split: str = VALIDATION) -> float | None:
  """The mean accuracy over seeds and budgets; None where it was not measured."""
  rows = [one.row for curve in evidence.curves(label, split).values() for one in curve]
  return float(np.mean([row.accuracy for row in rows])) if rows else None
