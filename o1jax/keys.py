"""The streams of random numbers, by name.

A number belongs to a problem: (seed, update, index of the problem, slot, token). So results do not
depend on how a batch is split, nor on what else a program draws.
"""

import jax
import jax.numpy as jnp

from o1jax.types import Array

_NOISE = 2**31 - 1
_FLIPS = 2**31 - 2
_DRAWS = 2**31 - 3


def of_problems(key: Array, count: int) -> Array:
  """One key a problem, [N], by its index."""
  return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))


def of_draw(key: Array, number: int) -> Array:
  """The key of another draw of the same problems, 0 the key itself."""
  return jax.random.fold_in(jax.random.fold_in(key, _DRAWS), number) if number else key


def of_update(key: Array, update: Array | int) -> tuple[Array, Array]:
  """The keys of an update, 0 the first: one draws its problems, one is for their search."""
  draw, search = jax.random.split(jax.random.fold_in(key, update))
  return draw, search


def of_slot(keys: Array, slot: Array | int) -> Array:
  """Keys [B] of problems -> keys of what fills a slot."""
  return jax.vmap(jax.random.fold_in, (0, None))(keys, slot)


def of_noise(keys: Array) -> Array:
  """Keys [B] of problems -> keys of a search's own noise."""
  return jax.vmap(jax.random.fold_in, (0, None))(keys, _NOISE)


def of_flips(keys: Array) -> Array:
  """Keys [B] of problems -> keys of the faults of a noisy score."""
  return jax.vmap(jax.random.fold_in, (0, None))(keys, _FLIPS)
