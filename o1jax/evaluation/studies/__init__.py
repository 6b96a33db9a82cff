"""Claims that a study tests: each judges what was measured by a criterion that was written before.

`CLAIMS` is the table of judges. Another one is a function in a file beside these, and a row. A
judge is pure: the same evidence has the same verdict.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from o1jax.evaluation.splits import TEST, VALIDATION
from o1jax.evaluation.studies import bins, crossing, leads, power_law, slopes
from o1jax.evaluation.studies.evidence import Arm as Arm
from o1jax.evaluation.studies.evidence import Evidence as Evidence
from o1jax.evaluation.studies.evidence import Verdict as Verdict

_SHARE, _COUNT = (0.0, 1.0), (1, 10**9)


class Claim(NamedTuple):
  """How a claim is judged.

  judge: (Evidence, *, settings of its own) -> Verdict.
  splits: whose problems it reads.
  ranges: {setting: (low, high)} of its numbers; where both are whole, so is the setting.
  rows: {setting: how many budgets it asks of the search that the setting names}.
  optional: of these, settings that may be '', for none.
  samples: of its numbers, those that are at most the solutions sampled of a problem. Where there
    are some, it reads one row of independent solutions.
  """

  judge: Callable[..., Verdict]
  splits: tuple[str, ...] = (VALIDATION, TEST)
  ranges: Mapping[str, tuple[float, float]] = {}
  rows: Mapping[str, int] = {}
  optional: tuple[str, ...] = ()
  samples: tuple[str, ...] = ()

  @property
  def settings(self) -> list[str]:
    """Their names."""
    return [*self.ranges, *self.rows]


CLAIMS = {
  'crossing': Claim(crossing.crossing, ranges=dict(low=_SHARE, high=_SHARE)),
  'power_law': Claim(
    power_law.power_law,
    (TEST,),
    dict(few=_COUNT, least=_COUNT, most=_COUNT, fit=_SHARE, apart=_SHARE),
    samples=('few', 'least', 'most'),
  ),
  'slopes': Claim(slopes.slopes, (TEST,), rows=dict(falling=slopes.BUDGETS, rising=slopes.BUDGETS)),
  'bins': Claim(
    bins.bins,
    ranges=dict(match=_SHARE),
    rows=dict(predict=1, sampling=bins.BUDGETS, not_best=bins.BUDGETS),
    optional=('not_best',),
  ),
  'leads': Claim(leads.leads, ranges=dict(budgets=_COUNT)),
}
