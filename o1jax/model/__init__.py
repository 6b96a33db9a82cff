"""The transformer: what it is, how it decodes and learns, how it is shared out, and what it costs.

`FAMILIES` is the table of models of `transformers` that ours can be. Another family is a row here,
and what is new in `transformer.py`.
"""

from typing import Any, NamedTuple


class Family(NamedTuple):
  """A row, by the `model_type` of a config.json.

  Attributes:
    architecture: the class of transformers.
    defaults: the values of keys that its config leaves out.
    qkv_bias: queries, keys and values have a bias.
    qk_norm: queries and keys are normalised.
    post_norms: there is a norm behind each block too, embeddings are scaled, and the activation is
      called `hidden_activation`.
    local: the layers that read a window, where `layer_types` does not say: 'none', 'all', 'pattern'
      (all but one in `sliding_window_pattern`), or 'later' (those from `max_window_layers` on, if
      `use_sliding_window`).
  """

  architecture: str
  defaults: dict[str, Any] = {}
  qkv_bias: bool = False
  qk_norm: bool = False
  post_norms: bool = False
  local: str = 'none'


_GEMMA = dict(
  num_key_value_heads=4,
  head_dim=256,
  tie_word_embeddings=True,
  hidden_activation='gelu_pytorch_tanh',
  sliding_window=4096,
  query_pre_attn_scalar=256,
)

FAMILIES = {
  'llama': Family('LlamaForCausalLM'),
  'mistral': Family(
    'MistralForCausalLM', dict(num_key_value_heads=8, sliding_window=4096), local='all'
  ),
  'qwen2': Family('Qwen2ForCausalLM', dict(num_key_value_heads=32), qkv_bias=True, local='later'),
  'qwen3': Family(
    'Qwen3ForCausalLM', dict(num_key_value_heads=32, head_dim=128), qk_norm=True, local='later'
  ),
  'gemma2': Family(
    'Gemma2ForCausalLM',
    _GEMMA | dict(attn_logit_softcapping=50.0, final_logit_softcapping=30.0),
    post_norms=True,
    local='pattern',
  ),
  'gemma3_text': Family(
    'Gemma3ForCausalLM',
    _GEMMA | dict(rope_theta=1_000_000.0, rope_local_base_freq=10_000.0, sliding_window_pattern=6),
    qk_norm=True,
    post_norms=True,
    local='pattern',
  ),
}
