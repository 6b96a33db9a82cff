"""Settings of searches: each has a range, and what is out of it is refused by name."""

import re

import pytest

from o1jax.search import SEARCHES
from o1jax.search.room import check_range

# Weights in a priority, which may have any sign.
FREE = ('depth_weight', 'uncertainty_weight')
# Counts of which there is one at least; of others there may be none.
SOME = ('at_once', 'children', 'every', 'rollouts', 'width')
NUMBERS = [
  (method, name)
  for method, row in SEARCHES.items()
  for name, value in row.settings.items()
  if type(value) in (int, float)
]


def room(method, **changes):
  row = SEARCHES[method]
  return row.room(4, candidates=row.least, max_steps=6, **{**row.settings, **changes})


@pytest.mark.parametrize('method, name', [pair for pair in NUMBERS if pair[1] not in FREE])
def test_a_number_below_0_is_refused_by_name(method, name):
  with pytest.raises(ValueError, match=f'^{name}=-1.*give a'):
    room(method, **{name: -1})
  assert room(method).slots > 0


COUNTS = [pair for pair in NUMBERS if type(SEARCHES[pair[0]].settings[pair[1]]) is int]


@pytest.mark.parametrize('method, name', COUNTS)
def test_a_count_is_whole(method, name):
  with pytest.raises(ValueError, match=f'^{name}=1.5: give a whole number'):
    room(method, **{name: 1.5})


@pytest.mark.parametrize('method, name', COUNTS)
def test_a_count_of_0_is_refused_where_nothing_would_be_left(method, name):
  if name in SOME:
    with pytest.raises(ValueError, match=f'^{name}=0: give a whole number of at least 1'):
      room(method, **{name: 0})
  else:
    assert room(method, **{name: 0}).slots > 0


@pytest.mark.parametrize(
  'low, high, good, bad, words',
  [
    (0, 1, (0, 0.5, 1), 1.5, 'a number in [0, 1]'),
    (1, float('inf'), (1, 7.5, float('inf')), 0.5, 'a number of at least 1'),
    (0, 1, (0.0,), float('nan'), 'a number in [0, 1]'),
  ],
)
def test_a_range_has_its_ends(low, high, good, bad, words):
  for value in good:
    check_range(low, high, share=value)
  with pytest.raises(ValueError, match=re.escape(f'share={bad}: give {words}')):
    check_range(low, high, share=bad)
