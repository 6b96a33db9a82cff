"""Countdown with four numbers, targets 10 to 100 (Stream of Search, arXiv:2404.03683).

`python -m experiments.o1 --config=configs/countdown.py --workdir=runs/countdown`

It is sized for one GPU. No accelerator has run it yet, so nothing is measured. A test on a CPU
checks that its pieces fit (tests/recipes/build_test.py).

`:laptop` is the quickstart's policy on four numbers up to 10, for two CPU cores: the harder task on
which configs/studies/guided.py compares searches (experiments/LOG.md). Of its stages `initialise`
and `reward` have run.
"""

from ml_collections import ConfigDict

from configs import quickstart

ARGUMENTS = ('', 'laptop')


def get_config(argument: str = '') -> ConfigDict:
  """The main job on four numbers, with a 10M-parameter policy and Gumbel search in training, or on
  a laptop."""
  if argument not in ARGUMENTS:
    raise ValueError(f'the argument {argument!r} is unknown: give none, or laptop')
  c = quickstart.get_config()
  c.task.numbers = 4
  if argument == 'laptop':
    laptop(c)
    return c
  c.task.max_number = 50
  c.task.behaviours.dead_end = 0.5
  c.data = ConfigDict(
    dict(
      demonstrations=20_000, texts=200_000, pool=100_000, validation=500, test=500, test_targets=500
    )
  )
  c.shapes = ConfigDict(dict(prompt_length=24, step_length=24, max_steps=18, row_length=320))
  c.model.variant = '10m'
  c.model.changes = ConfigDict(dict(own_critic=True, critic_layers=3, dtype='bfloat16'))
  for section in (c.pretrain, c.instruct):
    section.updates, section.batch, section.optimizer.learning_rate = 5000, 256, 1e-3
  c.reward.updates, c.reward.batch = 300, 256
  c.reward.updates_per_call = c.learn.updates_per_call = 1  # more saves a CPU's time, not a GPU's
  c.learn.updates, c.learn.batch, c.learn.validate_every, c.learn.patience = 500, 256, 50, 2
  c.reward.tokens, c.learn.tokens = 256, 2048
  quickstart.controls(c)
  del c.control_flops, c.evaluate.policies.control_flops
  c.learn.search = ConfigDict(dict(method='gumbel', units=32, candidates=8, verify_leaves=True))
  c.evaluate.rows = 8192
  # A solution takes about 150 tokens.
  for name, most in dict(chains=64, gumbel=128, tree=512).items():
    row = c.evaluate.searches[name]
    row.tokens, row.most = (150, 300, 600, 1200, 2400, 4800, 9600), most
  c.evaluate.searches.gumbel.candidates = 8
  c.evaluate.policies.learned.searches = ('chains', 'gumbel', 'tree')
  c.evaluate.answer.tokens = 2400
  return c


def laptop(c: ConfigDict) -> None:
  """Small numbers, longer solutions, and more problems than three numbers have."""
  c.task.max_number = 10
  c.data.update(demonstrations=4000, pool=4000, validation=256, test=512, test_targets=0)
  # With half as many demonstrations and updates of `instruct` and `reward`, and two thirds of
  # `pretrain`, the policy was right in 4 %, and the critic could not tell whether two numbers make
  # the target (experiments/LOG.md).
  c.pretrain.updates, c.instruct.updates, c.reward.updates = 1800, 960, 384
  c.shapes.update(prompt_length=20, step_length=22, max_steps=14, row_length=192)
  # A solution takes about 150 tokens.
  c.reward.tokens = c.learn.tokens = 168
  for name in ('control', 'control_flops'):
    del c[name], c.evaluate.policies[name]
  c.stages = ('initialise', 'reward', 'learn', 'evaluate', 'report')
