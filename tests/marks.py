"""A law that holds for many: README's command tries it on some, and the long trials on all."""

from collections.abc import Iterable

import pytest


def some(values: Iterable, *here) -> list:
  """Parameters of a test: those of `here` as they are, all others marked as long."""
  values = list(values)
  assert here and set(here) <= set(values), f'{here} of {values}'
  several = lambda x: x if isinstance(x, tuple) else (x,)
  return [x if x in here else pytest.param(*several(x), marks=pytest.mark.long) for x in values]
