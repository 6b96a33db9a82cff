"""What transformers says of small models, stored, so that a test needs no torch.

`tests/golden/record.py` asks transformers and writes the files beside this one. Weights are drawn by
NumPy from their names and shapes, so they are stored nowhere.
"""

import functools
import json
import pathlib

import numpy as np
from safetensors.numpy import save_file

FOLDER = pathlib.Path(__file__).parent
PROMPT, NEW = 64, 32  # tokens of a prompt; tokens that transformers adds, greedily
SHOWN = (0, 19, 40, 63)  # positions whose logits are stored: windows are 20 wide

# Settings in the words of transformers: what all have, then each family's own.
SMALL = dict(
  vocab_size=97,
  hidden_size=32,
  intermediate_size=48,
  num_hidden_layers=3,
  num_attention_heads=4,
  num_key_value_heads=2,
  head_dim=16,
  max_position_embeddings=256,
  bos_token_id=None,
  eos_token_id=None,
  pad_token_id=0,
)
LLAMA3 = dict(
  rope_type='llama3',
  rope_theta=500.0,
  factor=8.0,
  original_max_position_embeddings=64,
  low_freq_factor=1.0,
  high_freq_factor=4.0,
)
GEMMA3_ROPE = dict(
  full_attention=dict(rope_type='linear', factor=8.0, rope_theta=5000.0),
  sliding_attention=dict(rope_type='default', rope_theta=100.0),
)
CASES = {
  'llama-2': ('Llama', dict(num_key_value_heads=4, rms_norm_eps=1e-5)),
  'llama-3': ('Llama', dict(rope_parameters=LLAMA3, rms_norm_eps=1e-5)),
  'llama-3.2, tied': (
    'Llama',
    dict(rope_parameters=LLAMA3, tie_word_embeddings=True, num_key_value_heads=1),
  ),
  'mistral': ('Mistral', dict(sliding_window=20)),
  'qwen2': ('Qwen2', dict(tie_word_embeddings=True)),
  'qwen2, local': ('Qwen2', dict(use_sliding_window=True, sliding_window=20, max_window_layers=1)),
  'qwen3': ('Qwen3', dict()),
  'gemma2': (
    'Gemma2',
    dict(
      sliding_window=20,
      query_pre_attn_scalar=24,
      attn_logit_softcapping=5.0,
      final_logit_softcapping=4.0,
    ),
  ),
  'gemma3': (
    'Gemma3',
    dict(
      sliding_window=20,
      query_pre_attn_scalar=24,
      rope_parameters=GEMMA3_ROPE,
      layer_types=['sliding_attention', 'full_attention', 'sliding_attention'],
    ),
  ),
}


def draw(family: str, shapes: dict) -> dict[str, np.ndarray]:
  """Weights far from uniform, by name, in float32. Gemma's norms multiply by 1 + w, others by w."""
  rng = np.random.default_rng(0)
  weights = {}
  for name in sorted(shapes):
    weights[name] = 0.3 * rng.normal(size=shapes[name])
    if name.endswith('norm.weight') and not family.startswith('Gemma'):
      weights[name] += 1
  return {name: weight.astype(np.float32) for name, weight in weights.items()}


def prompts() -> np.ndarray:
  """What the models are asked, [2, PROMPT]."""
  return np.random.default_rng(0).integers(1, SMALL['vocab_size'], (2, PROMPT), dtype=np.int32)


@functools.cache
def stored() -> dict:
  """Of each case its config.json and the shapes of its weights, and the versions that said so."""
  return json.loads((FOLDER / 'models.json').read_text())


def answers(name: str) -> dict[str, np.ndarray]:
  """What transformers says to `prompts()`: `logits` [2, len(SHOWN), V]; `logprobs` [2, PROMPT - 1] of
  each next token; `greedy` [2, NEW], the ids that it adds."""
  with np.load(FOLDER / 'models.npz') as file:
    return {kind: file[f'{name}/{kind}'] for kind in ('logits', 'logprobs', 'greedy')}


def write(name: str, folder: pathlib.Path, **changes) -> dict[str, np.ndarray]:
  """Writes a case as transformers does, and returns its weights.

  changes: of config.json; of the shapes, another vocabulary and fewer layers are understood.
  """
  config, shapes = (dict(stored()['cases'][name][part]) for part in ('config', 'shapes'))
  rows, layers = changes.get('vocab_size', 97), changes.get('num_hidden_layers', 3)
  assert layers <= 3 and changes.keys() <= config.keys()
  for weight in [*shapes]:
    if any(f'layers.{n}.' in weight for n in range(layers, 3)):
      del shapes[weight]
    elif shapes[weight][0] == SMALL['vocab_size']:
      shapes[weight] = [rows, *shapes[weight][1:]]
  if config.get('layer_types'):
    config['layer_types'] = config['layer_types'][:layers]
  weights = draw(CASES[name][0], shapes)
  folder.mkdir(exist_ok=True)
  (folder / 'config.json').write_text(json.dumps(config | changes))
  save_file(weights, folder / 'model.safetensors', metadata={'format': 'pt'})
  return weights
