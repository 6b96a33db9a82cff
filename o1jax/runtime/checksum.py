"""Checksums of arrays, computed on their own devices. Almost any change of the bits or their places
changes the number."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from o1jax.types import Array

# The odd constants of MurmurHash3's finaliser, and the golden ratio as a 32-bit fraction.
_GOLDEN, _FIRST, _SECOND = np.uint32(0x9E3779B9), np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35)


def checksums(leaves: Mapping[str, Array]) -> dict[str, int]:
  """Returns the checksum of each array, computed on its own devices.

  It depends only on the bits and their places in row-major order. The sum is of integers, so it is
  the same however an array is sharded. Where arrays span processes, all of them must call this.
  """
  # One at a time. A CPU's devices wait for one another on the threads that also copy, so many
  # programs under way beside a checkpoint's copies can leave no thread for the last device.
  return {name: int(checksum(x)) for name, x in leaves.items()}


@jax.jit
def checksum(x: Array) -> Array:
  """The sum modulo 2**32 of the 32-bit words of x, each mixed with its place: uint32 [].

  Mixing is one-to-one for a place, so a change within one word always shows. Any other change is
  missed once in 2**32.
  """
  if x.dtype == bool:
    x = x.astype(jnp.uint8)  # a bool has no bits to look at
  words = jax.lax.bitcast_convert_type(x, jnp.dtype(f'uint{8 * min(x.dtype.itemsize, 4)}')).astype(
    jnp.uint32
  )
  place = jnp.uint32(0)
  for axis, length in enumerate(words.shape):
    place = place * np.uint32(length) + jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
  mixed = words + place * _GOLDEN
  mixed = (mixed ^ (mixed >> 16)) * _FIRST
  mixed = (mixed ^ (mixed >> 13)) * _SECOND
  return jnp.sum(mixed ^ (mixed >> 16), dtype=jnp.uint32)
