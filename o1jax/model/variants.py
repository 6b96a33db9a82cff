"""Shapes of models, by name."""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp


class RopeScaling(NamedTuple):
  """How rotary wavelengths are stretched for texts longer than those of a model's first training.

  Without a `length`, all are stretched by `factor` (arXiv:2306.15595). With one, as in Llama 3.1
  (arXiv:2407.21783), wavelengths below `length / high` tokens stay, those above `length / low` are
  stretched, and those between are stretched in part.
  """

  factor: float
  length: int = 0
  low: float = 1.0
  high: float = 4.0


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """Shape and numerics of a decoder-only transformer.

  Attributes:
    vocab_size: V.
    unused: how many ids at the end of the vocabulary stand for no token. They are never sampled,
      and exist so that devices divide V.
    width, layers, heads, kv_heads, head_width, mlp_width: D, layers, H, K, E, F.
    tied_head: the output matrix is the embedding.
    own_critic: the critic has a trunk of its own instead of a head on the policy's.
    critic_layers: how many layers that trunk has; 0 = as many as the policy's.
    rope_base: base of the rotary wavelengths (arXiv:2104.09864).
    rope_scaling: see `RopeScaling`.
    window: tokens, itself included, that a token of a local layer reads; 0 = no layer is local.
    local_layers: numbers of the local layers, from 0 (arXiv:2004.05150).
    local_rope_base: their base; 0 = `rope_base` with its scaling. A base of their own is never
      scaled.
    norm_epsilon: what RMSNorm adds to the mean square.
    activation: of the MLP's gate: 'silu', or 'gelu' in its tanh approximation.
    qkv_bias: queries, keys and values have a bias (Qwen2, arXiv:2407.10671).
    qk_norm: the heads of queries and keys are normalised (Qwen3, arXiv:2505.09388).
    post_norms: the outputs of attention and MLP are normalised too (Gemma 2, arXiv:2408.00118).
    scaled_embedding: embeddings are multiplied by sqrt(D).
    query_scale: queries are divided by its square root; 0 = E.
    score_cap, logit_cap: attention scores and logits become `cap * tanh(x / cap)`
      (arXiv:2408.00118); 0 = no cap.
    dtype: compute type of activations and matrix products; parameters stay float32.
    remat: recompute each block in the backward pass.
    scan_layers: one compiled block scanned over stacked parameters, for deep models.
  """

  vocab_size: int
  width: int = 128
  layers: int = 3
  heads: int = 4
  kv_heads: int = 2
  head_width: int = 32
  mlp_width: int = 256
  tied_head: bool = True
  own_critic: bool = False
  critic_layers: int = 0
  rope_base: float = 10_000.0
  rope_scaling: RopeScaling | None = None
  window: int = 0
  local_layers: tuple[int, ...] = ()
  local_rope_base: float = 0.0
  norm_epsilon: float = 1e-6
  activation: str = 'silu'
  qkv_bias: bool = False
  qk_norm: bool = False
  post_norms: bool = False
  scaled_embedding: bool = True
  query_scale: float = 0.0
  score_cap: float = 0.0
  logit_cap: float = 0.0
  dtype: str = 'float32'
  remat: bool = False
  scan_layers: bool = False
  unused: int = 0

  def __post_init__(self):
    if self.heads % self.kv_heads:
      raise ValueError(
        f'heads={self.heads} is not a multiple of kv_heads={self.kv_heads}; choose a divisor'
      )
    if self.head_width % 2:
      raise ValueError(f'head_width={self.head_width} is odd; rotary positions need an even width')
    if self.activation not in ('silu', 'gelu'):
      raise ValueError(f'activation={self.activation!r} is unknown; choose silu or gelu')
    if self.critic_layers and not self.own_critic:
      raise ValueError(
        f'critic_layers={self.critic_layers} with own_critic=False; only a trunk of its own has '
        'layers of its own'
      )
    if not 0 <= self.critic_layers <= self.layers:
      raise ValueError(
        f'critic_layers={self.critic_layers} of a policy with layers={self.layers}; give at most '
        'as many, or 0 for just as many'
      )
    if bool(self.window) != bool(self.local_layers):
      raise ValueError(
        f'window={self.window} with local_layers={self.local_layers}; give both, or neither'
      )
    jnp.dtype(self.dtype)

  @property
  def of_critic(self) -> 'ModelConfig':
    """The shape of the critic's own trunk: the policy's, with the layers that are nearest to the
    text."""
    layers = self.critic_layers or self.layers
    local = tuple(layer for layer in self.local_layers if layer < layers)
    return dataclasses.replace(
      self, layers=layers, local_layers=local, window=self.window if local else 0, critic_layers=0
    )


_DEEP = dict(remat=True, scan_layers=True, dtype='bfloat16')

VARIANTS = {
  'nano': dict(width=64, layers=2, heads=2, kv_heads=1, head_width=32, mlp_width=128),
  '0.5m': dict(),
  '2m': dict(width=192, layers=5, heads=6, kv_heads=3, mlp_width=512),
  '10m': dict(width=384, layers=6, heads=6, kv_heads=3, head_width=64, mlp_width=1024),
  '30m': dict(width=512, layers=10, heads=8, kv_heads=4, head_width=64, mlp_width=1408),
  '125m': dict(width=768, layers=16, heads=12, kv_heads=4, head_width=64, mlp_width=2304, **_DEEP),
  '350m': dict(width=1024, layers=28, heads=16, kv_heads=8, head_width=64, mlp_width=2816, **_DEEP),
  '1b': dict(width=2048, layers=16, heads=32, kv_heads=8, head_width=64, mlp_width=8192, **_DEEP),
}


def variant(name: str, vocab_size: int, **changes) -> ModelConfig:
  """The named shape with changes. ValueError for an unknown name."""
  if name not in VARIANTS:
    raise ValueError(f'model variant {name!r} is unknown; choose one of {", ".join(VARIANTS)}')
  return ModelConfig(vocab_size=vocab_size, **{**VARIANTS[name], **changes})


def matmul_parameters(config: ModelConfig) -> int:
  """The number of weights that each token of a trunk is multiplied with, with the output matrix,
  without norms."""
  attention = config.width * config.head_width * (2 * config.heads + 2 * config.kv_heads)
  mlp = 3 * config.width * config.mlp_width
  return config.layers * (attention + mlp) + config.vocab_size * config.width
