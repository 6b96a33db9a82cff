"""Accuracy of a policy under test-time search, problem by problem, with what it cost."""

import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from o1jax import tree as tree_lib
from o1jax.evaluation.results import Result
from o1jax.evaluation.statistics import pass_at_k, wilson_interval
from o1jax.fused import problem_keys
from o1jax.model.compute import search_cost
from o1jax.model.sharding import fetch, lay
from o1jax.reward.process import solution_score
from o1jax.types import Params, Prompt, Reference, Tree, Verifier
from o1jax.verify.host import VerifierError, check_verdicts
from o1jax.verify.outcome import judge


class Readout(NamedTuple):
  """One row of a results table that a search can be read as.

  rule: see `search.choose`; chains: of a best-of-N tree, how many of its chains stand (0 = all).
  """

  method: str
  budget: int
  rule: str
  chains: int = 0


class Verdicts(NamedTuple):
  """One search over all problems, on the host."""

  correct: dict[Readout, np.ndarray]  # [N] bool
  known: dict[Readout, np.ndarray]  # [N] bool: False where the answer is unjudged
  tokens: np.ndarray  # [N]
  flops: np.ndarray  # [N]
  samples: np.ndarray  # [N] slots that expand the root: the chains of a best-of-N tree
  right: np.ndarray  # [N] finished solutions that are correct
  unjudged: np.ndarray  # [N] finished solutions without a verdict, which count as neither
  scores: np.ndarray  # [M] critic score of every finished solution
  outcomes: np.ndarray  # [M] its verdict
  chosen: np.ndarray  # [N] node id chosen by the first readout, 0 = none
  seconds: float  # per problem, without compilation
  trees: Tree  # judged, of the first batch of problems

  def judged(self, readout: Readout) -> np.ndarray:
    """Whether the answer is right, bool, of the problems whose answer has a verdict.

    Raises:
      VerifierError: there is none.
    """
    right = self.correct[readout][self.known[readout]]
    if not len(right):
      raise VerifierError(
        f'none of {len(self.known[readout])} answers of {readout.method} has a verdict: mend the '
        'check of the verifier'
      )
    return right


