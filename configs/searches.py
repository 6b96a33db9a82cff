r"""Every search of the chapter with one policy, at equal tokens.

  python -m experiments.o1 --config=configs/searches.py --workdir=runs/searches \
    --config.evaluate.policies.initialised.stages="('runs/quickstart:reward',)"

It measures a policy that the quickstart has trained and trains nothing. `:oracle` measures the
ceilings instead: each search follows exact verdicts, of prefixes too, and no two siblings of an
expansion are alike.

`:turns` measures the searches that ask again with an attempt, and trains a policy of its own: a
prompt then has room for an attempt, which no other run shares. `:smoke` is all of this made tiny,
for tests.
"""

from ml_collections import ConfigDict

from configs import quickstart

ARGUMENTS = ('', 'oracle', 'turns', 'smoke')


def get_config(argument: str = '') -> ConfigDict:
  """The quickstart's policy and problems, and a row for each search."""
  if argument not in ARGUMENTS:
    raise ValueError(f'the argument {argument!r} is unknown: give none, oracle, turns or smoke')
  c = quickstart.get_config('smoke' if argument == 'smoke' else '')
  c.stages = ('evaluate', 'report')
  if argument in ('turns', 'smoke'):
    c.stages = ('initialise', 'reward', *c.stages)
    # A question, an attempt of as many tokens as there may be, and a line about it.
    c.shapes.prompt_length = 40 + c.shapes.step_length * c.shapes.max_steps
  methods = {'turns': TURNS, 'smoke': SEARCHES | TURNS}.get(argument, SEARCHES)
  chains, gumbel, tree = (c.evaluate.searches[name] for name in ('chains', 'gumbel', 'tree'))
  gumbel.tokens = () if argument == 'smoke' else tree.tokens
  rows = dict(chains=chains, gumbel=gumbel, tree=tree)
  for method, settings in methods.items():
    row = gumbel.copy_and_resolve_references()
    del row.candidates
    row.update(method=method, **settings)
    if argument == 'smoke':
      row.update(tokens=(), units=(2,), most=2)
    rows[method] = row
  if argument == 'oracle':
    for row in rows.values():
      row.update(guide='oracle', weigh='', choices=('best',))
      if 'candidates' in row:
        row.replacement = False  # else four of one step leave a perfect guide no choice
    chains.choices = ('majority', 'best')
  c.evaluate.searches = ConfigDict(rows)
  c.evaluate.policies.initialised.searches = tuple(rows)
  c.evaluate.policies = ConfigDict(dict(initialised=c.evaluate.policies.initialised))
  return c


# Room for twice the chains that independent ones would have: theirs begin at any depth.
SEARCHES = dict(
  puct=dict(candidates=4),
  beam=dict(candidates=4, tokens=(400, 800, 1600), most=8),
  dvts=dict(candidates=4, tokens=(400, 800, 1600), most=8),
  # A chain of one step at a time, from wherever another sample is worth most.
  ab_mcts=dict(most=200, ahead=1, prior=2.0, credit=0.5, weigh='prm * likelihood'),
  rejection=dict(most=48),
  best_first=dict(candidates=4),
  lookahead=dict(candidates=4, tokens=(800, 1600), most=4),
  smc=dict(most=24),
  backtrack=dict(candidates=4),
  # A chain that would end judges itself, and goes on.
  budget_forcing=dict(most=16),
)
# Each asks again with an attempt.
TURNS = dict(
  revision=dict(most=12),
  mctsr=dict(most=24),
)
