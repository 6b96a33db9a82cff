"""Does a tree pay only where the verifier is good? (arXiv:2402.10890)"""

from collections.abc import Sequence

import numpy as np

from o1jax.evaluation.equal_compute import FAILS, HOLDS, UNDECIDED
from o1jax.evaluation.methods import method
from o1jax.evaluation.pairs import Difference
from o1jax.evaluation.splits import VALIDATION
from o1jax.evaluation.studies.evidence import (
  Evidence,
  Grid,
  Number,
  Plot,
  Series,
  Verdict,
  accuracy,
  chosen,
  lead,
)
from o1jax.evaluation.words import points

_ROUNDING = 1e-9  # 1 - 0.2 is less than 0.8


def crossing(evidence: Evidence, *, low: float, high: float) -> Verdict:
  """One crossing, in a range of the verifier's accuracy.

  Arms stand against each other at equal flips: the best tree against the best re-ranking, at equal
  tokens. Which ones those are is chosen on the validation problems, for each accuracy.

  It holds where the lead changes its sign once, upwards, surely so on both sides (by an interval),
  and the smallest accuracy of a positive lead lies in [low, high]. It does not where a tree is
  surely ahead below `low`, surely not ahead up to `high`, or surely behind above an accuracy at
  which it is surely ahead.

  Raises:
    ValueError: an accuracy lacks one of the two, or was not measured on validation problems.
  """
  leads, cells = {}, []
  for flips in sorted({arm.flips for arm in evidence.arms}, reverse=True):
    arms = [arm for arm in evidence.arms if arm.flips == flips]
    trees, others = ([x for arm in arms if arm.tree == kind for x in arm.labels] for kind in (1, 0))
    if not trees or not others:
      raise ValueError(f'flips={flips} has no {"re-ranking" if trees else "tree"} to compare with')
    base = chosen(evidence, others, lambda label: accuracy(evidence, label))
    tree = chosen(evidence, trees, lambda label, base=base: _mean(evidence, label, base))
    found = lead(evidence, tree, base)
    if found is None:
      raise ValueError(f'{tree} spends what no re-ranking does at flips={flips}: give it budgets')
    leads[1 - flips] = found
    cells.append((f'{1 - flips:.0%}', *(method(x).words for x in (tree, base)), points(found)))
  verdict, words = _judge(list(leads), list(leads.values()), low, high)
  heads = ('verifier right', 'tree', 're-ranking', 'lead of the tree')
  return Verdict(
    verdict,
    words,
    (_place(list(leads), list(leads.values())),),
    (_plot(leads),),
    (Grid('Leads at equal tokens', heads, tuple(cells)),),
  )


def _mean(evidence, label, base):
  found = lead(evidence, label, base, VALIDATION)
  return found.mean if found else None


def _judge(accuracies: Sequence[float], leads: Sequence[Difference], low: float, high: float):
  """Accuracies rise."""
  ahead = [at for at, one in zip(accuracies, leads, strict=True) if one.low > 0]
  behind = [at for at, one in zip(accuracies, leads, strict=True) if one.high < 0]
  early = [at for at in ahead if at < low - _ROUNDING]
  twice = [at for at in behind if ahead and at > min(ahead)]
  never = [
    one.high < 0 for at, one in zip(accuracies, leads, strict=True) if at <= high + _ROUNDING
  ]
  if early:
    return FAILS, f'A tree is ahead with a verifier that is right in {early[0]:.0%} already.'
  if twice:
    return FAILS, (
      f'A tree is ahead with {min(ahead):.0%} and behind with {twice[0]:.0%}: it is no crossing.'
    )
  if never and all(never):
    return FAILS, f'A tree is behind at every accuracy up to {high:.0%}.'
  first = next((at for at, one in zip(accuracies, leads, strict=True) if one.mean > 0), None)
  signs = [one.mean > 0 for one in leads]
  once = signs == sorted(signs)
  inside = first is not None and low - _ROUNDING <= first <= high + _ROUNDING
  if once and inside and ahead and behind:
    return HOLDS, f'A tree is ahead from {first:.0%} on, and behind below.'
  at = 'at no accuracy' if first is None else f'from {first:.0%} on'
  missing = ' and '.join(
    words for words, there in (('behind', behind), ('ahead', ahead)) if not there
  )
  sure = f'it is nowhere surely {missing}' if missing else 'the order is not sure'
  return UNDECIDED, f'In the mean a tree is ahead {at}, but {sure}.'


def _place(accuracies, leads):
  """Where the mean lead crosses 0, between the last accuracy that is surely behind and the first
  that is surely ahead."""
  means = np.array([one.mean for one in leads])
  up = [i for i in range(1, len(means)) if means[i - 1] <= 0 < means[i]]
  at = float('nan')
  if up:
    a, b = up[0] - 1, up[0]
    share = -means[a] / (means[b] - means[a])
    at = accuracies[a] + share * (accuracies[b] - accuracies[a])
  behind = [x for x, one in zip(accuracies, leads, strict=True) if one.high < 0]
  ahead = [x for x, one in zip(accuracies, leads, strict=True) if one.low > 0]
  ends = (max(behind), min(ahead)) if behind and ahead else (float('nan'),) * 2
  return Number('accuracy of the verifier at which the lead crosses 0', at, *ends)


def _plot(leads):
  y, low, high = ([100 * one[i] for one in leads.values()] for i in range(3))
  series = Series('tree minus re-ranking', [100 * at for at in leads], y, low, high)
  labels = 'verdicts of the guide that are right (%)', 'points of accuracy'
  return Plot('Lead of a tree at equal tokens', *labels, (series,))
