"""Units for tokens, on drawn costs of known shape."""

import numpy as np
import pytest

from o1jax.search.budget import _CALLS, TOLERANCE, interpolate, units_for


def saturating(rng):
  most, rate = rng.uniform(100, 2000), rng.uniform(1, 20)
  return lambda units: most * (1 - np.exp(-units / rate))


def stepped(rng):
  at, base, height = rng.integers(1, 80), rng.uniform(10, 100), rng.uniform(10, 1000)
  return lambda units: base + 0.1 * units + height * (units >= at)


def affine(rng):
  base, each = rng.uniform(0, 200), rng.uniform(5, 150)
  return lambda units: base + each * units


def power(low, high):
  def curve(rng):
    each, exponent = rng.uniform(2, 150), rng.uniform(low, high)
    return lambda units: each * units**exponent

  return curve


COSTS = dict(
  affine=affine,
  concave=power(0.3, 1),
  convex=power(1, 2),
  saturating=saturating,
  stepped=stepped,
)


class Counted:
  """A cost that remembers what it was asked."""

  def __init__(self, cost, most):
    self.cost, self.most, self.asked = cost, most, []

  def __call__(self, units):
    assert 1 <= units <= self.most and units not in self.asked
    self.asked.append(units)
    return self.cost(units)


@pytest.mark.parametrize('shape', COSTS)
def test_the_units_found_spend_what_was_asked_or_none_are_nearer(shape):
  rng, calls = np.random.default_rng(0), []
  for _ in range(300):
    cost, most, tokens = COSTS[shape](rng), int(rng.integers(1, 200)), rng.uniform(20, 3000)
    spent = Counted(cost, most)
    guess = int(rng.integers(1, 300))
    units, known = units_for(tokens, spent, guess=guess, most=most)
    nearest = min(abs(cost(n) - tokens) for n in range(1, most + 1))
    # A step may hide its edge from the last call.
    spare = 0.05 * tokens if shape == 'stepped' else 1e-9
    assert abs(cost(units) - tokens) <= max(nearest + spare, TOLERANCE * tokens)
    assert known == {n: cost(n) for n in spent.asked}
    calls.append(len(spent.asked))
    # The same again, and of what is known nothing is asked again.
    assert units_for(tokens, cost, guess=guess, most=most) == (units, known)
    assert units_for(tokens, pytest.fail, guess=guess, most=most, known=known, calls=0)[0] == units
  assert max(calls) <= _CALLS and np.mean(calls) < 6


def test_a_cost_in_proportion_is_known_from_one_call():
  spent = Counted(lambda units: 7.0 * units, 200)
  assert units_for(700, spent, guess=16, most=200) == (100, {16: 112.0, 100: 700.0})
  assert spent.asked == [16, 100]


@pytest.mark.parametrize('tokens, units', [(25, 0.5), (50, 1), (150, 2.5), (200, 3), (350, 4.5)])
def test_the_line_begins_in_the_origin_and_goes_on(tokens, units):
  assert interpolate(tokens, {3: 200, 1: 50, 2: 100}.items()) == pytest.approx(units)


@pytest.mark.parametrize('most, units', [(None, 8), (80, 80)])
def test_where_more_units_spend_no_more_it_is_all_of_them(most, units):
  assert interpolate(900, [(4, 500.0), (8, 500.0)], most) == units


def test_what_falls_by_chance_is_taken_for_level():
  assert interpolate(150, [(1, 100.0), (2, 99.0), (3, 200.0)]) == pytest.approx(2.5)
