"""Laws of the step format."""

import numpy as np
import pytest

from o1jax.text import steps


@pytest.mark.parametrize(
  'parts', [[], ['<answer>1'], ['<analysis>a', '<answer>'], ['<completion>x', '', '<answer>1']]
)
def test_split_inverts_join(parts):
  assert steps.split_steps(steps.join_steps(parts)) == parts


def test_a_step_with_a_delimiter_is_refused():
  with pytest.raises(ValueError, match='holds the delimiter'):
    steps.join_steps(['<analysis>a\nb', '<answer>1'])


def test_counts_by_the_tag_a_step_begins_with():
  texts = [
    '<completion>a\n<completion>b <analysis>\n<answer>1',
    '<analysis>x\n<completion>y\n<answer>2',
    '',
  ]
  counts = steps.count_behaviours(texts)
  assert tuple(counts) == steps.BEHAVIOURS
  assert counts['completion'] == (2 / 3, 1.0)
  assert counts['analysis'] == (1 / 3, 1 / 3)
  assert counts['correction'] == (0, 0)


def test_no_texts_count_as_zeros():
  assert set(steps.count_behaviours([]).values()) == {(0, 0)}


@pytest.mark.parametrize('setting', [{'analysis': 1.1}, {'dead_end': -0.1}, {'max_dead_ends': 0}])
def test_behaviours_out_of_range_name_the_setting_and_the_value(setting):
  ((name, value),) = setting.items()
  with pytest.raises(ValueError, match=f'behaviours.{name}={value}'):
    steps.Behaviours(**setting)


def test_every_attempt_fails_with_the_same_chance():
  rng = np.random.default_rng(0)
  drawn = [steps.Behaviours(dead_end=0.4, max_dead_ends=2).draw_dead_ends(rng) for _ in range(4000)]
  shares = np.bincount(drawn, minlength=4) / 4000
  np.testing.assert_allclose(shares, [0.6, 0.4 * 0.6, 0.4 * 0.4, 0], atol=0.03)
  assert steps.Behaviours(dead_end=0, max_dead_ends=3).draw_dead_ends(rng) == 0
