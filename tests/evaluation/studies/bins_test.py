"""Methods by predicted difficulty, on problems of which it is known which method solves them."""

import numpy as np
import pytest

from o1jax.evaluation.equal_compute import FAILS, HOLDS, UNDECIDED
from o1jax.evaluation.splits import TEST, VALIDATION, task_of
from o1jax.evaluation.studies import CLAIMS
from tests.evaluation.studies.made import evidence, measure

TOKENS = (400, 700, 1600)
ROWS = dict(predict='predict', sampling='chains', not_best='lookahead', match=0.03)


def study(hard=0.3, easy=-0.3, late=-0.2, gain=0.0, count=1000, validation=True):
  """A search that is ahead by `hard` in the harder half of the problems, and by `easy` in the
  other; lookahead is ahead of both by `late`. `gain`: of all, a doubling of tokens."""
  arms = dict(
    predict=(('first:predict',), False),
    chains=(('weighted',), False),
    beam=(('beam',), True),
    lookahead=(('lookahead',), True),
  )
  found, scores = [], {}
  for k, split in enumerate((VALIDATION, TEST) if validation else (TEST,)):
    rng = np.random.default_rng(k)
    score = rng.random(count)
    scores['first:predict', task_of('toy', split)] = score
    found.append(measure('first:predict', 1600, np.zeros(count), split=split))
    side = np.where(score < 0.5, hard, easy)
    for n in TOKENS:
      level = 0.45 + gain * np.log2(n / 400)
      shares = dict(weighted=level - side / 2, beam=level + side / 2, lookahead=level + late)
      for name, share in shares.items():
        found.append(measure(name, n, (rng.random(count) < share) * 1.0, split=split))
  for one in found:
    scores.setdefault((one.row.method, one.row.task), one.right)
  return evidence(arms, found, score=scores)


@pytest.mark.parametrize(
  'made, verdict, words',
  [
    (dict(), HOLDS, 'above 0 holds'),
    (dict(hard=-0.3, easy=0.3), FAILS, 'above 0 does not hold'),
    (dict(late=0.45), FAILS, 'not above 0 does not hold'),
    (dict(gain=0.15, hard=0.1, easy=-0.1), FAILS, 'at least -0.03 does not hold'),
    (dict(count=40), UNDECIDED, 'undecided'),
  ],
)
def test_the_verdict_follows_from_the_three_parts(made, verdict, words):
  found = CLAIMS['bins'].judge(study(**made), **ROWS)
  assert (found.verdict, words in found.words) == (verdict, True), found.words


def test_each_bin_has_the_method_that_is_best_on_validation_problems():
  found = CLAIMS['bins'].judge(study(), **ROWS)
  (grid,) = found.grids
  for cells in grid.cells:
    assert cells[1:3] == ('beam search',) * 2 and cells[4:] == ('critic-weighted vote',) * 2
  interaction, late, optimal = found.numbers
  assert interaction.value == pytest.approx(0.6, abs=0.08)
  assert late.value == pytest.approx(-0.2, abs=0.06)
  assert optimal.value == pytest.approx(0.15, abs=0.06) and 'with 0.44 of its 1,600' in optimal.name


@pytest.mark.long
def test_without_the_search_that_is_to_lose_a_part_is_open():
  found = CLAIMS['bins'].judge(study(), **ROWS | dict(not_best=''))
  assert found.verdict == UNDECIDED and len(found.numbers) == 2


def test_scores_and_choices_are_of_validation_problems():
  with pytest.raises(ValueError, match='kept no scores of validation problems'):
    CLAIMS['bins'].judge(study(validation=False), **ROWS)
