"""Scores of steps against their labels: closed forms, and the best threshold against trying all."""

import numpy as np
import pytest

from o1jax.evaluation.judging import (
  Scored,
  best_threshold,
  f1,
  first_error,
  for_choosing,
  report_text,
  summary,
)
from o1jax.evaluation.statistics import auc, calibration


@pytest.mark.parametrize(
  'labels, index',
  [
    ((1, 1, -1, None), 2),
    ((-1, 1), 0),
    ((1, 0, 1), -1),
    ((1, 0, -1, -1), 2),
    ((1, None, -1), -2),  # the step without a label may have been the first
    ((1, None), -2),
    ((None,), -2),
  ],
)
def test_the_first_error_is_where_the_labels_say(labels, index):
  assert first_error(labels) == index


# Below 0.5: of those with an error the first is found, the second too early and the third not; of
# those without, the first is left in peace and the second not.
DRAWN = [
  Scored('a', [0.9, 0.4, 0.1], (1, -1, None)),
  Scored('b', [0.4, 0.1], (1, -1)),
  Scored('c', [0.9, 0.8], (1, -1)),
  Scored('d', [0.6, 0.5], (1, 0)),
  Scored('e', [0.6, 0.2], (1, 1)),
]


def test_f1_is_the_harmonic_mean_of_two_accuracies():
  found = f1(DRAWN, 0.5)
  assert (found['wrong']['solutions'], found['right']['solutions']) == (3, 2)
  np.testing.assert_allclose(found['wrong']['accuracy'], 1 / 3)
  np.testing.assert_allclose(found['right']['accuracy'], 1 / 2)
  np.testing.assert_allclose(found['f1'], 2 / (3 + 2))
  assert found['wrong']['low'] < 1 / 3 < found['wrong']['high']
  assert f1(DRAWN[:3], 0.5)['f1'] is None and f1([], 0.5)['right']['accuracy'] is None


def random_solutions(seed, count=60):
  rng, found = np.random.default_rng(seed), []
  for i in range(count):
    steps = int(rng.integers(1, 6))
    at = int(rng.integers(0, 2 * steps))
    labels = [1 if n < at else -1 if n == at else None for n in range(steps)]
    scores = np.round(rng.random(steps) * (1 - 0.5 * (np.arange(steps) == at)), 2)  # with ties
    found.append(Scored(f'p{i}', scores.tolist(), tuple(labels)))
  return found


@pytest.mark.parametrize('seed', range(5))
def test_no_threshold_is_better_than_the_best(seed):
  solutions = random_solutions(seed)
  best = max(f1(solutions, at)['f1'] for at in np.arange(0, 1.0025, 0.0025))
  assert 0.2 < best < 1
  np.testing.assert_allclose(f1(solutions, best_threshold(solutions))['f1'], best)


def test_scores_that_tell_all_apart_have_an_f1_of_1():
  solutions = [Scored('a', [0.9, 0.2], (1, -1)), Scored('b', [0.8, 0.7], (1, 1))]
  at = best_threshold(solutions)
  assert 0.2 < at < 0.7 and f1(solutions, at)['f1'] == 1
  assert best_threshold(solutions[:1]) is None and best_threshold([]) is None


def test_the_threshold_is_chosen_on_other_prompts_than_it_is_measured_on():
  solutions = random_solutions(0)
  halves = [[s for s in solutions if for_choosing(s.prompt) == side] for side in (True, False)]
  assert min(map(len, halves)) > 15
  found = summary(solutions)['first_error']
  assert found['chosen_on'] == len(halves[0])
  assert found['threshold'] == best_threshold(halves[0])
  assert found['f1'] == f1(halves[1], found['threshold'])['f1']
  # What is measured on does not move the threshold.
  upset = [*halves[0], *(s._replace(scores=[1 - x for x in s.scores]) for s in halves[1])]
  assert summary(upset)['first_error']['threshold'] == found['threshold']
  given = summary(solutions, threshold=0.3)['first_error']
  assert given['chosen_on'] == 0 and given['f1'] == f1(solutions, 0.3)['f1']


def test_steps_are_told_apart_by_depth_and_neutral_ones_are_left_out():
  solutions = [
    Scored('a', [0.9, 0.2], (1, -1)),
    Scored('b', [0.5, 0.6], (-1, None)),
    Scored('c', [0.4, 0.8], (0, 1)),
  ]
  found = summary(solutions, threshold=0.5)
  assert (found['solutions'], found['steps'], found['labelled']) == (3, 6, 4)
  assert found['auc'] == auc([0.9, 0.2, 0.5, 0.8], [True, False, False, True]) == 1
  assert found['calibration'] == calibration([0.9, 0.2, 0.5, 0.8], [1, 0, 0, 1])
  one, two = found['depths']
  assert (one['depth'], one['steps'], one['right'], one['auc']) == (1, 2, 0.5, 1.0)
  assert (two['depth'], two['steps'], two['score']) == (2, 2, pytest.approx(0.5))
  np.testing.assert_allclose(two['error'], 0.2)
  assert found['first_error']['unknown'] == 0
  assert len({len(line) for line in report_text(found).splitlines()[1:4]}) == 1


def test_nothing_to_tell_apart_is_said():
  found = summary([Scored('a', [0.5], (None,)), Scored('b', [0.5], (1,))])
  assert found['auc'] is None and found['first_error']['f1'] is None
  assert 'no threshold' in report_text(found) and 'AUC -' in report_text(found)
  empty = summary([Scored('a', [0.5], (None,))])
  assert empty['calibration'] is None and empty['depths'] == []
  assert report_text(empty)
