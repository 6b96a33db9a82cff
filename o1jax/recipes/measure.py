"""The last two stages: evaluate the policies that a run made, and write the report."""

import dataclasses
import json
import pathlib

import jax
import numpy as np

from o1jax import tree as tree_lib
from o1jax.evaluation import results
from o1jax.evaluation.accuracy import Readout, Verdicts, coverage, result
from o1jax.evaluation.statistics import calibration
from o1jax.evaluation.tree_view import DrawnNode, drawn_nodes
from o1jax.fused import problem_keys
from o1jax.model.sharding import fetch
from o1jax.recipes.build import POLICIES
from o1jax.recipes.programs import Search, searches_of
from o1jax.recipes.run import Run
from o1jax.runtime.metrics import Progress
from o1jax.runtime.processes import first, once
from o1jax.search import SEARCHES
from o1jax.text.answer import told
from o1jax.text.steps import count_behaviours
from o1jax.types import Params, Prompt, Reference, Tree


def evaluate(run: Run) -> None:
  """Measures every policy the run has made: accuracy by method and budget, behaviours, calibration,
  a drawn tree, and the answers to the task's fixed problems."""
  section = run.experiment.config.evaluate
  behaviours, calibrations, fixed = {}, {}, []
  policies = {
    name: stage for name, stage in POLICIES.items() if name in section.policies and run.made(stage)
  }
  searches = dict.fromkeys(
    search for name in policies for search in searches_of(run.experiment.config, name)
  )
  for search in searches:  # all of them first: a search that is timed has the machine for itself
    run.programs.evaluator(search, run.experiment.data.test)
  for name, stage in policies.items():
    params = run.params(stage)
    rows, sampled, searched = evaluate_policy(run, name, params)
    once(results.append_results, run.workdir / 'results.csv', rows)
    if sampled is not None:
      calibrations[name] = calibration(sampled.scores, sampled.outcomes)
    behaviours[name] = measure_behaviours(run, params)
    if searched is not None:
      draw_search(run, name, searched)
    fixed += solve_fixed(run, name, params)
    run.write_data('fixed', fixed)
    run.write_data('behaviours', behaviours)
    run.write_data('calibration', calibrations)


def evaluate_policy(run: Run, name: str, params: Params):
  """All rows of one policy, the verdicts on its sampled solutions and those of the tree search to
  draw, or None."""
  e, section = run.experiment, run.experiment.config.evaluate
  rows, sampled_verdicts, searched = [], None, {}
  count = len(e.data.test_prompts)
  for search in searches_of(e.config, name):
    method, budget, readouts, greedy = search
    with Progress(count, description=f'evaluate {name} {method} {budget}') as progress:
      evaluator = run.programs.evaluator(search, e.data.test)
      verdicts = evaluator(
        params, *e.data.test, e.key, spend=search.spend, watch=lambda n, p=progress: p.advance(n)
      )
    rows += [
      result(name, e.task.name, readout, verdicts, seed=e.config.seed) for readout in readouts
    ]
    if SEARCHES[method].independent and not greedy:
      samples = list(section.policies[name].samples)
      rows += coverage(name, e.task.name, verdicts, samples, seed=e.config.seed)
      sampled_verdicts = verdicts
    elif not greedy:
      searched[abs(budget - section.search.budget)] = (
        verdicts  # drawn is the one nearest to the config's own search
      )
  return rows, sampled_verdicts, searched[min(searched)] if searched else None


def measure_behaviours(run: Run, params: Params) -> dict[str, float]:
  """Share of sampled solutions that show each behaviour; one sample for each validation problem."""
  e = run.experiment
  prompt = e.data.validation[0]
  tree = fetch(run.programs.sampler()(params, problem_keys(e.key, prompt.length.shape[0]), prompt))
  texts = []
  for i in range(prompt.length.shape[0]):
    tokens = [
      t for x in range(tree.mask.shape[1]) for t in tree.tokens[i, x, 0, : tree.length[i, x, 0]]
    ]
    texts.append(e.tokenizer.decode(tokens))
  return {behaviour: count.share for behaviour, count in count_behaviours(texts).items()}


@dataclasses.dataclass(frozen=True)
class Picture:
  """One searched problem, ready to be drawn.

  answer: text of the chosen answer, '' where none was finished; correct: its verdict; nodes: see
  `tree_view`;
  wrong: how many finished solutions were wrong, where at least one was right, else 0.
  """

  prompt: str
  answer: str
  correct: bool
  nodes: list[DrawnNode]
  wrong: int


