"""Intervals, pass@k and calibration against closed forms, references and simulation."""

import itertools
import json

import numpy as np
import pytest
from scipy import stats

from o1jax.evaluation import statistics


class TestWilson:
  @pytest.mark.parametrize('confidence', [0.8, 0.95, 0.99])
  @pytest.mark.parametrize(
    'successes,count', [(0, 1), (0, 12), (1, 3), (7, 20), (250, 500), (499, 500), (9, 9)]
  )
  def test_equals_scipy(self, successes, count, confidence):
    expected = stats.binomtest(successes, count).proportion_ci(confidence, method='wilson')
    np.testing.assert_allclose(
      statistics.wilson_interval(successes, count, confidence=confidence),
      tuple(expected),
      atol=1e-12,
    )

  def test_solves_the_score_equation(self):
    share, count = 0.3, 40
    for end in statistics.wilson_interval(share * count, count):
      np.testing.assert_allclose(
        (share - end) ** 2, 1.959963985**2 * end * (1 - end) / count, rtol=1e-6
      )

  def test_broadcasts_and_mirrors(self):
    low, high = statistics.wilson_interval(np.arange(11), 10)
    np.testing.assert_allclose(low, 1 - high[::-1], atol=1e-12)
    assert low[0] == 0 and high[-1] == 1

  @pytest.mark.parametrize('arguments', [(1, 0), (-1, 5), (6, 5)])
  def test_refuses_impossible_counts(self, arguments):
    with pytest.raises(ValueError, match='wilson_interval needs'):
      statistics.wilson_interval(*arguments)

  def test_refuses_percent_for_confidence(self):
    with pytest.raises(ValueError, match='0.95'):
      statistics.wilson_interval(1, 2, confidence=95)


class TestPassAtK:
  @pytest.mark.parametrize('count', [1, 4, 7])
  def test_equals_enumeration_of_all_subsets(self, count):
    for correct in range(count + 1):
      right = [True] * correct + [False] * (count - correct)
      for k in range(1, count + 1):
        expected = np.mean([any(chosen) for chosen in itertools.combinations(right, k)])
        assert statistics.pass_at_k(count, correct, k) == pytest.approx(expected, abs=1e-12)

  def test_is_vectorised(self):
    correct, k = np.arange(9)[:, None], np.array([1, 2, 5, 8])
    table = statistics.pass_at_k(8, correct, k)
    assert table.shape == (9, 4)
    expected = [[statistics.pass_at_k(8, c, j) for j in k] for c in range(9)]
    np.testing.assert_array_equal(table, expected)

  def test_one_sample_is_the_share(self):
    np.testing.assert_allclose(
      statistics.pass_at_k(64, np.arange(65), 1), np.arange(65) / 64, atol=1e-12
    )

  def test_is_stable_where_binomials_overflow(self):
    expected = 1 - (1 - 3 / 5000) * (1 - 3 / 4999) * (1 - 3 / 4998)
    assert statistics.pass_at_k(5000, 3, 3) == pytest.approx(expected, rel=1e-9)
    assert 0 < statistics.pass_at_k(5000, 1, 2500) < 1

  @pytest.mark.parametrize('arguments', [(4, 1, 5), (4, 1, 0), (4, 5, 2), (4, -1, 2)])
  def test_refuses_the_impossible(self, arguments):
    with pytest.raises(ValueError, match='pass_at_k needs'):
      statistics.pass_at_k(*arguments)


class TestSeeds:
  def test_three_seeds_by_hand(self):
    # Mean 0.5, deviation 0.1, t(0.975, 2) = 4.302653.
    half = 4.302653 * 0.1 / np.sqrt(3)
    np.testing.assert_allclose(
      statistics.seeds_interval([0.4, 0.5, 0.6]), (0.5 - half, 0.5 + half), rtol=1e-6
    )

  def test_one_seed_has_no_spread(self):
    assert np.isnan(statistics.seeds_interval([0.4])).all()

  def test_no_seed_is_an_error(self):
    with pytest.raises(ValueError, match='one number a seed'):
      statistics.seeds_interval([])


class TestMean:
  def test_independent_numbers_by_hand(self):
    # Mean 2, deviation 1.
    low, high = statistics.mean_interval([1.0, 2.0, 3.0])
    np.testing.assert_allclose((low, high), 2 + np.array([-1, 1]) * 1.959963985 / np.sqrt(3))

  def test_clusters_of_one_are_independent(self):
    values = np.random.default_rng(0).normal(size=30)
    apart = statistics.mean_interval(values, clusters=np.arange(30))
    assert apart == pytest.approx(statistics.mean_interval(values))

  def test_a_problem_asked_five_times_is_one(self):
    values = np.random.default_rng(0).normal(size=30)
    five = statistics.mean_interval(np.repeat(values, 5), clusters=np.repeat(np.arange(30), 5))
    assert five == pytest.approx(statistics.mean_interval(values))
    mixed = np.random.default_rng(1).permutation(150)
    again = statistics.mean_interval(
      np.repeat(values, 5)[mixed], clusters=np.repeat(np.arange(30), 5)[mixed]
    )
    assert again == pytest.approx(five)

  def test_agrees_with_the_coverage_where_clusters_share_a_part(self):
    rng, hits, naive = np.random.default_rng(0), 0, 0
    clusters = np.repeat(np.arange(60), 4)
    for _ in range(400):
      values = rng.normal(size=60)[clusters] + rng.normal(size=240)
      low, high = statistics.mean_interval(values, clusters=clusters)
      hits += low <= 0 <= high
      low, high = statistics.mean_interval(values)
      naive += low <= 0 <= high
    assert 0.91 < hits / 400 < 0.98 and naive / 400 < 0.85

  def test_one_cluster_has_no_spread(self):
    assert statistics.mean_interval([1.0, 3.0], clusters=['a', 'a']) == (2.0, 2.0)
    with pytest.raises(ValueError, match='one number a problem'):
      statistics.mean_interval([])


