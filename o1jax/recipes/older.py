"""The searches of older configs, said as configs say them now.

A policy named `samples`, numbers of chains, and `simulations`, what each of `tree_methods` spent.
`search` answered questions, and all answers of trees were chosen by one `rule`.
"""

import itertools
from typing import Any

from o1jax.search import SEARCHES

_CHAINS = next(name for name, row in SEARCHES.items() if row.independent)
# Each number of chains was read in these ways.
_READ = ('majority', 'best', 'weighted')


def translate(section: dict[str, Any]) -> None:
  """Makes of an older section `evaluate` one of today, which measures the same in units."""
  search, rule = section.pop('search', {}), section.pop('rule', 'weighted')
  methods = section.pop('tree_methods', ())
  method, budget = search.pop('method', ''), search.pop('budget', 1)
  asked = {
    name: tuple(tuple(policy.pop(key, ())) for key in ('samples', 'simulations'))
    for name, policy in section.get('policies', {}).items()
  }
  branches = method in SEARCHES and not SEARCHES[method].independent
  # One program served all that trees spent.
  trees = max(itertools.chain([budget * branches], *(spent for _, spent in asked.values())))
  rows: dict[str, dict] = {}

  def name_of(wanted, **row):
    """The name of a row that says this."""
    same = [name for name, other in rows.items() if other == row]
    if same:
      return same[0]
    names = itertools.chain([wanted], (f'{wanted}_{i}' for i in itertools.count(2)))
    name = next(name for name in names if name not in rows)
    rows[name] = row
    return name

  for policy, (samples, simulations) in asked.items():
    names = []
    if samples:
      names.append(
        name_of('chains', method=_CHAINS, units=samples, most=max(samples), choices=_READ)
      )
    if simulations:
      spent = dict(units=simulations, most=trees, choices=(rule,), **search)
      names += [name_of(tree, method=tree, **spent) for tree in methods]
    section['policies'][policy].setdefault('searches', tuple(names))
  section['searches'] = rows
  if method:
    like = dict(method=method, most=trees if branches else budget, choices=(rule,), **search)
    fits = [name for name, row in rows.items() if row | like == row]
    name = fits[0] if fits else name_of(method, units=(), **like)
    section['answer'] = dict(search=name, units=budget)
