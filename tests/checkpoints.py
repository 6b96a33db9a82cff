"""A folder as Hugging Face has it: a tiny random Qwen2 with a tokenizer and a chat template."""

import tokenizers

from tests.golden import models
from tests.text import vocabularies


def write_qwen2(folder) -> None:
  """Makes the folder."""
  folder.mkdir()
  vocabularies.write('qwen2', folder)
  size = tokenizers.Tokenizer.from_file(str(folder / 'tokenizer.json')).get_vocab_size()
  models.write(
    'qwen2', folder, vocab_size=size + 7, num_hidden_layers=2, max_position_embeddings=512
  )
