"""What the machine can do at most: large matrix products, and reading and writing memory."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark.timing import Row, row, seconds


def matmul_peak(dtype: str, sizes, *, repeats: int) -> Row:
  """GFLOP/s of square products at the size that does best."""
  best = None
  for size in sizes:
    x = jax.random.normal(jax.random.key(size), (size, size)).astype(dtype)
    multiply = jax.jit(jnp.matmul)
    rate = 2e-9 * size**3 / seconds(lambda: multiply(x, x), repeats)  # noqa: B023
    if best is None or np.median(rate) > best.value:
      best = row('matmul_peak_gflops', rate, 'GFLOP/s', dict(dtype=dtype, size=size))
  return best


def memory_bandwidth(megabytes: int, *, repeats: int) -> Row:
  """GB/s of an addition to a large array: each number is read once and written once."""
  x = jnp.zeros(megabytes * 250_000, jnp.float32)
  add = jax.jit(lambda x: x + 1)
  rate = 2e-9 * x.nbytes / seconds(lambda: add(x), repeats)
  return row('memory_gigabytes_per_second', rate, 'GB/s', dict(megabytes=megabytes))
