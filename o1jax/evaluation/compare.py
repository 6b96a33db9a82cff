"""The measurements of a run that belong side by side: methods at equal tokens, policies before and
after."""

from typing import NamedTuple

from o1jax.evaluation.methods import BASELINE, GREEDY, method
from o1jax.evaluation.problems import Difference, Table, difference
from o1jax.evaluation.results import Summary

# Two measurements whose costs differ by at most this factor cost about the same.
ALIKE = 1.5


class Pair(NamedTuple):
  """Two measurements of one task. `difference` is the lead of the first; None where no answers were
  kept that could be paired."""

  row: Summary
  base: Summary
  difference: Difference | None

  @property
  def gain(self) -> float:
    """Accuracy of the first minus that of the other."""
    return self.difference.mean if self.difference else self.row.accuracy - self.base.accuracy


def equal_tokens(rows: list[Summary], table: Table | None = None) -> list[Pair]:
  """Each method at its largest budget against the baseline vote of the same policy at the nearest
  number of tokens, if that is about as large.

  Args:
    rows: of one task.
    table: answers by problem, see `evaluation.problems`.
  """
  largest = {(row.stage, row.method): row for row in sorted(rows, key=lambda row: row.tokens)}
  pairs = []
  for row in rows:
    votes = [base for base in rows if base.method == BASELINE and base.stage == row.stage]
    apart = method(row.method).oracle or row.method in (BASELINE, GREEDY)
    if apart or row is not largest[row.stage, row.method] or not votes:
      continue
    base = min(votes, key=lambda base: _apart(base, row))
    if _apart(base, row) <= ALIKE:
      pairs.append(_pair(row, base, table))
  return pairs


def learned_gains(rows: list[Summary], table: Table | None = None) -> list[Pair]:
  """Greedy decoding of each later policy against the first, and of the last against each between.

  rows, table: as for `equal_tokens`.
  """
  greedy = [row for row in rows if row.method == GREEDY]
  pairs = [_pair(row, greedy[0], table) for row in greedy[1:]]
  return pairs + [_pair(greedy[-1], row, table) for row in greedy[1:-1]]


def _apart(one, other):
  """The factor between the tokens of two rows, at least 1."""
  few, many = sorted((one.tokens, other.tokens))
  return many / few if few > 0 else float('inf')


def _pair(row, base, table):
  try:
    found = difference(table, _columns(row), _columns(base)) if table else None
  except ValueError:  # no answers of one of them were kept
    found = None
  return Pair(row, base, found)


def _columns(row):
  asked = ('budget',) if row.budget else ('budget', 'units')
  return {name: getattr(row, name) for name in ('task', 'stage', 'method', *asked)}
