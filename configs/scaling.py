"""A policy of the shape of Llama-3.2-1B on a TPU pod: what docs/SCALING.md compiles with
`experiments.aot`, without a TPU.

`python -m experiments.aot --config=configs/scaling.py --topology=v5e:4x4`

Not run yet. The task is countdown, whose tokenizer fills little of the vocabulary. To run a
checkpoint of that shape, write a config like configs/gsm8k.py.
"""

from ml_collections import ConfigDict

from configs import quickstart


def get_config() -> ConfigDict:
  """256 problems, 4 candidates, 32 simulations, steps of 64 tokens, prompts of 256."""
  c = quickstart.get_config()
  c.mesh = ConfigDict(dict(data=1, fsdp=-1, tensor=1))
  c.shapes = ConfigDict(dict(prompt_length=256, step_length=64, max_steps=16, row_length=1024))
  c.model.variant = '1b'
  c.model.changes = ConfigDict(dict(own_critic=False, vocab_size=128_256))
  optimizer = dict(name='adamw', learning_rate=1e-5, weight_decay=0.01)
  for section in (c.pretrain, c.instruct):
    section.batch, section.optimizer = 256, ConfigDict(optimizer)
  for section in (c.reward, c.learn):
    section.batch, section.minibatches, section.updates_per_call, section.tokens = 256, 16, 1, 0
    section.search = ConfigDict(dict(method='gumbel', units=32, candidates=4, verify_leaves=True))
    section.optimizer = ConfigDict(optimizer | dict(end_fraction=0.1))
    # One trunk for both is half the memory.
    section.learns = ('policy', 'critic')
    section.credit.value = 'monte_carlo'
  c.reward.weights = quickstart.losses(value=1.0, kl=1.0)
  c.learn.weights = quickstart.losses(gradient=1.0, clone=1.0, value=0.5)
  c.learn.warmup_weights = quickstart.losses(clone=1.0, value=0.5)
  c.learn.validate_every = 5
  quickstart.controls(c)
  del c.control_flops, c.evaluate.policies.control_flops
  c.evaluate.rows = 1024
  return c
