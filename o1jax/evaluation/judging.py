"""How well scores of steps tell right steps from wrong ones. NumPy, host side.

A step is right (1), neutral (0), wrong (-1) or not labelled (None), see `text.steps`. Neutral ones
are left out of AUC and calibration, and are no errors.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from o1jax.evaluation.statistics import auc, calibration, wilson_interval
from o1jax.text.steps import RIGHT, WRONG

_UNKNOWN, _NONE = -2, -1  # of an index: it is not known, and there is none


class Scored(NamedTuple):
  """The steps of one solution: a score in [0, 1] for each, and its label."""

  prompt: str
  scores: Sequence[float]
  labels: Sequence[int | None]


def summary(solutions: Sequence[Scored], *, threshold: float | None = None) -> dict[str, Any]:
  """What the scores are worth.

  Args:
    solutions: scored.
    threshold: below it a step counts as wrong; None = the one with the best F1 on a half of the
      solutions, by their prompts, which is then left out of the F1.

  Returns:
    Dict ready for JSON: `solutions` and `steps`, how many there are, and `labelled`, how many steps
    are right or wrong; `auc` and `calibration` of those (None where there is nothing to tell apart,
    or no step), and `depths`, a list of {depth, steps, right, score, auc, error} by the number of
    the step, from 1; `first_error`, see below.
  """
  told = [
    (place + 1, float(score), label == RIGHT)
    for solution in solutions
    for place, (score, label) in enumerate(zip(solution.scores, solution.labels, strict=True))
    if label in (RIGHT, WRONG)
  ]
  depth, score, right = (np.array(column) for column in zip(*told)) if told else ([], [], [])
  depths = []
  for at in np.unique(depth):
    rows = depth == at
    one = calibration(score[rows], right[rows])
    depths.append(
      dict(
        depth=int(at),
        steps=int(rows.sum()),
        right=float(right[rows].mean()),
        score=float(score[rows].mean()),
        auc=auc(score[rows], right[rows]),
        error=one['error'],
      )
    )
  return dict(
    solutions=len(solutions),
    steps=sum(len(solution.scores) for solution in solutions),
    labelled=len(told),
    auc=auc(score, right) if told else None,
    calibration=calibration(score, right) if told else None,
    depths=depths,
    first_error=_of_first_errors(solutions, threshold),
  )


def _of_first_errors(solutions, threshold) -> dict[str, Any]:
  """`first_error` of a summary: the `threshold`, on how many solutions it was chosen (`chosen_on`),
  what `f1` gives for it, and how many solutions it says nothing of (`unknown`)."""
  known = [one for one in solutions if first_error(one.labels) != _UNKNOWN]
  found = dict(threshold=threshold, chosen_on=0, unknown=len(solutions) - len(known))
  if threshold is None:
    chosen = [one for one in known if for_choosing(one.prompt)]
    known = [one for one in known if not for_choosing(one.prompt)]
    found |= dict(threshold=best_threshold(chosen), chosen_on=len(chosen))
  nothing = f1([], 0.0)
  return found | (nothing if found['threshold'] is None else f1(known, found['threshold']))


def for_choosing(prompt: str) -> bool:
  """Whether the threshold is chosen on the solutions of a prompt, or measured on them: half of all
  prompts each, by a hash."""
  return hashlib.sha256(prompt.encode()).digest()[0] % 2 == 0


def first_error(labels: Sequence[int | None]) -> int:
  """The index of the first wrong step, -1 where all steps are labelled and none is wrong, -2 where
  that is not known: a step before it, or any of a solution without a wrong one, has no label."""
  wrong = labels.index(WRONG) if WRONG in labels else len(labels)
  if None in labels[:wrong]:
    return _UNKNOWN
  return wrong if wrong < len(labels) else _NONE


def f1(solutions: Sequence[Scored], threshold: float) -> dict[str, Any]:
  """First-error F1 of ProcessBench (arXiv:2412.06559): the harmonic mean of two accuracies.

  Of solutions with an error (`wrong`) it is the share in which the first step below the threshold
  is the first wrong one, and of those without (`right`) the share in which no step is below.

  Args:
    solutions: whose `first_error` is known.
    threshold: of scores.

  Returns:
    {f1, wrong, right}, f1 None where either kind is missing, and the latter two as {solutions,
    accuracy, low, high}, the last three None where there is no solution.
  """
  hits: dict[bool, list[bool]] = {True: [], False: []}
  for one in solutions:
    found = np.flatnonzero(np.asarray(one.scores) < threshold)
    wanted = first_error(one.labels)
    hits[wanted == _NONE].append(wanted == (int(found[0]) if found.size else _NONE))
  wrong, right = _share(hits[False]), _share(hits[True])
  a, b = wrong['accuracy'], right['accuracy']
  harmonic = None if a is None or b is None else 2 * a * b / max(a + b, 1e-12)
  return dict(f1=harmonic, wrong=wrong, right=right)


def _share(hits):
  if not hits:
    return dict(solutions=0, accuracy=None, low=None, high=None)
  low, high = wilson_interval(sum(hits), len(hits))
  accuracy = sum(hits) / len(hits)
  return dict(solutions=len(hits), accuracy=accuracy, low=float(low), high=float(high))


def best_threshold(solutions: Sequence[Scored]) -> float | None:
  """The threshold with the best `f1`, in the middle of the first interval that has it. None where
  the solutions are not of both kinds.

  A solution is told rightly for thresholds above `low` and up to `high`: of one with an error,
  above its first wrong step and up to all steps before; of another, up to all of its steps.
  """
  spans: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
  for one in solutions:
    at, scores = first_error(one.labels), np.asarray(one.scores, float)
    low = scores[at] if at >= 0 else -1.0
    high = (scores[:at] if at >= 0 else scores).min(initial=1.0)
    spans[at == _NONE].append((low, high))
  if not spans[True] or not spans[False]:
    return None
  borders = np.unique([0.0, 1.0, *np.concatenate([*spans.values()]).ravel().clip(0, 1)])
  middles = (borders[1:] + borders[:-1]) / 2

  def share(spans):
    """Of the solutions, how many are told rightly by each of `middles`."""
    low, high = (
      np.sort(column) for column in np.array([s for s in spans if s[0] < s[1]] or [(1, 1)]).T
    )
    inside = np.searchsorted(low, middles, 'left') - np.searchsorted(high, middles, 'left')
    return inside / len(spans)

  a, b = share(spans[False]), share(spans[True])
  return float(middles[np.argmax(2 * a * b / np.maximum(a + b, 1e-12))])


def report_text(found: dict[str, Any]) -> str:
  """A summary as lines for a terminal."""
  number = lambda x, form='.3f': '-' if x is None else format(x, form)
  error = found['calibration'] and found['calibration']['error']
  lines = [
    f'{found["labelled"]:,} steps of {found["solutions"]:,} solutions are labelled right or wrong: '
    f'AUC {number(found["auc"])}, calibration error {number(error)}',
    f'{"step":>4}  {"labelled":>8}  {"right":>6}  {"score":>6}  {"AUC":>6}  {"error":>6}',
  ]
  for row in found['depths']:
    numbers = (number(row[name]) for name in ('right', 'score', 'auc', 'error'))
    lines.append(
      '  '.join([f'{row["depth"]:>4}', f'{row["steps"]:>8,}', *(f'{n:>6}' for n in numbers)])
    )
  first = found['first_error']
  if first['threshold'] is None:
    lines.append('first error: no threshold, since it takes solutions with an error and without')
    return '\n'.join(lines)
  parts = []
  for name, words in (('wrong', 'with an error'), ('right', 'without')):
    part = first[name]
    told = (
      f'{part["accuracy"]:.1%} [{part["low"]:.1%}, {part["high"]:.1%}]'
      if part['solutions']
      else '-'
    )
    parts.append(f'{told} of {part["solutions"]:,} {words}')
  chosen = f', chosen on {first["chosen_on"]:,} others' if first['chosen_on'] else ''
  lines.append(
    f'first error: F1 {number(first["f1"], ".1%")}: {", ".join(parts)}; threshold '
    f'{first["threshold"]:.3f}{chosen}'
  )
  if first['unknown']:
    lines.append(f'{first["unknown"]:,} solutions do not say where their first error is')
  return '\n'.join(lines)
