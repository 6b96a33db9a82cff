"""AdamW with warm-up and cosine decay, over the trained part of `Params`."""

import jax
import jax.numpy as jnp
import optax

from o1jax.types import Params, TrainState


def adamw(
  *,
  learning_rate: float,
  updates: int,
  warmup: int = 20,
  end_fraction: float = 0.1,
  weight_decay: float = 0.01,
  clip_norm: float = 1.0,
  beta2: float = 0.98,
) -> optax.GradientTransformation:
  """Linear warm-up, cosine to `end_fraction` of the peak, global-norm clipping, decay on matrices only."""
  warmup = min(warmup, max(updates // 2, 1))
  schedule = optax.warmup_cosine_decay_schedule(
    0.0, learning_rate, warmup, max(updates, warmup + 1), learning_rate * end_fraction
  )

  def matrices(params):
    return jax.tree.map(lambda x: x.ndim > 1, params)

  return optax.chain(
    optax.clip_by_global_norm(clip_norm),
    optax.adamw(schedule, b2=beta2, weight_decay=weight_decay, mask=matrices),
  )


def trained(params: Params) -> Params:
  """The part that gradients reach: all but the reference."""
  return params.replace(reference=None)


def init_state(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
  """Update 0."""
  return TrainState(update=jnp.int32(0), params=params, optimizer=optimizer.init(trained(params)))


def apply_gradients(state: TrainState, grads: Params, optimizer: optax.GradientTransformation) -> TrainState:
  """One optimizer step; the reference stays. Does not count as an update by itself."""
  changes, opt_state = optimizer.update(grads, state.optimizer, trained(state.params))
  params = optax.apply_updates(trained(state.params), changes)
  return state.replace(params=params.replace(reference=state.params.reference), optimizer=opt_state)
