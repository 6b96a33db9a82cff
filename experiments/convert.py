r"""Converts models of Hugging Face transformers to ours and back.

  python -m experiments.convert --from=models/Qwen2.5-0.5B --to=models/ours
  python -m experiments.convert --from=runs/gsm8k --to=models/gsm8k \
    [--policy=learned] [--dtype=bfloat16]

The content of --from decides. A model of transformers becomes one of ours
(`config.model.pretrained` takes either). One of ours, or the workdir of a run, becomes a folder
that transformers opens. Where transformers is installed, both models then get the same prompts, and
their answers are compared.
"""

import importlib.util
import json
import os
import pathlib
import resource
import shutil
import sys
import time
import warnings
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from absl import app, flags, logging

from experiments.cache import open_cache
from o1jax.model import forward, hf
from o1jax.model.transformer import LanguageModel
from o1jax.model.variants import ModelConfig
from o1jax.recipes import pretrained
from o1jax.recipes.looking import load_run
from o1jax.runtime.checkpoint import quiet_orbax
from o1jax.runtime.config import ConfigError, require
from o1jax.runtime.memory import keep_freed_memory
from o1jax.runtime.storage import StorageError

FROM = flags.DEFINE_string('from', None, 'folder of a model, or workdir of a run')
TO = flags.DEFINE_string('to', None, 'folder to make')
POLICY = flags.DEFINE_string('policy', 'learned', 'of a run: a name in config.evaluate.policies')
DTYPE = flags.DEFINE_enum(
  'dtype', '', ['', 'float32', 'bfloat16', 'float16'], 'of weights for transformers'
)
COMPARE = flags.DEFINE_bool('compare', True, 'compare with transformers, if it is installed')
PROMPT, NEW = 64, 32  # tokens of the comparison
_ENDS = 'generation_config.json'
_TEXT = (
  _ENDS,
  'tokenizer.json',
  'tokenizer.model',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
)


class Model(NamedTuple):
  """A policy, and what a folder says of it.

  texts: folder of the files about text rather than weights. ends: tokens that end generated text,
  where no file there names them.
  """

  config: ModelConfig
  policy: Any
  max_length: int
  texts: pathlib.Path
  ends: dict[str, Any] = {}


def read(folder: pathlib.Path, policy: str) -> Model:
  """The policy of a folder of any kind.

  Raises:
    ConfigError, ValueError: there is none; the message says why.
  """
  if (folder / 'done').is_dir():
    run = load_run(folder)
    shapes = run.experiment.config.shapes
    length = max(shapes.row_length, shapes.prompt_length + shapes.max_steps * shapes.step_length)
    made = run.policies()
    require(policy in made, f'--policy={policy}: {folder} has made {", ".join(made) or "none"}')
    policy, texts = run.params(made[policy])['policy'], folder / 'pretrained'
    if texts.is_dir():
      return Model(run.experiment.model.config, policy, length, texts)
    tokenizer = run.experiment.tokenizer
    ends = dict(
      eos_token_id=list(tokenizer.end_ids), pad_token_id=tokenizer.pad_id, bos_token_id=None
    )
    return Model(run.experiment.model.config, policy, length, folder, ends)
  config = pretrained.shape_of(folder, scan_layers=True, dtype='float32')
  like = jax.eval_shape(lambda: nn.unbox(forward.init(LanguageModel(config), jax.random.key(0))))[
    'policy'
  ]
  here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  policy = pretrained.load_policy(folder, config, pretrained.shapes(like, here))
  return Model(config, policy, pretrained.max_length_of(folder), folder)


