"""A search that shares its total among problems, with a toy whose cost is known."""

import numpy as np
import pytest

from o1jax.evaluation.accuracy import Answers, Readout, Verdicts
from o1jax.recipes.allocating import search_shared
from o1jax.recipes.searches import Row
from o1jax.search import Budget
from o1jax.search.allocate import DEFAULTS

COUNT = 40
READOUT = Readout('rounds', 'majority', Budget(units=16))
EASE = np.random.default_rng(0).permutation(np.linspace(0, 0.9, COUNT))
COST = 50 + 100 * (1 - EASE)  # tokens of a unit


def row(method='sequential', **how):
  how = tuple(sorted((DEFAULTS | dict(rule='hardest', pilot=0.25) | how).items()))
  labels = dict(majority='rounds')
  return Row('rounds', method, 64, (), labels, (Budget(units=16),), allocate=how)


class Toy:
  """A search that answers with the units that it was given."""

  def __init__(self):
    self.calls = []

  def __call__(self, search, readouts, words, *, spend, only=None):
    numbers = np.arange(COUNT) if only is None else only
    self.calls.append((numbers, spend))
    text = [f'{number}: {spend}' for number in numbers]
    answers = {readout: Answers(numbers, np.ones(len(numbers)), text) for readout in readouts}
    tokens = spend * COST[numbers]
    same = dict.fromkeys(('right', 'unjudged', 'score', 'late'), np.zeros(len(numbers)))
    samples, ease = np.full(len(numbers), spend), EASE[numbers] * min(1, spend / 4)
    bill = dict(tokens=tokens, flops=2 * tokens, scoring=tokens)
    bill['seconds'] = np.full(len(numbers), 0.5)
    return Verdicts(answers, **bill, **same, samples=samples, ease=ease, states=None, trees=None)


def test_each_group_has_units_of_its_own_and_all_is_in_order():
  toy = Toy()
  found = search_shared(toy, row(), [READOUT], 'toy', units=16)
  (everyone, least), *groups = toy.calls
  assert least == 4 and len(everyone) == COUNT and len(groups) == 4
  spends = [spend for _, spend in groups]
  assert spends == sorted(spends) and len(set(spends)) == 4
  eases = [EASE[numbers] for numbers, _ in groups]
  assert all(easy.min() >= hard.max() for easy, hard in zip(eases, eases[1:]))
  spend = np.empty(COUNT, int)
  for numbers, units in groups:
    spend[numbers] = units
  assert found.answers[READOUT].text == [f'{i}: {n}' for i, n in enumerate(spend)]
  np.testing.assert_array_equal(found.answers[READOUT].chosen, np.arange(COUNT))


@pytest.mark.parametrize('rule', ['hardest', 'middle'])
@pytest.mark.parametrize('method, twice', [('sequential', False), ('beam', True)])
def test_the_bill_is_what_was_asked(method, twice, rule):
  """A first search that is no part of the second is billed beside it."""
  toy = Toy()
  found = search_shared(toy, row(method, rule=rule), [READOUT], 'toy', units=16)
  second = np.empty(COUNT)
  for numbers, spend in toy.calls[1:]:
    second[numbers] = spend * COST[numbers]
  np.testing.assert_allclose(found.tokens, second + twice * 4 * COST)
  np.testing.assert_allclose(found.flops, 2 * found.tokens)
  np.testing.assert_allclose(found.scoring, found.tokens)
  np.testing.assert_allclose(found.seconds, 1.0)
  assert 0.9 * 16 * COST.mean() < found.tokens.mean() <= 16 * COST.mean()


def test_nothing_of_a_verdict_is_read():
  """The groups are the same whatever is right."""
  toy, other = Toy(), Toy()
  search_shared(toy, row(), [READOUT], 'toy', units=16)

  def wrong(*args, **how):
    found = other(*args, **how)
    answers = {k: a._replace(verdict=0 * a.verdict) for k, a in found.answers.items()}
    return found._replace(answers=answers, right=found.right + 9)

  search_shared(wrong, row(), [READOUT], 'toy', units=16)
  for (one, spend), (two, again) in zip(toy.calls, other.calls, strict=True):
    np.testing.assert_array_equal(one, two)
    assert spend == again
