"""Coverage of drawn problems: a power law where their rates have a heavy tail at 0, none where all
rates are equal."""

import numpy as np
import pytest
from scipy import special

from o1jax.evaluation.equal_compute import FAILS, HOLDS, UNDECIDED
from o1jax.evaluation.studies import CLAIMS
from o1jax.evaluation.studies.power_law import Beta, coverage_of, line, scaled_beta
from tests.evaluation.studies.made import evidence, measure

SAMPLES = 1024
HOW = dict(few=64, least=10, most=1000, fit=0.98, apart=0.2)


def study(rates, seeds=1, **how):
  """Problems with so many right of their samples."""
  rng, found = np.random.default_rng(0), []
  for seed in range(seeds):
    right = rng.binomial(SAMPLES, rates) / SAMPLES
    found.append(measure('first', 100, right, seed=seed, rate=right, **how))
  return evidence(dict(chains=(('first',), False)), found, samples=SAMPLES)


def drawn(alpha, beta, scale=1.0, count=2000):
  return scale * np.random.default_rng(1).beta(alpha, beta, count)


@pytest.mark.long
def test_a_heavy_tail_is_a_power_law_that_few_samples_tell():
  found = CLAIMS['power_law'].judge(study(drawn(0.5, 2.0)), **HOW)
  assert found.verdict == HOLDS, found.words
  exponent, r_squared, forecast, share, tail = found.numbers
  assert exponent.value == pytest.approx(-0.5, abs=0.1) and exponent.low < exponent.value
  assert forecast.value == pytest.approx(exponent.value, rel=0.1)
  assert tail.value == pytest.approx(-0.5, abs=0.1) and r_squared.value > 0.99
  assert share.value == pytest.approx(forecast.value / exponent.value, rel=1e-6)


@pytest.mark.long
def test_equal_rates_are_none():
  found = CLAIMS['power_law'].judge(study(np.full(2000, 0.004)), **HOW)
  assert found.verdict == FAILS and 'R²' in found.words


@pytest.mark.long
def test_few_problems_leave_it_open():
  found = CLAIMS['power_law'].judge(study(drawn(0.5, 2.0, count=60)), **HOW)
  assert found.verdict == UNDECIDED, found.words


@pytest.mark.long
def test_several_seeds_have_students_interval():
  one, two = (CLAIMS['power_law'].judge(study(drawn(0.5, 2.0), n), **HOW) for n in (1, 2))
  assert two.numbers[0].low != one.numbers[0].low and len(two.plots[0].series) == 2


@pytest.mark.parametrize('shape', [(0.3, 2.0, 1.0), (0.5, 3.0, 0.6)])
def test_the_fit_finds_what_the_counts_were_drawn_from(shape):
  right = np.random.default_rng(2).binomial(64, drawn(*shape, count=20_000))
  found = scaled_beta(right, 64)
  k = np.array([1, 10, 100, 1000])
  np.testing.assert_allclose(coverage_of(k, found), coverage_of(k, Beta(*shape)), atol=0.01)
  assert found.alpha == pytest.approx(shape[0], rel=0.1)


def test_the_coverage_of_a_beta_has_a_closed_form():
  k = np.array([1, 7, 100, 1000])
  exact = 1 - np.exp(special.betaln(0.4, 3.0 + k) - special.betaln(0.4, 3.0))
  np.testing.assert_allclose(coverage_of(k, Beta(0.4, 3.0, 1.0)), exact, atol=1e-4)


def test_a_line_is_found_and_what_has_no_logarithm_is_left_out():
  k = np.array([1, 2, 4, 8, 16])
  coverage = np.exp(-2.0 * k**-0.7)
  assert line(k, coverage) == pytest.approx((-0.7, 1.0))
  assert line(k, np.where(k > 8, 1.0, coverage)) == pytest.approx((-0.7, 1.0))
  assert np.isnan(line(k, np.where(k > 2, 1.0, coverage))).all()


def test_fewer_samples_than_asked_are_refused():
  with pytest.raises(ValueError, match='has 1024 samples, and most=2000'):
    CLAIMS['power_law'].judge(study(drawn(0.5, 2.0)), **HOW | dict(most=2000))
