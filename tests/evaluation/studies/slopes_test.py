"""Slopes of accuracy a decade of tokens: PUCT's against Gumbel's, on answers of known shares."""

import numpy as np
import pytest

from o1jax.evaluation.equal_compute import FAILS, HOLDS, UNDECIDED
from o1jax.evaluation.statistics import seeds_interval
from o1jax.evaluation.studies import CLAIMS
from tests.evaluation.studies.made import evidence, measure, shares

TOKENS = (100, 316, 1000, 3162)
ROWS = dict(falling='puct', rising='gumbel')


def study(falling, rising, count=600, seeds=1, tokens=TOKENS):
  """Accuracies that change by so much a decade."""
  arms = dict(puct=(('puct',), True), gumbel=(('gumbel',), True))
  found = [
    measure(
      name, n, shares(count, 0.5 + slope * (1 + seed / 20) * np.log10(n / 316), [i, n]), seed=seed
    )
    for seed in range(seeds)
    for i, (name, slope) in enumerate((('puct', falling), ('gumbel', rising)))
    for n in tokens
  ]
  return evidence(arms, found)


@pytest.mark.long
@pytest.mark.parametrize(
  'falling, rising, count, verdict',
  [
    (-0.15, 0.1, 600, HOLDS),
    (0.2, 0.05, 600, FAILS),
    (-0.3, -0.12, 2000, FAILS),  # the other gets worse too
    (-0.06, 0.0, 40, UNDECIDED),
  ],
)
def test_the_verdict_follows_the_slopes(falling, rising, count, verdict):
  found = CLAIMS['slopes'].judge(study(falling, rising, count), **ROWS)
  assert found.verdict == verdict, found.words
  values = [number.value for number in found.numbers]
  assert values == pytest.approx([falling, rising, falling - rising], abs=0.02)


def test_several_seeds_are_independent():
  found = CLAIMS['slopes'].judge(study(-0.15, 0.1, seeds=4), **ROWS)
  assert found.verdict == HOLDS
  # Slopes of the seeds differ by 5 % each.
  low, high = seeds_interval([-0.25 * (1 + seed / 20) for seed in range(4)])
  assert found.numbers[2][2:] == pytest.approx((low, high), abs=0.01)


def test_a_policy_that_solves_nothing_says_nothing():
  one = study(0.0, 0.0)
  none = [x._replace(right=np.zeros_like(x.right)) for x in one.found]
  assert CLAIMS['slopes'].judge(one._replace(found=none), **ROWS).verdict == UNDECIDED


def test_two_budgets_have_no_slope():
  with pytest.raises(ValueError, match='share 2 budgets: a slope needs 3'):
    CLAIMS['slopes'].judge(study(0.1, 0.1, tokens=TOKENS[:2]), **ROWS)
