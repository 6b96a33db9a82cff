"""A Hugging Face Llama with our weights says what our model says."""

import jax
import numpy as np
import pytest

from o1jax.model.forward import forward_rows, logits_of
from o1jax.model.llama import llama_settings, llama_weights
from tests.helpers import tiny

CASES = [dict(rope_base=50.0), dict(scan_layers=True, tied_head=False, kv_heads=1)]


@pytest.mark.parametrize('changes', CASES, ids=['tied', 'scanned and untied'])
def test_logits_are_those_of_a_llama(changes):
  torch = pytest.importorskip('torch', reason='needs the extra "peers"')
  transformers = pytest.importorskip('transformers', reason='needs the extra "peers"')
  model, params = tiny(**changes)
  rows = np.random.default_rng(0).integers(0, model.config.vocab_size, (3, 9))
  ours = logits_of(model, params, forward_rows(model, params, rows, np.full(3, 9)).hidden[:, 0, 0])
  llama = transformers.LlamaForCausalLM(transformers.LlamaConfig(**llama_settings(model.config, max_length=9))).eval()
  llama.load_state_dict({name: torch.tensor(x) for name, x in llama_weights(model.config, params).items()})
  with torch.inference_mode():
    theirs = llama(torch.tensor(rows)).logits
  assert np.std(ours) > 0.5
  np.testing.assert_allclose(theirs, ours, atol=1e-4)


@pytest.mark.parametrize('changes', CASES, ids=['tied', 'scanned and untied'])
def test_every_weight_of_the_policy_goes_over(changes):
  model, params = tiny(**changes)
  weights = llama_weights(model.config, params)
  size = sum(x.size for x in jax.tree.leaves(params.policy))
  table = params.policy['trunk']['embedding'].size
  # A tied table is there twice: as the embedding, which we scale on its way in, and as the output matrix.
  assert sum(x.size for x in weights.values()) == size + (table if model.config.tied_head else 0)
  assert {name.split('.')[2] for name in weights if 'layers' in name} == {'0', '1'}
