"""Figures: a reader can tell the numbers of an axis."""

import re

import pytest

from o1jax.evaluation.figures import lines_figure
from o1jax.evaluation.studies.evidence import Plot, Series


@pytest.mark.parametrize(
  'low, high, marked',
  [
    (200, 1600, ['200', '500', '1,000']),
    (30, 3000, ['30', '100', '300', '1,000', '3,000']),
    (1, 100_000, ['1', '10', '100', '1,000', '10,000', '10⁵']),
    (0.05, 0.5, ['0.05', '0.1', '0.2', '0.5']),
    (205, 395, ['200', '300', '400']),
  ],
)
def test_a_log_axis_is_marked_however_short_it_is(low, high, marked):
  series = Series('tree', [low, high], [1.0, 2.0], [0.5, 1.5], [1.5, 2.5])
  drawn = lines_figure(Plot('leads', 'tokens', 'points', (series,), log='x'))
  said = re.findall(r'<text[^>]*>([^<]+)</text>', drawn)
  assert said[: len(marked)] == marked
  assert said[len(marked)] == 'tokens'


def test_an_axis_of_whole_numbers_is_marked_with_them():
  series = Series('tree', range(1, 6), *[[1.0] * 5] * 3)
  drawn = lines_figure(Plot('by difficulty', 'bin', 'points', (series,)))
  said = re.findall(r'<text[^>]*>([^<]+)</text>', drawn)
  assert said[:6] == ['1', '2', '3', '4', '5', 'bin']


@pytest.mark.parametrize('name', ['chains', 'without_replacement:weigh=prm*likelihood'])
def test_all_names_of_a_legend_are_within_the_figure(name):
  series = tuple(Series(f'{name}{i}', [1, 2], [1.0, 2.0], [0.5, 1.5], [1.5, 2.5]) for i in range(7))
  drawn = lines_figure(Plot('leads', 'tokens', 'points', series))
  width = float(re.search(r'viewBox="0 0 ([\d.]+)', drawn).group(1))
  texts = re.findall(rf'<text[^>]* x="([\d.-]+)"[^>]*>{re.escape(name)}', drawn)
  at = [float(x) for x in texts]
  assert len(at) == 7
  assert 0 < min(at) and max(at) + 0.45 * 9 * len(name) < width
