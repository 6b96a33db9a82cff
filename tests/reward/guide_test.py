"""What a search follows is the expression that a person wrote, and nothing else."""

import numpy as np
import pytest

from o1jax.reward.guide import check_guide, follow, names

A, B = np.array([[0.25, 0.5]]), np.array([[0.5, 0.75]])


@pytest.mark.parametrize(
  'guide, expected',
  [
    ('a', A),
    ('a * b', A * B),
    ('a*b - 0.5 * b', A * B - 0.5 * B),
    ('-(a + 2) * b', -(A + 2) * B),
    (' a - b - a ', A - B - A),
  ],
)
def test_the_value_of_an_expression(guide, expected):
  np.testing.assert_allclose(follow(guide, dict(a=A, b=B).get), expected)


def test_each_score_is_asked_for_once():
  asked = []
  follow('a * a + b * a', lambda name: asked.append(name) or A)
  assert asked == list(names('a * a + b * a')) == ['a', 'b']


@pytest.mark.parametrize(
  'guide',
  [
    *('', 'a +', 'a / b', 'a ** 2', 'f(a)', 'a if b else a', '"a"', 'a.b', 'True * a', 'a b'),
    *('a * 1e999', f'a * {"9" * 400}', 'a - ' + '-' * 100_000 + 'b'),
  ],
  ids=lambda guide: guide[:20],
)
def test_what_is_no_guide(guide):
  with pytest.raises(ValueError, match='is no guide: write names and finite numbers with'):
    check_guide(guide, ('a', 'b'))


@pytest.mark.parametrize(
  'guide, message', [('a * c', 'reads c, .* from a, b'), ('1 + 1', 'no score')]
)
def test_scores_that_nothing_writes(guide, message):
  check_guide('a * b', ('a', 'b'))
  with pytest.raises(ValueError, match=message):
    check_guide(guide, ('a', 'b'))
