"""Several draws of a search count as one, and results say of which split they are."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from o1jax.evaluation.accuracy import coverage
from o1jax.evaluation.draws import together
from o1jax.evaluation.splits import TEST, VALIDATION, of_test, problems_of, split_of, task_of
from o1jax.keys import of_draw, of_problems
from o1jax.search import Budget
from tests.evaluation.problems_test import WHOLE, verdicts


def test_the_first_draw_has_the_solutions_and_the_bill_of_all():
  draws = [verdicts(seed) for seed in range(3)]
  whole = together(draws)
  for name in ('tokens', 'flops', 'seconds', 'samples', 'right'):
    expected = np.sum([getattr(one, name) for one in draws], axis=0)
    np.testing.assert_allclose(getattr(whole, name), expected, err_msg=name)
  assert whole.answers is draws[0].answers
  # Coverage counts all of them, at a share of their bill.
  (row,) = coverage(whole, [Budget(0, 6)], stage='a', task='b', seed=0)
  assert row.tokens == pytest.approx(whole.tokens.mean() * 6 / 12)
  assert whole.answers[WHOLE].correct.shape == whole.tokens.shape


def test_draws_have_keys_of_their_own():
  key = jax.random.key(3)
  assert of_draw(key, 0) is key
  data = {tuple(jax.random.key_data(of_draw(key, n)).tolist()) for n in range(50)}
  problems = {tuple(x) for x in jax.random.key_data(of_problems(key, 200)).tolist()}
  assert len(data) == 50 and not data & problems


@pytest.mark.parametrize('split', [TEST, VALIDATION])
def test_results_say_of_which_split_they_are(split):
  task = task_of('a:b', split)
  assert split_of(task) == split and problems_of(task) == f'a:b {split} problems'
  row = SimpleNamespace(task=task)
  assert of_test([row]) == ([row] if split == TEST else [])
