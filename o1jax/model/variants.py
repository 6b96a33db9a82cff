"""Shapes of models, by name."""

import dataclasses

import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """Shape and numerics of a decoder-only transformer.

  Attributes:
    vocab_size: V.
    unused: how many of these, the last, stand for no token and are never sampled, so that devices may divide V.
    width, layers, heads, kv_heads, head_width, mlp_width: D, layers, H, K, E, F.
    tied_head: the output matrix is the embedding.
    own_critic: the critic has a trunk of its own instead of a head on the policy's.
    rope_base: base of the rotary wavelengths (arXiv:2104.09864).
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
  rope_base: float = 10_000.0
  dtype: str = 'float32'
  remat: bool = False
  scan_layers: bool = False
  unused: int = 0

  def __post_init__(self):
    if self.heads % self.kv_heads:
      raise ValueError(f'heads={self.heads} is not a multiple of kv_heads={self.kv_heads}; choose a divisor')
    if self.head_width % 2:
      raise ValueError(f'head_width={self.head_width} is odd; rotary positions need an even width')
    jnp.dtype(self.dtype)


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
  """Weights that each token of a trunk is multiplied with, the output matrix included, norms left out."""
  attention = config.width * config.head_width * (2 * config.heads + 2 * config.kv_heads)
  mlp = 3 * config.width * config.mlp_width
  return config.layers * (attention + mlp) + config.vocab_size * config.width
