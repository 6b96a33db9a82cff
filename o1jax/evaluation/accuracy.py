"""Accuracy of a policy under test-time search, problem by problem, with what it cost."""

import functools
import time
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from o1jax import tree as tree_lib
from o1jax.evaluation.methods import COVERAGE
from o1jax.evaluation.results import Result
from o1jax.evaluation.statistics import mean_interval, pass_at_k, wilson_interval
from o1jax.evaluation.verdicts import BY_PROBLEM, Answers, Reading, Readout, States, Verdicts
from o1jax.keys import of_problems
from o1jax.model.sharding import gather_to_host, put_global
from o1jax.reward.process import monte_carlo
from o1jax.search import Budget
from o1jax.types import Array, OutcomeFn, Params, Prompt, Reference, Tree
from o1jax.verify.host import check_verdicts
from o1jax.verify.outcome import judge


def equal_batches(count: int, most: int, *, of: int = 1) -> int:
  """Problems in a batch of at most `most`, as equal as can be, because padding of the last batch is
  wasted work.

  A multiple of `of`, and at least `of`.
  """
  batches = -(-count // max(most // of * of, of))
  return -(-count // (batches * of)) * of


class Evaluator:
  """Searches every problem once and reads the same trees in several ways.

  The search sees only prompts. The reference comes in afterwards, to judge. The last batch is
  padded with problems from the start, whose results are dropped. A problem's key is made from its
  index. The program is compiled once, by `compile` or the first call, for any parameters and
  problems.
  """

  def __init__(
    self,
    search: Callable,
    reading: Reading,
    *,
    batch: int = 128,
    most: int = 0,
    told: Mapping[str, OutcomeFn] | None = None,
    shard: Callable = lambda run: run,
  ):
    """Compiles nothing yet.

    Args:
      search: (params, keys, prompt) -> Tree; with `most` it is told, as a fourth, its units.
      reading: what to read off the trees.
      batch: problems in a batch, see `equal_batches`.
      told: what the search is told of the answers, by its keyword: verdicts, (reference, tree, ids)
        -> [B, N]. It is for ceilings: None = the search learns nothing of the answers.
      most: of a search that can spend any number of units up to it, which then is a call's
        `spend`; 0 = it can not.
      shard: runs a function (params, ...) by problem on several devices, see
        `runtime.mesh`.
    """
    self.batch, self._reading, self._most = batch, reading, most
    self._failure, self._compiled = reading.verifier.failure, None

    def run(params, keys, prompt, reference, *counts):
      first, units = (counts[:1], counts[1:]) if reading.chains else ((), counts)
      knows = {name: functools.partial(f, reference) for name, f in (told or {}).items()}
      tree = search(params, keys, prompt, *units, **knows)
      tree = judge(reference, tree, reading.verifier.outcome)
      return tree, _read(reading, prompt, reference, tree, *first)

    self._run = jax.jit(shard(run))

  def compile(self, params: Params, prompt: Prompt, reference: Reference) -> None:
    """Compiles for problems of these shapes; their number may differ."""
    keys = of_problems(jax.random.key(0), self.batch)
    prompt, reference = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct((self.batch, *x.shape[1:]), x.dtype), (prompt, reference)
    )
    told = self._told([1] * len(self._reading.rules), 1 if self._most else None)
    self._compiled = self._run.lower(params, keys, prompt, reference, *told).compile()

  def _told(self, chains, spend):
    """What the program is told of a call, in scalars: they are the same for all problems."""
    told = [tuple(map(np.int32, chains))] if self._reading.chains else []
    fits = spend is None if not self._most else spend is not None and 1 <= spend <= self._most
    if not fits:
      raise ValueError(f'spend={spend}: the program has room for 1 to {self._most} units')
    return (*told, np.int32(spend)) if self._most else tuple(told)

  def __call__(
    self,
    params: Params,
    prompt: Prompt,
    reference: Reference,
    key,
    *,
    readouts: Sequence[Readout],
    spend: int | None = None,
    of: int | None = None,
    only: np.ndarray | None = None,
    kept: dict | None = None,
    watch=lambda done: None,
  ) -> Verdicts:
    """Searches all problems, or the first of them.

    Args:
      params: policy and critic are read.
      prompt: N problems.
      reference: theirs.
      key: of which theirs are made.
      readouts: of the rules of the reading, in their order; what each says of `chains` counts.
      spend: units, from 1 to `most`, where the search can spend any number.
      of: only the batches of the first so many problems; None = all.
      only: numbers of the problems that are searched, in this order; None = all.
      kept: batches that calls with the same parameters and `only` have searched. What is there is
        not searched again, and what is searched is added.
      watch: called with the number of problems just done.

    Raises:
      ValueError: `readouts` or `spend` do not fit the program.
      VerifierError: there are no verdicts.
    """
    if self._compiled is None:
      self.compile(params, prompt, reference)
    size, run = self.batch, self._compiled
    keys = of_problems(key, prompt.length.shape[0])
    chosen = np.arange(len(prompt.length)) if only is None else np.asarray(only)
    count = len(chosen)
    of_params, *of_data = run.input_shardings[0]
    params = put_global(params, of_params)
    rules = tuple(readout.rule for readout in readouts)
    if rules != self._reading.rules:
      raise ValueError(f'the readouts choose by {rules}, and the program by {self._reading.rules}')
    told = self._told([readout.chains for readout in readouts], spend)
    kept = {} if kept is None else kept

    def search(start):
      began = time.perf_counter()
      rows = chosen[np.arange(start, start + size) % count]
      data = *jax.tree.map(lambda x: x[rows], (keys, prompt, reference)), *told
      tree, part = run(params, *put_global(data, tuple(of_data)))
      part, tree = gather_to_host(part), None if start else gather_to_host(tree)
      check_verdicts(part['outcome'], self._failure)
      keep = min(size, count - start)
      part = {name: x[:keep] for name, x in part.items()}
      part['seconds'] = np.full(keep, (time.perf_counter() - began) / keep)
      return part, tree

    starts, parts = range(0, min(of or count, count), size), []
    for start in starts:
      at = start, *map(int, jax.tree.leaves(told))
      if at not in kept:
        kept[at] = search(start)
      parts.append(kept[at])
      watch(len(parts[-1][0]['tokens']))
    trees = parts[0][1]
    whole = {name: np.concatenate([part[name] for part, _ in parts]) for name in parts[0][0]}
    return _verdicts(readouts, whole, trees)


def _read(
  reading: Reading, prompt: Prompt, reference: Reference, tree: Tree, first: Sequence = ()
) -> dict[str, Array]:
  """What `_verdicts` needs of a batch of judged trees, by problem, for R readouts; first: [] chains
  that each counts, where they count some."""
  choose = functools.partial(reading.choose, tree, task=reference.task)
  first = first or [None] * len(reading.rules)
  picked = [choose(rule=rule, first=n) for rule, n in zip(reading.rules, first, strict=True)]
  chosen = jnp.stack(picked, axis=1)
  text, length = reading.spell(tree, chosen)
  tokens, flops, scoring = reading.cost(prompt, tree)
  below, ends = monte_carlo(tree)
  done = tree_lib.finished(tree)
  return dict(
    chosen=chosen,  # [B, R]
    # [B, R]
    verdict=jnp.where(
      tree_lib.pick(tree.unjudged, chosen, fill=False),
      jnp.nan,
      tree_lib.pick(tree.outcome, chosen),
    ),
    text=text,  # [B, R, S]
    length=length,  # [B, R]
    tokens=tokens,
    flops=flops,
    scoring=scoring,
    samples=jnp.sum(tree.expanded == tree_lib.ROOT, axis=1),
    right=jnp.sum(tree.outcome > 0, axis=(1, 2)),
    unjudged=jnp.sum(tree.unjudged, axis=(1, 2)),
    score=jnp.sum(tree.value * done, (1, 2)) / jnp.maximum(done.sum((1, 2)), 1),
    # Independent chains are sampled at once.
    ease=reading.ease(tree) if reading.ease else jnp.zeros(tree.mask.shape[0]),
    late=tree_lib.tokens_after(tree, (tree.outcome > 0) & (tree.chains == 0)),
    outcome=tree.outcome,  # [B, X, A], as all below
    value=tree.value,
    below=below,
    known=tree.mask & (ends > 0),
    done=done,
    depth=jnp.broadcast_to(1 + tree_lib.parent_depth(tree)[..., None], tree.mask.shape),
  )


def _verdicts(readouts, whole, trees) -> Verdicts:
  answers = {
    readout: Answers(
      whole['chosen'][:, i],
      whole['verdict'][:, i],
      [
        bytes(text[:length]).decode(errors='replace') if node else ''
        for node, text, length in zip(
          whole['chosen'][:, i], whole['text'][:, i], whole['length'][:, i], strict=True
        )
      ],
    )
    for i, readout in enumerate(readouts)
  }
  known = whole['known']
  states = States(*(whole[name][known] for name in ('value', 'below', 'depth', 'done')))
  by_problem = {name: whole[name] for name in BY_PROBLEM}
  return Verdicts(answers, **by_problem, states=states, trees=trees)


def share_of(readout: Readout, verdicts: Verdicts) -> float:
  """The share of a search that a readout is billed for: some of its chains, or all of it."""
  return readout.chains / float(verdicts.samples.max()) if readout.chains else 1.0


def flops_of(verdicts: Verdicts, *, critic: bool) -> np.ndarray:
  """FLOPs of a search [N], with the critic's or without. An answer that does not depend on the
  critic could have been had without."""
  return verdicts.flops if critic else verdicts.flops - verdicts.scoring


def result(readout: Readout, verdicts: Verdicts, *, stage: str, task: str, seed: int) -> Result:
  """The table row of one readout. Accuracy is over the problems whose answer has a verdict. The row
  counts the others."""
  right = verdicts.judged(readout)
  low, high = wilson_interval(int(right.sum()), len(right))
  return Result(
    stage=stage,
    task=task,
    method=readout.method,
    budget=readout.budget.tokens,
    units=readout.budget.units,
    **_bill(verdicts, share_of(readout, verdicts), critic=readout.critic),
    accuracy=float(right.mean()),
    ci_low=low,
    ci_high=high,
    problems=len(right),
    seed=seed,
    unjudged=len(verdicts.tokens) - len(right),
  )


def coverage(
  verdicts: Verdicts, budgets: Sequence[Budget], *, stage: str, task: str, seed: int
) -> list[Result]:
  """pass@k of a best-of-N search by the unbiased estimator (arXiv:2107.03374), one row a budget of
  k units.

  The interval is normal over problems, and Wilson's where all estimates are equal. Samples without
  a verdict do not count as samples. A problem with fewer than k others is left out, and counted.
  """
  samples = int(verdicts.samples.max())
  judged = samples - verdicts.unjudged
  rows = []
  for asked, k in budgets:
    enough = judged >= k
    if not enough.any():
      continue
    each = pass_at_k(judged[enough], verdicts.right[enough], k)
    if each.min() == each.max():  # no spread, which is no certainty
      low, high = wilson_interval(min(float(each.sum()), len(each)), len(each))
    else:
      low, high = np.clip(mean_interval(each), 0, 1)
    rows.append(
      Result(
        stage=stage,
        task=task,
        method=COVERAGE,
        budget=asked,
        units=k,
        **_bill(verdicts, k / samples, critic=False),
        accuracy=float(each.mean()),
        ci_low=float(low),
        ci_high=float(high),
        problems=len(each),
        seed=seed,
        unjudged=int((~enough).sum()),
      )
    )
  return rows


def _bill(verdicts, share, *, critic):
  """Means for one problem of a share of the search."""
  each = dict(
    tokens=verdicts.tokens, flops=flops_of(verdicts, critic=critic), seconds=verdicts.seconds
  )
  return {name: float(values.mean() * share) for name, values in each.items()}
