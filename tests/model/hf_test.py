"""Models of Hugging Face say the same here, there, and after a journey both ways.

What transformers says is stored (tests/golden); tests marked `parity` ask it again.
"""

import dataclasses
import functools
import json

import flax.linen as nn
import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from o1jax.decode.rules import Sampling
from o1jax.model import families, forward, hf
from o1jax.model.transformer import LanguageModel
from o1jax.types import Prompt
from tests.golden import models
from tests.golden.models import NEW, PROMPT, SHOWN
from tests.helpers import best_of_n, jit, mcts, spell, tiny
from tests.marks import some

STEP, VOCAB = 8, models.SMALL['vocab_size']


@functools.cache
def prompts():
  return Prompt(tokens=models.prompts(), length=np.full(2, PROMPT, np.int32))


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


@pytest.fixture(scope='module', params=some(models.CASES, 'llama-3', 'qwen2', 'qwen3', 'gemma3'))
def case(request, tmp_path_factory):
  """A case's name, folder, weights, and our model of the folder."""
  folder = tmp_path_factory.mktemp('model')
  weights = models.write(request.param, folder)
  # Half of the families in each form of the layers.
  scanned = sorted(models.CASES).index(request.param) % 2 == 0
  return request.param, folder, weights, *read(folder, scan_layers=scanned)


def test_logits_are_those_of_transformers(case):
  name, _, _, ours, params = case
  expected, tokens = models.answers(name), models.prompts()
  assert np.std(expected['logits']) > 0.5
  said = logits(ours, params, tokens)
  np.testing.assert_allclose(said[:, SHOWN], expected['logits'], atol=1e-4)
  scores = jax.nn.log_softmax(said[:, :-1])
  following = np.take_along_axis(scores, tokens[:, 1:, None], axis=-1)[..., 0]
  np.testing.assert_allclose(following, expected['logprobs'], atol=2e-4)


@pytest.mark.long
def test_texts_go_on_as_in_transformers(case):
  name, _, _, ours, params = case
  # An end token that is never sampled: the last of the vocabulary, of which nothing is lost.
  greedy = Sampling(eos_id=VOCAB, delimiter_id=VOCAB, granularity='tokens', temperature=0.0)
  search = functools.partial(
    best_of_n,
    forward.decoder(ours),
    units=1,
    sampling=greedy,
    step_length=STEP,
    max_steps=NEW // STEP,
  )
  keys = jax.random.split(jax.random.key(0), 2)
  tree = jit(lambda params: search(forward.for_search(ours, params), keys, prompts()))(params)
  np.testing.assert_array_equal(
    tree.tokens[:, :, 0].reshape(2, NEW), models.answers(name)['greedy']
  )


def test_what_was_read_is_written_again(case, tmp_path):
  """The names, the numbers and the settings; norms of Gemma to rounding, since ours are 1 + theirs."""
  _, _, weights, ours, params = case
  hf.save(tmp_path / 'back', ours.config, params['policy'], max_length=256)
  back = load_file(tmp_path / 'back' / 'model.safetensors')
  assert back.keys() == weights.keys()
  for weight in weights:
    np.testing.assert_allclose(back[weight], weights[weight], atol=2e-7)
  assert families.read_config(tmp_path / 'back') == dataclasses.replace(
    ours.config, scan_layers=False
  )


# --- transformers itself ---


@pytest.fixture
def transformers():
  """The script that asks it, and itself."""
  import transformers

  from tests.golden import record

  return record, transformers


@pytest.mark.parity
def test_transformers_still_says_what_is_stored(case, transformers):
  name, _, _, _, _ = case
  record, _ = transformers
  model = record.build(name)
  assert record.described(model)['shapes'] == models.stored()['cases'][name]['shapes']
  for kind, now in record.answer(model).items():
    np.testing.assert_allclose(now, models.answers(name)[kind], atol=2e-5)


@pytest.mark.parity
def test_transformers_opens_our_folder_and_the_stored_one(case, transformers, tmp_path):
  name, folder, _, ours, params = case
  record, library = transformers
  hf.save(tmp_path / 'back', ours.config, params['policy'], max_length=256)
  expected = record.logits(record.build(name), models.prompts())
  for path in (folder, tmp_path / 'back'):
    model = library.AutoModelForCausalLM.from_pretrained(path, attn_implementation='eager').eval()
    np.testing.assert_allclose(record.logits(model, models.prompts()), expected, atol=1e-5)


@pytest.mark.parity
@pytest.mark.parametrize('name', ['mistral', 'gemma3'])
def test_a_tree_is_decoded_and_learned_as_they_read_its_paths(name, transformers, tmp_path):
  """Local layers, in branches: log-probs of search and of learning are those of a row of theirs for
  each node."""
  record, _ = transformers
  theirs = record.build(name)
  models.write(name, tmp_path)
  ours, params = read(tmp_path, scan_layers=name == 'mistral')
  sampling = Sampling(eos_id=VOCAB, delimiter_id=3, temperature=1.0)
  search = functools.partial(
    mcts,
    forward.decoder(ours),
    units=6,
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
    scores = jax.nn.log_softmax(record.logits(theirs, np.array([text]))[0])
    expected = scores[np.arange(len(text) - made - 1, len(text) - 1), text[-made:]]
    for found in (tree.logprob, learned.logprob, packed.logprob):
      np.testing.assert_allclose(found[b, x, a, :made], expected, atol=2e-4)
    checked += 1
  assert checked > 10 and (np.asarray(tree.path)[:, :, 2] > 0).any()


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


@pytest.mark.parity
@pytest.mark.parametrize(
  'changes', [dict(rope_base=50.0), dict(scan_layers=True, tied_head=False, kv_heads=1)]
)
def test_a_model_of_ours_becomes_a_llama(changes, transformers, tmp_path):
  """Embeddings are scaled here and not there; a tied table is there twice."""
  model, params = tiny(**changes)
  tokens = np.random.default_rng(0).integers(0, model.config.vocab_size, (3, 9))
  hf.save(tmp_path / 'llama', model.config, params['policy'], max_length=9)
  record, library = transformers
  llama = library.LlamaForCausalLM.from_pretrained(tmp_path / 'llama').eval()
  ours = logits(model, params, tokens)
  assert np.std(ours) > 0.5
  np.testing.assert_allclose(record.logits(llama, tokens), ours, atol=1e-4)
