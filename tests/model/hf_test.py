"""Models of Hugging Face say the same here, there, and after a journey both ways."""

import dataclasses
import functools
import json

import flax.linen as nn
import jax
import numpy as np
import pytest

from o1jax.decode.sampling import Sampling
from o1jax.model import families, forward, hf
from o1jax.model.transformer import LanguageModel
from o1jax.search.best_of_n import best_of_n
from o1jax.search.mcts import mcts
from o1jax.types import Prompt
from tests.helpers import jit, spell, tiny

torch = pytest.importorskip('torch', reason='needs torch, of the extra "test"')
transformers = pytest.importorskip('transformers', reason='needs transformers, of the extra "test"')

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
PROMPT, NEW, STEP = 64, 32, 8


def theirs(name):
  """A random model of a case, far from uniform, and its class."""
  family, changes = CASES[name]
  config = getattr(transformers, f'{family}TextConfig' if family == 'Gemma3' else f'{family}Config')
  config = config(**{**SMALL, **changes, 'initializer_range': 0.3})
  kind = getattr(transformers, f'{family}ForCausalLM')
  torch.manual_seed(0)
  model = kind._from_config(config, attn_implementation='eager').eval()
  with torch.no_grad():
    for weight in model.parameters():
      if weight.ndim == 1:
        weight.add_(0.3 * torch.randn_like(weight))
  return model


@functools.cache
def prompts():
  rows = np.random.default_rng(0).integers(1, SMALL['vocab_size'], (2, PROMPT))
  return Prompt(tokens=rows.astype(np.int32), length=np.full(2, PROMPT, np.int32))


def read(folder, **changes):
  """Our model of a folder, whose critic has random weights."""
  model = LanguageModel(families.read_config(folder, **changes))
  fresh = jit(lambda: nn.unbox(forward.init(model, jax.random.key(0))))()
  return model, fresh | dict(
    policy=hf.load(folder, model.config, jax.eval_shape(lambda: fresh['policy']))
  )


def logits(model, params, tokens):
  def run(params):
    out = forward.forward_rows(model, params, tokens, np.full(len(tokens), tokens.shape[1]))
    return forward.logits_of(model, params, out.hidden[:, 0, 0])

  return np.asarray(jit(run)(params))


def logits_of_theirs(model, tokens):
  with torch.inference_mode():
    return model(torch.tensor(tokens).long()).logits.numpy()


@pytest.fixture(scope='module', params=CASES)
def case(request, tmp_path_factory):
  folder = tmp_path_factory.mktemp('model')
  model = theirs(request.param)
  model.save_pretrained(folder)
  return request.param, model, folder


def test_logits_continuations_and_the_journey_back(case, tmp_path):
  name, model, folder = case
  tokens = prompts().tokens
  expected = logits_of_theirs(model, tokens)
  assert np.std(expected) > 0.5
  # Half of the families in each form of the layers.
  ours, params = read(folder, scan_layers=sorted(CASES).index(name) % 2 == 0)
  np.testing.assert_allclose(logits(ours, params, tokens), expected, atol=1e-4)

  with torch.inference_mode():
    continued = model.generate(torch.tensor(tokens).long(), max_new_tokens=NEW, do_sample=False)[
      :, PROMPT:
    ].numpy()
  # An end token that is never sampled: the last of the vocabulary, of which nothing is lost.
  never = SMALL['vocab_size']
  greedy = Sampling(eos_id=never, delimiter_id=never, granularity='tokens', temperature=0.0)
  search = functools.partial(
    best_of_n,
    forward.decoder(ours),
    samples=1,
    sampling=greedy,
    step_length=STEP,
    max_steps=NEW // STEP,
  )
  keys = jax.random.split(jax.random.key(0), 2)
  tree = jit(lambda params: search(forward.for_search(ours, params), keys, prompts()))(params)
  np.testing.assert_array_equal(tree.tokens[:, :, 0].reshape(2, NEW), continued)

  hf.save(tmp_path / 'back', ours.config, params['policy'], max_length=256)
  again = type(model).from_pretrained(tmp_path / 'back', attn_implementation='eager').eval()
  np.testing.assert_allclose(logits_of_theirs(again, tokens), expected, atol=1e-5)
  assert families.read_config(tmp_path / 'back') == dataclasses.replace(
    ours.config, scan_layers=False
  )


