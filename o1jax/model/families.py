"""The models of Hugging Face `transformers` that ours can be: their config.json as a `ModelConfig`,
and back."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from o1jax.model import FAMILIES, Family
from o1jax.model.variants import ModelConfig, RopeScaling

_NUMBERS = (
  'vocab_size',
  'hidden_size',
  'intermediate_size',
  'num_hidden_layers',
  'num_attention_heads',
)
_COMMON = dict(
  rms_norm_eps=1e-6,
  rope_theta=10_000.0,
  tie_word_embeddings=False,
  hidden_act='silu',
  head_dim=None,
  num_key_value_heads=None,
  attention_bias=False,
  mlp_bias=False,
  sliding_window=None,
  use_sliding_window=False,
  max_window_layers=28,
  rope_scaling=None,
  rope_parameters=None,
  layer_types=None,
  query_pre_attn_scalar=0.0,
  attn_logit_softcapping=None,
  final_logit_softcapping=None,
  rope_local_base_freq=0.0,
  sliding_window_pattern=2,
  use_bidirectional_attention=False,
)
_ACTIVATIONS = {'silu': 'silu', 'gelu_pytorch_tanh': 'gelu'}
# Of a family, the most telling first.
_TRAITS = ('post_norms', 'qkv_bias', 'qk_norm')
GLOBAL, LOCAL = 'full_attention', 'sliding_attention'


def read_config(folder: str | pathlib.Path, **changes) -> ModelConfig:
  """The model that a folder's config.json describes. `changes` replace fields that only ours has,
  such as `dtype`.

  Raises:
    ValueError: there is no such file, or ours cannot be the model it describes. The message names
      the setting.
  """
  path = pathlib.Path(folder) / 'config.json'
  try:
    settings = json.loads(path.read_text())
  except (OSError, ValueError) as error:
    raise ValueError(
      f'{path} cannot be read ({error}): give the folder of a model of transformers'
    ) from None
  if not isinstance(settings, dict):
    raise ValueError(
      f'{path} holds no settings but {str(settings)[:40]!r}: give the folder of a model of '
      'transformers'
    )
  try:
    return config_of(settings, **changes)
  except (ValueError, TypeError, KeyError, AttributeError) as error:
    raise ValueError(f'{path}: {error}') from None


def config_of(settings: Mapping[str, Any], **changes) -> ModelConfig:
  """The settings of a config.json as `read_config` returns them."""
  kind = settings.get('model_type')
  if kind not in FAMILIES:
    raise ValueError(f'model_type {kind!r} is none that o1jax can read: {", ".join(FAMILIES)}')
  missing = [key for key in _NUMBERS if not isinstance(settings.get(key), int)]
  if missing:
    raise ValueError(f'{", ".join(missing)} should be there, and whole numbers')
  row = FAMILIES[kind]
  given = {**_COMMON, **row.defaults, **settings}
  _refuse(row, given)
  width, heads = given['hidden_size'], given['num_attention_heads']
  return ModelConfig(
    **{
      **dict(
        vocab_size=given['vocab_size'],
        width=width,
        layers=given['num_hidden_layers'],
        heads=heads,
        kv_heads=given['num_key_value_heads'] or heads,
        head_width=given['head_dim'] or width // heads,
        mlp_width=given['intermediate_size'],
        tied_head=given['tie_word_embeddings'],
        norm_epsilon=given['rms_norm_eps'],
        activation=_ACTIVATIONS[given[_activation(row)]],
        qkv_bias=row.qkv_bias,
        qk_norm=row.qk_norm,
        post_norms=row.post_norms,
        scaled_embedding=row.post_norms,
        query_scale=float(given['query_pre_attn_scalar']),
        score_cap=given['attn_logit_softcapping'] or 0.0,
        logit_cap=given['final_logit_softcapping'] or 0.0,
        **_window(row, given),
        **_rope(given),
      ),
      **changes,
    }
  )


def _activation(row: Family) -> str:
  """The key of its activation."""
  return 'hidden_activation' if row.post_norms else 'hidden_act'


def _refuse(row, given):
  act = _activation(row)
  wanted = {act: tuple(_ACTIVATIONS)} | dict.fromkeys(
    ('attention_bias', 'mlp_bias', 'use_bidirectional_attention'), (False, None)
  )
  for key, values in wanted.items():
    if given[key] not in values:
      raise ValueError(
        f'{key}={given[key]!r} is none that o1jax can be: {", ".join(map(repr, values))}'
      )


def _window(row, given):
  """Local layers: every layer of a Mistral with a window, those that `layer_types` names, or the
  family's pattern."""
  layers, size = range(given['num_hidden_layers']), given['sliding_window']
  if row.local == 'none' or row.local == 'later' and not given['use_sliding_window']:
    size = None
  if given['layer_types']:
    local = [i for i, name in enumerate(given['layer_types']) if name == LOCAL]
  elif row.local == 'pattern':
    local = [i for i in layers if (i + 1) % given['sliding_window_pattern']]
  else:
    local = [i for i in layers if row.local == 'all' or i >= given['max_window_layers']]
  return dict(window=size, local_layers=tuple(local)) if size and local else {}


