"""Draws of problems: their chances in closed form, what they have in common, and the record that
they read."""

import functools
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax import fused
from o1jax.learning import DRAWS
from o1jax.learning.draw import (
  add_to_record,
  by_learnability,
  empty_record,
  learnability,
  uniform,
)
from o1jax.learning.optimizer import build_optimizer, init_state
from o1jax.recipes.stages import problems_drawn
from o1jax.runtime.loop import Diverged, Keeping, Stopped, run_updates
from o1jax.runtime.metrics import MetricsWriter, read_metrics
from o1jax.types import Record
from tests import toys

KEY = jax.random.key(3)
POOL, COUNT = 12, 5
# Always right, always wrong, half and half, seldom right, never tried, and twins.
TRIED = np.array([40, 40, 40, 40, 0, 8, 8, 8, 8, 8, 8, 8], np.int32)
RIGHT = np.array([40, 0, 20, 4, 0, 2, 2, 2, 2, 2, 2, 2], np.int32)
RECORD = Record(jnp.asarray(TRIED), jnp.asarray(RIGHT))


@functools.cache
def many(draw, record=None, draws=4000, **settings):
  """What a draw gives with many keys, [draws, COUNT]."""
  record = RECORD if record is None else Record(*map(jnp.array, record))
  one = lambda key: draw(key, 0, record, count=COUNT, **settings)
  return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(KEY, draws)))


def shares(drawn):
  return np.bincount(drawn.ravel(), minlength=POOL) / len(drawn)


@pytest.mark.parametrize('name', DRAWS)
def test_problems_of_a_draw_differ_and_all_of_them_can_be_drawn(name):
  draw = functools.partial(DRAWS[name].function, **DRAWS[name].defaults)
  for seed in range(5):
    drawn = draw(jax.random.key(seed), 0, RECORD, count=COUNT)
    assert drawn.shape == (COUNT,) and len(set(drawn.tolist())) == COUNT
  assert sorted(draw(KEY, 0, RECORD, count=POOL).tolist()) == list(range(POOL))


def test_uniform_is_a_choice_of_jax():
  drawn = uniform(KEY, 0, RECORD, count=COUNT)
  expected = jax.random.choice(KEY, POOL, (COUNT,), replace=False)
  np.testing.assert_array_equal(drawn, expected)


@pytest.mark.parametrize('prior, floor', [(1.0, 0.1), (4.0, 0.0), (0.01, 1.0)])
def test_the_weight_is_the_variance_of_a_verdict_above_a_floor(prior, floor):
  found = learnability(RECORD, prior=prior, floor=floor)
  for weight, tried, right in zip(found, TRIED, RIGHT, strict=True):
    p = (right + prior / 2) / (tried + prior)
    assert weight == pytest.approx(floor + (1 - floor) * p * (1 - p) / 0.25, rel=1e-5)
    assert floor - 1e-6 <= weight <= 1 + 1e-6
  assert found[2] == pytest.approx(1) and found[4] == pytest.approx(1)


def test_the_first_drawn_come_in_proportion_to_their_weights():
  weights = np.asarray(learnability(RECORD, prior=1.0, floor=0.1))
  found = np.bincount(many(by_learnability)[:, 0], minlength=POOL) / 4000
  np.testing.assert_allclose(found, weights / weights.sum(), atol=0.02)


def test_what_is_always_right_or_always_wrong_is_drawn_less():
  share = shares(many(by_learnability))
  assert max(share[0], share[1]) < 0.5 * min(share[2], share[4]) and min(share[:2]) > 0.02
  assert share[3] < share[2]


def test_a_floor_of_one_is_uniform_in_distribution():
  share = shares(many(by_learnability, floor=1.0))
  np.testing.assert_allclose(share, COUNT / POOL, atol=0.03)
  np.testing.assert_allclose(shares(many(uniform)), share, atol=0.04)


def test_a_permutation_of_the_pool_permutes_the_chances():
  order = np.random.default_rng(0).permutation(POOL)
  permuted = (tuple(TRIED[order].tolist()), tuple(RIGHT[order].tolist()))
  found = shares(many(by_learnability, permuted))
  np.testing.assert_allclose(found, shares(many(by_learnability))[order], atol=0.04)


def counted(tree, b):
  """(solutions with a verdict, right ones) of one problem, walked in plain Python."""
  tree = toys.problem(tree, b)
  ends = [(x, a) for x, a in np.argwhere(tree.mask) if toys.over(tree, x, a)]
  ends = [end for end in ends if not tree.unjudged[end]]
  return len(ends), sum(int(tree.outcome[end] > 0) for end in ends)


def test_the_record_counts_what_the_trees_hold():
  tree = toys.random_tree(1, batch=4)
  tree = tree.replace(unjudged=tree.terminal & (tree.outcome == 0) & (tree.visits == 0))
  assert tree.unjudged.any()
  ids = jnp.array([7, 0, 4, 2])
  record = add_to_record(RECORD, ids, tree)
  tried, right = TRIED.copy(), RIGHT.copy()
  for b, problem in enumerate(ids.tolist()):
    found = counted(tree, b)
    tried[problem], right[problem] = tried[problem] + found[0], right[problem] + found[1]
  assert (tried != TRIED).any() and (right != RIGHT).any()
  np.testing.assert_array_equal(record.tried, tried)
  np.testing.assert_array_equal(record.right, right)


