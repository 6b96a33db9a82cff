"""The last two stages: evaluate the policies that a run made, and write the report."""

import functools
import itertools
import json
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from o1jax.evaluation import results
from o1jax.evaluation.accuracy import Verdicts, coverage, result
from o1jax.evaluation.draws import together
from o1jax.evaluation.problems import FILE, append_problems, problem_rows, read_problems
from o1jax.evaluation.splits import TEST, task_of
from o1jax.evaluation.statistics import calibration_of_states
from o1jax.evaluation.words import result_text
from o1jax.keys import of_draw, of_problems
from o1jax.model.sharding import gather_to_host
from o1jax.recipes import graph, spending
from o1jax.recipes.allocating import search_shared
from o1jax.recipes.experiment import Asked
from o1jax.recipes.looking import draw_search, solve_fixed
from o1jax.recipes.run import Run
from o1jax.recipes.searched import Searched, forget
from o1jax.recipes.searches import GREEDY, GREEDY_SEARCH, Row, rows_of
from o1jax.runtime.metrics import Progress
from o1jax.runtime.processes import first, once
from o1jax.text.steps import count_behaviours
from o1jax.types import Params, Problem, Task


class Made(NamedTuple):
  """A policy that can be measured."""

  name: str
  stage: str  # whose parameters it has
  critic: bool  # a stage has trained its critic


def policies_made(run: Run) -> list[Made]:
  """The policies that the config wants measured and that are there.

  Of the stages of a policy the first that has ended is measured. Its critic is untrained where no
  stage has searched before.

  Raises:
    ConfigError: there are none; the message names the stages that make them.
  """
  config, found = run.experiment.config, []
  wanted = graph.measured(config)
  for name, stages in wanted.items():
    stage = next((stage for stage in stages if run.made(stage)), None)
    if stage:
      found.append(Made(name, stage, critic=graph.trains_critic(config, stage)))
    else:
      _say(f'evaluate: {name} is not measured, since the stage {stages[0]} has not made it')
  graph.require_policies(config, run.made)
  return found


class Measured(NamedTuple):
  """What the searches of a policy left.

  Attributes:
    sampled: verdicts on its sampled solutions, None where there are none.
    drawn: those of the tree search to draw, None where there is none.
    spending: {row: [[units, tokens], ...]}, what its searches spent on a problem.
  """

  sampled: Verdicts | None
  drawn: Verdicts | None
  spending: dict[str, list]


def evaluate(run: Run, name: str = 'evaluate') -> None:
  """Measures every policy the run has made. On each of the config's splits: accuracy by method and
  budget, and what searches spend. On the last of them: calibration, and two drawn trees. On the
  validation problems: behaviours. Answers to the task's fixed problems.

  Where tokens are asked, `spending.measured_budgets` first finds the units that spend them: on the
  first problems, by their counts of tokens alone, and the same whenever it is made again.
  """
  behaviours, calibrations, fixed, spent = {}, {}, [], {}
  plan = {policy: _planned(run, policy) for policy in policies_made(run)}
  searches = [GREEDY_SEARCH, *(row.search for planned in plan.values() for row, _ in planned)]
  # All of them first: a search that is timed has the machine for itself.
  splits = [run.experiment.data.asked(split) for split in run.experiment.config.evaluate.splits]
  for search, asked in itertools.product(dict.fromkeys(searches), splits):
    run.programs.evaluator(search, asked.data)
  for policy, planned in plan.items():
    params = run.params(policy.stage)
    for asked in splits:
      measured = evaluate_policy(run, policy, planned, params, asked)
      spent[policy.name] = measured.spending
    behaviours[policy.name] = measure_behaviours(run, params)
    if measured.sampled is not None and policy.critic:
      calibrations[policy.name] = calibration_of_states(*measured.sampled.states)
    if measured.drawn is not None:
      draw_search(run, policy.name, asked, measured.drawn)
    if policy.critic:
      fixed += solve_fixed(run, policy.name, params, spent)
    run.write_data('fixed', fixed)
    run.write_data('behaviours', behaviours)
    run.write_data('calibration', calibrations)
    run.write_data(spending.NAME, spent)
  once(forget, run.workdir)  # not before: a part that is done would be searched again


def evaluate_policy(
  run: Run, policy: Made, planned: list[tuple[Row, list[str]]], params: Params, asked: Asked
) -> Measured:
  """Adds all rows of one policy to results.csv and problems.csv.gz.

  Args:
    run: of the policy.
    policy: which.
    planned: its searches, each with the choices to read off them.
    params: of the policy.
    asked: the problems.
  """
  results_of, answers_of, sampled, drawn, spent = [], [], None, {}, {}

  def tell(whole, readouts, budgets=()):
    rows, answers = _tell(run, policy.name, asked, whole, readouts, budgets)
    results_of.extend(rows)
    answers_of.extend(answers)

  policy_words = ' '.join(
    ['evaluate', policy.name, *([asked.split] if asked.split != TEST else [])]
  )
  e = run.experiment
  searched = Searched.of(run.workdir, e.config, params, policy.name, asked.split)
  search = functools.partial(_search, run, asked, params, searched)
  greedy = search(GREEDY_SEARCH, [GREEDY], f'{policy_words} greedy')
  tell(greedy, [GREEDY])
  for one, choices in planned:
    who, chains = f'{policy_words} {one.name}', one.search.chains
    kept = searched.batches(one.search, one.draws[0])
    told = dict(greedy=greedy.tokens, kept=kept, who=who)
    budgets = spending.measured_budgets(run, one, params, asked, **told)
    for group in [budgets] if chains else [[budget] for budget in budgets]:
      readouts, units = one.readouts(group), None if chains else group[0].units
      words = f'{who} {units or one.most}'
      if one.allocate:
        shared = functools.partial(search, draws=one.draws)
        whole = search_shared(shared, one, readouts, words, units=units)
      else:
        whole = search(one.search, readouts, words, draws=one.draws, spend=units, kept=kept)
      # There is one pass@k of a policy, that of its first draw.
      tell(
        whole,
        [r for r in readouts if r.rule in choices],
        group if chains and 0 in one.draws else (),
      )
      spent.setdefault(one.name, []).extend(spending.spent_points(one, group, whole))
      if chains:
        sampled = whole
      elif not one.allocate:  # its trees are not those of the first problems
        drawn[_from_answer(run, one, units, whole)] = whole
  once(results.append_results, run.workdir / 'results.csv', results_of)
  once(append_problems, run.workdir / FILE, answers_of)
  return Measured(sampled, drawn[min(drawn)] if drawn else None, spent)


