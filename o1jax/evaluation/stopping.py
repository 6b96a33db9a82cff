"""What a rule that stops a search gains and costs: the search with it against the same one without,
which has the same random numbers.

A stop is *premature* where the search was stopped, its answer is wrong, and the answer of the whole
search is right. The search was stopped where it spent fewer tokens than the whole one of as many
units. A stop is *late* by the tokens that the search spent after its first right solution was
finished. A rule cannot know of that. So both are a bill, and no rule has 0 of both.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from o1jax.evaluation.methods import without_rule
from o1jax.evaluation.pairs import Difference, Pairs, paired_difference
from o1jax.evaluation.problems import Table, by_measurement
from o1jax.evaluation.results import Result


class Stopping(NamedTuple):
  """A search with a rule and without, over the problems that were judged in both; shares and means
  are means over the seeds.

  Attributes:
    row: of the search with the rule, of its first seed.
    tokens: spent on a problem, with the rule.
    whole: spent without.
    lead: right with the rule more than without.
    stopped: share of the problems on which the rule stopped it.
    premature: share of the problems, see above.
    late: tokens of a problem, see above.
    idle: the same without the rule.
  """

  row: Result
  tokens: float
  whole: float
  lead: Difference
  stopped: float
  premature: float
  late: float
  idle: float


def stoppings(rows: Sequence[Result], table: Table | None) -> list[Stopping]:
  """One for each search with a rule that was measured without one, too, with as many units."""
  found = by_measurement(table) if table else {}
  at = {row.key: found[row.key] for row in rows if row.key in found}
  whole = {}
  for row in rows:
    if row.key in at:
      whole.setdefault(_twin(row, row.method, table, at), at[row.key])
  groups = {}
  for row in rows:
    name = without_rule(row.method)
    there = at.get(row.key)
    if name != row.method and there is not None:
      base = whole.get(_twin(row, name, table, at))
      if base is not None:
        groups.setdefault((*row.key[:-1],), []).append((row, there, base))
  made = [_stopping(seeds, table) for seeds in groups.values()]
  return [one for one in made if one]


def _twin(row, name, table, at):
  """What a search with a rule and the same without have in common."""
  return row.task, row.stage, name, row.seed, int(table['units'][at[row.key][0]])


def _stopping(seeds, table) -> Stopping | None:
  """None where it is no beginning of the other: two searches that differ in more than a rule."""
  pairs, means = [], []
  for _, mine, base in seeds:
    mine, base = _shared(table, mine, base)
    tokens, whole = table['tokens'][mine], table['tokens'][base]
    right, other = (table['correct'][rows].astype(float) for rows in (mine, base))
    stopped = tokens < whole
    if not len(mine) or (tokens > whole).any() or (right != other)[~stopped].any():
      return None
    pairs.append(Pairs(right, other, table['cluster'][mine]))
    premature = stopped & (right < other)
    late = table['late'][mine], table['late'][base]
    means.append([np.mean(x) for x in (tokens, whole, stopped, premature, *late)])
  tokens, whole, stopped, premature, late, idle = map(float, np.mean(means, axis=0))
  lead = paired_difference(pairs)
  return Stopping(seeds[0][0], tokens, whole, lead, stopped, premature, late, idle)


def _shared(table, mine, base):
  """The rows of both, problem by problem, that were judged in both."""
  of = {int(table['problem'][row]): row for row in base if table['judged'][row]}
  kept = [row for row in mine if table['judged'][row] and int(table['problem'][row]) in of]
  others = [of[int(table['problem'][row])] for row in kept]
  return np.array(kept, int), np.array(others, int)
