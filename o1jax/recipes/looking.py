"""One problem of a run, searched and drawn: what a report shows, and what notebooks and
`experiments.solve` ask."""

import dataclasses
import pathlib

import jax
import numpy as np

from o1jax.evaluation.accuracy import Readout, Verdicts
from o1jax.evaluation.tree_view import DrawnNode, drawn_nodes
from o1jax.recipes import spending
from o1jax.recipes.experiment import Asked
from o1jax.recipes.run import Run
from o1jax.recipes.searches import Row, row_of
from o1jax.search import SEARCHES, Budget
from o1jax.text.answer import told
from o1jax.types import Params, Prompt, Reference, Tree


@dataclasses.dataclass(frozen=True)
class Picture:
  """One searched problem, ready to be drawn.

  answer: text of the chosen answer, '' where none was finished; correct: its verdict; nodes: see
  `tree_view`.
  """

  prompt: str
  answer: str
  correct: bool
  nodes: list[DrawnNode]


def load_run(workdir: str | pathlib.Path) -> Run:
  """The run in a workdir, to look at. ConfigError if there is none."""
  return Run.look(workdir)


def pose(run: Run, index: int) -> tuple[Prompt, Reference]:
  """One test problem, as a batch of one."""
  return _single(run.experiment.data.test, index)


def _single(problems, index):
  return jax.tree.map(lambda x: x[index : index + 1], problems)


def draw(
  run: Run, params: Params, prompt: Prompt, reference: Reference, *, units: int = 0
) -> Picture:
  """Searches one problem by the config (`evaluate.answer`), with these units or as many as it asks
  for; the reference is for the verdict afterwards."""
  config = run.experiment.config
  one = row_of(config, config.evaluate.answer.search)
  units = units or spending.answer_units(run, one, '', spending.read_spending(run))
  verdicts = search_one(run, params, prompt, reference, row=one, units=units)
  return picture(run, verdicts.trees, verdicts.chosen, prompt, 0)


def search_one(
  run: Run, params: Params, prompt: Prompt, reference: Reference, *, row: Row, units: int
) -> Verdicts:
  """One problem, searched and judged; its answer is chosen by the row's first choice. Searches of
  fewer units than the row has room for share a program where their method allows it."""
  rule, label = next(iter(row.labels.items()))
  several = SEARCHES[row.method].several
  most = max(units, row.most if several else 1)
  search = row.search._replace(most=most, rules=(rule,))
  evaluator = run.programs.evaluator(search, (prompt, reference))
  chains = units if search.chains else 0
  readout = Readout(label, rule, Budget(units=units), chains, row.reads_critic(rule))
  return evaluator(
    *(params, prompt, reference, run.experiment.key),
    readouts=[readout],
    spend=units if several else None,
  )


def picture(run: Run, tree: Tree, chosen: np.ndarray, prompt: Prompt, i: int) -> Picture:
  """Problem i of a judged search, with the node `chosen` [B] of each as its answer. All on the
  host."""
  e, node = run.experiment, int(chosen[i])
  one = jax.tree.map(lambda x: x[i], tree)
  question = e.tokenizer.decode(prompt.tokens[i, : prompt.length[i]]).strip()
  nodes = drawn_nodes(one, e.tokenizer.decode, chosen=node or None, prompt=question)
  answer = told(''.join(drawn.text for drawn in nodes[1:] if drawn.chosen), e.task.marker)
  if not answer:  # then a search that had to choose has chosen nothing
    nodes = [dataclasses.replace(drawn, chosen=False) for drawn in nodes]
  correct = bool(node) and bool(one.outcome.reshape(-1)[node - 1] > 0)
  return Picture(question, answer, correct, nodes)


def draw_search(run: Run, policy: str, asked: Asked, searched: Verdicts) -> None:
  """Leaves report/data/tree.json: the first of the problems, and the first on which the search has
  the other verdict."""
  prompt, _ = asked.data
  nodes = searched.chosen
  readout = next(iter(searched.answers))
  right = searched.answers[readout].correct[: len(searched.trees.mask)]
  others = np.flatnonzero(right != right[0])
  shown = [(0, f'the first {asked.split} problem')]
  if len(others):
    verb = 'answers wrongly' if right[0] else 'answers rightly'
    shown.append((int(others[0]), f'the first {asked.split} problem that this search {verb}'))
  data = []
  for i, picked in shown:
    one = picture(run, searched.trees, nodes, prompt, i)
    data.append(
      dict(
        policy=policy,
        method=readout.method,
        units=readout.budget.units,
        asked=readout.budget.tokens,
        tokens=float(searched.tokens[i]),
        picked=picked,
        prompt=one.prompt,
        answer=one.answer,
        verdict=one.correct,
        nodes=[dataclasses.asdict(node) for node in one.nodes],
      )
    )
  run.write_data('tree', data)


def solve_fixed(run: Run, policy: str, params: Params, spent: spending.Spending) -> list[dict]:
  """What the config's search answers to the task's fixed problems; `spent` is what the run has
  measured so far."""
  problems, config = run.experiment.data.fixed, run.experiment.config
  if problems is None:
    return []
  units = spending.answer_units(run, row_of(config, config.evaluate.answer.search), policy, spent)
  pictures = [
    draw(run, params, *_single(problems, i), units=units) for i in range(len(problems[0].length))
  ]
  return [
    dict(policy=policy, prompt=p.prompt, answer=p.answer, verdict=p.correct) for p in pictures
  ]
