"""A search that spends more on some problems than on others, as its row of the config says."""

from collections.abc import Callable

import numpy as np

from o1jax.evaluation.accuracy import Readout, Verdicts
from o1jax.evaluation.verdicts import joined
from o1jax.recipes.searches import Row
from o1jax.search import SEARCHES
from o1jax.search.allocate import grouped, shares, units_of


def search_shared(
  search: Callable[..., Verdicts], row: Row, readouts: list[Readout], words: str, *, units: int
) -> Verdicts:
  """Searches all problems with a small share of the units. Then it makes groups by how easy they
  look, and searches each group with units of its own, by the same program. A smaller group takes
  less time, and a group of easy problems does not wait for the hard ones.

  Where fewer units are the beginning of more, the first search is a part of the second, and its
  tokens and FLOPs are billed once. Else they are billed beside it. Its seconds always are.

  Args:
    search: (search, readouts, words, spend=, only=) -> what was found of all problems, or of those
      whose numbers are in `only`.
    row: of the config.
    readouts: of its program.
    words: for whoever waits.
    units: as whose mean tokens are spent.
  """
  how, continues = dict(row.allocate), SEARCHES[row.method].continues
  least = max(round(how['pilot'] * units), 1)
  first = search(row.search, readouts, f'{words}: first {least}', spend=least)
  group = grouped(first.ease, how['groups'])
  each = units_of(
    group,
    first.tokens / least,
    shares(how['rule'], how['groups'], how['ratio']),
    units=units if continues else max(units - least, 1),
    least=least if continues else 1,
    most=row.most,
  )
  parts = []
  for number, spend in enumerate(each.tolist()):
    only = np.flatnonzero(group == number)
    if len(only):
      told = f'{words}: {len(only)} problems with {spend}'
      parts.append((only, search(row.search, readouts, told, spend=spend, only=only)))
  whole = joined(parts)
  twice = ('seconds',) if continues else ('seconds', 'tokens', 'flops', 'scoring')
  bill = {name: getattr(whole, name) + getattr(first, name) for name in twice}
  return whole._replace(**bill, ease=first.ease)
