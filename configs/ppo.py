"""The quickstart's policy, improved by PPO (arXiv:1707.06347): generalised advantages of every
token, a clipped critic, and the KL to where it started.

`python -m experiments.o1 --config=configs/ppo.py --workdir=runs/ppo`; `:smoke` is the same made
tiny.
"""

from ml_collections import ConfigDict

from configs import quickstart


def get_config(argument: str = '') -> ConfigDict:
  """PPO on chains of best-of-N."""
  if argument not in ('', 'smoke'):
    raise ValueError(f'configs/ppo.py:{argument} is unknown; use ppo.py or ppo.py:smoke')
  c = quickstart.get_config(argument)
  # The critic learns after every token from the start, since advantages are made of its values. It
  # learns what the policy's own solutions return, and goes on as the policy changes.
  c.reward.weights = quickstart.losses(token_value=1.0)
  c.reward.credit.value = 'monte_carlo'
  c.learn.learns = ('policy', 'critic')
  for mix in ('weights', 'warmup_weights'):
    c.learn[mix] = quickstart.losses(gradient=1.0, token_value=0.5, kl=0.05)
  c.learn.credit.update(advantage='gae', value='gae', lambda_=0.95)
  return c
