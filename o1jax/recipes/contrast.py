"""A search and sampling side by side: problems that one of them answers and the other does not,
searched again just as they were measured, and drawn."""

import html
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from o1jax.evaluation.measured import is_search, samples
from o1jax.evaluation.methods import method
from o1jax.evaluation.problems import Table, apart
from o1jax.evaluation.results import Result
from o1jax.evaluation.splits import TEST, of_test
from o1jax.evaluation.tree_view import tree_svg
from o1jax.evaluation.words import budget
from o1jax.keys import of_draw
from o1jax.recipes.looking import Picture, picture, pose
from o1jax.recipes.run import Run
from o1jax.recipes.searches import Row, rows_of
from o1jax.recipes.spending import with_units
from o1jax.runtime.config import require
from o1jax.search import Budget
from o1jax.types import Tree

NODES = 80  # most that are drawn of a tree


class Duel(NamedTuple):
  """Two measurements of one policy that spent about as much."""

  search: Result
  sampling: Result


def duel(run: Run, rows: Sequence[Result]) -> Duel:
  """The search of a run that has most of its problems right, and of the sampling methods that spent
  most nearly as much the one that has most right.

  Both are picked by what is shown, so they illustrate, and prove nothing.

  Raises:
    ConfigError: the run has measured no search, or no sampling, of one policy.
  """
  require(
    not run.experiment.task.parts,
    f'{run.workdir} measures a mixture, whose problems have no number of their own: take a run of '
    'one task',
  )
  known = [row for row in of_test(rows) if row.tokens > 0 and _row_of(run, row)]
  found = []
  for search in (row for row in known if is_search(row.method)):
    alike = [row for row in known if samples(row.method) and row.stage == search.stage]
    if alike:
      far = {row: abs(np.log(row.tokens / search.tokens)) for row in alike}
      near = [row for row in alike if far[row] == min(far.values())]
      found.append(Duel(search, max(near, key=lambda row: row.accuracy)))
  require(
    bool(found),
    f'{run.workdir} has measured no search beside sampling by the same policy: name a row of '
    'config.evaluate.searches of each kind in config.evaluate.policies',
  )
  return max(found, key=lambda pair: pair.search.accuracy)


def again(run: Run, rows: Sequence[Result], asked: Result, problem: int) -> Picture:
  """One test problem, searched as it was for a measurement of the run: by the same program, with
  the same random numbers.

  Args:
    run: which.
    rows: its results.
    asked: one of them.
    problem: its number among the test problems.
  """
  row, e = _row_of(run, asked), run.experiment
  mine = [one for one in rows if (one.stage, one.method) == (asked.stage, asked.method)]
  units = {one.budget: one.units for one in mine if one.budget}
  chains = row.search.chains
  wanted = Budget(asked.budget, asked.units)
  budgets = with_units(row.budgets, units) if chains else [wanted]
  readouts = row.readouts(budgets)
  data = e.data.asked(TEST).data
  verdicts = run.programs.evaluator(row.search, data)(
    *(run.params(run.policies()[asked.stage]), *data, of_draw(e.key, row.draws[0])),
    **dict(readouts=readouts, spend=None if chains else asked.units, only=[problem]),
  )
  (told,) = [one for one in readouts if (one.method, one.budget) == (asked.method, wanted)]
  tree = _first_chains(verdicts.trees, asked.units) if chains else verdicts.trees
  prompt, _ = pose(run, problem)
  return picture(run, tree, verdicts.answers[told].chosen, prompt, 0)


def drawings(
  run: Run, rows: Sequence[Result], table: Table, pair: Duel, *, won: bool, most: int = 1
) -> str:
  """HTML of the trees of both, on the first problems that the search answers rightly and sampling
  wrongly (`won`), or the other way round."""
  sides = pair if won else pair[::-1]
  numbers = apart(table, *(columns(side) for side in sides))
  right, wrong = (f'{method(side.method).words} ({budget(side)})' for side in sides)
  told = (
    f'{right} has {len(numbers)} of {pair.search.problems} problems right that {wrong} has not.'
  )
  parts = [f'<p>{html.escape(told)}</p>']
  for number in numbers[:most]:
    for side in pair:
      found = again(run, rows, side, int(number))
      verdict = 'right' if found.correct else 'wrong'
      title = f'{method(side.method).words}: {found.answer or "no answer"}, {verdict}'
      head = f'<h4>{html.escape(f"{found.prompt} · {title}")}</h4>'
      parts.append(head + tree_svg(found.nodes, limit=NODES))
  return ''.join(parts)


def columns(row: Result) -> dict:
  """Those of the table of problems that are a measurement's."""
  asked = dict(budget=row.budget) if row.budget else dict(budget=0, units=row.units)
  return dict(stage=row.stage, task=row.task, method=row.method, seed=row.seed) | asked


def _row_of(run: Run, asked: Result) -> Row | None:
  """The row of the config that a measurement is of, where it can be made again problem by
  problem."""
  if asked.stage not in run.policies():
    return None
  for row in rows_of(run.experiment.config, asked.stage):
    alone = not row.allocate and len(row.draws) == 1
    if alone and asked.method in row.labels.values() and _asks(row, asked):
      return row
  return None


def _asks(row, asked):
  return any(
    one.tokens == asked.budget and (one.tokens or one.units == asked.units) for one in row.budgets
  )


def _first_chains(tree: Tree, count: int) -> Tree:
  """Independent chains [B, X, 1, L] with the first so many alone."""
  first = np.arange(tree.mask.shape[1]) % tree.chains < count
  return tree.replace(mask=tree.mask & first[:, None])
