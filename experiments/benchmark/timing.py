"""Timing: rows of the table, as medians of repeated calls with their quartiles."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

Limit = Callable[[], float]  # GFLOP/s, measured anew at each call


class Row(NamedTuple):
  """One measured number. `low` and `high` are the quartiles of its repeats; `shape` names its
  size."""

  name: str
  value: float
  unit: str
  shape: dict[str, Any]
  low: float
  high: float


def seconds(call: Callable[[], Any], repeats: int) -> np.ndarray:
  """Seconds of each of `repeats` calls, after one that is not counted. Each call waits for the
  device."""
  jax.block_until_ready(call())
  return np.array([seconds_once(call) for _ in range(repeats)])


def seconds_once(call: Callable[[], Any]) -> float:
  """Seconds of one call, which is waited for."""
  began = time.perf_counter()
  jax.block_until_ready(call())
  return time.perf_counter() - began


def beside(limit: Limit, call: Callable[[], Any], repeats: int) -> tuple[np.ndarray, np.ndarray]:
  """Seconds of each call, as in `seconds`, and the limit measured right before it.

  A shared machine changes its speed within minutes. A limit measured once would belong to another
  hour.
  """
  jax.block_until_ready(call())
  pairs = [(limit(), seconds_once(call)) for _ in range(repeats)]
  limits, took = np.array(pairs).T
  return took, limits


def row(name: str, samples, unit: str, shape: dict[str, Any]) -> Row:
  """The row of some repeats, or of one number."""
  low, median, high = np.percentile(np.atleast_1d(samples), [25, 50, 75])
  return Row(name, float(median), unit, shape, float(low), float(high))


def share_row(
  name: str, flops: float, took: np.ndarray, limits: np.ndarray, shape: dict[str, Any]
) -> Row:
  """The share of the matmul peak that FLOPs reached, from what `beside` measured."""
  return row(
    name,
    1e-9 * flops / took / limits,
    'of matmul peak',
    shape | dict(peak_gflops=float(np.median(limits))),
  )
