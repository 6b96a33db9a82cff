"""A tree pays from an accuracy of the verifier on: said where it is so, where it is not, and where the
problems are too few."""

import dataclasses

import numpy as np
import pytest

from o1jax.evaluation.equal_compute import FAILS, HOLDS, UNDECIDED
from o1jax.evaluation.splits import TEST, VALIDATION
from o1jax.evaluation.studies import CLAIMS
from tests.evaluation.studies.made import evidence, measure, shares

ACCURACIES = (0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
RANGE = dict(low=0.8, high=0.97)


def study(leads, count=600, *, spend=200, validation=True):
  """Trees that are ahead by so much at each accuracy, of a good and a bad kind, against two kinds of
  re-ranking, of which validation problems prefer the better one."""
  arms, found = {}, []
  for i, (right, ahead) in enumerate(zip(ACCURACIES, leads, strict=True)):
    flips = round(1 - right, 6)
    arms[f'tree{i}'] = ((f'tree{i}',), True, flips)
    arms[f'poor{i}'] = ((f'poor{i}',), True, flips)
    arms[f'chains{i}'] = ((f'best{i}', f'vote{i}'), False, flips)
    for split in (VALIDATION, TEST) if validation else (TEST,):
      answers = lambda share, rng, i=i: shares(count, share, [rng, i])
      found += [measure(f'tree{i}', spend, answers(0.5 + ahead, 0), split=split)]
      found += [measure(f'poor{i}', spend, answers(0.1, 1), split=split)]
      for tokens in (100, 200, 400):
        found += [measure(f'best{i}', tokens, answers(0.3, 2), split=split)]
        found += [measure(f'vote{i}', tokens, answers(0.5, 3), split=split)]
  return evidence(arms, found)


@pytest.mark.parametrize(
  'leads, verdict, words',
  [
    ((-0.2, -0.2, -0.15, 0.15, 0.2, 0.2), HOLDS, 'ahead from 90% on, and behind below'),
    ((-0.2, 0.15, 0.15, 0.15, 0.2, 0.2), FAILS, 'is right in 70% already'),
    ((-0.2, -0.2, -0.2, -0.2, -0.2, 0.2), FAILS, 'behind at every accuracy up to 97%'),
    ((-0.2, -0.2, 0.15, -0.15, 0.2, 0.2), FAILS, 'it is no crossing'),
    ((-0.2, -0.2, -0.15, 0.15, 0.001, 0.001), HOLDS, 'ahead from 90% on'),
    ((0.001, -0.2, -0.15, 0.15, 0.2, 0.2), UNDECIDED, 'the order is not sure'),
    ((-0.2, -0.2, -0.1, 0.01, 0.01, 0.01), UNDECIDED, 'nowhere surely ahead'),
    ((0.0,) * 6, UNDECIDED, 'ahead at no accuracy, but it is nowhere surely behind and ahead'),
  ],
)
def test_the_verdict_follows_the_leads(leads, verdict, words):
  found = CLAIMS['crossing'].judge(study(leads), **RANGE)
  assert (found.verdict, words in found.words) == (verdict, True), found.words


def test_few_problems_leave_it_open():
  leads = (-0.1, -0.1, -0.1, 0.1, 0.1, 0.1)
  assert CLAIMS['crossing'].judge(study(leads, 3000), **RANGE).verdict == HOLDS
  assert CLAIMS['crossing'].judge(study(leads, 40), **RANGE).verdict == UNDECIDED


def test_what_stands_against_each_other_is_chosen_on_validation_problems():
  one = study((-0.2, -0.2, -0.15, 0.15, 0.2, 0.2))
  (grid,) = CLAIMS['crossing'].judge(one, **RANGE).grids
  assert [row[1:3] for row in grid.cells] == [(f'tree{i}', f'vote{i}') for i in range(6)]
  # However much better the other kind is on the test.
  swapped = [
    x._replace(right=np.ones_like(x.right), row=dataclasses.replace(x.row, accuracy=1.0))
    if x.row.method[:4] in ('poor', 'best')
    else x
    for x in one.found
    if x.row.task == 'toy'
  ]
  validation = [x for x in one.found if x.row.task != 'toy']
  (grid,) = CLAIMS['crossing'].judge(one._replace(found=[*validation, *swapped]), **RANGE).grids
  assert [row[1:3] for row in grid.cells] == [(f'tree{i}', f'vote{i}') for i in range(6)]


def test_where_the_lead_crosses_is_told_with_where_it_is_sure():
  (place,) = CLAIMS['crossing'].judge(study((-0.2, -0.2, -0.1, 0.1, 0.2, 0.2)), **RANGE).numbers
  assert place.value == pytest.approx(0.85) and (place.low, place.high) == pytest.approx((0.8, 0.9))


@pytest.mark.parametrize(
  'change, words',
  [
    (dict(validation=False), 'add .validation. to config.evaluate.splits'),
    (dict(spend=900), 'spends what no re-ranking does'),
  ],
)
def test_what_cannot_be_judged_is_refused(change, words):
  one = study((0.1,) * 6, **change)
  if 'spend' in change:  # a choice can be made, and nothing compared
    one = one._replace(
      found=[x for x in one.found if x.row.task == 'toy']
      + [x for x in study((0.1,) * 6).found if x.row.task != 'toy']
    )
  with pytest.raises(ValueError, match=words):
    CLAIMS['crossing'].judge(one, **RANGE)
  arms = [arm for arm in one.arms if arm.tree]
  with pytest.raises(ValueError, match='no re-ranking to compare with'):
    CLAIMS['crossing'].judge(one._replace(arms=arms), **RANGE)
