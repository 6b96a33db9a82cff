r"""A critic by its labels: what the reward stage teaches it about the steps of sampled solutions.

  python -m experiments.o1 --config=configs/quickstart.py --workdir=runs/quickstart
  for value in monte_carlo hard outcome reachable td; do
    python -m experiments.o1 --config=configs/critic.py:$value --workdir=runs/critic-$value
  done

Each starts from the policy of runs/quickstart after its stage initialise, which is shared and not
copied, and chooses among the same chains: `best` is the critic's choice, `majority` needs no
critic. `--config.reward.start=FOLDER:STAGE` names another start, `--config.reward.updates` says how
long the critic learns.
"""

from ml_collections import ConfigDict

from configs import quickstart
from o1jax.learning import VALUES


def get_config(argument: str = 'monte_carlo') -> ConfigDict:
  """A row of `learning.VALUES`, such as `:hard`; `:smoke` is tiny, for tests."""
  if argument not in (*VALUES, 'smoke'):
    known = ', '.join((*VALUES, 'smoke'))
    raise ValueError(f'the argument {argument!r} is unknown: give one of {known}')
  smoke = argument == 'smoke'
  c = quickstart.get_config('smoke' if smoke else '')
  c.stages = ('reward', 'evaluate', 'report')
  c.reward.start = 'runs/quickstart:initialise'
  c.reward.credit.value = 'hard' if smoke else argument
  del c.learn, c.control, c.control_flops
  c.evaluate.policies = ConfigDict(dict(initialised=dict(stages=('reward',), searches=('chains',))))
  return c
