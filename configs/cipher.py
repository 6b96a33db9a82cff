"""The cipher of OpenAI's o1 announcement: the average place in the alphabet of a pair of letters is
one letter.

`python -m experiments.o1 --config=configs/cipher.py --workdir=runs/cipher`

One seed on 2 CPU cores takes 30 minutes: greedy 90 %, critic-weighted best-of-8 90 %, MCTS 86 %,
and greedy 88 % after search-and-learn (200 problems, experiments/LOG.md). MCTS with 8 simulations
on the learned policy solves the strawberry sentence. That was with a critic on the policy's trunk;
with one of its own the job has not run yet.
"""

from ml_collections import ConfigDict

from configs import quickstart


def get_config() -> ConfigDict:
  """The main job on the cipher: characters as tokens, a word a step."""
  c = quickstart.get_config()
  c.task = ConfigDict(
    dict(
      name='cipher',
      min_words=1,
      max_words=6,
      max_letters=10,
      invented=0.3,
      behaviours=dict(
        analysis=0.1, decomposition=0.1, evaluation=0.1, dead_end=0.1, max_dead_ends=1
      ),
    )
  )
  c.data = ConfigDict(
    dict(demonstrations=2000, texts=20_000, pool=3000, validation=100, test=200, test_targets=0)
  )
  # These settings together were needed. Which of them matters was not separated:
  # experiments/LOG.md.
  c.model.changes = ConfigDict(dict(own_critic=True, critic_layers=2, kv_heads=4, layers=4))
  c.sampling.temperature = 0.5
  c.tokenizer.vocab_size = 0  # characters only: a merged token would hide the letters that pair up
  c.shapes = ConfigDict(dict(prompt_length=132, step_length=64, max_steps=14, row_length=480))
  c.pretrain.updates, c.instruct.updates = 2000, 600
  for section in (c.pretrain, c.instruct):
    section.batch = 6
  for section in (c.reward, c.learn):
    section.updates, section.batch, section.search.units, section.tokens = 12, 16, 4, 320
  c.reward.updates = 48
  c.learn.validate_every, c.learn.updates_per_call = 5, 1
  c.stages = ('initialise', 'reward', 'learn', 'evaluate', 'report')
  for name in ('control', 'control_flops'):
    del c[name], c.evaluate.policies[name]
  # A solution takes about 150 tokens.
  c.evaluate.searches.chains.update(tokens=(150, 300, 600, 1200), most=8)
  c.evaluate.searches.gumbel.update(tokens=(300, 1200), most=16)
  c.evaluate.searches.tree.update(tokens=(150, 300, 600, 1200), most=64)
  c.evaluate.policies.initialised.searches = ('chains', 'gumbel', 'tree')
  c.evaluate.policies.learned.searches = ('tree',)
  c.evaluate.answer.tokens = 1200
  return c
