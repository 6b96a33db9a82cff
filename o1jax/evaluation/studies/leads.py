"""Does guided search pay against sampling at equal compute?"""

import dataclasses

import numpy as np

from o1jax.evaluation import equal_compute
from o1jax.evaluation.equal_compute import FAILS, HOLDS, UNDECIDED
from o1jax.evaluation.methods import method
from o1jax.evaluation.splits import TEST, VALIDATION
from o1jax.evaluation.studies.evidence import Evidence, Grid, Plot, Series, Verdict, chosen
from o1jax.evaluation.words import NAMES, points

_AXIS = 'flops'  # at which it is judged, scorers included


def leads(evidence: Evidence, *, budgets: int) -> Verdict:
  """The best tree search, chosen on validation problems, against the best of the sampling arms.

  It holds where the search pays (`equal_compute.Lead`) at equal FLOPs at `budgets` of its budgets,
  and does not where so many cannot be reached. Of budgets at which it spends the same one counts.
  Which sampling arm is the best is seen on the test, for each budget anew, which favours sampling.

  Raises:
    ValueError: there is no search, no sampling, or none was measured on validation problems.
  """
  trees, others = (
    [x for arm in evidence.arms if arm.tree == kind for x in arm.labels] for kind in (1, 0)
  )
  if not trees or not others:
    raise ValueError(f'there is no {"sampling" if trees else "search"} to compare')
  scores = {}
  for label in trees:
    found = _of(evidence, label, others, VALIDATION, _AXIS)
    known = [one.difference.mean for _, one in found if one.difference]
    scores[label] = float(np.mean(known)) if known else None
  best = chosen(evidence, trees, scores.get)
  found = {axis: _of(evidence, best, others, TEST, axis) for axis in equal_compute.AXES}
  told = [one.verdict for _, one in found[_AXIS]]
  counts = {verdict: told.count(verdict) for verdict in (HOLDS, FAILS, UNDECIDED)}
  verdict = HOLDS if counts[HOLDS] >= budgets else UNDECIDED
  if counts[HOLDS] + counts[UNDECIDED] < budgets:
    verdict = FAILS
  words = (
    f'On validation problems {method(best).words} is the best search. On the test it pays at '
    f'{counts[HOLDS]} of {len(told)} budgets, does not at {counts[FAILS]}, and '
    f'{counts[UNDECIDED]} are undecided; {budgets} are needed.'
  )
  cells = [
    (f'{row.tokens:,.0f}', f'{row.flops:.2g}', *(_cell(one) for one in (on_flops, on_tokens)))
    for (row, on_flops), (_, on_tokens) in zip(found['flops'], found['tokens'], strict=True)
  ]
  heads = ('tokens', 'FLOPs', *(f'lead at equal {NAMES[axis]}' for axis in ('flops', 'tokens')))
  choice = [
    (method(label).words, '–' if value is None else f'{100 * value:+.1f}')
    for label, value in sorted(scores.items(), key=lambda item: -(item[1] or -np.inf))
  ]
  grids = (
    Grid(f'{method(best).words} on the test', heads, tuple(cells)),
    Grid('Chosen on validation problems', ('search', 'mean lead in points'), tuple(choice)),
  )
  return Verdict(verdict, words, plots=(_plot(best, found[_AXIS]),), grids=grids)


def _of(evidence, label, others, split, axis):
  """[(row, lead)] of each budget of a label, those that spend the same once. A row has what its
  seeds spend on average."""
  spent = {}
  for curve in evidence.curves(label, split).values():
    for one in {one.row.tokens: one for one in curve}.values():
      spent.setdefault(one.row.asked, []).append(one)
  sampled = [
    one for other in others for curve in evidence.curves(other, split).values() for one in curve
  ]
  found = [(_mean(mine), equal_compute.lead(mine, sampled, axis)) for mine in spent.values()]
  return [(row, one) for row, one in found if one is not None]


def _mean(mine):
  spends = {axis: np.mean([getattr(one.row, axis) for one in mine]) for axis in equal_compute.AXES}
  return dataclasses.replace(mine[0].row, **spends)


def _cell(lead):
  if lead.difference is None:
    return f'sampling spends {"more" if lead.beyond == equal_compute.LESS else "less"}'
  return f'{points(lead.difference)} against {method(lead.base).words}'


def _plot(label, found):
  known = [(row, one.difference) for row, one in found if one.difference]
  y, low, high = ([100 * one[i] for _, one in known] for i in range(3))
  series = Series(method(label).words, [row.tokens for row, _ in known], y, low, high)
  labels = 'tokens sampled for one problem', 'points of accuracy'
  return Plot('Lead over sampling at equal FLOPs', *labels, (series,), log='x')