def test_a_broken_verifier_leaves_the_record_as_it_was():
  tree = toys.random_tree(1, batch=4)
  broken = tree.replace(outcome=jnp.full_like(tree.outcome, jnp.nan))
  same = add_to_record(RECORD, jnp.arange(4), broken)
  jax.tree.map(np.testing.assert_array_equal, same, RECORD)


def two_chains(params, keys, prompt, reference):
  """A search that always finds two chains of one step."""
  tree = toys.chains([1, 1], [True, True], max_steps=1)
  return jax.tree.map(lambda x: jnp.broadcast_to(x, (len(keys), *x.shape[1:])), tree)


def by_number(reference, tree, ids):
  """Whether a node is right depends on its id and the problem's number."""
  return ((ids > 0) & ((reference.numbers[:, :1] + ids) % 3 == 0)).astype(jnp.float32)


class TestUpdates:
  """Fused updates, three a call, that draw by learnability."""

  optimizer = build_optimizer(name='adamw', learning_rate=0.01, steps=9)
  # Two wrong solutions nearly end a problem's chances.
  draw = functools.partial(by_learnability, count=6, prior=0.01, floor=0.0)

  @pytest.fixture(scope='class')
  def pool(self):
    prompt, reference = toys.problems(POOL)
    return prompt, reference.replace(numbers=jnp.arange(POOL, dtype=jnp.int32)[:, None])

  @pytest.fixture(scope='class')
  def call(self, pool):
    update = fused.search_and_learn(
      toys.MODEL,
      search=two_chains,
      outcome=by_number,
      optimizer=self.optimizer,
      batch=6,
      draw=self.draw,
      updates=3,
    )
    return lambda state, weight=1.0: update(state, *pool, KEY, dict(clone=jnp.float32(weight)))

  def fresh(self):
    return init_state(toys.params(), self.optimizer, record=empty_record(POOL))

  def run(self, update, workdir, **settings):
    settings = dict(keeping=Keeping(seconds=1e6)) | settings
    writer = MetricsWriter(workdir)
    told = dict(stage='toy', updates=6, updates_per_call=3, workdir=workdir, writer=writer)
    return run_updates(self.fresh(), update, **told | settings)

  def test_keep_the_record_of_what_they_drew_and_draw_by_it(self, call):
    state, metrics = call(self.fresh())
    tried, right, blind = np.zeros(POOL, int), np.zeros(POOL, int), []
    for number, drawn in enumerate(metrics['problems']):
      key = jax.random.split(jax.random.fold_in(KEY, number))[0]
      record = Record(jnp.array(tried), jnp.array(right))
      np.testing.assert_array_equal(drawn, self.draw(key, number, record))
      blind.append(self.draw(key, number, empty_record(POOL)).tolist())
      for problem in drawn.tolist():
        tried[problem] += 2
        right[problem] += sum((problem + node) % 3 == 0 for node in (1, 2))
    np.testing.assert_array_equal(state.record.tried, tried)
    np.testing.assert_array_equal(state.record.right, right)
    assert tried.max() > 2 and 0 < right.sum() < tried.sum()
    assert blind != metrics['problems'].tolist()

  def test_go_on_where_they_were_stopped_with_the_record_that_they_had(self, call, tmp_path):
    drawn = {'whole': [], 'cut': []}

    def update(state, number, name, stopping=False):
      if stopping:
        os.kill(os.getpid(), signal.SIGINT)
      state, metrics = call(state)
      drawn[name].append(metrics['problems'].tolist())
      return state, metrics

    whole = self.run(functools.partial(update, name='whole'), tmp_path / 'whole')
    with pytest.raises(Stopped, match='after update 3 of 6'):
      self.run(functools.partial(update, name='cut', stopping=True), tmp_path / 'cut')
    again = self.run(functools.partial(update, name='cut'), tmp_path / 'cut')
    jax.tree.map(np.testing.assert_array_equal, again, whole)
    assert drawn['cut'] == drawn['whole'] and whole.record.tried.sum() == 6 * 6 * 2
    assert {'problems'}.isdisjoint(read_metrics(tmp_path / 'whole')[0])

  def test_a_batch_that_is_kept_is_the_one_that_was_drawn(self, call, pool, tmp_path):
    # Two bad updates are enough; the third of the call changes the record again.
    metrics = call(self.fresh(), np.nan)[1]
    with pytest.raises(Diverged, match='at last in 2 '):
      self.run(
        lambda state, number: call(state, np.nan),
        tmp_path,
        keeping=Keeping(seconds=1e6, skip_limit=2),
        batch=functools.partial(problems_drawn, pool),
      )
    kept = np.load(tmp_path / 'offending' / 'toy_2.npz')
    np.testing.assert_array_equal(kept['reference.numbers'][:, 0], metrics['problems'][1])
    assert sorted(metrics['problems'][1].tolist()) != sorted(metrics['problems'][2].tolist())
