"""The objective on a tree: losses of `learning.LOSSES`, mixed by weights that may change without a
retrace."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from o1jax.learning import LOSSES
from o1jax.learning.experience import Credit, experience
from o1jax.learning.losses import masked_mean
from o1jax.model.forward import TreeOutput, forward_tree
from o1jax.types import Array, Metrics, Params, Prompt, Tree

# How much of each loss, by its name; traced numbers, all >= 0. A loss that is not named costs
# nothing.
Weights = dict[str, Array | float]


@dataclasses.dataclass(frozen=True)
class Objective:
  """Static settings of the losses.

  Attributes:
    temperature: of the policy that is trained, which is the one that sampled.
    tokens: room for the tokens of a tree, or of each chain of one that is nothing but chains, see
      `tree.crop`; 0 = as many as it can hold.
    losses: settings of each loss by its name, where they differ from the row's defaults.
  """

  temperature: float = 1.0
  tokens: int = 0
  losses: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


def tree_loss(
  model,
  params: Params,
  prompt: Prompt,
  tree: Tree,
  credit: Credit,
  weights: Weights,
  *,
  frozen: Array | None = None,
  objective: Objective = Objective(),
) -> tuple[Array, Metrics]:
  """The weighted sum of losses of one forward pass over a tree, and its parts.

  frozen: log-probs [B, X, A, L] of the frozen policy, where a loss that is named needs them.
  """
  out = _forward(model, params, prompt, tree, objective)
  e = experience(out, prompt, tree, credit, frozen=frozen)
  parts = {name: LOSSES[name](e, settings=objective.losses.get(name)) for name in weights}
  total = sum((weights[name] * part for name, part in parts.items()), jnp.float32(0))
  metrics = {f'loss_{name}': part for name, part in parts.items()} | {'loss': total}
  metrics['ratio_gap'] = masked_mean(jnp.abs(e.logprob - tree.logprob), e.token)
  return total, metrics


def frozen_logprob(
  model,
  params: Params,
  frozen: Params,
  prompt: Prompt,
  tree: Tree,
  objective: Objective = Objective(),
) -> Array:
  """Log-probs [B, X, A, L] of the frozen policy on the tree; constant."""
  held = params | dict(policy=frozen['reference'])
  return jax.lax.stop_gradient(_forward(model, held, prompt, tree, objective).logprob)


def reads_frozen(names) -> bool:
  """Whether any of these losses needs the frozen policy."""
  return any('frozen' in LOSSES[name].needs for name in names)


def _forward(model, params, prompt, tree, objective) -> TreeOutput:
  return forward_tree(
    model, params, prompt, tree, temperature=objective.temperature, tokens=objective.tokens
  )
