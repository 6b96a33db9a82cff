r"""GSM8K (arXiv:2110.14168) with a checkpoint of Hugging Face: import, reward model,
search-and-learn, evaluation.

  pip install -e '.[hf,math]'
  python -m experiments.o1 --config=configs/gsm8k.py:qwen2.5-0.5b --workdir=runs/gsm8k \
    --config.model.pretrained=models/Qwen2.5-0.5B-Instruct \
    --config.task.train=data/gsm8k/train.jsonl --config.task.test=data/gsm8k/test.jsonl

The checkpoint answers through its own chat template, one step a line, with the answer in a box. The
critic learns from math-verify's verdicts on the policy's own samples (arXiv:2312.08935). Then come
expert iteration and policy gradient.

Hardware: written for one GPU of 80 GB. Not run yet; the tests run `:smoke`, with a random model of
two layers.
"""

from ml_collections import ConfigDict

from configs.quickstart import losses, running, searching, supervised

MODELS = {
  'qwen2.5-0.5b': 'models/Qwen2.5-0.5B-Instruct',
  'qwen2.5-1.5b': 'models/Qwen2.5-1.5B-Instruct',
}


def get_config(argument: str = 'qwen2.5-0.5b') -> ConfigDict:
  """`:qwen2.5-0.5b` or `:qwen2.5-1.5b`; `:smoke` is the same job made tiny, for tests."""
  return recipe(argument, MODELS)


def recipe(argument: str, models: dict[str, str]) -> ConfigDict:
  """The job for one of some models, {argument: folder}, or `:smoke`."""
  if argument not in (*models, 'smoke'):
    raise ValueError(
      f'the argument {argument!r} is unknown: give one of {", ".join((*models, "smoke"))}'
    )
  c = ConfigDict()
  c.seed = 0
  c.stages = ('initialise', 'reward', 'learn', 'evaluate', 'report')
  running(c)
  c.verifier.where, c.verifier.by = 'host', 'math'
  c.task = ConfigDict(
    dict(name='gsm8k', train='data/gsm8k/train.jsonl', test='data/gsm8k/test.jsonl', skip_bad=False)
  )
  c.data = ConfigDict(
    dict(demonstrations=1000, texts=1, pool=5000, validation=256, test=1000, test_targets=0)
  )
  # `now`: the date that a template may tell the policy. It is fixed, so that a prompt is the same
  # on every day.
  c.tokenizer = ConfigDict(
    dict(
      chat=True,
      system='',
      instruction='Reason step by step, one step per line, and put the final answer in \\boxed{}.',
      now='2025-01-01',
    )
  )
  c.shapes = ConfigDict(dict(prompt_length=320, step_length=64, max_steps=16, row_length=1024))
  c.model = ConfigDict(
    dict(
      pretrained=models.get(argument, ''),
      changes=dict(dtype='bfloat16', scan_layers=True, remat=True),
    )
  )
  c.sampling = ConfigDict(dict(granularity='line', temperature=0.8, top_k=0, top_p=1.0))
  _learning(c)
  _measuring(c)
  if argument == 'smoke':
    _smoke(c)
  return c


def _learning(c: ConfigDict) -> None:
  c.pretrain = supervised(updates=0, learning_rate=1e-5, adam_learning_rate=1e-5)
  c.instruct = supervised(updates=0, learning_rate=1e-5, adam_learning_rate=1e-5)
  c.instruct.rehearsal = 0.0
  c.reward = searching(updates=64, learning_rate=1e-5, weights=dict(value=1.0, kl=1.0))
  c.learn = searching(
    updates=200, learning_rate=2e-6, weights=dict(gradient=1.0, clone=0.1, value=0.5)
  )
  for section in (c.pretrain, c.instruct, c.reward, c.learn):
    section.optimizer = ConfigDict(dict(section.optimizer, name='adamw', weight_decay=0.0))
  for section in (c.reward, c.learn):
    section.batch, section.minibatches, section.tokens, section.updates_per_call = 64, 16, 0, 1
  c.learn.warmup_weights = losses(clone=1.0, value=0.5)
  c.learn.validate_every = 20
  c.learn.patience = 2
  c.learn.min_gain = 0.01


def _measuring(c: ConfigDict) -> None:
  tokens = (250, 1000, 4000)  # a solution may take about 250
  searches = ('chains', 'gumbel')
  c.evaluate = ConfigDict(
    dict(
      policies=dict(
        initialised=dict(stages=('reward', 'initialise'), searches=searches),
        learned=dict(stages=('learn',), searches=searches),
      ),
      searches=dict(
        chains=dict(
          method='best_of_n',
          tokens=tokens,
          units=(),
          most=16,
          choices=('majority', 'best', 'weighted'),
        ),
        gumbel=dict(
          method='gumbel', tokens=tokens, units=(), most=64, candidates=4, choices=('weighted',)
        ),
      ),
      answer=dict(search='gumbel', tokens=4000, units=0),
      aggregate='last',
      rows=128,
    )
  )


def _smoke(c: ConfigDict) -> None:
  c.fast_compile = True
  c.data = ConfigDict(
    dict(demonstrations=8, texts=1, pool=16, validation=4, test=8, test_targets=0)
  )
  c.shapes = ConfigDict(dict(prompt_length=192, step_length=12, max_steps=4, row_length=256))
  c.model.changes = ConfigDict(dict(dtype='float32', scan_layers=False, remat=False))
  for section in (c.reward, c.learn):
    section.updates, section.batch, section.minibatches, section.search.units = 1, 8, 2, 2
  c.learn.validate_every = c.learn.patience = 1
  c.evaluate.searches.chains.update(tokens=(50, 100), most=2)
  c.evaluate.searches.gumbel.update(tokens=(), units=(4,), most=4)
  c.evaluate.answer.update(tokens=0, units=4)
  c.evaluate.rows = 32
