"""The last two stages: evaluate the policies that a run made, and write the report."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from o1jax import tree as tree_lib
from o1jax.evaluation import results
from o1jax.evaluation.accuracy import Readout, coverage, result
from o1jax.evaluation.report import build_report
from o1jax.evaluation.statistics import calibration
from o1jax.evaluation.tree_view import drawn_nodes
from o1jax.fused import problem_keys
from o1jax.reward.outcome import judge
from o1jax.search.choose import choose
from o1jax.text.steps import ANSWER, count_behaviours
from o1jax.training.build import test_search
from o1jax.training.metrics import Progress
from o1jax.training.stages import GREEDY, Run, build_evaluator, write_data
from o1jax.types import Params, Prompt, Tree

POLICIES = {'initialised': 'reward', 'learned': 'learn', 'control': 'control'}  # name in results: stage that made it
SAMPLED = ('majority', 'best', 'weighted')


def evaluate(run: Run) -> None:
  """Measures every policy the run has made: accuracy by method and budget, behaviours, calibration, one drawn tree."""
  section = run.experiment.config.evaluate
  behaviours, calibrations = {}, {}
  policies = {name: stage for name, stage in POLICIES.items() if name in section.policies and _made(run, stage)}
  for name, stage in policies.items():
    params = run.params(stage)
    rows, verdicts = evaluate_policy(run, name, params, searches=name != 'control')
    results.append_results(run.workdir / 'results.csv', rows)
    if verdicts is not None:
      calibrations[name] = calibration(verdicts.scores, verdicts.outcomes)
    behaviours[name] = measure_behaviours(run, params)
    if name != 'control':
      draw_search(run, params)
    write_data(run, 'behaviours', behaviours)
    write_data(run, 'calibration', calibrations)


def _made(run: Run, stage: str) -> bool:
  return (run.workdir / 'checkpoints' / f'{stage}_params').exists()


def evaluate_policy(run: Run, name: str, params: Params, *, searches: bool = True):
  """All rows of one policy, and the verdicts on its sampled solutions (None without searches)."""
  e, section = run.experiment, run.experiment.config.evaluate
  plan = [('best_of_n', 1, [GREEDY], True)]
  sampled = [Readout(rule, n, rule, n) for n in section.samples for rule in SAMPLED]
  if searches:
    plan.append(('best_of_n', max(section.samples), sampled, False))
    for method in section.tree_methods:
      plan += [(method, n, [Readout(f'mcts_{method}', n, section.rule)], False) for n in section.simulations]
  rows, kept = [], None
  count = len(e.data.test_prompts)
  for method, budget, readouts, greedy in plan:
    with Progress(count, description=f'evaluate {name} {method} {budget}') as progress:
      run_evaluator = build_evaluator(run, method, budget, readouts, greedy=greedy)
      verdicts = run_evaluator(params, *e.data.test, e.key, watch=lambda n, p=progress: p.advance(n))
    rows += [result(name, e.task.name, readout, verdicts, seed=e.config.seed) for readout in readouts]
    if method == 'best_of_n' and not greedy:
      rows += coverage(name, e.task.name, verdicts, list(section.samples), seed=e.config.seed)
      kept = verdicts
  return rows, kept


def measure_behaviours(run: Run, params: Params) -> dict[str, float]:
  """Share of sampled solutions that show each behaviour; one sample for each validation problem."""
  e = run.experiment
  prompt = jax.tree.map(jnp.asarray, e.data.validation[0])
  search = jax.jit(test_search(e, 'best_of_n', 1))
  tree = jax.device_get(search(params, problem_keys(e.key, prompt.length.shape[0]), prompt))
  texts = []
  for i in range(prompt.length.shape[0]):
    tokens = [t for x in range(tree.mask.shape[1]) for t in tree.tokens[i, x, 0, : tree.length[i, x, 0]]]
    texts.append(e.tokenizer.decode(tokens))
  return {behaviour: count.share for behaviour, count in count_behaviours(texts).items()}


def search_one(run: Run, params: Params, prompt: Prompt, *, method: str = '', budget: int = 0) -> Tree:
  """Searches B problems by the config and returns their trees; `outcome` is not filled, nothing was judged."""
  section = run.experiment.config.evaluate.search
  search = jax.jit(test_search(run.experiment, method or section.method, budget or section.budget))
  return search(params, problem_keys(run.experiment.key, prompt.length.shape[0]), prompt)


def draw_search(run: Run, params: Params) -> None:
  """Leaves report/data/tree.json: of the first test problems, one whose search met both right and wrong answers."""
  e = run.experiment
  prompt, reference = jax.tree.map(lambda x: jnp.asarray(x)[:16], e.data.test)
  tree = judge(reference, search_one(run, params, prompt), e.outcome)
  chosen = choose(tree, rule=e.config.evaluate.rule, table=e.table)
  right = np.asarray(tree_lib.pick(tree.outcome, chosen[:, None])[:, 0]) > 0
  ended = np.asarray(tree_lib.finished(tree).sum((1, 2)))
  mixed = np.asarray((tree.outcome > 0).sum((1, 2)))
  # A problem worth looking at: solved, and not at first sight.
  worth = right * 1000.0 + (ended - mixed) * (mixed > 0)
  i = int(np.argmax(worth))
  picture = jax.tree.map(lambda x: np.asarray(x)[i], tree)
  node = int(chosen[i])
  nodes = drawn_nodes(picture, e.tokenizer.decode, chosen=node or None, prompt=e.data.test_prompts[i])
  answer = e.tokenizer.decode(tree_tokens(picture, node)).split(ANSWER)[-1] if node else ''
  write_data(
    run,
    'tree',
    dict(
      prompt=e.data.test_prompts[i], nodes=[dataclasses.asdict(n) for n in nodes], verdict=bool(right[i]),
      answer=answer,
    ),
  )  # fmt: skip


def tree_tokens(tree: Tree, node: int) -> list[int]:
  """Tokens of the step at one node of one problem's tree on the host."""
  slot, candidate = divmod(node - 1, tree.mask.shape[-1])
  return [int(t) for t in tree.tokens[slot, candidate, : tree.length[slot, candidate]]]


def report(run: Run) -> None:
  """Writes report/index.html and prints the table a reader wants."""
  path = build_report(run.workdir)
  table = run.workdir / 'results.csv'
  if table.exists():
    print(results.format_table(results.read_results(table)))
  print(f'\nreport: {path}')
