"""The fused step: it is search, then learning; compiled once; a function of seed and update; and it
learns."""

import dataclasses
import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax import fused
from o1jax import tree as tree_lib
from o1jax.decode.grow import grower, start
from o1jax.keys import of_problems
from o1jax.learning import LOSSES
from o1jax.learning.objective import Objective
from o1jax.learning.optimizer import build_optimizer, init_state
from o1jax.model import forward
from o1jax.model.compute import search_cost
from o1jax.model.transformer import LanguageModel
from o1jax.runtime.metrics import describe
from o1jax.verify.outcome import judge
from tests import toys
from tests.helpers import mcts

POOL, BATCH, WIDTH = 12, 8, 4
OPTIMIZER = build_optimizer(
  name='adamw', learning_rate=0.01, steps=200, warmup=1, weight_decay=0.0, end_fraction=1.0
)
KEY = jax.random.key(7)
MIXED = dict.fromkeys(LOSSES, 0.1) | dict(clone=1.0, distill=0.5, gradient=1.0, entropy=0.01)


def bush(params, keys, prompt, reference):
  """The least search with all that a tree can hold: expands the root, then its candidates, and
  knows the verdicts."""
  tree, cache = start(
    toys.MODEL, params, prompt, slots=1 + WIDTH, candidates=WIDTH, step_length=3, max_steps=2
  )
  grow = grower(toys.MODEL, params, prompt, sampling=toys.SAMPLING)
  root = jnp.zeros((BATCH, 1), jnp.int32)
  for slot, parents in ((0, root), (1, root + jnp.arange(1, 1 + WIDTH))):
    keys = jax.vmap(jax.random.fold_in, (0, None))(keys, slot)
    tree, cache = grow(tree, cache, keys, parents, slot=slot)
  q = judge(reference, tree, toys.OUTCOME).outcome
  return tree.replace(visits=tree.mask.astype(jnp.int32), q=jnp.where(tree.mask, q, 0))


class Setup(NamedTuple):
  """The fused update, its parts, and one entry for each time its search was traced."""

  update: object
  search: object
  judge: object
  learn: object
  traces: list


@pytest.fixture(scope='module')
def setup():
  traces = []

  def counted(*args):
    traces.append(1)
    return bush(*args)

  given = dict(outcome=toys.OUTCOME, optimizer=OPTIMIZER)
  update = fused.search_and_learn(toys.MODEL, search=counted, batch=BATCH, minibatches=2, **given)
  learn = jax.jit(functools.partial(fused.learn, toys.MODEL, **given))
  return Setup(update, jax.jit(bush), jax.jit(judge, static_argnums=2), learn, traces)


@pytest.fixture(scope='module')
def pool():
  return toys.problems(POOL)


@pytest.fixture(scope='module')
def grown(setup, pool):
  """The problems that the first update draws, and what its search makes of them."""
  prompt, reference, search_key = first_problems(pool, BATCH)
  return (
    prompt,
    reference,
    setup.search(fresh().params, of_problems(search_key, BATCH), prompt, reference),
  )


def first_problems(pool, count):
  """What the first update draws, and the key of its search."""
  draw_key, search_key = jax.random.split(jax.random.fold_in(KEY, 0))
  drawn = jax.random.choice(draw_key, POOL, (count,), replace=False)
  return *jax.tree.map(lambda x: x[drawn], pool), search_key


def weights(**given):
  return {name: jnp.float32(given.get(name, 0.0)) for name in MIXED}


def fresh():
  return toys.state(OPTIMIZER)


def half(grown, first):
  """One of two minibatches, to which problems go in turn."""
  return jax.tree.map(lambda x: x[0 if first else 1 :: 2], grown)


def run(setup, pool, updates, *, key=KEY, **given):
  state, history = fresh(), []
  for _ in range(updates):
    state, metrics = setup.update(state, *pool, key, weights(**given))
    history.append(metrics)
  return state, jax.tree.map(lambda *x: np.concatenate(x), *history)


def assert_close(x, y, **tolerance):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), x, y)


