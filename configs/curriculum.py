"""The quickstart, which learns more often from problems that its policy sometimes solves
(arXiv:2502.12272).

`python -m experiments.o1 --config=configs/curriculum.py --workdir=runs/curriculum`; `:smoke` is the
same made tiny.
"""

from ml_collections import ConfigDict

from configs import quickstart
from o1jax.learning import DRAWS


def get_config(argument: str = '') -> ConfigDict:
  """Problems of search and learn are drawn by how much the policy can learn from them."""
  if argument not in ('', 'smoke'):
    raise ValueError(f'configs/curriculum.py:{argument} is unknown; use curriculum.py or :smoke')
  c = quickstart.get_config(argument)
  c.learn.draw = ConfigDict(dict(name='learnability') | DRAWS['learnability'].defaults)
  return c
