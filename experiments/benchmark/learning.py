"""How fast learning is: a searched tree in one pass against its paths one by one, and the whole
fused update."""

import functools
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark.timing import Limit, Row, beside, row, seconds, share_row
from experiments.benchmark.work import Work
from o1jax import fused
from o1jax import tree as tree_lib
from o1jax.learning.credit import assign_credit
from o1jax.learning.optimizer import build_optimizer, init_state
from o1jax.model.compute import search_cost
from o1jax.model.forward import forward_rows, forward_tree, score_tokens
from o1jax.model.sharding import map_shards
from o1jax.runtime.mesh import problem_sharding, replicated
from o1jax.types import Metrics, Reference, TrainState, Tree
from o1jax.verify.outcome import judge

MIX = dict(clone=1.0, distill=1.0, gradient=1.0, value=1.0)
CHUNK = 10_240  # tokens that a device scores at once, few enough for its caches


def learning_rows(work: Work, limit: Limit, *, repeats: int) -> list[Row]:
  """The learning half of the fused update, on whole trees."""
  took, peak = beside(limit, learner(work), repeats)
  flops = 3 * float(search_cost(work.model.config, work.prompt, work.mcts(work.params))[1].sum())
  shape = work.shape(minibatches=_minibatches(work))
  return [
    share_row('learn_utilisation', flops, took, peak, shape),
    row('update_seconds_learn', took, 's', shape),
  ]


def learner(work: Work) -> Callable[[], Metrics]:
  """Learns from the same search at each call."""
  tree, optimizer = work.mcts(work.params), _optimizer()
  learn = functools.partial(
    fused.learn,
    work.model,
    outcome=_no_verdict,
    optimizer=optimizer,
    minibatches=_minibatches(work),
  )
  run = work.jit(learn, donate_argnums=0, out_shardings=replicated(work.mesh))
  return _updates(run, _state(work, optimizer), work.prompt, _reference(work), tree, MIX)


def tree_speedup(work: Work, *, repeats: int) -> Row:
  """Time to score every root-to-leaf path as a row of its own, over the time to score the trees
  that they form.

  Rows of one depth are one batch, so that none is padded. Both score some `CHUNK` tokens at once.
  """
  model, mesh = work.model, work.mesh
  tree = work.mcts(work.params)
  parts = _divisor(
    work.sizes.batch // mesh.size, tree.tokens[0].size * work.sizes.batch // (mesh.size * CHUNK)
  )

  def whole(params, *trees):
    cut = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), trees)
    out = jax.lax.map(lambda part: forward_tree(model, params, *part), cut)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), out)

  def paths(params, rows):
    out = forward_rows(model, params, rows, jnp.full(rows.shape[0], rows.shape[1]))
    return score_tokens(model, params, out.hidden[:, 0, 0, :-1], rows[:, 1:]), out.value

  shared = lambda function, *names: work.jit(
    lambda *args: map_shards(function, ('batch',), (), *names)(*args)
  )
  together, apart = shared(whole, ('batch',), ('batch',)), shared(paths, ('batch',))
  batches = [part for rows in _paths(work, tree) for part in _chunks(work, rows)]
  tree_took = seconds(lambda: together(work.params, work.prompt, tree), repeats)
  path_took = seconds(lambda: [apart(work.params, rows) for rows in batches], repeats)
  return row('learn_tree_speedup', path_took / np.median(tree_took), 'times', work.shape())


