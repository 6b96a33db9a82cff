"""Search and learn, fused: the one place where search, reward and learning meet, compiled as one
program."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from o1jax import tree as tree_lib
from o1jax.keys import of_problems, of_update
from o1jax.learning.credit import assign_credit
from o1jax.learning.draw import add_to_record, empty_record, uniform
from o1jax.learning.objective import (
  Objective,
  Weights,
  frozen_logprob,
  reads_frozen,
  tree_loss,
)
from o1jax.learning.optimizer import LEARNS, apply_gradients
from o1jax.model.compute import learning_flops, search_cost
from o1jax.model.sharding import shard_problems
from o1jax.reward.guide import ORACLE
from o1jax.reward.process import ended
from o1jax.types import Array, Draw, Metrics, OutcomeFn, Prompt, Reference, TrainState, Tree
from o1jax.verify.outcome import judge


def search_and_learn(
  model,
  *,
  search,
  outcome,
  optimizer: optax.GradientTransformation,
  batch: int,
  oracle: OutcomeFn | None = None,
  draw: Draw = uniform,
  minibatches: int = 1,
  passes: int = 1,
  updates: int = 1,
  learns: tuple[str, ...] = LEARNS,
  credit: dict | None = None,
  objective: Objective = Objective(),
  sharding: Any = None,
):
  """Builds the fused update: draw problems, search, judge, assign credit, and take an optimizer
  step on each of `minibatches`, in each of `passes`.

  Args:
    model: the language model.
    search: (params, keys [B], prompt, reference) -> Tree; at training time it may read the
      reference.
    outcome: (reference, tree, ids [B, N]) -> verdicts [B, N].
    optimizer: steps once a minibatch.
    batch: problems an update.
    oracle: exact verdicts on prefixes too, where a part of credit reads them; None = none does.
    draw: chooses these problems, see `learning.draw`: returns their ids in the pool. It reads the
      state's record, or an empty one where the state keeps none.
    minibatches: divides `batch`; later ones are off-policy, which the stored log-probs correct.
    passes: over all minibatches (the epochs of arXiv:1707.06347).
    updates: made by one call, one after the other. Each call takes its memory from the system anew,
      which a CPU spends up to a quarter of a small update on.
    learns: roles that learn; the optimizer's state is theirs alone, see `init_state`.
    credit: keyword settings of `assign_credit`.
    objective: settings of the losses. A tree, or a chain of one that is nothing but chains, is
      cropped to `objective.tokens`; the metric `tokens_lost` tells how much that costs.
    sharding: of the state and the metrics, a prefix of the pair; None = as the compiler likes.

  Returns:
    The jitted (TrainState, pool Prompt, pool Reference, key, Weights) -> (TrainState, metrics
    [updates]). The state is donated; the update's randomness is `fold_in(key, state.update)`. The
    metric problems, [updates, batch], holds the ids that were drawn. An optimizer step whose loss
    or gradient is not finite changes nothing; the metric skipped counts them.
  """
  if batch % minibatches:
    raise ValueError(
      f'batch={batch} does not divide into minibatches={minibatches}; choose a divisor'
    )

  def update(
    state: TrainState, prompts: Prompt, references: Reference, key: Array, weights: Weights
  ):
    draw_key, search_key = of_update(key, state.update)
    record = empty_record(prompts.length.shape[0]) if state.record is None else state.record
    drawn = draw(draw_key, state.update, record, count=batch)
    prompt, reference = jax.tree.map(lambda x: x[drawn], (prompts, references))
    prompt, reference, keys = shard_problems((prompt, reference, of_problems(search_key, batch)))
    with jax.named_scope('search'):
      tree = search(state.params, keys, prompt, reference)
    with jax.named_scope('learn'):
      state, metrics = learn(
        model,
        state,
        prompt,
        reference,
        tree,
        weights,
        drawn=drawn,
        outcome=outcome,
        oracle=oracle,
        optimizer=optimizer,
        minibatches=minibatches,
        passes=passes,
        learns=learns,
        credit=credit,
        objective=objective,
      )
    return state, metrics | {'problems': drawn}

  def call(state: TrainState, *given):
    return jax.lax.scan(lambda state, _: update(state, *given), state, length=updates)

  return jax.jit(call, donate_argnums=0, out_shardings=sharding)


def learn(
  model,
  state: TrainState,
  prompt: Prompt,
  reference: Reference,
  tree: Tree,
  weights: Weights,
  *,
  outcome,
  optimizer,
  oracle: OutcomeFn | None = None,
  drawn: Array | None = None,
  minibatches: int = 1,
  passes: int = 1,
  learns: tuple[str, ...] = LEARNS,
  credit: dict | None = None,
  objective: Objective = Objective(),
) -> tuple[TrainState, Metrics]:
  """The learning half of the fused step, on a finished search. `drawn` are the ids of its problems
  in the pool, for a state that keeps a record of them."""
  whole = judge(reference, tree, outcome)
  if oracle is not None:
    whole = with_labels(reference, whole, oracle)
  if state.record is not None:
    state = state.replace(record=add_to_record(state.record, drawn, whole))
  given = assign_credit(whole, **(credit or {}))
  tree = tree_lib.crop(whole, objective.tokens) if objective.tokens else whole
  frozen = None
  if reads_frozen(weights):
    frozen = frozen_logprob(model, state.params, state.frozen, prompt, tree, objective)
  # Without verdicts nothing is learned, not even by a loss that reads none.
  broken = jnp.where(jnp.isnan(whole.outcome).any(), jnp.nan, 0.0)
  data = prompt, tree, given, frozen

  def step(state, part):
    prompt, tree, given, frozen = shard_problems(part)

    def loss(learning):
      params = state.params | learning
      return tree_loss(
        model, params, prompt, tree, given, weights, frozen=frozen, objective=objective
      )

    grads, metrics = jax.grad(loss, has_aux=True)({role: state.params[role] for role in learns})
    if 'policy' not in learns:  # what it says of its samples is not asked again
      del metrics['ratio_gap']
    metrics['loss'] += broken
    state, stepped = apply_gradients(state, grads, optimizer, loss=metrics['loss'])
    return state, metrics | stepped

  # Problems go to minibatches in turn, so each device has as many of every minibatch.
  in_turn = lambda x: jnp.swapaxes(x.reshape(-1, minibatches, *x.shape[1:]), 0, 1)
  parts = jax.tree.map(in_turn, data)
  over = lambda state, _: jax.lax.scan(step, state, parts)
  state, metrics = jax.lax.scan(over, state, length=passes)
  skipped = metrics['skipped'].sum()
  metrics = (
    {name: value.mean() for name, value in metrics.items()}
    | search_metrics(whole)
    | {'skipped': skipped}
  )
  metrics['tokens_lost'] = 1 - tree_lib.generated_tokens(tree).sum() / jnp.maximum(
    metrics['tokens'], 1
  )
  # Learning reads the very tokens that search made.
  apart = tree_lib.chains_apart(prompt, tree)
  learned = learning_flops(model.config, *apart, learns=learns, keeps=frozen is not None)
  metrics['flops'] = jnp.sum(search_cost(model.config, *apart)[1] + passes * learned)
  return state.replace(update=state.update + 1), metrics


def with_labels(reference: Reference, tree: Tree, oracle: OutcomeFn) -> Tree:
  """The tree with the score 'oracle' on every node."""
  ids = jnp.broadcast_to(tree_lib.node_ids(tree).reshape(-1), (len(tree.mask), tree.mask[0].size))
  label = oracle(reference, tree, ids).reshape(tree.mask.shape)
  return tree.replace(scores=tree.scores | {ORACLE: label})


def search_metrics(tree: Tree) -> Metrics:
  """What a judged search found and what it cost; `runtime.metrics.METRICS` says what each means."""
  done, right = tree_lib.finished(tree), tree.outcome > 0
  used = tree.expanded >= 0
  made = jnp.maximum(jnp.sum(used[..., None] & (tree.length > 0)), 1)
  return {
    'right': right.sum() / jnp.maximum(ended(tree).sum(), 1),
    'right_of_finished': right.sum() / jnp.maximum(tree_lib.judged(tree).sum(), 1),
    'unjudged': tree.unjudged.sum() / jnp.maximum(done.sum(), 1),
    'solved': jnp.mean(jnp.any(right, axis=(1, 2))),
    'finished': jnp.mean(jnp.any(done, axis=(1, 2))),
    'distinct': jnp.sum(tree.mask & used[..., None]) / made,
    'tokens': tree_lib.generated_tokens(tree).sum(),
    'expansions': used.sum(axis=1).mean(),
  }
