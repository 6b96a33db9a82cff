"""How processes agree; that they do, where there are several, is in elastic_test.py."""

import jax
import numpy as np
import pytest

from o1jax.runtime import processes
from o1jax.runtime.processes import agree, first


def test_alone_a_process_decides(monkeypatch):
  monkeypatch.setattr(
    processes.multihost_utils, 'process_allgather', lambda _: pytest.fail('asked')
  )
  assert first() and agree(3) == 3


@pytest.mark.parametrize('how, agreed', [(max, 7), (min, 2), (lambda values: values[0], 5)])
def test_of_several_the_values_of_all_count(monkeypatch, how, agreed):
  monkeypatch.setattr(jax, 'process_count', lambda: 3)
  monkeypatch.setattr(
    processes.multihost_utils, 'process_allgather', lambda value: np.array([5, value, 7])
  )
  assert agree(2, how) == agreed
