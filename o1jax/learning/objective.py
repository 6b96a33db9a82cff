"""The objective on a tree: the losses of this folder, mixed by weights that may change without a
retrace."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct

from o1jax.learning import losses
from o1jax.learning.credit import Credit
from o1jax.model.forward import TreeOutput, forward_tree
from o1jax.types import Array, Metrics, Params, Prompt, Tree


@struct.dataclass
class Weights:
  """How much of each loss; plain numbers, traced. All >= 0."""

  clone: float = 0.0  # behaviour cloning on D_expert
  distill: float = 0.0  # the search's improved policy over siblings
  gradient: float = 0.0  # clipped policy gradient
  kl: float = 0.0  # KL to the reference policy
  value: float = 0.0  # the critic
  entropy: float = 0.0  # bonus per token


@dataclasses.dataclass(frozen=True)
class Objective:
  """Static settings of the losses.

  Attributes:
    clip: epsilon of the clipped surrogate.
    temperature: of the distribution that is trained, that of sampling.
    tokens: room for the tokens of a tree, see `tree.crop`; 0 = as many as it can hold.
  """

  clip: float = 0.2
  temperature: float = 1.0
  tokens: int = 0


def tree_loss(
  model,
  params: Params,
  prompt: Prompt,
  tree: Tree,
  credit: Credit,
  weights: Weights,
  *,
  reference: Array | None = None,
  objective: Objective = Objective(),
) -> tuple[Array, Metrics]:
  """The weighted sum of losses of one forward pass over a tree, and its parts.

  reference: log-probs [B, X, A, L] of the frozen policy; None leaves the KL out.
  """
  out = _forward(model, params, prompt, tree, objective)
  node = tree.mask & (tree.expanded >= 0)[..., None]
  token = node[..., None] & (jnp.arange(tree.tokens.shape[-1]) < tree.length[..., None])
  parts = {
    'clone': losses.behaviour_cloning(out.logprob, credit.expert, tree.length),
    'distill': losses.sibling_distillation(
      out.logprob.sum(-1), tree.logprob.sum(-1), tree.prior, credit.improved, node
    ),
    'gradient': losses.policy_gradient(
      out.logprob, tree.logprob, credit.advantage, token, clip=objective.clip
    ),
    'value': losses.value_loss(out.value, credit.value_target, node & credit.value_mask),
    'entropy': -losses.masked_mean(out.entropy, token),
    'kl': jnp.float32(0)
    if reference is None
    else losses.kl_to_reference(out.logprob, reference, token),
  }
  total = sum(getattr(weights, name) * part for name, part in parts.items())
  metrics = {f'loss_{name}': part for name, part in parts.items()} | {'loss': total}
  metrics['ratio_gap'] = losses.masked_mean(jnp.abs(out.logprob - tree.logprob), token)
  return total, metrics


def reference_logprob(
  model, params: Params, frozen: Params, prompt: Prompt, tree: Tree, objective: Objective
) -> Array | None:
  """Log-probs of the frozen policy on the tree, or None if there is none."""
  if 'reference' not in frozen:
    return None
  held = params | dict(policy=frozen['reference'])
  return jax.lax.stop_gradient(_forward(model, held, prompt, tree, objective).logprob)


def _forward(model, params, prompt, tree, objective) -> TreeOutput:
  return forward_tree(
    model, params, prompt, tree, temperature=objective.temperature, tokens=objective.tokens
  )