def _tell(run, policy, asked, whole, readouts, budgets):
  """The rows of a search in results.csv, and its tables in problems.csv.gz; of chains, pass@k for
  the k of `budgets` too."""
  e, rows, answers = run.experiment, [], []
  for task, own in by_task(e.task, asked.problems):
    verdicts, problems = whole.of(own), list(itertools.compress(asked.problems, own))
    tell = dict(stage=policy, task=task_of(task.name, asked.split), seed=e.config.seed)
    rows += [result(readout, verdicts, **tell) for readout in readouts]
    rows += coverage(verdicts, budgets, **tell)
    if not task.parts:  # a mixture has its rows by its parts
      answers += [
        problem_rows(readout, verdicts, problems, marker=task.marker, **tell)
        for readout in readouts
      ]
  return rows, answers


def _from_answer(run, row, units, whole):
  """How far a search is from the one that answers by the config: what is drawn is the nearest."""
  answer = run.experiment.config.evaluate.answer
  apart = whole.tokens.mean() - answer.tokens if answer.tokens else units - answer.units
  return row.name != answer.search, abs(float(apart))


def by_task(task: Task, problems: Sequence[Problem]) -> list[tuple[Task, np.ndarray]]:
  """Which of N problems, [N] bool, are of which task: each part of a mixture that has some, and the
  mixture as a whole."""
  of = np.array([problem.task for problem in problems])
  parts = [(part, of == i) for i, part in enumerate(task.each()) if (of == i).any()]
  return parts + [(task, np.ones(len(of), bool))] if task.parts else parts


def _planned(run, policy):
  """The rows of searches by which a policy is measured, each with the choices that say something.
  What reads an untrained critic says nothing, and is left out with a word."""
  found, silent = [], []
  for one in rows_of(run.experiment.config, policy.name):
    read = [choice for choice in one.labels if policy.critic or not one.reads_critic(choice)]
    silent += [label for choice, label in one.labels.items() if choice not in read]
    if read:
      found.append((one, read))
  if silent:
    _say(
      f'evaluate: {", ".join(dict.fromkeys(silent))} of {policy.name} is left out, since no stage '
      'has trained the critic that it reads'
    )
  return found


def _search(
  run, asked, params, searched, search, readouts, description, *, draws=(0,), kept=None, **how
):
  """All draws of a search as one. `kept`: batches of the first, where they were opened before."""
  evaluator, only = run.programs.evaluator(search, asked.data), how.get('only')
  count = len(asked.problems if only is None else only)
  with Progress(count * len(draws), description=description) as progress:
    how |= dict(readouts=readouts, watch=progress.advance)

    def one(draw, kept=None):
      kept = searched.batches(search, draw, only) if kept is None else kept
      return evaluator(params, *asked.data, of_draw(run.experiment.key, draw), kept=kept, **how)

    return together([one(draws[0], kept), *map(one, draws[1:])])


def _say(words):
  if first():
    print(words, file=sys.stderr)


def measure_behaviours(run: Run, params: Params) -> dict[str, float]:
  """Share of sampled solutions that show each behaviour; one sample for each validation problem."""
  e = run.experiment
  prompt = e.data.validation[0]
  tree = gather_to_host(
    run.programs.sampler()(params, of_problems(e.key, prompt.length.shape[0]), prompt)
  )
  texts = []
  for i in range(prompt.length.shape[0]):
    tokens = [
      t for x in range(tree.mask.shape[1]) for t in tree.tokens[i, x, 0, : tree.length[i, x, 0]]
    ]
    texts.append(e.tokenizer.decode(tokens))
  return {behaviour: count.share for behaviour, count in count_behaviours(texts).items()}


def report(run: Run, name: str = 'report') -> None:
  """Writes report/index.html and prints the table a reader wants; the first process of a job
  does."""
  if not first():
    return
  from o1jax.evaluation.report import build_report  # late: it imports matplotlib

  path = build_report(run.workdir)
  table, fixed = run.workdir / 'results.csv', run.workdir / 'report' / 'data' / 'fixed.json'
  if table.exists():
    answers = run.workdir / FILE
    kept = read_problems(answers) if answers.exists() else None
    print(result_text(results.read_results(table), kept))
  else:
    print('no results: the stage evaluate has measured no policy of this run yet')
  for one in json.loads(fixed.read_text()) if fixed.exists() else []:
    verdict = 'right' if one['verdict'] else 'wrong'
    print(f'{one["policy"]}: {one["prompt"]} -> {one["answer"] or "no answer"} ({verdict})')
  print(f'\nreport: {path}')
