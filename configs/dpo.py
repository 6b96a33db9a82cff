"""The quickstart's policy, improved by DPO (arXiv:2305.18290) over pairs of its own solutions.

`python -m experiments.o1 --config=configs/dpo.py --workdir=runs/dpo`. `:siblings` prefers between
steps of a tree search instead.
"""

from ml_collections import ConfigDict

from configs import quickstart


def get_config(argument: str = '') -> ConfigDict:
  """DPO over solutions of best-of-N, or over siblings; `smoke` makes either tiny: `:smoke`,
  `:siblings-smoke`."""
  words = set(argument.split('-')) - {''}
  if not words <= {'smoke', 'siblings'}:
    raise ValueError(f'configs/dpo.py:{argument} is unknown; use siblings, smoke, siblings-smoke')
  c = quickstart.get_config('smoke' if 'smoke' in words else '')
  loss = 'sibling_dpo' if 'siblings' in words else 'dpo'
  for mix in ('weights', 'warmup_weights'):
    c.learn[mix] = quickstart.losses(**{loss: 1.0})
  # Online: the pairs of an update are the policy's own of that moment, so a small rate will do.
  c.learn.optimizer.learning_rate /= 3
  c.learn.optimizer.adam_learning_rate /= 3
  # A solution that is cropped is in no pair. Then long ones are never the worse, and the policy
  # learns not to end (experiments/LOG.md).
  c.learn.tokens = 0
  if loss == 'sibling_dpo':
    c.learn.search.update(method='gumbel', units=4 if 'smoke' in words else 12)
    c.learn.tokens = 0 if 'smoke' in words else 320  # of a whole tree, where a chain had 112
  return c
