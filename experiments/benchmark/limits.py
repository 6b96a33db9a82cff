"""The limits of the machine: large matrix products, and reading and writing memory."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark.timing import Limit, Row, row, seconds, seconds_once


def matmul_rate(dtype: str, size: int) -> Limit:
  """Measures GFLOP/s of square products of a size. It takes the best of three: a disturbed one
  would make shares look good."""
  x = jax.random.normal(jax.random.key(size), (size, size)).astype(dtype)
  multiply = jax.jit(jnp.matmul)
  jax.block_until_ready(multiply(x, x))
  return lambda: 2e-9 * size**3 / min(seconds_once(lambda: multiply(x, x)) for _ in range(3))


def matmul_peak(dtype: str, sizes, *, repeats: int) -> Row:
  """GFLOP/s of square products at the size that does best."""
  best = None
  for size in sizes:
    measure = matmul_rate(dtype, size)
    rate = [measure() for _ in range(repeats)]
    if best is None or np.median(rate) > best.value:
      best = row('matmul_peak_gflops', rate, 'GFLOP/s', dict(dtype=dtype, size=size))
  return best


def memory_bandwidth(megabytes: int, *, repeats: int) -> Row:
  """GB/s of an addition to a large array, which reads and writes each number once."""
  x = jnp.zeros(megabytes * 250_000, jnp.float32)
  add = jax.jit(lambda x: x + 1)
  rate = 2e-9 * x.nbytes / seconds(lambda: add(x), repeats)
  return row('memory_gigabytes_per_second', rate, 'GB/s', dict(megabytes=megabytes))
