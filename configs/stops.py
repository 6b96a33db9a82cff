r"""Rules that stop and prune a search, and totals that are shared among problems, with one policy.

  python -m experiments.o1 --config=configs/stops.py --workdir=runs/stops \
    --config.evaluate.policies.initialised.stages="('runs/quickstart:reward',)"

It measures a policy that the quickstart has trained and trains nothing. Each search stands there
with no rule, too, of as many units, so that the report tells premature and late stops. `:smoke` is
the same made tiny, for tests, and trains a policy of its own.
"""

from ml_collections import ConfigDict

from configs import quickstart

ARGUMENTS = ('', 'smoke')
# Rows of chains in rounds and of tree search, by their names, and what each says.
CHAINS = dict(
  rounds=dict(),
  agreement=dict(stop=dict(rule='agreement')),
  consistency=dict(stop=dict(rule='consistency')),
  value=dict(stop=dict(rule='value')),
  verifier=dict(stop=dict(rule='verifier')),
  hardest=dict(allocate=dict(rule='hardest')),
  middle=dict(allocate=dict(rule='middle')),
)
TREES = dict(
  gumbel=dict(),
  gumbel_value=dict(stop=dict(rule='value')),
  gumbel_verifier=dict(stop=dict(rule='verifier')),
  gumbel_pruned=dict(prune=dict(of_best=0.5)),
  gumbel_states=dict(prune=dict(below=0.1, sure=0.9)),
)


def get_config(argument: str = '') -> ConfigDict:
  """The quickstart's policy and problems, and a row for each rule."""
  if argument not in ARGUMENTS:
    raise ValueError(f'the argument {argument!r} is unknown: give none, or smoke')
  c = quickstart.get_config(argument)
  c.stages = ('evaluate', 'report')
  if argument == 'smoke':
    c.stages = ('initialise', 'reward', *c.stages)
  small = argument == 'smoke'
  chains, gumbel = c.evaluate.searches.chains, c.evaluate.searches.gumbel
  rounds = dict(method='sequential', choices=('majority', 'weighted'), tokens=(), most=32)
  rounds |= dict(width=1, units=(4,), most=6) if small else dict(width=4, units=(8, 16, 24))
  tree = gumbel.to_dict() | dict(tokens=(), units=(4,) if small else (32, 64))
  rows = dict(chains=chains.to_dict())
  rows |= {name: rounds | own for name, own in CHAINS.items()}
  rows |= {name: tree | own for name, own in TREES.items()}
  c.evaluate.searches = ConfigDict(rows)
  c.evaluate.answer.search = 'chains'
  c.evaluate.policies.initialised.searches = tuple(rows)
  c.evaluate.policies = ConfigDict(dict(initialised=c.evaluate.policies.initialised))
  return c
