"""A folder as Hugging Face has it: a tiny random Qwen2 with a tokenizer and a chat template."""

import pytest

from tests.text import vocabularies

torch = pytest.importorskip('torch', reason='needs torch, of the extra "test"')
transformers = pytest.importorskip('transformers', reason='needs transformers, of the extra "test"')


def write_qwen2(folder) -> None:
  """Makes the folder."""
  folder.mkdir()
  vocabularies.write('qwen2', folder)
  size = len(transformers.AutoTokenizer.from_pretrained(folder))
  config = transformers.Qwen2Config(
    vocab_size=size + 7,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    tie_word_embeddings=True,
    max_position_embeddings=512,
  )
  torch.manual_seed(0)
  transformers.Qwen2ForCausalLM(config).save_pretrained(folder)
  vocabularies.write('qwen2', folder)  # transformers has its own generation_config.json
