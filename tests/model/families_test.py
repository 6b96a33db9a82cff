"""What is not a model that ours can be is refused in a line that says what differs. Needs no
torch."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from o1jax.model import families, hf
from o1jax.model.variants import ModelConfig, RopeScaling
from tests.helpers import CONFIG, tiny

LLAMA = dict(
  model_type='llama',
  vocab_size=11,
  hidden_size=16,
  intermediate_size=24,
  num_hidden_layers=2,
  num_attention_heads=4,
  num_key_value_heads=2,
)
SHAPE = dict(
  vocab_size=11,
  width=16,
  layers=2,
  heads=4,
  kv_heads=2,
  mlp_width=24,
  head_width=4,
  tied_head=False,
  scaled_embedding=False,
)
GEMMA = dict(
  SHAPE,
  scaled_embedding=True,
  tied_head=True,
  post_norms=True,
  activation='gelu',
  head_width=256,
  query_scale=256.0,
  window=4096,
)


@pytest.mark.parametrize(
  'changes, expected',
  [
    (dict(), SHAPE),
    (
      dict(
        rope_theta=5e5,
        rope_scaling=dict(
          rope_type='llama3',
          factor=32.0,
          original_max_position_embeddings=8192,
          low_freq_factor=1.0,
          high_freq_factor=4.0,
        ),
      ),
      dict(SHAPE, rope_base=5e5, rope_scaling=RopeScaling(32.0, 8192, 1.0, 4.0)),
    ),
    (dict(model_type='mistral', sliding_window=None, head_dim=8), dict(SHAPE, head_width=8)),
    (dict(model_type='mistral'), dict(SHAPE, window=4096, local_layers=(0, 1))),
    (
      dict(
        model_type='qwen2',
        sliding_window=32768,
        use_sliding_window=False,
        max_window_layers=1,
        rms_norm_eps=1e-5,
      ),
      dict(SHAPE, qkv_bias=True, norm_epsilon=1e-5),
    ),
    (
      dict(model_type='qwen2', sliding_window=64, use_sliding_window=True, max_window_layers=1),
      dict(SHAPE, qkv_bias=True, window=64, local_layers=(1,)),
    ),
    (
      dict(model_type='qwen3', tie_word_embeddings=True),
      dict(SHAPE, qk_norm=True, head_width=128, tied_head=True),
    ),
    (dict(model_type='gemma2'), dict(GEMMA, local_layers=(0,), score_cap=50.0, logit_cap=30.0)),
    (
      dict(model_type='gemma3_text', sliding_window=512),
      dict(
        GEMMA, window=512, qk_norm=True, local_layers=(0, 1), rope_base=1e6, local_rope_base=1e4
      ),
    ),
    (
      dict(
        model_type='gemma3_text',
        sliding_window=512,
        num_hidden_layers=6,
        rope_scaling=dict(rope_type='linear', factor=8.0),
      ),
      dict(
        GEMMA,
        layers=6,
        window=512,
        qk_norm=True,
        local_layers=(0, 1, 2, 3, 4),
        rope_base=1e6,
        local_rope_base=1e4,
        rope_scaling=RopeScaling(8.0),
      ),
    ),
  ],
)
def test_settings_as_checkpoints_have_them(changes, expected):
  """A key that is not there means what it means in transformers; and the way back is the same
  model."""
  config = families.config_of({**LLAMA, **changes})
  assert config == ModelConfig(**expected)
  assert (
    families.config_of(json.loads(json.dumps(families.settings_of(config, max_length=99))))
    == config
  )


@pytest.mark.parametrize(
  'changes, word',
  [
    (dict(model_type='mamba'), "model_type 'mamba'"),
    (dict(model_type=None), 'model_type None'),
    (dict(hidden_size='16'), 'hidden_size'),
    (dict(attention_bias=True), 'attention_bias=True'),
    (dict(hidden_act='relu'), "hidden_act='relu'"),
    (dict(rope_scaling=dict(rope_type='yarn', factor=4.0)), "rope_type 'yarn'"),
    (dict(rope_scaling=3), 'int'),
    (dict(num_key_value_heads=3), 'kv_heads=3'),
  ],
)
def test_a_model_that_ours_cannot_be(changes, word, tmp_path):
  (tmp_path / 'config.json').write_text(json.dumps({**LLAMA, **changes}))
  with pytest.raises(ValueError) as error:
    families.read_config(tmp_path)
  assert (
    word in str(error.value) and str(tmp_path) in str(error.value) and '\n' not in str(error.value)
  )


@pytest.mark.parametrize('text', [None, '{', '[1]'])
def test_no_config(text, tmp_path):
  if text:
    (tmp_path / 'config.json').write_text(text)
  with pytest.raises(ValueError, match='give the folder of a model'):
    families.read_config(tmp_path)


def test_what_no_family_has_is_not_written():
  with pytest.raises(ValueError, match='qk_norm=True'):
    families.settings_of(ModelConfig(**dict(SHAPE, qkv_bias=True, qk_norm=True)), max_length=9)
  with pytest.raises(ValueError, match='logit_cap=3.0'):
    families.settings_of(ModelConfig(**dict(SHAPE, logit_cap=3.0)), max_length=9)


@pytest.fixture
def folder(tmp_path):
  model, params = tiny()
  hf.save(tmp_path / 'model', model.config, params['policy'], max_length=9)
  return tmp_path / 'model'


def load(folder):
  _, params = tiny(tied_head=False)
  config = families.read_config(folder)
  return hf.load(folder, config, jax.eval_shape(lambda: params['policy']))


def test_it_is_read_as_it_was_written(folder):
  back = load(folder)
  _, params = tiny()
  table = params['policy']['trunk']['embedding']
  np.testing.assert_array_equal(back['head']['kernel'], table.T)
  np.testing.assert_allclose(back['trunk']['embedding'], table * CONFIG.width**0.5, rtol=1e-6)
  own = {name: part for name, part in params['policy']['trunk'].items() if name != 'embedding'}
  jax.tree.map(np.testing.assert_array_equal, {name: back['trunk'][name] for name in own}, own)


def test_all_that_differs_is_listed(folder):
  file = folder / 'model.safetensors'
  weights = load_file(file)
  del weights['model.norm.weight'], weights['model.layers.1.mlp.up_proj.weight']
  weights['model.layers.0.self_attn.q_proj.bias'] = np.zeros(32, np.float32)
  weights['lm_head.weight'] = np.zeros((12, 16), np.float32)
  # Old checkpoints hold it.
  weights['model.layers.0.self_attn.rotary_emb.inv_freq'] = np.zeros(4, np.float32)
  save_file(weights, file)
  with pytest.raises(ValueError) as error:
    load(folder)
  told = str(error.value)
  assert '2 missing: model.layers.1.mlp.up_proj.weight, model.norm.weight;' in told
  assert '1 left over: model.layers.0.self_attn.q_proj.bias;' in told
  assert (
    '1 of another shape: lm_head.weight [12, 16] and not [11, 16]' in told
    and 'inv_freq' not in told
  )


def test_files_that_are_not_whole(folder):
  file = folder / 'model.safetensors'
  whole = file.read_bytes()
  for broken in (whole[:-5], whole[:5], b'', b'x' * 100):
    file.write_bytes(broken)
    with pytest.raises(ValueError, match='model.safetensors is no whole file'):
      load(folder)
  file.write_text('version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n')
  with pytest.raises(ValueError, match='git lfs pull'):
    load(folder)
  file.unlink()
  with pytest.raises(ValueError, match='copy all files'):
    load(folder)
  (folder / 'model.safetensors.index.json').write_text(
    '{"weight_map": {"model.norm.weight": "model-1.safetensors"}}'
  )
  with pytest.raises(ValueError, match='model-1.safetensors is not there'):
    load(folder)
  (folder / 'model.safetensors.index.json').write_text('[]')
  with pytest.raises(ValueError, match='no index'):
    load(folder)


def test_nothing_is_written_over(folder):
  model, params = tiny()
  before = (folder / 'model.safetensors').read_bytes()
  with pytest.raises(ValueError, match='not empty'):
    hf.save(folder, model.config, params['policy'], max_length=9)
  assert (folder / 'model.safetensors').read_bytes() == before
