"""What a rule that stops a search gains and costs, by a toy that is counted by hand."""

import dataclasses

import numpy as np
import pytest

from o1jax.evaluation import compute_page
from o1jax.evaluation.measured import Measured
from o1jax.evaluation.stopping import stoppings
from tests.evaluation.drawn import COUNT, chains, one, table_of

NAME = 'gumbel:stop=value'


def measure(method, tokens, right, *, late=0, seed=0, units=8):
  """Of given tokens and verdicts by problem."""
  made = one(method, 10 * units, seed=seed, budget=0)
  row = dataclasses.replace(made.row, units=units, tokens=float(np.mean(tokens)))
  return Measured(row, np.asarray(right, float), made.cluster, made.rate), tokens, late


def table_with(*measures):
  rows, table = table_of([each for each, *_ in measures])
  for name, at in (('tokens', 1), ('late', 2)):
    table[name] = np.concatenate(
      [np.broadcast_to(np.asarray(m[at], float), COUNT) for m in measures]
    )
  return rows, table


def pair(seed=0, units=8):
  """Of 60 problems 20 are stopped at half of their tokens. Of these the whole search has 12 right;
  the stopped one has 9 of those and 1 of the others."""
  place = np.arange(COUNT)
  whole = np.isin(place, [*range(12), *range(20, 30)])
  cut = np.isin(place, [*range(3, 12), 12, *range(20, 30)])
  tokens = np.where(place < 20, 50, 100)
  late = np.where(place < 5, 10, 0)
  base = measure('gumbel', np.full(COUNT, 100), whole, late=late * 3, seed=seed, units=units)
  return base, measure(NAME, tokens, cut, late=late, seed=seed, units=units)


def test_it_is_the_search_against_its_beginning():
  (found,) = stoppings(*table_with(*pair()))
  assert found.row.method == NAME
  assert (found.tokens, found.whole) == (pytest.approx(50 * 20 / 60 + 100 * 40 / 60), 100)
  assert found.lead.mean == pytest.approx(-2 / 60)
  assert found.stopped == pytest.approx(20 / 60) and found.premature == pytest.approx(3 / 60)
  assert (found.late, found.idle) == (pytest.approx(50 / 60), pytest.approx(150 / 60))


def test_seeds_are_averaged_and_budgets_are_apart():
  found = stoppings(*table_with(*pair(), *pair(1), *pair(units=4)))
  assert [(one.row.units, one.lead.seeds) for one in found] == [(8, 2), (4, 1)]
  assert found[0].premature == pytest.approx(3 / 60)


def test_a_search_of_other_units_or_that_is_no_beginning_is_not_compared():
  base, cut = pair()
  assert stoppings(*table_with(cut)) == []
  assert stoppings(*table_with(base, pair(units=4)[1])) == []
  spends_more = measure(NAME, np.full(COUNT, 101), base[0].right)
  assert stoppings(*table_with(base, spends_more)) == []
  other_answers = measure(NAME, np.full(COUNT, 100), 1 - base[0].right)
  assert stoppings(*table_with(base, other_answers)) == []


def test_problems_without_a_verdict_are_left_out():
  base, cut = pair()
  cut[0].right[:10] = np.nan
  (found,) = stoppings(*table_with(base, cut))
  assert found.lead.problems == 50 and found.stopped == pytest.approx(10 / 50)


def test_the_page_has_a_table_where_there_is_a_rule():
  base, cut = pair()
  title = 'Rules that stop a search: toy, initialised policy'
  rows, table = table_with(base, cut, *((each, 100, 0) for each in chains(0)))
  text = compute_page.equal_compute(rows, table)
  part = text.split(title)[1]
  for word in ('Gumbel MCTS, until a solution has a high value', '33.3%', '5.0%', '83', '8 simul'):
    assert word in part
  rows, table = table_with(base, *((each, 100, 0) for each in chains(0)))
  assert title not in compute_page.equal_compute(rows, table)
