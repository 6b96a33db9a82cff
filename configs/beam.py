r"""Beam search and diverse verifier tree search (arXiv:2408.03314) with the quickstart's policy.

  python -m experiments.o1 --config=configs/beam.py --workdir=runs/beam

K beams of four candidates each, beside samples of the same policy. Nothing is learned after the
critic. `:smoke` is the same made tiny, for tests. To search with a policy that another run has
trained:

  --config.stages="('evaluate','report')" \
  --config.evaluate.policies.initialised.stages="('runs/quickstart:reward',)"
"""

from ml_collections import ConfigDict

from configs import quickstart


def get_config(argument: str = '') -> ConfigDict:
  """The quickstart's policy initialisation and critic, and more ways to search with them."""
  c = quickstart.get_config(argument)
  c.stages = ('initialise', 'reward', 'evaluate', 'report')
  gumbel = c.evaluate.searches.gumbel
  names = ('beam', 'dvts')
  for name in names:
    row = gumbel.copy_and_resolve_references()
    row.method = name
    # One beam spends 400 tokens.
    few = dict(units=(1,), most=2) if argument == 'smoke' else dict(tokens=(400, 800, 1600), most=8)
    row.update(few)
    c.evaluate.searches[name] = row
  del c.evaluate.searches.gumbel, c.evaluate.searches.tree
  measured = c.evaluate.policies.initialised
  measured.searches = ('chains', *names)
  c.evaluate.policies = ConfigDict(dict(initialised=measured))
  c.evaluate.answer.update(search='beam', units=min(c.evaluate.answer.units, 2))
  return c
