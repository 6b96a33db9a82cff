"""Leads at equal compute: what is interpolated is exact where it was measured, clusters and seeds
are the units, and sampling methods are the bar."""

import dataclasses

import numpy as np
import pytest

from o1jax.evaluation import statistics, words
from o1jax.evaluation.difficulty import BINS, difficulty
from o1jax.evaluation.equal_compute import (
  FAILS,
  HOLDS,
  LESS,
  MORE,
  UNDECIDED,
  Lead,
  at_spend,
  distinct,
  lead,
  standings,
)
from o1jax.evaluation.measured import clustered, measured
from o1jax.evaluation.pairs import Difference, Pairs, paired_difference, share_interval
from o1jax.evaluation.results import summarise
from tests.evaluation.drawn import COUNT, chains, one, table_of


class TestAtSpend:
  @pytest.mark.parametrize('axis', ['tokens', 'flops'])
  def test_it_is_exact_at_what_was_measured(self, axis):
    curve = chains()[:3]
    for each in curve:
      np.testing.assert_array_equal(at_spend(curve, getattr(each.row, axis), axis), each.right)

  def test_between_it_is_linear_in_the_logarithm(self):
    low, high, _ = curve = chains()[:3]
    middle = at_spend(curve, np.sqrt(100 * 200), 'tokens')
    np.testing.assert_allclose(middle, (low.right + high.right) / 2)
    quarter = at_spend(curve, 1e8 * 2**0.25, 'flops')
    np.testing.assert_allclose(quarter, 0.75 * low.right + 0.25 * high.right)

  def test_it_is_not_extrapolated(self):
    curve = chains()[:3]
    assert at_spend(curve, 94, 'tokens') == LESS and at_spend(curve, 421, 'tokens') == MORE
    np.testing.assert_array_equal(at_spend(curve, 96, 'tokens'), curve[0].right)
    np.testing.assert_array_equal(at_spend(curve, 419, 'tokens'), curve[2].right)


class TestLead:
  def test_a_method_against_itself_is_nothing_and_certain(self):
    for seeds in ((0,), (0, 1, 2)):
      sampled = [each for seed in seeds for each in chains(seed, ('majority',))]
      mine = [each for each in sampled if each.row.budget == 200]
      found = lead(mine, sampled, 'tokens')
      assert found.base == 'majority' and found.difference[:3] == (0, 0, 0)
      assert found.difference.seeds == len(seeds)

  def test_the_base_is_the_best_sampling_method_at_that_spend(self):
    search = one('gumbel', 200, 0.9, rng=9)
    low, high = one('majority', 200, 0.2), one('weighted', 200, 0.6, rng=3)
    found = lead([search], [low, high], 'tokens')
    assert found.base == 'weighted'
    assert found.difference.mean == pytest.approx(search.right.mean() - high.right.mean())
    apart = search.right - high.right
    assert found.difference[1:3] == statistics.mean_interval(apart, clusters=search.cluster)
    # Their order does not count, nor do measurements at another spend.
    far = one('majority', 400, 1.0)
    assert lead([search], [high, far, low], 'tokens') == found

  def test_what_cannot_be_compared_says_why(self):
    sampled = chains()
    assert lead([one('beam', 50)], sampled, 'tokens') == Lead('', None, LESS)
    assert lead([one('beam', 900)], sampled, 'flops') == Lead('', None, MORE)
    # At equal tokens it is compared, at equal FLOPs not.
    dear = [one('beam', 200, flops=9e9)]
    assert lead(dear, sampled, 'tokens').difference is not None
    assert lead(dear, sampled, 'flops').beyond == MORE
    assert lead([one('beam', 200, seed=3)], sampled, 'tokens') is None  # no seed is shared

  def test_the_seed_is_the_unit_where_there_are_several(self):
    sampled = [each for seed in range(3) for each in chains(seed, ('majority',))]
    mine = [one('gumbel', 200, 0.7, seed=seed, rng=5) for seed in range(3)]
    found = lead(mine, sampled, 'tokens').difference
    bases = [next(b for b in sampled if b.row.seed == s and b.row.budget == 200) for s in range(3)]
    means = [a.right.mean() - b.right.mean() for a, b in zip(mine, bases, strict=True)]
    assert found.mean == pytest.approx(np.mean(means)) and found.problems == 3 * COUNT
    assert found[1:3] == pytest.approx(statistics.seeds_interval(means))
    # Of several seeds, those without samples do not count.
    assert lead(mine, chains(1, ('majority',)), 'tokens').difference.problems == COUNT

  def test_unjudged_problems_do_not_count(self):
    search, base = one('gumbel', 200, 0.7, rng=4), one('majority', 200)
    search.right[:10] = np.nan
    base.right[5:20] = np.nan
    found = lead([search], [base], 'tokens').difference
    assert found.problems == COUNT - 20
    assert found.mean == pytest.approx((search.right - base.right)[20:].mean())