def equal_batches(count: int, most: int, *, of: int = 1) -> int:
  """Problems in a batch of at most `most`, as equal as can be: what fills up the last one is work
  for nothing.

  A multiple of `of`, and then `of` at least.
  """
  batches = -(-count // max(most // of * of, of))
  return -(-count // (batches * of)) * of


class Evaluator:
  """Searches every problem once and reads the same trees in several ways.

  The search sees prompts only; the reference enters afterwards, to judge. The last batch is filled
  up with problems from the start, whose results are dropped; a problem's key is its index. Compiled
  once, by `compile` or the first call, for any parameters and problems.
  """

  def __init__(
    self,
    model_config,
    search: Callable,
    *,
    verifier: Verifier,
    choose,
    readouts: list[Readout],
    aggregate: str = 'last',
    batch: int = 128,
    spread: Callable = lambda run: run,
    budgets: tuple[int, ...] = (),
  ):
    """Compiles nothing yet.

    Args:
      model_config: for the cost.
      search: (params, keys, prompt) -> Tree; with `budgets` it is told, as a fourth, the place of
        one among them.
      verifier: judges, afterwards.
      choose: `search.choose.choose` of solutions as they are to be read.
      readouts: what to read off the trees.
      aggregate: how step values make a solution's score.
      batch: problems in a batch, see `equal_batches`.
      spread: makes a function (params, ...) by problem one that several devices share, see
        `runtime.mesh`.
      budgets: of a search that can spend one of several, which then is a call's `spend`.
    """
    self._readouts, self._batch, self._budgets, self._failure = (
      readouts,
      batch,
      budgets,
      verifier.failure,
    )
    self._compiled = None

    def run(params, keys, prompt, reference, *which):
      tree = judge(reference, search(params, keys, prompt, *which), verifier.outcome)
      ids = jnp.broadcast_to(
        tree_lib.node_ids(tree).reshape(-1), (prompt.length.shape[0], tree.mask[0].size)
      )
      picks = [
        choose(tree, rule=r.rule, aggregate=aggregate, first=r.chains, task=reference.task)
        for r in readouts
      ]
      tokens, flops = search_cost(model_config, prompt, tree)
      return tree, dict(
        correct=jnp.stack(
          [tree_lib.pick(tree.outcome, pick[:, None])[:, 0] > 0 for pick in picks], axis=1
        ),
        tokens=tokens,
        known=jnp.stack(
          [~tree_lib.pick(tree.unjudged, pick[:, None], fill=False)[:, 0] for pick in picks], axis=1
        ),
        flops=flops,
        samples=jnp.sum(tree.expanded == tree_lib.ROOT, axis=1),
        right=jnp.sum(tree.outcome > 0, axis=(1, 2)),
        unjudged=jnp.sum(tree.unjudged, axis=(1, 2)),
        done=tree_lib.judged(tree),
        scores=solution_score(tree, ids, aggregate=aggregate).reshape(tree.mask.shape),
        outcomes=tree.outcome,
        chosen=picks[0],
      )

    self._run = jax.jit(spread(run))

  def compile(self, params: Params, prompt: Prompt, reference: Reference) -> None:
    """Compiles for problems of these shapes, but for their number."""
    keys = problem_keys(jax.random.key(0), self._batch)
    prompt, reference = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct((self._batch, *x.shape[1:]), x.dtype), (prompt, reference)
    )
    which = self._which(self._budgets[0]) if self._budgets else ()
    self._compiled = self._run.lower(params, keys, prompt, reference, *which).compile()

  def _which(self, spend):
    if spend not in self._budgets:
      raise ValueError(f'spend={spend} is not one of the budgets {self._budgets}')
    return (np.int32(spend),)

  def __call__(
    self,
    params: Params,
    prompt: Prompt,
    reference: Reference,
    key,
    *,
    spend: int | None = None,
    watch=lambda done: None,
  ) -> Verdicts:
    """Searches all problems.

    Args:
      params: policy and critic are read.
      prompt: N problems.
      reference: theirs.
      key: of which theirs are made.
      spend: one of `budgets`, where there are any; the readouts of the verdicts then have that
        budget.
      watch: called with the number of problems just done.

    Raises:
      ValueError: `spend` is none of them.
      VerifierError: there are no verdicts.
    """
    if self._compiled is None:
      self.compile(params, prompt, reference)
    count, size = prompt.length.shape[0], self._batch
    keys, run = problem_keys(key, count), self._compiled
    lies, *split = run.input_shardings[0]
    params = lay(params, lies)
    which = self._which(spend) if self._budgets or spend else ()
    readouts = (
      [readout._replace(budget=spend) for readout in self._readouts] if spend else self._readouts
    )

    def search(start):
      rows = np.arange(start, start + size) % count
      data = *jax.tree.map(lambda x: x[rows], (keys, prompt, reference)), *which
      tree, part = run(params, *lay(data, tuple(split)))
      return fetch(part), None if start else fetch(tree)

    parts, trees, began = [], None, time.perf_counter()
    for start in range(0, count, size):
      part, tree = search(start)
      check_verdicts(part['outcomes'], self._failure)
      trees = tree if tree is not None else trees
      keep = min(size, count - start)
      parts.append({name: x[:keep] for name, x in part.items()})
      watch(keep)
    seconds = (time.perf_counter() - began) / count
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    done = whole.pop('done')
    whole |= dict(
      correct=dict(zip(readouts, whole['correct'].T)),
      known=dict(zip(readouts, whole['known'].T)),
      scores=whole['scores'][done],
      outcomes=whole['outcomes'][done],
    )
    return Verdicts(**whole, seconds=seconds, trees=trees)


def result(stage: str, task: str, readout: Readout, verdicts: Verdicts, *, seed: int) -> Result:
  """The table row of one readout. A readout of some of the chains is billed for its share of the
  search. Accuracy is over the problems whose answer has a verdict."""
  right = verdicts.judged(readout)
  share = readout.chains / verdicts.samples.max() if readout.chains else 1.0
  low, high = wilson_interval(int(right.sum()), len(right))
  return Result(
    stage=stage,
    task=task,
    method=readout.method,
    budget=readout.budget,
    tokens=float(verdicts.tokens.mean() * share),
    flops=float(verdicts.flops.mean() * share),
    accuracy=float(right.mean()),
    ci_low=low,
    ci_high=high,
    problems=len(right),
    seed=seed,
    seconds=verdicts.seconds * share,
  )


def coverage(
  stage: str, task: str, verdicts: Verdicts, budgets: list[int], *, seed: int
) -> list[Result]:
  """pass@k of a best-of-N search by the unbiased estimator (arXiv:2107.03374), one row a budget.

  The interval is normal over problems. Samples without a verdict are no samples; a problem with
  fewer than k others is left out.
  """
  samples = int(verdicts.samples.max())
  rows = []
  for k in budgets:
    judged = samples - verdicts.unjudged
    if not (judged >= k).any():
      continue
    each = pass_at_k(judged[judged >= k], verdicts.right[judged >= k], k)
    spread = 1.96 * each.std(ddof=min(1, len(each) - 1)) / np.sqrt(len(each))
    mean = float(each.mean())
    rows.append(
      Result(
        stage=stage,
        task=task,
        method='pass@k',
        budget=k,
        tokens=float(verdicts.tokens.mean() * k / samples),
        flops=float(verdicts.flops.mean() * k / samples),
        accuracy=mean,
        ci_low=max(mean - spread, 0.0),
        ci_high=min(mean + spread, 1.0),
        problems=len(each),
        seed=seed,
        seconds=verdicts.seconds * k / samples,
      )
    )
  return rows
