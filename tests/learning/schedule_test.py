"""When cloning stops paying, as a table of validation histories."""

import pytest

from o1jax.learning.schedule import ever_plateaued, plateaued


@pytest.mark.parametrize(
  'history, expected',
  [
    ([], False),
    ([0.5], False),
    ([0.5, 0.5], False),  # nothing stands before the last two
    ([0.5, 0.5, 0.5], True),
    ([0.5, 0.4, 0.3], True),  # falling is not gaining
    ([0.5, 0.4, 0.52], False),
    ([0.5, 0.52, 0.4], False),  # the best of the last two counts
    ([0.5, 0.505, 0.508], True),  # too small a gain
    ([0.8, 0.5, 0.6, 0.7], True),  # compared with the best before, not with the latest
    ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], False),
    ([0.1, 0.2, 0.3, 0.4, 0.4, 0.4], True),
  ],
)
def test_histories(history, expected):
  assert plateaued(history) == expected


def test_a_gain_of_just_the_minimum_is_enough():
  assert not plateaued([0.5, 0.5, 0.75], min_gain=0.25)
  assert plateaued([0.5, 0.5, 0.75], min_gain=0.2500001)


def test_patience_is_how_many_validations_may_fail():
  history = [0.5, 0.9, 0.5, 0.5, 0.5]
  assert [plateaued(history, patience=p) for p in (1, 2, 3, 4, 5)] == [
    True,
    True,
    True,
    False,
    False,
  ]
  with pytest.raises(ValueError, match='patience=0'):
    plateaued(history, patience=0)


def test_a_plateau_is_not_forgotten_when_accuracy_rises_again():
  history = [0.2, 0.3, 0.3, 0.3, 0.5, 0.7]
  assert plateaued(history[:4]) and not plateaued(history)
  assert [ever_plateaued(history[:n]) for n in range(7)] == [
    False,
    False,
    False,
    False,
    True,
    True,
    True,
  ]
