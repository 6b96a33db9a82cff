"""Host memory that is kept between updates, not returned to the system."""

import ctypes
import sys

import jax

# Parameters of mallopt(3), from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
  """Tells glibc to keep what the process frees. Call it before the first array is made.

  XLA's CPU takes each program's temporaries from malloc and frees them after the call. By default
  glibc maps blocks of that size afresh from the system, so every page of them faults again at every
  update. That was 28,000 faults and a quarter of the time of a supervised update of 15 rows of 128
  tokens (experiments/LOG.md).

  Only the main thread's heap can hold blocks of any size, so XLA's CPU is told to run a program on
  the thread that calls it. One heap for all threads would do as well, but threads that compile side
  by side would wait for each other.

  Returns:
    Whether it took effect. False where the C library is not glibc; it then behaves as usual.
  """
  if not sys.platform.startswith('linux'):
    return False
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
  if mallopt is None:
    return False
  jax.config.update('jax_cpu_enable_async_dispatch', False)
  return all(mallopt(name, value) for name, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1)))
