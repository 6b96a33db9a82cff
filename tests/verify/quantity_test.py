r"""Numbers by value, and units that may be left out."""

import random
from fractions import Fraction

import pytest

from o1jax.verify.quantity import Quantity, number, quantity


def forms(value: Fraction):
  """Ways to write a number."""
  top, bottom = value.numerator, value.denominator
  yield f'{top}/{bottom}'
  yield rf'\frac{{{3 * top}}}{{{3 * bottom}}}'
  yield rf'\frac{{{-top}}}{{{-bottom}}}'
  sign, top = '-' * (top < 0), abs(top)
  yield rf'{sign} \frac{{{top}}}{{{bottom}}}'
  yield rf'{sign}{top // bottom} \frac{{{top % bottom}}}{{{bottom}}}'
  yield f'{sign}{top // bottom} {top % bottom}/{bottom}'
  decimals = top * 10**6 / bottom
  if decimals == int(decimals):
    yield f'{sign}{top // bottom}.{int(decimals) % 10**6:06}'
    yield f'{sign}{int(decimals)}e-6'
    yield rf'{sign} {int(decimals)} \times 10^{{-6}}'


def test_every_form_of_a_number_has_its_value():
  rng = random.Random(0)
  for _ in range(500):
    value = Fraction(rng.randrange(-1000, 1000), rng.choice([1, 2, 3, 7, 8, 50, 1000]))
    for form in forms(value):
      assert number(form) == value, form


@pytest.mark.parametrize(
  'text',
  [
    '',
    '-',
    '.',
    'x',
    '1/0',
    '0/0',
    '1 2',
    '1.2.3',
    '1e',
    '1e1000',
    '1e-9999999999',
    '---1',
    '1-2',
    '٣',
  ],
)
def test_other_texts_are_no_numbers(text):
  assert number(text) is None


@pytest.mark.parametrize(
  'text, apart',
  [
    ('5', ('5', 5, '')),
    ('5%', ('5', 5, '%')),
    (r'5\text{ percent}', ('5', 5, '%')),
    ('5 cm', ('5', 5, 'cm')),
    ('5 square centimetres', ('5', 5, 'cm 2')),
    (r'5\text{ cm}^{2}', ('5', 5, 'cm 2')),
    (r'5\text{ m}/\text{s}^2', ('5', 5, 'm / s 2')),
    ('5 metres per second', ('5', 5, 'm / s')),
    (r'\$5 per hour', ('5', 5, 'dollar / h')),
    ('-$1.50', ('-1.50', Fraction(-3, 2), 'dollar')),
    ('2.5 million', ('2500000', 2500000, '')),
    ('2 million people', ('2000000', 2000000, 'people')),
    ('3 red apples', ('3', 3, 'red apple')),
    (r'2\sqrt{3}\text{ ft}', (r'2\sqrt{3}', None, 'ft')),
    ('101_2', ('101', 101, 'base 2')),
    (r'x \text{ million}', (r'x \text{ million}', None, '')),
    ('5x', ('5x', None, '')),
    ('5 x', ('5 x', None, '')),
    ('5apples', ('5apples', None, '')),
    ('5 or more', ('5 or more', None, '')),
    (r'5 \text{ or six}', (r'5 \text{ or six}', None, '')),
    ('x_1', ('x_1', None, '')),
    ('', ('', None, '')),
  ],
)
def test_quantity(text, apart):
  assert quantity(text) == Quantity(*apart)