def load_run(workdir: str | pathlib.Path) -> Run:
  """The run in a workdir, to look at. ConfigError if there is none."""
  return Run.look(workdir)


def pose(run: Run, index: int) -> tuple[Prompt, Reference]:
  """One test problem, as a batch of one."""
  return _single(run.experiment.data.test, index)


def _single(problems, index):
  return jax.tree.map(lambda x: x[index : index + 1], problems)


def draw(run: Run, params: Params, prompt: Prompt, reference: Reference) -> Picture:
  """Searches one problem by the config (`evaluate.search`); the reference is for the verdict
  afterwards."""
  search = run.experiment.config.evaluate.search
  verdicts = search_one(run, params, prompt, reference, method=search.method, budget=search.budget)
  return picture(run, verdicts.trees, verdicts.chosen, prompt, 0)


def search_one(
  run: Run, params: Params, prompt: Prompt, reference: Reference, *, method: str, budget: int
) -> Verdicts:
  """One problem, searched and judged; its answer is chosen by the config's rule."""
  e = run.experiment
  search = Search(method, budget, (Readout(method, budget, e.config.evaluate.rule),))
  evaluator = run.programs.evaluator(search, (prompt, reference))
  return evaluator(params, prompt, reference, e.key, spend=search.spend)


def picture(run: Run, tree: Tree, chosen: np.ndarray, prompt: Prompt, i: int) -> Picture:
  """Problem i of a judged search, with the node `chosen` [B] of each as its answer. All on the
  host."""
  e, node = run.experiment, int(chosen[i])
  one = jax.tree.map(lambda x: x[i], tree)
  question = e.tokenizer.decode(prompt.tokens[i, : prompt.length[i]]).strip()
  nodes = drawn_nodes(one, e.tokenizer.decode, chosen=node or None, prompt=question)
  right, over = int((one.outcome > 0).sum()), int(tree_lib.judged(one).sum())
  answer = told(''.join(drawn.text for drawn in nodes[1:] if drawn.chosen), e.task.marker)
  if not answer:  # then a search that had to choose has chosen nothing
    nodes = [dataclasses.replace(drawn, chosen=False) for drawn in nodes]
  correct = bool(node) and bool(one.outcome.reshape(-1)[node - 1] > 0)
  return Picture(question, answer, correct, nodes, wrong=(over - right) * (right > 0))


def draw_search(run: Run, policy: str, searched: Verdicts) -> None:
  """Leaves report/data/tree.json: of the first test problems, a solved one whose search met wrong
  answers too."""
  prompt, _ = run.experiment.data.test
  count = min(16, len(searched.trees.mask))
  pictures = [picture(run, searched.trees, searched.chosen, prompt, i) for i in range(count)]
  best = max(pictures, key=lambda p: (p.correct, p.wrong))
  nodes = [dataclasses.asdict(node) for node in best.nodes]
  data = dict(
    policy=policy, prompt=best.prompt, nodes=nodes, verdict=best.correct, answer=best.answer
  )
  run.write_data('tree', data)


def solve_fixed(run: Run, policy: str, params: Params) -> list[dict]:
  """What the config's search answers to the task's fixed problems."""
  problems = run.experiment.data.fixed
  if problems is None:
    return []
  pictures = [draw(run, params, *_single(problems, i)) for i in range(len(problems[0].length))]
  return [
    dict(policy=policy, prompt=p.prompt, answer=p.answer, verdict=p.correct) for p in pictures
  ]


def report(run: Run) -> None:
  """Writes report/index.html and prints the table a reader wants; the first process of a job
  does."""
  if not first():
    return
  from o1jax.evaluation.report import build_report  # late: it imports matplotlib

  path = build_report(run.workdir)
  table, fixed = run.workdir / 'results.csv', run.workdir / 'report' / 'data' / 'fixed.json'
  if table.exists():
    print(results.format_table(results.read_results(table)))
  for row in json.loads(fixed.read_text()) if fixed.exists() else []:
    verdict = 'right' if row['verdict'] else 'wrong'
    print(f'{row["policy"]}: {row["prompt"]} -> {row["answer"] or "no answer"} ({verdict})')
  print(f'\nreport: {path}')
