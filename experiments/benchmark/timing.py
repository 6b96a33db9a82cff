"""Timing: rows of the table, as medians of repeated calls with their quartiles."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np


class Row(NamedTuple):
  """One measured number. `low` and `high` are the quartiles of its repeats; `shape` says of what size."""

  name: str
  value: float
  unit: str
  shape: dict[str, Any]
  low: float
  high: float


def seconds(call: Callable[[], Any], repeats: int) -> np.ndarray:
  """Seconds of each of `repeats` calls, after one that is not counted; each waits for the device."""
  jax.block_until_ready(call())
  took = np.empty(repeats)
  for i in range(repeats):
    began = time.perf_counter()
    jax.block_until_ready(call())
    took[i] = time.perf_counter() - began
  return took


def row(name: str, samples, unit: str, shape: dict[str, Any]) -> Row:
  """The row of some repeats, or of one number."""
  low, median, high = np.percentile(np.atleast_1d(samples), [25, 50, 75])
  return Row(name, float(median), unit, shape, float(low), float(high))
