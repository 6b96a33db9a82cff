"""Updates on rows of text: next-token prediction, for pre-training, instruction tuning and their
control, and the frame of other losses."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import optax

from o1jax.learning.optimizer import LEARNS, apply_gradients
from o1jax.model.compute import supervised_flops
from o1jax.model.sharding import shard_problems
from o1jax.policy.initialise import next_token_loss
from o1jax.types import Metrics, Sequences, TrainState


def supervised_update(model, optimizer: optax.GradientTransformation, *, sharding: Any = None):
  """Returns the jitted (TrainState, Sequences) -> (TrainState, metrics) of next-token prediction;
  see `update_by`."""

  def loss(params, frozen, rows: Sequences):
    return next_token_loss(model, params, rows)

  return update_by(loss, optimizer, functools.partial(supervised_flops, model.config), sharding)


def update_by(
  loss: Callable,
  optimizer: optax.GradientTransformation,
  flops: Callable,
  sharding: Any = None,
  *,
  learns: tuple[str, ...] = LEARNS,
) -> Callable:
  """Returns the jitted (TrainState, rows) -> (TrainState, metrics); the state is donated.

  Where the loss or its gradient is not finite, the update changes nothing but its number, and the
  metric skipped is 1.

  Args:
    loss: (params, frozen, rows) -> (loss [], metrics, `loss` among them).
    optimizer: of the roles that learn.
    flops: (rows) -> [].
    sharding: of the state and the metrics, a prefix of the pair; None = as the compiler likes.
    learns: the roles that learn.
  """

  def update(state: TrainState, rows) -> tuple[TrainState, Metrics]:
    rows = shard_problems(rows)

    def of(learning):
      return loss(state.params | learning, state.frozen, rows)

    learning = {role: state.params[role] for role in learns}
    grads, metrics = jax.grad(of, has_aux=True)(learning)
    metrics['tokens'] = rows.length.sum()
    metrics['flops'] = flops(rows)
    state, stepped = apply_gradients(state, grads, optimizer, loss=metrics['loss'])
    return state.replace(update=state.update + 1), metrics | stepped

  return jax.jit(update, donate_argnums=0, out_shardings=sharding)