class TestPaired:
  def test_agrees_with_the_exact_coverage(self):
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(600):
      kind = rng.choice(4, size=120, p=(0.3, 0.25, 0.1, 0.35))
      low, high = statistics.paired_difference_interval(kind <= 1, (kind == 0) | (kind == 2))
      hits += low <= 0.15 <= high
    assert 0.92 < hits / 600 < 0.985

  def test_swapping_negates(self):
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 50)) < 0.5
    low, high = statistics.paired_difference_interval(a, b)
    assert statistics.paired_difference_interval(b, a) == pytest.approx((-high, -low))

  def test_agreement_narrows_it(self):
    a = np.arange(200) < 100
    near, far = a.copy(), np.roll(a, 100)
    near[:3] = False
    widths = [np.ptp(statistics.paired_difference_interval(a, b)) for b in (near, far)]
    assert widths[0] < 0.3 * widths[1]

  def test_identical_answers_still_leave_doubt(self):
    low, high = statistics.paired_difference_interval(np.ones(30, bool), np.ones(30, bool))
    assert low < 0 < high

  def test_refuses_different_problems(self):
    with pytest.raises(ValueError, match='same problems'):
      statistics.paired_difference_interval(np.ones(3, bool), np.ones(4, bool))


class TestCalibration:
  def test_by_hand(self):
    table = statistics.calibration([0.1, 0.2, 0.9, 1.0], [0, 1, 1, 1], bins=2)
    assert table['count'] == [2, 2]
    np.testing.assert_allclose(table['score'], [0.15, 0.95])
    np.testing.assert_allclose(table['accuracy'], [0.5, 1.0])
    assert table['error'] == pytest.approx((2 * 0.35 + 2 * 0.05) / 4)

  def test_a_calibrated_critic_has_little_error_and_a_bold_one_more(self):
    rng = np.random.default_rng(0)
    truth = rng.random(20_000)
    outcome = rng.random(20_000) < truth
    bold = np.clip(2 * truth - 0.5, 0, 1)
    assert statistics.calibration(truth, outcome)['error'] < 0.015
    assert statistics.calibration(bold, outcome)['error'] > 0.1

  def test_empty_bins_survive_json(self):
    table = statistics.calibration([0.05], [1], bins=4)
    assert json.loads(json.dumps(table, allow_nan=False)) == table
    assert table['score'][1:] == [None] * 3

  @pytest.mark.parametrize('scores', [[1.2], [-0.1], [float('nan')], [], [0.1, 0.2]])
  def test_refuses_what_is_no_probability(self, scores):
    with pytest.raises(ValueError, match='calibration needs'):
      statistics.calibration(scores, [1])


class TestStates:
  VALUE = np.array([0.15, 0.25, 0.85, 0.95, 0.55])
  RIGHT = np.array([0.0, 0.5, 1.0, 1.0, 0.0])
  DEPTH = np.array([1, 1, 2, 2, 3])
  DONE = np.array([0, 0, 0, 1, 1], bool)

  def test_finished_solutions_and_prefixes_are_told_apart(self):
    found = statistics.calibration_of_states(self.VALUE, self.RIGHT, self.DEPTH, self.DONE)
    for name, rows in (('finished', self.DONE), ('prefixes', ~self.DONE)):
      assert found[name] == statistics.calibration(self.VALUE[rows], self.RIGHT[rows])
    assert [(row['depth'], row['states']) for row in found['depths']] == [(1, 2), (2, 1)]
    first = found['depths'][0]
    assert (first['score'], first['accuracy']) == (pytest.approx(0.2), pytest.approx(0.25))
    # Two bins, of one state each: |0.15 - 0| and |0.25 - 0.5|.
    assert first['error'] == pytest.approx(0.2)
    json.dumps(found, allow_nan=False)

  def test_what_there_is_none_of_is_none(self):
    found = statistics.calibration_of_states(self.VALUE, self.RIGHT, self.DEPTH, self.DONE | True)
    assert found['prefixes'] is None and found['depths'] == [] and found['finished']['count']


class TestAuc:
  @pytest.mark.parametrize('seed', range(3))
  def test_counts_pairs(self, seed):
    rng = np.random.default_rng(seed)
    scores, right = np.round(rng.random(40), 1), rng.random(40) < 0.4
    pairs = [(a > b) + (a == b) / 2 for a in scores[right] for b in scores[~right]]
    np.testing.assert_allclose(statistics.auc(scores, right), np.mean(pairs))

  def test_says_nothing_of_one_kind(self):
    assert statistics.auc([0.1, 0.2], [True, True]) is None
    assert statistics.auc([], []) is None
    with pytest.raises(ValueError, match='2 and 1'):
      statistics.auc([0.1, 0.2], [True])
