"""Beam search and diverse verifier tree search (arXiv:2408.03314) with the quickstart's policy.

  python -m experiments.o1 --config=configs/beam.py --workdir=runs/beam

K beams of four candidates each, beside samples of the same policy. Nothing is learned
after the critic. `:smoke` is the same made tiny, for tests.
"""

from ml_collections import ConfigDict

from configs import quickstart


def get_config(argument: str = '') -> ConfigDict:
  """The quickstart's policy initialisation and critic, and more ways to search with them."""
  c = quickstart.get_config(argument)
  c.stages = ('initialise', 'reward', 'evaluate', 'report')
  measured = c.evaluate.policies.initialised
  measured.simulations = (1, 2) if argument == 'smoke' else (1, 2, 4, 8)
  c.evaluate.policies = ConfigDict(dict(initialised=measured))
  c.evaluate.tree_methods = ('beam', 'dvts')
  c.evaluate.search.update(method='beam', budget=2)
  return c