def fused_rows(work: Work, *, repeats: int) -> list[Row]:
  """The whole update, its search and credit, the seconds to compile it, and how often it was
  traced."""
  model, shape = work.model, work.shape()
  traces = []

  def searched(params, keys, prompt, reference):
    traces.append(reference)
    return work.search(params, keys, prompt)

  optimizer = _optimizer()
  update = fused.search_and_learn(
    model,
    search=searched,
    outcome=_no_verdict,
    optimizer=optimizer,
    batch=work.sizes.batch,
    minibatches=_minibatches(work),
    sharding=replicated(work.mesh),
  )
  pool = jax.device_put((work.prompt, _reference(work), jax.random.key(0)), replicated(work.mesh))
  began = time.perf_counter()
  with jax.set_mesh(work.mesh):
    update = update.lower(_state(work, optimizer), *pool, MIX).compile()
  state, _ = jax.block_until_ready(update(_state(work, optimizer), *pool, MIX))
  first = time.perf_counter() - began
  whole = seconds(_updates(update, state, *pool, MIX), repeats)
  tree, reference = work.mcts(work.params), _reference(work)
  credit = jax.jit(lambda tree: assign_credit(judge(reference, tree, _no_verdict)))
  return [
    row('update_seconds', whole, 's', shape | dict(minibatches=_minibatches(work))),
    row('update_seconds_search', seconds(lambda: work.mcts(work.params), repeats), 's', shape),
    row('update_seconds_credit', seconds(lambda: credit(tree), repeats), 's', shape),
    row('compile_seconds', first - np.median(whole), 's', shape),
    row('traces', len(traces), 'of the fused update', shape),
  ]


def _updates(update, state: TrainState, *data) -> Callable[[], Metrics]:
  """Updates a state at each call."""

  def again():
    nonlocal state
    state, metrics = update(state, *data)
    return metrics

  return again


def _state(work: Work, optimizer) -> TrainState:
  """A state of its own, since updates donate it."""
  return jax.device_put(
    init_state(jax.tree.map(jnp.copy, work.params), optimizer), replicated(work.mesh)
  )


def _optimizer():
  return build_optimizer(learning_rate=1e-3, steps=100)


def _minibatches(work: Work) -> int:
  return _divisor(work.sizes.batch // work.mesh.size, 8)


def _divisor(number: int, most: int) -> int:
  return max(n for n in range(1, max(most, 1) + 1) if number % n == 0)


def _chunks(work: Work, rows: np.ndarray) -> list[jax.Array]:
  """Rows in parts of some `CHUNK` tokens a device, padded so that the devices divide them."""
  devices = work.mesh.size
  size = max(CHUNK // rows.shape[1], 1) * devices
  parts = (rows[start : start + size] for start in range(0, len(rows), size))
  filled = (np.pad(part, ((0, -len(part) % devices), (0, 0))) for part in parts)
  return [jax.device_put(part, problem_sharding(work.mesh)) for part in filled]


def _paths(work: Work, tree: Tree) -> list[np.ndarray]:
  """The prompt and all steps down to every leaf, [N, P + depth * L] for each depth."""
  everyone = jnp.broadcast_to(
    tree_lib.node_ids(tree).reshape(-1), (tree.mask.shape[0], tree.mask[0].size)
  )
  tokens, length = jax.jit(tree_lib.solution_tokens)(tree, everyone)
  used = (tree.expanded >= 0)[..., None] & (tree.length > 0)
  leaf = np.array(used.reshape(everyone.shape))
  expanded = np.asarray(tree.expanded)
  problem, slot = np.nonzero(expanded > 0)
  leaf[problem, expanded[problem, slot] - 1] = False
  problem, node = np.nonzero(leaf)
  tokens, length, prompt = (
    np.asarray(tokens)[problem, node],
    np.asarray(length)[problem, node],
    work.prompt.tokens,
  )
  rows = np.concatenate([np.asarray(prompt)[problem], tokens], axis=1)
  first = prompt.shape[1]
  return [rows[length == size][:, : first + size] for size in np.unique(length)]


def _reference(work: Work) -> Reference:
  batch = work.sizes.batch
  reference = Reference(
    jnp.zeros((batch, 1), jnp.uint8), jnp.zeros(batch, jnp.int32), jnp.zeros((batch, 1), jnp.int32)
  )
  return jax.device_put(reference, problem_sharding(work.mesh))


def _no_verdict(reference: Reference, tree: Tree, ids: jax.Array) -> jax.Array:
  """Verdicts of 0: nothing that is timed depends on them."""
  return jnp.zeros(ids.shape)
