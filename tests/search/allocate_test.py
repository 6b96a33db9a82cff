"""How a total is shared among problems."""

import numpy as np
import pytest

from o1jax.reward import ANSWERS
from o1jax.search.allocate import (
  ALLOCATIONS,
  DEFAULTS,
  SIGNALS,
  check_allocation,
  grouped,
  shares,
  units_of,
)
from o1jax.tree import note
from tests.toys import hand_tree


@pytest.mark.parametrize('rule', ALLOCATIONS)
@pytest.mark.parametrize('groups', [2, 3, 4, 5])
def test_shares_have_the_mean_one_and_the_ratio(rule, groups):
  share = shares(rule, groups, 4.0)
  assert share.mean() == pytest.approx(1) and (share > 0).all()
  if rule == 'hardest':
    assert (np.diff(share) > 0).all() and share[-1] / share[0] == pytest.approx(4)
  if rule == 'middle':
    np.testing.assert_allclose(share, share[::-1])
    assert groups < 3 or share[groups // 2] > share[0]
  if rule == 'even':
    np.testing.assert_allclose(share, 1)


def test_groups_are_of_one_size_and_in_the_order_of_ease():
  ease = np.array([0.1, 0.9, 0.5, 0.5, 0.0, 0.7])
  assert grouped(ease, 3).tolist() == [2, 0, 1, 1, 2, 0]
  assert grouped(np.zeros(5), 2).tolist() == [0, 0, 0, 1, 1]
  assert np.bincount(grouped(np.random.default_rng(0).random(457), 4)).tolist() == [
    115,
    114,
    114,
    114,
  ]


@pytest.mark.parametrize('rule', ALLOCATIONS)
def test_as_many_tokens_are_spent_on_average(rule):
  """Though a unit of a hard problem costs more."""
  rng = np.random.default_rng(1)
  ease = rng.random(200)
  cost, group = 50 + 100 * (1 - ease), grouped(ease, 4)
  units = units_of(group, cost, shares(rule, 4, 3.0), units=16, least=2, most=60)
  spent = (units[group] * cost).mean()
  assert 0.9 * 16 * cost.mean() < spent <= 16 * cost.mean() * (1 + 1e-9)
  if rule == 'even':
    assert units.tolist() == [16] * 4


def test_units_have_a_least_and_a_most():
  group, cost = np.repeat([0, 1], 10), np.ones(20)
  share = shares('hardest', 2, 9.0)
  assert units_of(group, cost, share, units=10, least=4, most=99).tolist() == [4, 16]
  assert units_of(group, cost, share, units=10, least=1, most=12).tolist()[1] == 12


def test_a_problem_is_easy_where_its_solutions_agree_or_are_of_value():
  value = [[0.8, 0.3], [0.2, 0.6]]
  tree = hand_tree([0, 0], width=2, max_steps=1, value=value, terminal=[[1, 1], [1, 0]])
  scores = {note(ANSWERS): np.array([[[7.0, 7.0], [5.0, 7.0]]], np.float32)}
  tree = tree.replace(scores=scores)
  none = tree.replace(terminal=np.zeros_like(tree.terminal))
  assert float(SIGNALS['agreement'].ease(tree)[0]) == pytest.approx(2 / 4)
  assert float(SIGNALS['value'].ease(tree)[0]) == pytest.approx((0.8 + 0.3 + 0.2) / 4)
  assert [float(row.ease(none)[0]) for row in SIGNALS.values()] == [0, 0]


@pytest.mark.parametrize(
  'settings, words',
  [
    (dict(rule='rich'), "rule is 'rich': choose one of even, hardest"),
    (dict(by='luck'), "by is 'luck': choose one of"),
    (dict(pilot=0.0), 'pilot=0.0: give a share'),
    (dict(pilot=1.0), 'pilot=1.0: give a share'),
    (dict(groups=1), 'groups=1: give a whole'),
    (dict(ratio=1.0), 'ratio=1.0: give more'),
    (dict(rule='middle', groups=2), "rule='middle' shares all alike among groups=2"),
  ],
)
def test_what_cannot_share_is_refused(settings, words):
  check_allocation(DEFAULTS)
  with pytest.raises(ValueError) as error:
    check_allocation(DEFAULTS | settings)
  assert str(error.value).startswith(words)
