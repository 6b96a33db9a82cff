"""How fast learning is: a searched tree in one pass against its paths one by one, and the whole fused update."""

import time

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark.timing import Row, row, seconds
from experiments.benchmark.work import Work
from o1jax import fused
from o1jax import tree as tree_lib
from o1jax.learning.credit import assign_credit
from o1jax.learning.objective import Weights, tree_loss
from o1jax.learning.optimizer import build_optimizer, init_state
from o1jax.model.compute import search_cost
from o1jax.model.forward import forward_rows, forward_tree, logits_of
from o1jax.reward.outcome import judge
from o1jax.types import Reference, Tree

MIX = Weights(clone=1.0, distill=1.0, gradient=1.0, value=1.0)


def learning_rows(work: Work, peak: float, *, repeats: int) -> list[Row]:
  """Gradients of the objective on whole trees, in minibatches of an eighth of the problems."""
  model, tree = work.model, _judged(work)
  parts = 8 if work.sizes.batch % 8 == 0 else 1

  @jax.jit
  def gradients(params):
    def one(total, part):
      prompt, tree, credit = part
      loss = lambda params: tree_loss(model, params, prompt, tree, credit, MIX)[0]
      return jax.tree.map(jnp.add, total, jax.grad(loss)(params)), None

    data = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), (work.prompt, tree, assign_credit(tree)))
    return jax.lax.scan(one, jax.tree.map(jnp.zeros_like, params), data)[0]

  took = seconds(lambda: gradients(work.params), repeats)
  flops = 3 * float(search_cost(model.config, work.prompt, tree)[1].sum())
  return [row('learn_utilisation', 1e-9 * flops / took / peak, 'of matmul peak', work.shape(minibatches=parts))]


def tree_speedup(work: Work, *, repeats: int) -> Row:
  """Time to score every root-to-leaf path as a row of its own, over the time to score the trees they make up.

  Rows of one depth are one batch, so that none is padded.
  """
  model, tree = work.model, _judged(work)
  whole = jax.jit(lambda params: forward_tree(model, params, work.prompt, tree))

  @jax.jit
  def paths(params, rows):
    out = forward_rows(model, params, rows, jnp.full(rows.shape[0], rows.shape[1]))
    scores = jax.nn.log_softmax(logits_of(model, params, out.hidden[:, 0, 0, :-1]))
    return jnp.take_along_axis(scores, rows[:, 1:, None], axis=-1)[..., 0], out.value

  batches = _paths(work, tree)
  together = seconds(lambda: whole(work.params), repeats)
  apart = seconds(lambda: [paths(work.params, rows) for rows in batches], repeats)
  return row('learn_tree_speedup', apart / np.median(together), 'times', work.shape())


def fused_rows(work: Work, *, repeats: int) -> list[Row]:
  """The whole update and its parts, the seconds to compile it, and how often it was traced."""
  model, s, shape = work.model, work.sizes, work.shape()
  traces = []

  def searched(params, keys, prompt, reference):
    traces.append(reference)
    return work.search(params, keys, prompt)

  optimizer = build_optimizer(learning_rate=1e-3, steps=100)
  minibatches = 4 if s.batch % 4 == 0 else 1
  update = fused.search_and_learn(
    model, search=searched, outcome=_no_verdict, optimizer=optimizer, batch=s.batch, minibatches=minibatches
  )
  state = init_state(jax.tree.map(jnp.copy, work.params), optimizer)
  problems = work.prompt, _reference(s.batch)
  began = time.perf_counter()
  state, _ = jax.block_until_ready(update(state, *problems, jax.random.key(0), MIX))
  first = time.perf_counter() - began

  def again():
    nonlocal state
    state, metrics = update(state, *problems, jax.random.key(0), MIX)
    return metrics

  whole = seconds(again, repeats)
  tree = jax.jit(lambda tree: judge(problems[1], tree, _no_verdict))(work.mcts(work.params))
  credit = jax.jit(lambda tree: assign_credit(judge(problems[1], tree, _no_verdict)))
  parts = {
    'search': seconds(lambda: work.mcts(work.params), repeats),
    'credit': seconds(lambda: credit(tree), repeats),
  }
  parts['learn'] = np.maximum(whole - np.median(parts['search']) - np.median(parts['credit']), 0)
  return [
    row('update_seconds', whole, 's', shape | dict(minibatches=minibatches)),
    *(row(f'update_seconds_{name}', took, 's', shape) for name, took in parts.items()),
    row('compile_seconds', first - np.median(whole), 's', shape),
    row('traces', len(traces), 'of the fused update', shape),
  ]


def _judged(work: Work) -> Tree:
  """A searched tree whose verdicts are drawn at random: nothing that is timed depends on them."""
  tree = work.mcts(work.params)
  luck = jax.random.bernoulli(jax.random.key(1), 0.5, tree.mask.shape)
  return jax.block_until_ready(tree.replace(outcome=jnp.where(tree_lib.finished(tree), luck, 0.0)))


def _paths(work: Work, tree: Tree) -> list[jax.Array]:
  """The prompt and all steps down to every leaf, [N, P + depth * L] for each depth."""
  everyone = jnp.broadcast_to(tree_lib.node_ids(tree).reshape(-1), (tree.mask.shape[0], tree.mask[0].size))
  tokens, length = jax.jit(tree_lib.solution_tokens)(tree, everyone)
  used = (tree.expanded >= 0)[..., None] & (tree.length > 0)
  leaf = np.array(used.reshape(everyone.shape))
  expanded = np.asarray(tree.expanded)
  problem, slot = np.nonzero(expanded > 0)
  leaf[problem, expanded[problem, slot] - 1] = False
  problem, node = np.nonzero(leaf)
  tokens, length, prompt = np.asarray(tokens)[problem, node], np.asarray(length)[problem, node], work.prompt.tokens
  rows = np.concatenate([np.asarray(prompt)[problem], tokens], axis=1)
  first = prompt.shape[1]
  return [jnp.asarray(rows[length == size][:, : first + size]) for size in np.unique(length)]


def _reference(batch: int) -> Reference:
  return Reference(jnp.zeros((batch, 1), jnp.uint8), jnp.zeros(batch, jnp.int32), jnp.zeros((batch, 1), jnp.int32))


def _no_verdict(reference: Reference, tree: Tree, ids: jax.Array) -> jax.Array:
  return jnp.zeros(ids.shape)
