r"""Two searches under every guide, with one policy: what is worth following?

  python -m experiments.o1 --config=configs/guides.py --workdir=runs/guides \
    --config.evaluate.policies.initialised.stages="('runs/quickstart:reward',)"

It measures a policy that the quickstart has trained and trains nothing. Internal guides read the
policy alone, external ones something else, and combined ones both (arXiv:2412.14135, figure 6).
`:smoke` is the same made tiny, for tests, and trains a policy of its own.
"""

from ml_collections import ConfigDict

from configs import quickstart

ARGUMENTS = ('', 'smoke')
# Names of rows, and expressions of scores.
GUIDES = dict(
  # internal
  confidence='confidence',
  likelihood='likelihood',
  top5='top5',
  certainty='certainty',
  agreement='agreement',
  probe='probe',
  # external
  critic='critic',
  prm='prm',
  heuristic='heuristic',
  # combined
  critic_likelihood='critic * likelihood',
  prm_likelihood='prm * likelihood',
  critic_agreement='critic * agreement',
)


def get_config(argument: str = '') -> ConfigDict:
  """The quickstart's policy and problems, and two rows for each guide."""
  if argument not in ARGUMENTS:
    raise ValueError(f'the argument {argument!r} is unknown: give none, or smoke')
  c = quickstart.get_config(argument)
  c.stages = ('evaluate', 'report')
  if argument == 'smoke':
    c.stages = ('initialise', 'reward', *c.stages)
  chains, gumbel = c.evaluate.searches.chains, c.evaluate.searches.gumbel
  chains.choices = ('best', 'weighted')
  if argument != 'smoke':
    chains.tokens = gumbel.tokens = (200, 800, 1600)
  rows = dict(chains=chains.copy_and_resolve_references())
  rows['chains'].choices = ('majority',)
  for name, guide in GUIDES.items():
    for method, row in (('chains', chains), ('gumbel', gumbel)):
      rows[f'{method}_{name}'] = row.copy_and_resolve_references()
      rows[f'{method}_{name}'].guide = guide
    rows[f'gumbel_{name}'].weigh = ''  # by its guide
  c.evaluate.searches = ConfigDict(rows)
  c.evaluate.answer.search = 'gumbel_critic'
  c.evaluate.policies.initialised.searches = tuple(rows)
  c.evaluate.policies = ConfigDict(dict(initialised=c.evaluate.policies.initialised))
  return c
