r"""MBPP (arXiv:2108.07732) with a checkpoint of Hugging Face: programs, judged by unit tests in a
sandbox.

  pip install -e '.[hf]'
  python -m experiments.o1 --config=configs/mbpp.py:qwen2.5-coder-0.5b --workdir=runs/mbpp \
    --config.model.pretrained=models/Qwen2.5-Coder-0.5B-Instruct \
    --config.task.train=data/mbpp.jsonl --config.task.test=data/mbpp.jsonl

This is the job of configs/gsm8k.py. A line of a program is a step, and the critic's best program is
the answer. Tests that are not calls with literal values would have to run beside the program, which
could then decide them. Problems with such tests are counted and left out. `config.verifier.sandbox`
is 'auto': bubblewrap, else namespaces with seccomp. Without either the job does not start.

Hardware: written for one GPU of 80 GB. Not run yet; the tests run `:smoke`, with a random model of
two layers.
"""

from ml_collections import ConfigDict

from configs.gsm8k import recipe

MODELS = {
  'qwen2.5-coder-0.5b': 'models/Qwen2.5-Coder-0.5B-Instruct',
  'qwen2.5-coder-1.5b': 'models/Qwen2.5-Coder-1.5B-Instruct',
}


def get_config(argument: str = 'qwen2.5-coder-0.5b') -> ConfigDict:
  """`:qwen2.5-coder-0.5b` or `:qwen2.5-coder-1.5b`; `:smoke` is the same job made tiny, for
  tests."""
  c = recipe(argument, MODELS)
  c.verifier.by, c.verifier.sandbox = 'code', 'auto'
  c.task = ConfigDict(
    dict(name='mbpp', train='data/mbpp.jsonl', test='data/mbpp.jsonl', skip_bad=True)
  )
  c.tokenizer.instruction = 'Write the program in one block that begins with ```python.'
  # Programs are seldom alike as texts, so they do not vote.
  c.evaluate.searches.chains.choices = c.evaluate.searches.gumbel.choices = ('best',)
  if argument != 'smoke':
    c.data.update(demonstrations=50, pool=300, validation=40, test=400)
    c.shapes.update(prompt_length=320, step_length=48, max_steps=32)
  return c
