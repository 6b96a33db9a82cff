"""Learning from labelled steps: the critic's cross-entropy with their labels, and what holds the
policy meanwhile."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from o1jax.learning.losses import cross_entropy, masked_mean
from o1jax.learning.optimizer import LEARNS
from o1jax.learning.supervised import update_by
from o1jax.model.compute import labelled_flops
from o1jax.model.forward import forward_rows, score_tokens
from o1jax.types import Array, LabelledRows, Metrics, Params


def labelled_update(
  model,
  optimizer: optax.GradientTransformation,
  *,
  keep: float = 0.0,
  learns: tuple[str, ...] = LEARNS,
  sharding: Any = None,
):
  """Returns the jitted (TrainState, LabelledRows) -> (TrainState, metrics), see
  `supervised.update_by`. With `keep` the state holds the policy of the start, frozen as
  'reference'."""
  loss = functools.partial(label_loss, model, keep=keep)
  flops = functools.partial(labelled_flops, model.config, keeps=keep > 0)
  return update_by(loss, optimizer, flops, sharding, learns=learns)


def label_loss(
  model, params: Params, frozen: Params, rows: LabelledRows, *, keep: float = 0.0
) -> tuple[Array, Metrics]:
  """Cross-entropy of the critic with the labels (arXiv:2305.20050), mean over labelled steps; and
  `keep` times the KL between the policy and the frozen one.

  The KL is the k3 estimate (arXiv:2402.03300, eq. 4) on the tokens of the steps. The policy has not
  sampled them, so it bounds no KL elsewhere; it is 0 exactly where their log-probs are unchanged.
  """
  out = forward_rows(model, params, rows.tokens, rows.length, rows.segment)
  value = masked_mean(cross_entropy(out.value[:, 0, 0], rows.target), rows.mask)
  metrics = {'loss': value, 'loss_value': value}
  if keep:
    before = forward_rows(
      model,
      params | dict(policy=frozen['reference']),
      rows.tokens,
      rows.length,
      rows.segment,
      with_value=False,
    )
    held = _logprob(model, params | dict(policy=frozen['reference']), before.hidden, rows)
    gap = jax.lax.stop_gradient(held) - _logprob(model, params, out.hidden, rows)
    mask = rows.written[:, 1:]
    gap = jnp.where(mask, gap, 0)
    metrics['loss_kl'] = masked_mean(jnp.exp(gap) - gap - 1, mask)
    metrics['loss'] = value + keep * metrics['loss_kl']
  return metrics['loss'], metrics


def _logprob(model, params, hidden, rows) -> Array:
  """Of each token but the first of a row, [B, T-1]."""
  return score_tokens(model, params, hidden[:, 0, 0, :-1], rows.tokens[:, 1:]).logprob