def convert(source: pathlib.Path, target: pathlib.Path) -> None:
  """Does what the flags say; prints what it did.

  Raises:
    ConfigError, ValueError, StorageError: why it could not.
  """
  before, began = _memory(), time.monotonic()
  model = read(source, POLICY.value)
  jax.block_until_ready(model.policy)
  size = sum(x.nbytes for x in jax.tree.leaves(model.policy))
  count = sum(x.size for x in jax.tree.leaves(model.policy))
  over = _memory() - before - size
  print(
    f'{count:,} parameters read in {time.monotonic() - began:.1f} s; the host held '
    f'{over / 2**20:,.0f} MB at most '
    f'beside their {size / 2**20:,.0f}'
  )
  theirs = (source / 'config.json').exists() and not (source / 'done').is_dir()
  if theirs:
    pretrained.save_policy(target, model.config, model.policy, model.max_length)
  else:
    hf.save(target, model.config, model.policy, max_length=model.max_length, dtype=DTYPE.value)
  for name in _TEXT:
    if (model.texts / name).exists():
      shutil.copy2(model.texts / name, target / name)
  if model.ends:
    (target / _ENDS).write_text(json.dumps(model.ends, indent=2) + '\n')
  print(f'{target} written')
  if not COMPARE.value:
    return
  missing = [name for name in ('torch', 'transformers') if importlib.util.find_spec(name) is None]
  if missing:
    return print(f'not compared: {" and ".join(missing)} not installed')
  again = read(target, POLICY.value) if theirs else model
  compare(again, source if theirs else target)


def compare(model: Model, folder: pathlib.Path) -> None:
  """Prints how far our logits on random prompts are from those of transformers, and for how long
  greedy texts agree."""
  import torch
  from transformers import AutoModelForCausalLM, GenerationConfig

  there = AutoModelForCausalLM.from_pretrained(
    folder, dtype=torch.float32, local_files_only=True
  ).eval()
  # Its own settings may forbid an early end, punish repetition, or take a part of the prompt for
  # padding.
  there.generation_config = GenerationConfig(max_new_tokens=NEW, do_sample=False)
  rows = np.random.default_rng(0).integers(
    0, model.config.vocab_size - model.config.unused, (2, PROMPT)
  )
  with torch.inference_mode():
    expected = there(torch.tensor(rows)).logits.numpy()
    texts = there.generate(torch.tensor(rows), attention_mask=torch.ones(rows.shape)).numpy()
  ours = logits(model, texts)
  wide = model.config.vocab_size - model.config.unused
  apart = np.abs(ours[:, :PROMPT, :wide] - expected[..., :wide]).max()
  same = (ours[:, PROMPT - 1 : -1].argmax(-1) == texts[:, PROMPT:]).all()
  print(
    f'on {len(rows)} random prompts of {PROMPT} tokens: logits are at most {apart:.2g} apart, in a '
    f'range of '
    f'{np.ptp(expected):.3g}; {NEW} greedy tokens {"are the same" if same else "DIFFER"}'
  )


def logits(model: Model, rows: np.ndarray) -> np.ndarray:
  """Logits [B, T, V] of all tokens of rows [B, T], in float32."""
  ours = LanguageModel(model.config)
  critic = jax.eval_shape(lambda: nn.unbox(forward.init(ours, jax.random.key(0))))['critic']
  critic = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), critic)

  @jax.jit
  def run(policy):
    params = dict(policy=policy, critic=critic)
    out = forward.forward_rows(
      ours, params, rows, np.full(len(rows), rows.shape[1]), with_value=False
    )
    return forward.logits_of(ours, params, out.hidden[:, 0, 0])

  return np.asarray(run(model.policy))


def _memory() -> int:
  """The most bytes that this process has held."""
  return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(argv):
  if len(argv) > 1:
    app.usage(
      shorthelp=True, detailed_error=f'unexpected arguments: {" ".join(argv[1:])}', exitcode=2
    )
  os.environ.setdefault('HF_HUB_OFFLINE', '1')
  warnings.filterwarnings('ignore', module='orbax')
  logging.set_verbosity(logging.WARNING)
  quiet_orbax()
  keep_freed_memory()
  open_cache()
  try:
    convert(
      pathlib.Path(FROM.value).expanduser().resolve(), pathlib.Path(TO.value).expanduser().resolve()
    )
  except (ConfigError, StorageError, ValueError) as error:
    sys.exit(f'error: {error}')


if __name__ == '__main__':
  flags.mark_flags_as_required(['from', 'to'])
  app.run(main)