@pytest.mark.parametrize('name', ['mistral', 'gemma3'])
def test_a_tree_is_decoded_and_learned_as_they_read_its_paths(name, tmp_path):
  """Local layers, in branches: log-probs of search and of learning are those of a row of theirs for
  each node."""
  model = theirs(name)
  model.save_pretrained(tmp_path)
  ours, params = read(tmp_path, scan_layers=name == 'mistral')
  never = SMALL['vocab_size']
  sampling = Sampling(eos_id=never, delimiter_id=3, temperature=1.0)
  search = functools.partial(
    mcts,
    forward.decoder(ours),
    simulations=6,
    candidates=2,
    sampling=sampling,
    step_length=STEP,
    max_steps=4,
  )
  keys = jax.random.split(jax.random.key(0), 2)
  prompt = prompts().replace(length=np.array([PROMPT, 30], np.int32))
  tree = jit(lambda params: search(forward.for_search(ours, params), keys, prompt))(params)
  learned = jit(lambda params: forward.forward_tree(ours, params, prompt, tree))(params)
  packed = jit(
    lambda params: forward.forward_tree(ours, params, prompt, tree, tokens=tree.tokens[0].size)
  )(params)
  checked = 0
  for b, x, a in zip(
    *np.nonzero((np.asarray(tree.expanded) >= 0)[..., None] & np.asarray(tree.mask))
  ):
    node = 1 + x * tree.mask.shape[-1] + a
    text = sum(spell(tree, b, node), prompt.tokens[b, : prompt.length[b]].tolist())
    made = int(tree.length[b, x, a])
    scores = torch.log_softmax(
      torch.tensor(logits_of_theirs(model, np.array([text]))[0]), dim=-1
    ).numpy()
    expected = scores[np.arange(len(text) - made - 1, len(text) - 1), text[-made:]]
    for found in (tree.logprob, learned.logprob, packed.logprob):
      np.testing.assert_allclose(found[b, x, a, :made], expected, atol=2e-4)
    checked += 1
  assert checked > 10 and (np.asarray(tree.path)[:, :, 2] > 0).any()


@pytest.mark.parametrize(
  'changes', [dict(rope_base=50.0), dict(scan_layers=True, tied_head=False, kv_heads=1)]
)
def test_a_model_of_ours_becomes_a_llama(changes, tmp_path):
  """Embeddings are scaled here and not there; a tied table is there twice."""
  model, params = tiny(**changes)
  tokens = np.random.default_rng(0).integers(0, model.config.vocab_size, (3, 9))
  hf.save(tmp_path / 'llama', model.config, params['policy'], max_length=9)
  llama = transformers.LlamaForCausalLM.from_pretrained(tmp_path / 'llama').eval()
  ours = logits(model, params, tokens)
  assert np.std(ours) > 0.5
  np.testing.assert_allclose(logits_of_theirs(llama, tokens), ours, atol=1e-4)


def test_several_files_in_half_the_bits(tmp_path, monkeypatch):
  model, params = tiny(layers=3)
  monkeypatch.setattr(hf, 'FILE', 4000)
  monkeypatch.setattr(hf, 'PIECE', 1000)  # tensors are read in several pieces
  hf.save(tmp_path / 'parts', model.config, params['policy'], max_length=9, dtype='bfloat16')
  files = sorted(path.name for path in (tmp_path / 'parts').glob('*.safetensors'))
  weights = json.loads((tmp_path / 'parts' / 'model.safetensors.index.json').read_text())[
    'weight_map'
  ]
  assert len(files) > 3 and set(weights.values()) == set(files)
  back, again = read(tmp_path / 'parts', dtype='float32')
  rounded = jax.tree.map(
    lambda x: x.astype('bfloat16').astype('float32'), params['policy']['trunk']
  )
  blocks = lambda trunk: {name: part for name, part in trunk.items() if name != 'embedding'}
  jax.tree.map(np.testing.assert_array_equal, blocks(again['policy']['trunk']), blocks(rounded))
  assert not back.config.tied_head and back.config.dtype == 'float32'
