"""A stage that takes no time: weights that walk at random, each step a function of its number."""

import jax
import jax.numpy as jnp

from o1jax.types import TrainState


def walking(width: int):
  """(what makes a fresh state of so many weights, its update)."""

  def fresh():
    return TrainState(
      update=jnp.int32(0), params=dict(policy={'w': jnp.ones(width)}, critic={}), optimizer={}
    )

  @jax.jit
  def walk(state, _):
    noise = jax.random.normal(jax.random.fold_in(jax.random.key(3), state.update), (width,))
    weights = state.params['policy']['w'] + noise
    state = state.replace(
      update=state.update + 1, params=state.params | dict(policy={'w': weights})
    )
    return state, {'loss': weights.mean(), 'tokens': 5, 'skipped': 0}

  return fresh, walk
