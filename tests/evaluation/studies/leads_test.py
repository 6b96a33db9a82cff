"""Guided search against sampling, chosen on validation problems and tested once."""

import dataclasses

import pytest

from o1jax.evaluation.equal_compute import FAILS, HOLDS, UNDECIDED
from o1jax.evaluation.splits import TEST, VALIDATION
from o1jax.evaluation.studies import CLAIMS
from tests.evaluation.studies.made import evidence, measure, shares

TOKENS = (100, 200, 400, 800)


def study(leads, count=1000, other=-0.1, dear=1):
  """A search that is ahead by so much at each budget, one that is behind, and two kinds of votes.
  `dear`: FLOPs of a token of a search, of sampling 1."""
  arms = dict(good=(('good',), True), poor=(('poor',), True), chains=(('vote', 'weighted'), False))
  found = []
  for k, split in enumerate((VALIDATION, TEST)):
    for i, (n, ahead) in enumerate(zip(TOKENS, leads, strict=True)):
      at = lambda share, rng, i=i, k=k: shares(count, share, [rng, i, k])
      dearer = dict(split=split, flops=1e6 * dear * n)
      found += [measure('good', n, at(0.5 + ahead, 0), **dearer)]
      found += [measure('poor', n, at(0.5 + other, 1), **dearer)]
      for j, name in enumerate(('vote', 'weighted')):
        found += [measure(name, n, at(0.5 - 0.1 * j, 2 + j), split=split)]
  return evidence(arms, found)


@pytest.mark.parametrize(
  'leads, count, verdict, words',
  [
    ((0.2, 0.2, 0.2, 0.0), 1000, HOLDS, 'pays at 3 of 4 budgets'),
    ((0.2, 0.2, -0.1, -0.1), 1000, FAILS, 'does not at 2'),
    ((0.2, 0.2, 0.05, 0.05), 200, UNDECIDED, '2 are undecided'),
  ],
)
def test_the_verdict_counts_the_budgets_at_which_search_pays(leads, count, verdict, words):
  found = CLAIMS['leads'].judge(study(leads, count), budgets=3)
  assert (found.verdict, words in found.words) == (verdict, True), found.words


def test_the_search_is_chosen_on_validation_problems():
  one = study((0.2,) * 4)
  swapped = [
    x._replace(right=1 - x.right) if x.row.task == 'toy' and x.row.method == 'poor' else x
    for x in one.found
  ]
  for evidence_ in (one, one._replace(found=swapped)):
    found = CLAIMS['leads'].judge(evidence_, budgets=3)
    assert 'good is the best search' in found.words
    assert [row[0] for row in found.grids[1].cells] == ['good', 'poor']
  test_only = [x for x in one.found if x.row.task == 'toy']
  with pytest.raises(ValueError, match='add .validation. to config.evaluate.splits'):
    CLAIMS['leads'].judge(one._replace(found=test_only), budgets=3)


def test_flops_decide_and_what_none_spent_is_open():
  found = CLAIMS['leads'].judge(study((0.2,) * 4, dear=2), budgets=3)
  # The last budget spends twice what sampling did.
  assert found.verdict == HOLDS and 'pays at 3 of 4 budgets' in found.words
  assert 'sampling spends less' in found.grids[0].cells[-1][2]
  assert '+20.0' in found.grids[0].cells[-1][3]


def test_budgets_that_spend_the_same_count_once():
  one = study((0.2,) * 4)
  others = [x for x in one.found if x.row.method != 'good']
  least = [
    x._replace(row=dataclasses.replace(x.row, budget=asked))
    for x in one.found
    if x.row.method == 'good' and x.row.budget == 400
    for asked in (100, 200, 400)
  ]
  found = CLAIMS['leads'].judge(one._replace(found=others + least), budgets=3)
  assert found.verdict == FAILS and 'at 1 of 1 budgets' in found.words


def test_a_row_tells_what_its_seeds_spend_on_average():
  one = study((0.2,) * 4)
  dearer = [
    x._replace(
      row=dataclasses.replace(x.row, seed=1, tokens=3 * x.row.tokens, flops=3 * x.row.flops)
    )
    for x in one.found
  ]
  found = CLAIMS['leads'].judge(one._replace(found=[*one.found, *dearer]), budgets=3)
  assert [cells[:2] for cells in found.grids[0].cells] == [
    (f'{2 * n:,}', f'{2e6 * n:.2g}') for n in TOKENS
  ]
  assert found.plots[0].series[0].x == [2 * n for n in TOKENS]
