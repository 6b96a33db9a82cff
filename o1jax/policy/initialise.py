"""Policy initialisation (arXiv:2412.14135, section 3): the loss of pre-training and of instruction
tuning.

Both are next-token prediction; they differ in their rows and in what `Sequences.mask` keeps.
Pre-training keeps every token, instruction tuning keeps the demonstration and not the prompt.
Behaviours are taught by what demonstrations show.
"""

import jax.numpy as jnp

from o1jax.model.forward import forward_rows, score_tokens
from o1jax.types import Array, Params, Sequences


def next_token_loss(model, params: Params, rows: Sequences) -> tuple[Array, dict[str, Array]]:
  """Mean cross-entropy in nats over the masked target tokens, and the share of them that is
  predicted exactly."""
  out = forward_rows(model, params, rows.tokens, rows.length, rows.segment, with_value=False)
  hidden = out.hidden[:, 0, 0]
  target = rows.tokens[:, 1:]
  scores = score_tokens(model, params, hidden[:, :-1], target)
  # The first token of a text could only be predicted from the text packed before it.
  mask = rows.mask[:, 1:] & (rows.segment[:, 1:] == rows.segment[:, :-1])
  count = jnp.maximum(mask.sum(), 1)
  loss = -jnp.sum(jnp.where(mask, scores.logprob, 0)) / count
  right = jnp.sum(mask & scores.top) / count
  return loss, {'loss': loss, 'token_accuracy': right}
