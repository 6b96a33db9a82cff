"""What a method may spend, in tokens; and how many of its own units, such as chains or simulations,
that is."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

# A search that spends this near to what was asked has spent it.
TOLERANCE = 0.05
_CALLS = 10


class Budget(NamedTuple):
  """What a search may spend on a problem.

  Attributes:
    tokens: asked, the mean over problems of all that is sampled; 0 = asked in units.
    units: of the method, see `Method.unit`: asked, or those that spend the tokens.
  """

  tokens: int = 0
  units: int = 0


def units_for(
  tokens: float,
  spent: Callable[[int], float],
  *,
  guess: int,
  most: int,
  known: dict[int, float] | None = None,
  calls: int = _CALLS,
) -> tuple[int, dict[int, float]]:
  """The units that spend about so many tokens.

  It measures at the guess, and then where the line through what it knows meets the tokens. Where
  that line misleads twice, as at a step, it halves what is left.

  Args:
    tokens: asked, positive.
    spent: units, from 1 to `most` -> tokens, which must not fall where the units rise.
    guess: units to begin with, where nothing is known.
    most: units to choose from.
    known: {units: tokens} measured before.
    calls: times that `spent` is called, at most.

  Returns:
    Of the units that were measured those that spend nearest to the tokens, and all that is known
    now. They are within `TOLERANCE`, or no others are nearer, or the calls have run out.
  """
  found = dict(known or {})
  at = min(max(guess, 1), most) if not found else _between(tokens, found, most)
  for call in range(calls):
    if at in found:
      break
    found[at] = float(spent(at))
    if abs(found[at] - tokens) <= TOLERANCE * tokens:
      break
    at = _between(tokens, found, most, halve=call > 0 and call % 2 == 0)
  return min(sorted(found), key=lambda units: abs(found[units] - tokens)), found


def interpolate(
  tokens: float, points: Iterable[tuple[int, float]], most: int | None = None
) -> float:
  """The units, no whole number, at which the line through (units, tokens) meets `tokens`.

  Nothing costs nothing, so the line begins in the origin. Beyond its last point it goes on as
  before. Where it is level there, more units spend no more: then it is `most`, or the last point.
  """
  known = {0: 0.0} | {int(units): float(cost) for units, cost in points}
  units = np.array(sorted(known), float)
  # What was measured on few problems may fall by chance.
  costs = np.maximum.accumulate([known[int(u)] for u in units])
  if tokens <= costs[-1]:
    return float(np.interp(tokens, costs, units))
  slope = (costs[-1] - costs[-2]) / (units[-1] - units[-2])
  end = float(units[-1] if most is None else most)
  return units[-1] + (tokens - costs[-1]) / slope if slope > 0 else end


def _between(tokens, found, most, *, halve=False) -> int:
  """Where to measure next: strictly between the nearest below and above, if there is a number."""
  low = max((units for units, cost in found.items() if cost <= tokens), default=0)
  above = [units for units, cost in found.items() if cost > tokens]
  high = min([units for units in above if units > low], default=most + 1)
  if high - low <= 1:
    return low or high
  at = (max(low, 1) * high) ** 0.5 if halve else interpolate(tokens, found.items(), most)
  return min(max(round(at), low + 1), high - 1)
