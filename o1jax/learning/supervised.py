"""One supervised update: behaviour cloning on demonstrations, or pre-training on plain text."""

from typing import Any

import jax
import optax

from o1jax.learning.optimizer import LEARNS, apply_gradients
from o1jax.model.compute import supervised_flops
from o1jax.model.sharding import shard_problems
from o1jax.policy.initialise import next_token_loss
from o1jax.types import Metrics, Sequences, TrainState


def supervised_update(model, optimizer: optax.GradientTransformation, *, sharding: Any = None):
  """Returns the jitted (TrainState, Sequences) -> (TrainState, metrics); the state is donated.

  Where the loss or its gradient is not finite, the update changes nothing but its number, and the
  metric skipped is 1.

  sharding: of the state and the metrics, a prefix of the pair; None = as the compiler likes.
  """

  def update(state: TrainState, rows: Sequences) -> tuple[TrainState, Metrics]:
    rows = shard_problems(rows)

    def loss(learning):
      return next_token_loss(model, state.params | learning, rows)

    learning = {role: state.params[role] for role in LEARNS}
    grads, metrics = jax.grad(loss, has_aux=True)(learning)
    metrics['tokens'] = rows.length.sum()
    metrics['flops'] = supervised_flops(model.config, rows)
    state, stepped = apply_gradients(state, grads, optimizer, loss=metrics['loss'])
    return state.replace(update=state.update + 1), metrics | stepped

  return jax.jit(update, donate_argnums=0, out_shardings=sharding)
