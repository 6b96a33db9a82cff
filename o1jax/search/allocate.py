"""Which problems get how much of a total: more where a first, small search leaves doubt
(arXiv:2408.03314). Nothing here knows a verdict."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from o1jax import tree as tree_lib
from o1jax.reward import ANSWERS
from o1jax.search.stop import votes
from o1jax.types import Array, Tree

EVEN = 'even'
# Of all that a config may say of an allocation.
DEFAULTS = dict(rule=EVEN, by='agreement', pilot=0.25, groups=4, ratio=4.0)


class Allocation(NamedTuple):
  """A rule of how groups of problems share a total.

  Attributes:
    weight: (place [G] from 0, the easiest, to 1, the hardest) -> [G] from 0 for the least share to
      1 for the most.
    words: what people call it.
  """

  weight: Callable[[np.ndarray], np.ndarray]
  words: str


class Signal(NamedTuple):
  """What tells after a first search how easy a problem is.

  Attributes:
    ease: (tree) -> [B] in [0, 1), more for easier ones; 0 where no solution is finished.
    reads: rows of `reward.SCORES` that must stand on the nodes.
  """

  ease: Callable[[Tree], Array]
  reads: tuple[str, ...] = ()


def shares(rule: str, groups: int, ratio: float) -> np.ndarray:
  """What each group gets of the mean, [G], the easiest first: their mean is 1, and the most is
  `ratio` times the least."""
  place = np.linspace(0, 1, groups) if groups > 1 else np.zeros(1)
  weight = 1 + (ratio - 1) * ALLOCATIONS[rule].weight(place)
  return weight / weight.mean()


def grouped(ease: np.ndarray, groups: int) -> np.ndarray:
  """The group of each problem [N], 0 the easiest: as many in each as can be. Where the ease is
  equal, the order of the problems decides."""
  rank = np.empty(len(ease), int)
  rank[np.argsort(-np.asarray(ease), kind='stable')] = np.arange(len(ease))
  return rank * groups // max(len(ease), 1)


def units_of(
  group: np.ndarray, cost: np.ndarray, share: np.ndarray, *, units: int, least: int, most: int
) -> np.ndarray:
  """Units of each group, [G], that spend as many tokens on average as `units` for each would.

  Args:
    group: [N] of each problem.
    cost: [N] tokens of a unit, as the first search shows.
    share: [G] of the mean.
    units: on average.
    least: of a group.
    most: of a group.
  """
  mean = np.array([cost[group == g].sum() for g in range(len(share))]) / len(cost)
  low, high = 0.0, float(most) * len(share)

  def found(scale):
    return np.clip(np.rint(scale * share), least, most).astype(int)

  # What is spent never falls where the scale rises.
  for _ in range(60):
    middle = (low + high) / 2
    below = (found(middle) * mean).sum() <= units * mean.sum()
    low, high = (middle, high) if below else (low, middle)
  return found(low)


def _agreement(tree: Tree) -> Array:
  most, _, total = votes(tree)
  return most / (total + 1.0)


def _value(tree: Tree) -> Array:
  done = tree_lib.finished(tree)
  total = jnp.sum(jnp.where(done, tree_lib.guide(tree), 0), axis=(1, 2))
  return total / (done.sum((1, 2)) + 1.0)


ALLOCATIONS: dict[str, Allocation] = {
  EVEN: Allocation(np.zeros_like, 'as much for each problem'),
  'hardest': Allocation(lambda place: place, 'more for hard problems'),
  'middle': Allocation(
    lambda place: 1 - np.abs(2 * place - 1), 'more for problems of middle difficulty'
  ),
}
SIGNALS: dict[str, Signal] = {
  'agreement': Signal(_agreement, (ANSWERS,)),
  'value': Signal(_value),
}


def check_allocation(settings: Mapping[str, Any]) -> None:
  """Raises ValueError for settings, of `DEFAULTS`, that cannot work."""
  for key, table in (('rule', ALLOCATIONS), ('by', SIGNALS)):
    if settings[key] not in table:
      raise ValueError(f'{key} is {settings[key]!r}: choose one of {", ".join(table)}')
  if not 0 < settings['pilot'] < 1:
    raise ValueError(f'pilot={settings["pilot"]}: give a share in (0, 1)')
  if type(settings['groups']) is not int or settings['groups'] < 2:
    raise ValueError(f'groups={settings["groups"]}: give a whole number of at least 2')
  if settings['ratio'] <= 1:
    raise ValueError(f'ratio={settings["ratio"]}: give more than 1')
  share = shares(settings['rule'], settings['groups'], settings['ratio'])
  if settings['rule'] != EVEN and np.ptp(share) == 0:
    raise ValueError(
      f'rule={settings["rule"]!r} shares all alike among groups={len(share)}: give at least 3'
    )
