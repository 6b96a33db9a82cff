"""Asks transformers and stores what it says:

  pip install -e '.[test,parity]' && python -m tests.golden.record

A test marked `parity` asks again and compares with what is stored.
"""

import importlib.metadata
import json
import tempfile

import numpy as np
import torch
import transformers
from safetensors import safe_open

from tests.golden import models, talks


def versions() -> dict[str, str]:
  """Of the libraries that answer."""
  return {name: importlib.metadata.version(name) for name in ('torch', 'transformers')}


def build(name: str):
  """A case's model of transformers, with weights that NumPy drew."""
  family, changes = models.CASES[name]
  config = getattr(transformers, f'{family}TextConfig' if family == 'Gemma3' else f'{family}Config')
  kind = getattr(transformers, f'{family}ForCausalLM')
  model = kind._from_config(config(**models.SMALL | changes), attn_implementation='eager').eval()
  weights = models.draw(family, described(model)['shapes'])
  left = model.load_state_dict({k: torch.tensor(w) for k, w in weights.items()}, strict=False)
  assert not left.unexpected_keys and set(left.missing_keys) <= {'lm_head.weight'}
  model.tie_weights()
  return model


def described(model) -> dict:
  """The config.json and the shapes of all tensors of the folder that a model is saved as."""
  with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    with open(f'{folder}/config.json') as file:
      config = json.load(file)
    with safe_open(f'{folder}/model.safetensors', 'np') as file:
      shapes = {name: file.get_slice(name).get_shape() for name in sorted(file.keys())}
  return dict(config=config, shapes=shapes)


def logits(model, tokens: np.ndarray) -> np.ndarray:
  """Of all tokens of rows, [B, T, V]."""
  with torch.inference_mode():
    return model(torch.tensor(tokens).long()).logits.numpy()


def answer(model) -> dict[str, np.ndarray]:
  """What `models.answers` gives, asked now."""
  tokens = models.prompts()
  said = logits(model, tokens)
  scores = torch.log_softmax(torch.tensor(said), dim=-1).numpy()
  with torch.inference_mode():
    texts = model.generate(
      torch.tensor(tokens).long(), max_new_tokens=models.NEW, do_sample=False
    ).numpy()
  return dict(
    logits=said[:, list(models.SHOWN)],
    logprobs=np.take_along_axis(scores[:, :-1], tokens[:, 1:, None].astype(int), -1)[..., 0],
    greedy=texts[:, models.PROMPT :].astype(np.int32),
  )


def main():
  built = {name: build(name) for name in models.CASES}
  told = dict(versions=versions(), cases={name: described(model) for name, model in built.items()})
  (models.FOLDER / 'models.json').write_text(json.dumps(told, indent=1) + '\n')
  arrays = {f'{n}/{kind}': x for n, m in built.items() for kind, x in answer(m).items()}
  np.savez_compressed(models.FOLDER / 'models.npz', **arrays)
  told = dict(versions=versions(), **talks.ask())
  (models.FOLDER / 'talks.json').write_text(
    json.dumps(told, indent=1, ensure_ascii=False) + '\n', encoding='utf-8'
  )


if __name__ == '__main__':
  main()
