r"""A critic by its labels: what the reward stage teaches it about the steps of sampled solutions.

  python -m experiments.o1 --config=configs/quickstart.py --workdir=runs/quickstart
  for value in reachable monte_carlo hard outcome first_error td; do
    python -m experiments.o1 --config=configs/critic.py:$value --workdir=runs/critic-$value
    python -m experiments.judge planted --workdir=runs/critic-$value
  done

Each starts from the policy of runs/quickstart after its stage initialise, which is shared and not
copied, and chooses among the same 16 chains: `best` and `weighted` read the critic alone, and
`majority` needs none. The judge tells by depth whether it sees which step is wrong: labels of
outcomes make an outcome reward model, all others a process reward model.

`first_error` samples rollouts beside its solutions. One of its updates has half of the solutions,
3.8 times the tokens and 0.57 times the FLOPs of the others' (the first three updates of seed 0),
and takes more time than its tokens or FLOPs suggest. `--config.reward.updates` says how long a
critic learns: 309 are about as many FLOPs as 176 of the others, and 46 as many tokens.
`--config.reward.start=FOLDER:STAGE` names another start.
"""

from ml_collections import ConfigDict

from configs import quickstart
from o1jax.learning import VALUES


def get_config(argument: str = 'monte_carlo') -> ConfigDict:
  """A row of `learning.VALUES`, such as `:hard`; `:smoke` is `:first_error` made tiny, for
  tests."""
  if argument not in (*VALUES, 'smoke'):
    known = ', '.join((*VALUES, 'smoke'))
    raise ValueError(f'the argument {argument!r} is unknown: give one of {known}')
  smoke = argument == 'smoke'
  c = quickstart.get_config('smoke' if smoke else '')
  c.stages = ('reward', 'evaluate', 'report')
  c.reward.start = 'runs/quickstart:initialise'
  c.reward.credit.value = 'first_error' if smoke else argument
  if c.reward.credit.value == 'first_error':
    units, rollouts = (2, 2) if smoke else (4, 4)
    c.reward.search = ConfigDict(dict(method='bisection', units=units, rollouts=rollouts))
    # Rows of whole trees: solutions stand first in them, and rollouts are mostly cropped.
    c.reward.tokens *= units
  del c.learn, c.control, c.control_flops
  c.evaluate.policies = ConfigDict(dict(initialised=dict(stages=('reward',), searches=('chains',))))
  units = 2 if smoke else 16
  c.evaluate.searches = ConfigDict(
    dict(
      chains=dict(
        method='best_of_n',
        tokens=(),
        units=(1, units) if smoke else (4, units),
        most=units,
        choices=('majority', 'best', 'weighted'),
        guide='critic',
      )
    )
  )
  c.evaluate.answer.update(search='chains', tokens=0, units=units)
  return c
