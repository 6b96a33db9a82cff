"""What searches spend: units for the tokens that a config or a person asks, measured or guessed."""

import functools
import json
import sys

import numpy as np

from o1jax.evaluation.accuracy import Verdicts
from o1jax.keys import of_draw
from o1jax.recipes.experiment import Asked, Experiment
from o1jax.recipes.run import Run
from o1jax.recipes.searches import Row, tokens_of_a_step
from o1jax.runtime.metrics import Progress
from o1jax.runtime.processes import first
from o1jax.search import SEARCHES, Budget
from o1jax.search.budget import TOLERANCE, interpolate, units_for
from o1jax.types import Params

# Problems on which is measured what a search spends.
FIRST = 64
NAME = 'spending'  # of its file in report/data

# {policy: {row of config.evaluate.searches: [[units, tokens], ...]}}, what a run has measured.
Spending = dict[str, dict[str, list]]


def measured_budgets(
  run: Run, row: Row, params: Params, asked: Asked, *, greedy: np.ndarray, kept: dict, who: str
) -> list[Budget]:
  """The budgets of a row of the config's searches, all with units.

  For tokens the units are found by searching the first problems, in whole batches. What is read
  there is the count of tokens alone, no verdict, so that nothing is chosen by what a test tells.
  How these problems differ from all is estimated by the tokens of greedy solutions, which are known
  for all (a ratio estimate). It is a function of the run's seed, hence the same in all processes
  and whenever it is made again.
  The evaluation that follows begins with the batches that fit, so that only what was guessed amiss
  costs time.

  Args:
    run: of the policy.
    row: which.
    params: of the policy.
    asked: the problems.
    greedy: [N] tokens of the greedy solution of each problem. Their mean makes the first
      guess.
    kept: batches that the row's evaluator has searched, see `Evaluator`; some are added.
    who: the policy and the row, in words.
  """
  search = row.search
  wanted = sorted({budget.tokens for budget in row.budgets if budget.tokens})
  if not wanted:
    return list(row.budgets)
  evaluator = run.programs.evaluator(search, asked.data)
  key = of_draw(run.experiment.key, row.draws[0])

  def spent(budgets, spend=None):
    """Mean tokens of the whole search."""
    words = f'{who}: what units={spend or row.most} spend'
    total = min(-(-FIRST // evaluator.batch) * evaluator.batch, len(asked.problems))
    with Progress(total, description=words) as progress:
      verdicts = evaluator(
        *(params, *asked.data, key),
        **dict(readouts=row.readouts(budgets), spend=spend, of=FIRST, kept=kept),
        watch=progress.advance,
      )
    return _mean(verdicts) * of_all(greedy, len(verdicts.tokens))

  solution = float(greedy.mean())
  expected = functools.partial(units_expected, run.experiment, row, solution=solution)
  guess = {n: min(expected(n), row.most) for n in wanted}
  if search.chains:  # each costs the same, so one measurement tells all
    known = {row.most: spent(with_units(row.budgets, guess))}
    units = {n: round(interpolate(n, known.items())) for n in wanted}
    units = {n: min(max(count, 1), row.most) for n, count in units.items()}
  else:
    known, units = {}, {}
    for n in wanted:
      one = lambda count: spent([Budget(units=count)], count)
      units[n], known = units_for(n, one, guess=guess[n], most=row.most, known=known)
  _tell_room(row, max(wanted), known, who)
  _tell_least(row, min(wanted), known, who)
  return with_units(row.budgets, units)


def of_all(greedy: np.ndarray, first: int) -> float:
  """What all problems cost over what the first of them cost, by the tokens [N] of their greedy
  solutions; 1 where those have none."""
  part = greedy[:first].mean()
  return float(greedy.mean() / part) if part > 0 else 1.0


def with_units(budgets: tuple[Budget, ...], units: dict[int, int]) -> list[Budget]:
  """Budgets with the units that are known for their tokens."""
  return [budget._replace(units=units.get(budget.tokens, budget.units)) for budget in budgets]


def spent_points(row: Row, budgets: list[Budget], verdicts: Verdicts) -> list[list]:
  """[[units, tokens], ...] that a search of these budgets shows."""
  whole = row.most * len(row.draws) if row.search.chains else budgets[0].units
  return [[budget.units, _mean(verdicts) * budget.units / whole] for budget in budgets]


def read_spending(run: Run) -> Spending:
  """What the run has measured; {} where it has measured nothing yet."""
  path = run.workdir / 'report' / 'data' / 'spending.json'
  return json.loads(path.read_text()) if path.exists() else {}


def tokens_expected(
  experiment: Experiment, row: Row, units: int, *, solution: float | None = None
) -> float:
  """Tokens that a search may be expected to spend on a problem.

  solution: tokens of one solution, if known. Else it takes half of the steps that it may.
  """
  step = tokens_of_a_step(experiment)
  method, settings = SEARCHES[row.method], dict(row.settings)
  steps = method.steps(
    units,
    candidates=settings.get('candidates', 1),
    max_steps=solution / step if solution else experiment.config.shapes.max_steps / 2,
    **method.own(settings),
  )
  return steps * step


def units_expected(
  experiment: Experiment, row: Row, tokens: float, *, solution: float | None = None
) -> int:
  """Units that may be expected to spend these tokens, before it was measured."""
  spent = lambda units: tokens_expected(experiment, row, units, solution=solution)
  return units_for(tokens, spent, guess=1, most=2**20)[0]


def units_measured(spending: Spending, policy: str, row: Row, tokens: float) -> int | None:
  """Units that spend these tokens, by what a run has measured of this policy, or else of another.
  None where it has measured no search by this row."""
  for measured in (spending.get(policy, {}), *spending.values()):
    if measured.get(row.name):
      return max(round(interpolate(tokens, measured[row.name])), 1)
  return None


def answer_units(run: Run, row: Row, policy: str, spending: Spending) -> int:
  """Units by which the config's `answer` is searched, at most those that its row has room for: as
  asked, or measured, or expected where the run has measured nothing yet."""
  asked, e = run.experiment.config.evaluate.answer, run.experiment
  units = (
    asked.units
    or units_measured(spending, policy, row, asked.tokens)
    or units_expected(e, row, asked.tokens)
  )
  return min(units, row.most)


def _mean(verdicts):
  return float(verdicts.tokens.mean())


def _tell_room(row, asked, known, who):
  """Says that a search has no room for all the tokens that it is asked for."""
  spends = known.get(row.most, asked)
  if spends < (1 - TOLERANCE) * asked and first():
    print(
      f'{who}: asked for {asked:,} tokens, it spends {spends:,.0f}, since it has room for '
      f'{row.most} {SEARCHES[row.method].unit}: raise config.evaluate.searches.{row.name}.most',
      file=sys.stderr,
    )


def _tell_least(row, asked, known, who):
  """Says that one unit of a search takes more tokens than it is asked for."""
  least = known[row.most] / row.most if row.search.chains else known.get(1, asked)
  if least > (1 + TOLERANCE) * asked and first():
    print(
      f'{who}: asked for {asked:,} tokens, it spends {least:,.0f}, since it can do no less: '
      'compare by the tokens spent',
      file=sys.stderr,
    )
