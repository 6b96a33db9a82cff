"""The processes of one job: which of them writes what is written once, and how they come to one decision."""

from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils


def first() -> bool:
  """Whether this process is the one that writes what is written once."""
  return jax.process_index() == 0


def agree(value: int, how: Callable[[list[int]], int] = max) -> int:
  """Returns `how` of the values that all processes give. Each must call it at the same point, and waits for the others.

  Args:
    value: of this process, within int32.
    how: of all values, by process; what one process makes of its own value alone must be that value.
  """
  if jax.process_count() == 1:
    return value
  return int(how(multihost_utils.process_allgather(np.int32(value)).tolist()))
