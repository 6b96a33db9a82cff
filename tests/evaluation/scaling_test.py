"""Fits recover what was planted, and say so where there is nothing to fit."""

import numpy as np
import pytest

from o1jax.evaluation import scaling

BUDGETS = 2.0 ** np.arange(7)


class TestLogFit:
  def test_recovers_a_planted_line_exactly(self):
    fit = scaling.fit_log_compute(BUDGETS, 0.2 + 0.11 * np.log10(BUDGETS))
    assert (fit.slope, fit.intercept, fit.r_squared) == pytest.approx((0.11, 0.2, 1.0))
    assert fit.points == 7 and not fit.note
    np.testing.assert_allclose(fit.predict(100.0), 0.42)

  def test_the_interval_covers_the_planted_slope_as_often_as_it_says(self):
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
      fit = scaling.fit_log_compute(
        BUDGETS, 0.2 + 0.1 * np.log10(BUDGETS) + 0.03 * rng.normal(size=7)
      )
      hits += fit.slope_low <= 0.1 <= fit.slope_high
    assert 0.92 < hits / 400 < 0.98

  def test_the_unit_of_compute_changes_no_slope(self):
    accuracy = [0.1, 0.3, 0.35, 0.5, 0.5, 0.6, 0.7]
    a, b = (scaling.fit_log_compute(unit * BUDGETS, accuracy) for unit in (1, 3e9))
    assert (a.slope, a.slope_low, a.r_squared) == pytest.approx((b.slope, b.slope_low, b.r_squared))

  @pytest.mark.parametrize('compute', [[], [1], [1, 2], [1, 1, 2], [0, 1, 2], [5, 5, 5, 5]])
  def test_too_few_budgets_give_a_note_and_no_number(self, compute):
    fit = scaling.fit_log_compute(compute, np.linspace(0.1, 0.2, len(compute)))
    assert np.isnan(fit.slope) and '3 different budgets' in fit.note

  def test_a_flat_curve_has_slope_zero_and_no_r_squared(self):
    fit = scaling.fit_log_compute(BUDGETS, np.full(7, 0.3))
    assert (
      fit.slope == 0 and fit.intercept == 0.3 and np.isnan(fit.r_squared) and 'same' in fit.note
    )

  def test_refuses_unlike_lengths(self):
    with pytest.raises(ValueError, match='as many'):
      scaling.fit_log_compute([1, 2, 3], [0.1, 0.2])


class TestPowerLaw:
  @pytest.mark.parametrize('a,b', [(-2.0, -0.5), (-0.7, -0.2), (-4.0, -0.35)])
  def test_recovers_a_planted_law(self, a, b):
    law = scaling.fit_power_law(BUDGETS, np.exp(a * BUDGETS**b))
    assert (law.a, law.b, law.r_squared) == pytest.approx((a, b, 1.0), rel=1e-5)
    np.testing.assert_allclose(law.predict(BUDGETS), np.exp(a * BUDGETS**b), rtol=1e-5)

  def test_coverage_zero_and_one_are_allowed(self):
    law = scaling.fit_power_law(BUDGETS, [0.0, 0.2, 0.5, 0.8, 0.95, 1.0, 1.0])
    assert law.a < 0 and law.b < 0 and law.r_squared > 0.9

  @pytest.mark.parametrize(
    'k,coverage,note', [([1, 2], [0.1, 0.2], '3 different k'), ([1, 2, 4], [0.5] * 3, 'same')]
  )
  def test_degenerate_input_gives_a_note(self, k, coverage, note):
    law = scaling.fit_power_law(k, coverage)
    assert np.isnan(law.b) and note in law.note
