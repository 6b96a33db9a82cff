"""Claims that a study tests: each judges what was measured by a criterion that was written before.

`CLAIMS` is the table of judges. Another one is a function in a file beside these, and a row. A
judge is pure: the same evidence has the same verdict.
"""

from collections.abc import Callable

from o1jax.evaluation.studies import bins, crossing, leads, power_law, slopes
from o1jax.evaluation.studies.evidence import Arm as Arm
from o1jax.evaluation.studies.evidence import Evidence as Evidence
from o1jax.evaluation.studies.evidence import Verdict as Verdict

# Each is (Evidence, *, settings of its own) -> Verdict.
CLAIMS: dict[str, Callable[..., Verdict]] = {
  'crossing': crossing.crossing,
  'power_law': power_law.power_law,
  'slopes': slopes.slopes,
  'bins': bins.bins,
  'leads': leads.leads,
}
