"""Our weights as those of a Llama of Hugging Face `transformers`, whose architecture ours is."""

from typing import Any

import jax
import numpy as np

from o1jax.model.transformer import layers_apart
from o1jax.model.variants import ModelConfig
from o1jax.types import Params

_NAMES = {
  'attention_norm': 'input_layernorm',
  'query': 'self_attn.q_proj',
  'key': 'self_attn.k_proj',
  'value': 'self_attn.v_proj',
  'out': 'self_attn.o_proj',
  'mlp_norm': 'post_attention_layernorm',
  'gate': 'mlp.gate_proj',
  'up': 'mlp.up_proj',
  'down': 'mlp.down_proj',
}


def llama_settings(config: ModelConfig, *, max_length: int) -> dict[str, Any]:
  """Keyword arguments of `transformers.LlamaConfig` for our shape; `max_length` in tokens."""
  return dict(
    vocab_size=config.vocab_size,
    hidden_size=config.width,
    intermediate_size=config.mlp_width,
    num_hidden_layers=config.layers,
    num_attention_heads=config.heads,
    num_key_value_heads=config.kv_heads,
    head_dim=config.head_width,
    max_position_embeddings=max_length,
    rms_norm_eps=1e-6,
    rope_theta=config.rope_base,
    tie_word_embeddings=False,  # we scale the embedding on its way in only
  )


def llama_weights(config: ModelConfig, params: Params) -> dict[str, np.ndarray]:
  """The policy as the state dict of a `LlamaForCausalLM`, float32. The critic is not part of it."""
  policy = layers_apart(jax.tree.map(lambda x: np.asarray(x, np.float32), params.policy))
  trunk = policy['trunk']
  embedding = trunk['embedding']
  weights = {
    'model.embed_tokens.weight': embedding * np.float32(config.width**0.5),
    'model.norm.weight': trunk['last_norm']['scale'],
    'lm_head.weight': embedding if config.tied_head else policy['head']['kernel'].T,
  }
  for i in range(config.layers):
    for name, there in _NAMES.items():
      part = trunk[f'block_{i}'][name]
      weights[f'model.layers.{i}.{there}.weight'] = part['scale'] if 'scale' in part else part['kernel'].T
  return weights