def _rope(given):
  """Bases and scaling, in the names of transformers 5 (`rope_parameters`) or of earlier ones."""
  found = given['rope_parameters'] or {}
  local = found.get(LOCAL, {}).get('rope_theta', given['rope_local_base_freq'])
  found = found.get(GLOBAL, found) if GLOBAL in found or LOCAL in found else found
  base, scaling = found.get('rope_theta', given['rope_theta']), given['rope_scaling'] or found
  kind = scaling.get('rope_type', scaling.get('type', 'default'))
  if kind == 'default':
    stretched = None
  elif kind == 'linear':
    stretched = RopeScaling(float(scaling['factor']))
  elif kind == 'llama3':
    stretched = RopeScaling(
      float(scaling['factor']),
      int(scaling['original_max_position_embeddings']),
      float(scaling['low_freq_factor']),
      float(scaling['high_freq_factor']),
    )
  else:
    raise ValueError(f'rope_type {kind!r} is none that o1jax can be: default, linear, llama3')
  return dict(rope_base=float(base), rope_scaling=stretched, local_rope_base=float(local))


def settings_of(config: ModelConfig, *, max_length: int) -> dict[str, Any]:
  """The config.json with which a model of transformers says what ours says.

  Args:
    config: of our model. If it scales embeddings and is not a Gemma, its weights must be those of
      `unscaled`.
    max_length: tokens of the longest text.

  Raises:
    ValueError: none of the families is such a model.
  """
  if config.scaled_embedding and not config.post_norms:
    config = unscaled(config)
  kind = _family(config)
  row = FAMILIES[kind]
  scaling = config.rope_scaling
  rope = scaling and (
    dict(rope_type='linear', factor=scaling.factor)
    if not scaling.length
    else dict(
      rope_type='llama3',
      factor=scaling.factor,
      original_max_position_embeddings=scaling.length,
      low_freq_factor=scaling.low,
      high_freq_factor=scaling.high,
    )
  )
  types = [LOCAL if i in config.local_layers else GLOBAL for i in range(config.layers)]
  gate = {'silu': 'silu', 'gelu': 'gelu_pytorch_tanh'}[config.activation]
  settings = dict(
    model_type=kind,
    architectures=[row.architecture],
    vocab_size=config.vocab_size,
    hidden_size=config.width,
    intermediate_size=config.mlp_width,
    num_hidden_layers=config.layers,
    num_attention_heads=config.heads,
    num_key_value_heads=config.kv_heads,
    head_dim=config.head_width,
    max_position_embeddings=max_length,
    rms_norm_eps=config.norm_epsilon,
    rope_theta=config.rope_base,
    rope_scaling=rope,
    tie_word_embeddings=config.tied_head,
    sliding_window=config.window or None,
    torch_dtype=config.dtype,
  )
  if row.post_norms:
    settings |= dict(
      hidden_activation=gate,
      query_pre_attn_scalar=int(config.query_scale or config.head_width),
      attn_logit_softcapping=config.score_cap or None,
      final_logit_softcapping=config.logit_cap or None,
      layer_types=types,
    )
  else:
    settings |= dict(hidden_act=gate, attention_bias=False, mlp_bias=False)
  if row.local == 'later':
    settings |= dict(use_sliding_window=bool(config.window), max_window_layers=0, layer_types=types)
  if 'rope_local_base_freq' in row.defaults:
    settings |= dict(rope_local_base_freq=config.local_rope_base or config.rope_base)
  _same(config, settings)
  return settings


def unscaled(config: ModelConfig) -> ModelConfig:
  """The same model with embeddings stored multiplied by sqrt(D), and therefore with an output
  matrix of its own."""
  return dataclasses.replace(config, scaled_embedding=False, tied_head=False)


def _family(config: ModelConfig) -> str:
  """The family that is most like a model; `_same` tells whether it is the model."""

  def likeness(kind):
    row = FAMILIES[kind]
    alike = [getattr(row, name) == getattr(config, name) for name in _TRAITS]
    return *alike, (row.local == 'none') == (not config.window)

  return max(FAMILIES, key=likeness)


def _same(config, settings):
  """Checks that the settings mean the config."""
  wide = lambda config: dataclasses.replace(
    config,
    query_scale=config.query_scale or float(config.head_width),
    unused=0,
    local_rope_base=config.local_rope_base if config.local_layers else 0.0,
  )
  ours = {'dtype', 'remat', 'scan_layers', 'own_critic', 'critic_layers'}
  one, other = (vars(wide(each)) for each in (config, config_of(settings)))
  differ = [f'{key}={one[key]}' for key in one if key not in ours and one[key] != other[key]]
  if differ:
    raise ValueError(
      f'no model of transformers that o1jax knows has {", ".join(differ)} beside the rest (the '
      f'nearest is {settings["model_type"]}): it cannot be written for transformers'
    )
