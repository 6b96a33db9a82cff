"""Checksums: any change shows, and how an array is split does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from o1jax.runtime.checksum import checksum, checksums


def by_hand(x):
  """The definition, on the host, word by word."""
  words = np.asarray(x).reshape(-1)
  words = words.view(f'uint{8 * min(words.itemsize, 4)}').tolist() if words.size else []
  total = 0
  for place, word in enumerate(words):
    mixed = (word + place * 0x9E3779B9) % 2**32
    mixed = (mixed ^ mixed >> 16) * 0x85EBCA6B % 2**32
    mixed = (mixed ^ mixed >> 13) * 0xC2B2AE35 % 2**32
    total += mixed ^ mixed >> 16
  return total % 2**32


@pytest.mark.parametrize(
  'dtype', ['float32', 'bfloat16', 'float16', 'int32', 'int8', 'uint32', 'bool']
)
@pytest.mark.parametrize('shape', [(), (7,), (0, 3), (3, 4, 5)])
def test_it_is_the_sum_of_mixed_words(shape, dtype):
  x = jnp.asarray(np.random.default_rng(0).normal(0, 30, shape)).astype(dtype)
  assert checksums({'x': x}) == {'x': by_hand(x)}


def test_every_flipped_bit_shows():
  x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
  bits = np.unpackbits(x.view(np.uint8).reshape(-1))
  flipped = np.stack(
    [np.packbits(bits ^ (np.arange(bits.size) == i)).view(np.float32) for i in range(bits.size)]
  )
  found = jax.vmap(checksum)(flipped.reshape(-1, 3, 5))
  assert (
    int(checksum(x)) not in np.asarray(found) and len(set(np.asarray(found).tolist())) == bits.size
  )


@pytest.mark.parametrize(
  'change',
  [
    lambda x: x[::-1],
    lambda x: -x,
    lambda x: x.at[jnp.array([0, 1])].set(x[jnp.array([1, 0])]),
    jnp.zeros_like,
    lambda x: x.at[0].set(-x[0]).at[1].set(-x[1]),
    lambda x: jnp.roll(x, 1),
    lambda x: x.reshape(2, 3).T.reshape(-1),
  ],
)
def test_order_and_sign_count(change):
  x = jnp.array([1.5, -1.5, 2.0, 3.0, 0.0, -0.0])
  assert int(checksum(change(x))) != int(checksum(x))


@pytest.mark.parametrize('axes', [(), ('data',), (None, 'data')])
def test_how_an_array_is_split_does_not_count(axes):
  x = jax.random.normal(jax.random.key(0), (6, 4))
  mesh = jax.make_mesh((2,), ('data',), axis_types=(AxisType.Auto,))
  split = jax.device_put(x, NamedSharding(mesh, PartitionSpec(*axes)))
  assert len(split.sharding.device_set) == 2
  assert checksums({'x': split}) == checksums({'x': x})
