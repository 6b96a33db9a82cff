"""What a search costs: tokens generated and analytic FLOPs, the critic's included."""

import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.model.variants import ModelConfig, matmul_parameters
from o1jax.types import Array, Prompt, Tree


def token_flops(config: ModelConfig, context: Array | float) -> Array | float:
  """Forward FLOPs of one token that reads `context` tokens: policy and critic, two per multiply-add.

  Matrix products and attention only; norms, rotary positions and softmax are left out, as is usual.
  """
  trunk = 2 * (matmul_parameters(config) - config.vocab_size * config.width)
  trunk += 4 * config.layers * config.heads * config.head_width * context
  critic = 2 * (config.width**2 + config.width) + (trunk if config.own_critic else 0)
  return trunk + 2 * config.vocab_size * config.width + critic


def search_cost(config: ModelConfig, prompt: Prompt, tree: Tree) -> tuple[Array, Array]:
  """Tokens generated and FLOPs spent on each problem, ([B], [B]); the prompt's own pass is in the FLOPs.

  Every branch counts, pruned and duplicate ones too.
  """
  used = (tree.expanded >= 0)[..., None]
  length = jnp.where(used, tree.length, 0).astype(jnp.float32)
  start = tree_lib.step_start(tree, prompt.length)[..., None].astype(jnp.float32)
  read = prompt.length * (prompt.length + 1.0) / 2 + jnp.sum(length * start + length * (length + 1) / 2, axis=(1, 2))
  tokens = length.sum(axis=(1, 2))
  fixed = token_flops(config, 0.0)
  per_read = token_flops(config, 1.0) - fixed
  return tokens, (tokens + prompt.length) * fixed + read * per_read


def training_flops(config: ModelConfig, tokens: float, context: float) -> float:
  """FLOPs of one forward and backward pass over `tokens` tokens that read `context` tokens on average."""
  return 3.0 * tokens * token_flops(config, context)