class TestUpdate:
  def test_is_search_then_learning_minibatch_by_minibatch(self, setup, pool, grown):
    state, metrics = setup.update(fresh(), *pool, KEY, weights(**MIXED))
    first, early = setup.learn(fresh(), *half(grown, True), weights(**MIXED))
    second, late = setup.learn(first, *half(grown, False), weights(**MIXED))
    assert state.update == 1
    assert_close(state.params, second.params, rtol=1e-4, atol=1e-5)
    assert_close(state.optimizer, second.optimizer, rtol=1e-3, atol=1e-5)
    for name in (
      'loss',
      'loss_clone',
      'loss_distill',
      'loss_gradient',
      'loss_value',
      'gradient_norm',
    ):
      np.testing.assert_allclose(
        metrics[name], (early[name] + late[name]) / 2, rtol=1e-3, atol=1e-5
      )
    np.testing.assert_allclose(metrics['tokens'], tree_lib.generated_tokens(grown[2]).sum())
    np.testing.assert_allclose(metrics['flops'], early['flops'] + late['flops'], rtol=1e-5)

  @pytest.mark.long
  def test_another_pass_learns_from_the_same_trees_again(self, setup, grown):
    twice = jax.jit(
      functools.partial(
        fused.learn,
        toys.MODEL,
        outcome=toys.OUTCOME,
        optimizer=OPTIMIZER,
        minibatches=2,
        passes=2,
      )
    )
    state, metrics = twice(fresh(), *grown, weights(**MIXED))
    expected, losses, flops = fresh(), [], []
    for first in (True, False, True, False):
      expected, one = setup.learn(expected, *half(grown, first), weights(**MIXED))
      losses.append(one['loss'])
      flops.append(one['flops'])
    assert state.update == 1
    assert_close(state.params, expected.params, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(metrics['loss'], np.mean(losses), rtol=1e-3)
    # Searched once.
    once = search_cost(toys.CONFIG, grown[0], grown[2])[1].sum()
    np.testing.assert_allclose(metrics['flops'], sum(flops) - once, rtol=1e-5)

  def test_the_first_minibatch_is_on_policy(self, setup, grown):
    _, metrics = setup.learn(fresh(), *half(grown, True), weights(**MIXED))
    assert metrics['ratio_gap'] < 1e-5 and metrics['loss_kl'] < 1e-6

  def test_a_critic_that_learns_alone_reads_no_policy(self, grown):
    """Neither the policy's parameters, nor what the critic said at sampling time."""
    model = LanguageModel(dataclasses.replace(toys.CONFIG, own_critic=True))
    params = nn.unbox(forward.init(model, jax.random.key(3)))
    learn = functools.partial(
      fused.learn,
      model,
      outcome=toys.OUTCOME,
      optimizer=OPTIMIZER,
      learns=('critic',),
      objective=Objective(losses=dict(token_value=dict(clip=1.0))),
    )
    run = jax.jit(lambda params, tree: learn(state_of(params), *grown[:2], tree, given))
    state_of = lambda params: init_state(params, OPTIMIZER, learns=('critic',))
    given = dict(value=jnp.float32(1), token_value=jnp.float32(1))
    nothing = functools.partial(jax.tree.map, lambda x: x * jnp.nan)
    state, metrics = run(params, grown[2])
    unread = grown[2].replace(token_value=nothing(grown[2].token_value))
    blind, told = run(params | dict(policy=nothing(params['policy'])), unread)
    assert_close(blind.params['critic'], state.params['critic'], rtol=1e-6)
    assert_close(told, metrics, rtol=1e-6)
    assert 'ratio_gap' not in metrics and metrics['gradient_norm'] > 0

  def test_is_traced_once(self, setup, pool):
    run(setup, pool, 2, **MIXED)
    before = len(setup.traces)
    run(setup, pool, 3, clone=0.1, kl=3.0)
    assert before == len(setup.traces) == 1

  def test_is_a_function_of_the_seed_and_the_update(self, setup, pool):
    first, second = run(setup, pool, 2, **MIXED), run(setup, pool, 2, **MIXED)
    jax.tree.map(np.testing.assert_array_equal, first, second)
    other, _ = run(setup, pool, 2, key=jax.random.key(8), **MIXED)
    assert any(
      (x != y).any() for x, y in zip(*map(jax.tree.leaves, (first[0].params, other.params)))
    )
    unmoved = run(setup, pool, 4)[1]
    assert len(set(unmoved['tokens'])) > 1  # each update has random numbers of its own

  def test_several_in_one_call_are_the_same(self, setup, pool):
    twice = fused.search_and_learn(
      toys.MODEL,
      search=bush,
      outcome=toys.OUTCOME,
      optimizer=OPTIMIZER,
      batch=BATCH,
      minibatches=2,
      updates=2,
    )
    at_once, metrics = twice(fresh(), *pool, KEY, weights(**MIXED))
    state, history = run(setup, pool, 2, **MIXED)
    assert at_once.update == 2
    assert_close(at_once.params, state.params, rtol=1e-4, atol=1e-5)
    assert_close(metrics, history, rtol=1e-3, atol=1e-5)

  def test_the_state_is_donated_and_the_reference_kept(self, setup, pool):
    state = fresh()
    after, _ = setup.update(state, *pool, KEY, weights(**MIXED))
    assert all(x.is_deleted() for x in jax.tree.leaves((state.params['policy'], state.optimizer)))
    jax.tree.map(np.testing.assert_array_equal, after.frozen['reference'], toys.params()['policy'])

  def test_a_loss_that_is_no_number_changes_nothing_and_every_step_of_it_is_counted(
    self, setup, pool
  ):
    before = run(setup, pool, 1, **MIXED)[0]
    kept = jax.tree.map(np.array, before)
    after, metrics = setup.update(before, *pool, KEY, weights(clone=jnp.nan))
    assert metrics['skipped'] == 2 and np.isnan(metrics['loss']).all()
    assert after.update == 2 and metrics['tokens'] > 0
    jax.tree.map(np.testing.assert_array_equal, after.replace(update=1), kept)

  def test_tells_what_it_drew(self, setup, pool, grown):
    drawn = run(setup, pool, 2, **MIXED)[1]['problems']
    assert drawn.shape == (2, BATCH) and set(drawn[0]) != set(drawn[1])
    told = jax.tree.map(lambda x: x[drawn[0]], pool)
    jax.tree.map(np.testing.assert_array_equal, told, grown[:2])

  def test_minibatches_must_divide_the_batch(self):
    with pytest.raises(ValueError, match='batch=8 does not divide into minibatches=3'):
      fused.search_and_learn(
        toys.MODEL, search=bush, outcome=toys.OUTCOME, optimizer=OPTIMIZER, batch=8, minibatches=3
      )


@pytest.mark.long
def test_mcts_and_learning_are_one_program(setup, pool):
  batch = BATCH // 2  # like the trees of `bush`, so that `setup.learn` serves
  search = functools.partial(
    _mcts, units=3, candidates=WIDTH, sampling=toys.SAMPLING, step_length=3, max_steps=2
  )
  update = fused.search_and_learn(
    toys.MODEL, search=search, outcome=toys.OUTCOME, optimizer=OPTIMIZER, batch=batch
  )
  state, metrics = update(fresh(), *pool, KEY, weights(**MIXED))
  prompt, reference, search_key = first_problems(pool, batch)
  tree = jax.jit(search)(fresh().params, of_problems(search_key, batch), prompt, reference)
  apart, alone = setup.learn(fresh(), prompt, reference, tree, weights(**MIXED))
  del metrics['problems']
  assert_close((state.params, metrics), (apart.params, alone), rtol=1e-3, atol=1e-5)
  judged = setup.judge(reference, tree, toys.OUTCOME)
  ended = np.asarray(tree_lib.finished(judged) & (judged.visits > 0))
  assert ended.any()
  # Leaves are rewarded by the verifier.
  np.testing.assert_allclose(judged.q[ended], judged.outcome[ended], atol=1e-6)


def _mcts(params, keys, prompt, reference, **settings):
  return mcts(
    toys.MODEL,
    params,
    keys,
    prompt,
    reward=dict(outcome=1.0),
    outcome=functools.partial(toys.OUTCOME, reference),
    **settings,
  )


class TestLearning:
  """The right answers hold the letter a; a fresh policy writes any of the letters."""

  def share(self, setup, params, pool):
    """Of the finished solutions that a policy samples, those that are right."""
    prompt, reference = jax.tree.map(lambda x: x[:BATCH], pool)
    tree = setup.search(params, of_problems(KEY, BATCH), prompt, reference)
    tree = setup.judge(reference, tree, toys.OUTCOME)
    return float(tree.outcome.sum() / tree_lib.finished(tree).sum())

  @pytest.mark.parametrize('loss', ['clone', 'gradient', 'distill', 'dpo', 'sibling_dpo'])
  def test_each_objective_alone_learns_what_is_right(self, setup, pool, loss):
    state, history = run(setup, pool, 40, **{loss: 1.0})
    before, after = self.share(setup, fresh().params, pool), self.share(setup, state.params, pool)
    assert before < 0.5 and after > 0.85, (before, after)
    assert history['finished'][-1] == 1

  def test_the_critic_learns_to_tell(self, setup, pool):
    _, history = run(setup, pool, 60, value=1.0)
    assert history['loss_value'][-10:].mean() < history['loss_value'][:3].mean() - 0.1

  @pytest.mark.parametrize('role', ['policy', 'critic'])
  def test_a_role_that_does_not_learn_stays(self, grown, role):
    learn = functools.partial(
      fused.learn, toys.MODEL, outcome=toys.OUTCOME, optimizer=OPTIMIZER, learns=(role,)
    )
    start = init_state(toys.params(), OPTIMIZER, learns=(role,))
    for _ in range(2):  # at the first step the learning rate is 0
      state, _ = jax.jit(learn)(start, *half(grown, True), dict(clone=1.0, value=1.0))
      start = state
    moved = {
      name: any((x != y).any() for x, y in zip(*map(jax.tree.leaves, (part, toys.params()[name]))))
      for name, part in state.params.items()
    }
    assert moved == {name: name == role for name in ('policy', 'critic')}

  def test_no_weight_moves_nothing(self, setup, pool):
    state, _ = run(setup, pool, 2)
    assert_close(state.params, fresh().params, atol=1e-7)

  def test_the_kl_keeps_the_policy_near_the_reference(self, setup, pool):
    free = run(setup, pool, 20, gradient=1.0)[1]['loss_kl']
    held = run(setup, pool, 20, gradient=1.0, kl=10.0)[1]['loss_kl']
    assert free[-1] > 0.2 and held[-1] < 0.1 * free[-1], (free[-1], held[-1])


class TestNothingToLearnFrom:
  """Where a problem teaches nothing, its losses are finite and what has nothing to say is zero."""

  def check(self, setup, prompt, reference, tree, silent):
    state, metrics = setup.learn(fresh(), prompt, reference, tree, weights(**MIXED))
    assert all(
      np.isfinite(x).all() for x in jax.tree.leaves((state.params, state.optimizer, metrics))
    )
    losses = {name: metrics[f'loss_{name}'] for name in ('clone', 'gradient', 'distill', 'value')}
    assert {name for name, loss in losses.items() if loss == 0} == set(silent)
    return metrics

  def test_no_solution_is_correct(self, setup, grown):
    prompt, _, tree = half(grown, True)
    _, never = toys.problems(BATCH // 2, wanted='z')
    metrics = self.check(setup, prompt, never, tree, ['clone', 'gradient'])
    assert (
      metrics['right'] == metrics['right_of_finished'] == metrics['solved'] == 0
      and metrics['finished'] > 0
    )

  def test_no_solution_is_finished(self, setup, grown):
    prompt, reference, tree = half(grown, True)
    open_ended = tree.replace(terminal=jnp.zeros_like(tree.mask))
    metrics = self.check(setup, prompt, reference, open_ended, ['clone', 'gradient'])
    assert metrics['right'] == metrics['right_of_finished'] == metrics['finished'] == 0

  def test_nothing_was_searched(self, setup, grown):
    prompt, reference, tree = half(grown, True)
    empty = tree_lib.empty(BATCH // 2, *tree.tokens.shape[1:], tree.path.shape[-1])
    metrics = self.check(setup, prompt, reference, empty, ['clone', 'gradient', 'distill', 'value'])
    assert metrics['tokens'] == metrics['expansions'] == 0


def test_keys_do_not_depend_on_the_batch():
  few, many = (jax.random.key_data(of_problems(KEY, count)) for count in (3, 8))
  np.testing.assert_array_equal(few, many[:3])
  assert len(np.unique(many, axis=0)) == 8


def test_every_metric_of_an_update_says_what_it_means(setup, pool):
  _, metrics = setup.update(fresh(), *pool, KEY, weights(**MIXED))
  numbers = [name for name, values in metrics.items() if values.shape == (1,)]
  assert [name for name in numbers if not describe(name)] == []


def test_exact_labels_of_prefixes_reach_the_critic(setup, grown):
  """A critic learns what an oracle says of all prefixes, whatever the verdicts are."""
  prompt, reference, tree = grown
  weights = dict(value=jnp.float32(1.0))
  credit = dict(value='reachable')
  given = dict(outcome=toys.OUTCOME, optimizer=OPTIMIZER, credit=credit)
  values = {}
  for label in (0.0, 1.0):
    oracle = lambda reference, tree, ids, label=label: jnp.full(ids.shape, label)
    learn = jax.jit(functools.partial(fused.learn, toys.MODEL, oracle=oracle, **given))
    state = toys.state(OPTIMIZER)
    values[label] = []
    for _ in range(4):
      state, metrics = learn(state, prompt, reference, tree, weights)
      values[label].append(float(metrics['loss_value']))
  assert values[0.0][-1] < values[0.0][0] - 0.01 and values[1.0][-1] < values[1.0][0] - 0.01