@pytest.mark.parametrize('copies', [2, 3])
def test_problems_doubled_within_their_clusters_leave_the_interval_as_wide(copies):
  a, b = one('gumbel', 200, 0.7, rng=4), one('majority', 200)
  alone = paired_difference([Pairs(a.right, b.right, a.cluster)])
  again = [np.tile(x, copies) for x in (a.right, b.right, a.cluster)]
  assert paired_difference([Pairs(*again)])[:3] == pytest.approx(alone[:3])
  assert share_interval(again[0], again[2]) == pytest.approx(share_interval(a.right, a.cluster))
  # As if they were independent, it would shrink.
  free = np.full(copies * COUNT, '', object)
  narrow = paired_difference([Pairs(*again[:2], free)])
  assert narrow.high - narrow.low < 0.9 * (alone.high - alone.low)


@pytest.mark.parametrize(
  'lead_, verdict',
  [
    ((0.05, 0.01, 0.09), HOLDS),
    ((0.03, 0.001, 0.06), HOLDS),
    ((0.05, -0.01, 0.11), UNDECIDED),
    ((0.02, 0.01, 0.04), UNDECIDED),
    ((0.01, 0.005, 0.02), FAILS),
    ((-0.1, -0.2, 0.0), FAILS),
  ],
)
def test_verdicts(lead_, verdict):
  assert Lead('majority', Difference(*lead_, COUNT)).verdict == verdict


def test_measurements_come_back_from_their_table():
  found = [one('majority', 200), one('gumbel', 200, rng=2), one('gumbel', 200, seed=1)]
  found[1].right[3] = np.nan
  rows, table = table_of(found)
  mixed = np.random.default_rng(0).permutation(len(table['seed']))
  table = {name: column[mixed] for name, column in table.items()}
  for again, before in zip(measured(rows, table), found, strict=True):
    np.testing.assert_array_equal(again.right, before.right)
    np.testing.assert_array_equal(again.cluster, before.cluster)
  assert measured(rows, None) == []


def test_intervals_of_rows_are_over_clusters_where_answers_were_kept():
  found = [one('majority', 200), one('gumbel', 200, rng=2)]
  rows, table = table_of(found)
  alone = dataclasses.replace(rows[0], method='greedy')
  ceiling = dataclasses.replace(rows[0], method='pass@k', units=2)
  rates = np.round(10 * found[0].rate).astype(int)
  each = statistics.pass_at_k(10, rates, 2)
  ceiling = dataclasses.replace(ceiling, accuracy=each.mean())
  first, _, same, top = clustered([*rows, alone, ceiling], table)
  assert (first.ci_low, first.ci_high) == share_interval(found[0].right, found[0].cluster)
  assert same == alone
  expected = np.clip(statistics.mean_interval(each, clusters=found[0].cluster), 0, 1)
  assert (top.ci_low, top.ci_high) == pytest.approx(tuple(expected))
  # What others were left out of is not of these samples: it keeps its own.
  other = dataclasses.replace(ceiling, accuracy=each.mean() / 2)
  assert clustered([*rows, other], table)[-1] == other


def test_a_search_that_could_not_spend_less_has_one_row():
  same = [one('beam', 400, 0.4, budget=budget) for budget in (100, 200, 400)]
  rows = [dataclasses.replace(each.row, units=1) for each in same]
  more = one('beam', 800, 0.4).row
  assert [row.budget for row in distinct(summarise([*rows, more]))] == [400, 800]


def test_standings_hold_every_method_of_a_sampled_policy():
  found = [*chains(), one('beam', 400, 0.6, rng=7), one('beam', 9000, rng=8)]
  lonely = one('beam', 200)
  lonely = lonely._replace(row=dataclasses.replace(lonely.row, stage='learned'))
  rows, table = table_of([*found, lonely])
  standing = standings(rows, table)
  assert len(standing) == len(found) and {row.summary.stage for row in standing} == {'initialised'}
  ((name, said),) = words.claims(standing)
  assert name == 'beam search' and said.count('not compared at 9,000') == 1
  assert standings(rows, None) == []


class TestDifficulty:
  def test_bins_part_the_problems_by_their_pass_rate(self):
    found = [*chains(), *(one('gumbel', tokens, 0.6, rng=6) for tokens in (200, 400, 800))]
    budget, seeds, bins = difficulty(found)
    assert (budget, seeds) == (400, 1)  # the largest that all methods share
    assert sum(one.problems for one in bins) == COUNT and 3 <= len(bins) <= BINS
    assert all(one.high < other.low for one, other in zip(bins, bins[1:], strict=False))
    rate = found[5].rate  # of the most chains
    top = next(each for each in found if each.row.method == 'gumbel' and each.row.budget == 400)
    for one_bin in bins:
      of = (rate >= one_bin.low) & (rate <= one_bin.high)
      assert of.sum() == one_bin.problems
      assert one_bin.accuracy['gumbel'][0] == pytest.approx(top.right[of].mean())

  def test_the_mean_over_bins_is_the_accuracy(self):
    found = chains()
    _, _, bins = difficulty(found)
    total = sum(one.problems * one.accuracy['majority'][0] for one in bins)
    assert total / COUNT == pytest.approx(found[2].right.mean())

  def test_without_a_shared_budget_or_samples_there_are_none(self):
    assert difficulty([*chains(), one('beam', 150)]) == (0, 0, [])
    assert difficulty([one('beam', 150)]) == (0, 0, []) == difficulty([])
