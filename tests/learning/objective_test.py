"""The objective on a tree does not see padding, the order of problems, or that of siblings."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.learning import LOSSES
from o1jax.learning.credit import assign_credit
from o1jax.learning.objective import Objective, frozen_logprob, tree_loss
from o1jax.reward import process
from tests import toys
from tests.helpers import best_of_n

WEIGHTS = {name: 0.1 * (1 + i) for i, name in enumerate(LOSSES)}
# Nothing is cut off at depth R, so that a larger R changes no verdict.
TREE = (lambda tree: tree.replace(terminal=tree.terminal | process.ended(tree)))(
  toys.random_tree(6)
)
PROMPT, _ = toys.problems(3)


@pytest.fixture(scope='module')
def params():
  return toys.params(0)


@pytest.fixture(scope='module')
def loss(params):
  @functools.partial(jax.jit, static_argnames='tokens')
  def parts(prompt, tree, given=None, tokens=0):
    given = assign_credit(tree) if given is None else given
    frozen, objective = dict(reference=toys.params(1)['policy']), Objective(tokens=tokens)
    settings = dict(
      frozen=frozen_logprob(toys.MODEL, params, frozen, prompt, tree, objective),
      objective=objective,
    )
    return tree_loss(toys.MODEL, params, prompt, tree, given, WEIGHTS, **settings)[1]

  return parts


@pytest.fixture(scope='module')
def whole(loss):
  return loss(PROMPT, TREE)


def assert_same(found, expected):
  for name, x in expected.items():
    np.testing.assert_allclose(found[name], x, rtol=1e-4, atol=1e-6, err_msg=name)


def test_every_part_is_there_and_they_add_up(whole):
  parts = {name: float(whole[f'loss_{name}']) for name in WEIGHTS}
  assert all(abs(x) > 1e-3 for x in parts.values()), parts
  total = sum(WEIGHTS[name] * x for name, x in parts.items())
  np.testing.assert_allclose(whole['loss'], total, rtol=1e-5)
  # A fresh model is near uniform: its entropy bonus is almost all that there can be.
  np.testing.assert_allclose(parts['entropy'], -np.log(len(toys.TEXTS)), rtol=0.3)


def test_padding_changes_no_loss(loss, whole):
  larger = toys.pad(TREE, slots=1, candidates=2, tokens=3, depth=1)
  wider = PROMPT.replace(tokens=jnp.pad(PROMPT.tokens, ((0, 0), (0, 3)), constant_values=7))
  assert_same(loss(wider, larger), whole)


def test_room_for_the_tokens_that_are_there_is_enough(loss, whole):
  made = tree_lib.generated_tokens(TREE)
  assert made.max() < TREE.tokens[0].size
  assert_same(loss(PROMPT, TREE, tokens=int(made.max())), whole)


def test_a_cropped_tree_is_the_beginning_of_its_search(loss):
  """What stays is whole: no slot without its parent, and the losses of the same search stopped
  there."""
  room = int(tree_lib.generated_tokens(TREE).min()) - 1
  small = tree_lib.crop(TREE, room)
  made = tree_lib.generated_tokens(small)
  assert (made <= room).all() and (made > 0).all()
  for b in range(3):
    kept = np.flatnonzero(small.expanded[b] >= 0)
    used = np.flatnonzero(TREE.expanded[b] >= 0)
    assert 0 < len(kept) < len(used) and (kept == used[: len(kept)]).all()
    spent = np.cumsum(TREE.length[b].sum(-1)[used])
    assert len(kept) == np.sum(spent <= room)
  np.testing.assert_array_equal(small.path, toys.paths(np.asarray(small.expanded), 3, 3))
  stopped = TREE.replace(
    expanded=small.expanded, path=small.path, mask=small.mask, outcome=TREE.outcome * small.mask
  )
  assert_same(loss(PROMPT, small.replace(outcome=stopped.outcome)), loss(PROMPT, stopped))


@pytest.mark.long
def test_chains_apart_lose_what_they_lose_together(params, loss):
  """A best-of-4 search, laid out as 12 rows of one chain each or as one tree: the same losses."""
  search = functools.partial(
    best_of_n, toys.MODEL, units=4, sampling=toys.SAMPLING, step_length=4, max_steps=3
  )
  keys = jax.random.split(jax.random.key(0), 3)
  tree = jax.jit(search)(params, keys, PROMPT)
  tree = tree.replace(
    outcome=jnp.where(tree.terminal, tree.tokens[..., 0] % 2, 0).astype(jnp.float32)
  )
  assert 0 < tree.outcome.sum() < tree.terminal.sum() and tree.chains == 4
  together = loss(PROMPT, tree.replace(chains=0))
  assert together['loss_clone'] > 0.1 and abs(together['loss_gradient']) > 1e-3
  assert_same(loss(PROMPT, tree), together)
  # A chain has a row of its own, which is shorter than that of all.
  longest = int(tree.length.reshape(3, 3, 4).sum(1).max())
  assert longest < tree_lib.generated_tokens(tree).max() / 2
  assert_same(loss(PROMPT, tree, tokens=longest), together)


def test_what_stands_on_padding_is_not_read(loss, whole):
  rng = np.random.default_rng(0)
  real = (np.arange(4) < np.asarray(TREE.length)[..., None]) & (np.asarray(TREE.expanded) >= 0)[
    ..., None, None
  ]
  noise = rng.integers(2, len(toys.TEXTS), real.shape)
  assert_same(loss(PROMPT, TREE.replace(tokens=jnp.where(real, TREE.tokens, noise))), whole)


def test_the_order_of_problems_changes_no_loss(loss, whole):
  order = np.array([2, 0, 1])
  assert_same(loss(*jax.tree.map(lambda x: x[order], (PROMPT, TREE))), whole)


def test_the_order_of_siblings_changes_no_loss(loss, whole):
  order = np.random.default_rng(0).permuted(np.broadcast_to(np.arange(3), TREE.mask.shape), axis=-1)
  assert_same(loss(PROMPT, toys.permute(TREE, order)), whole)


def test_the_frozen_policy_is_constant(params):
  frozen = lambda reference: frozen_logprob(
    toys.MODEL, params, dict(reference=reference), PROMPT, TREE
  ).sum()
  gradient = jax.jit(jax.grad(frozen))(toys.params(1)['policy'])
  assert not any(np.asarray(x).any() for x in jax.tree.leaves(gradient))


@pytest.mark.long
def test_a_loss_that_is_not_named_is_not_computed(params):
  """Without names there is nothing to learn from, and no pass of a frozen policy is needed."""
  given = assign_credit(TREE)
  total, metrics = tree_loss(toys.MODEL, params, PROMPT, TREE, given, {})
  assert total == 0 and metrics.keys() == {'loss', 'ratio_gap'}
  _, metrics = tree_loss(toys.MODEL, params, PROMPT, TREE, given, dict(clone=1.0))
  assert metrics.keys() == {'loss', 'loss_clone', 'ratio_gap'}


@pytest.mark.long
def test_settings_reach_their_loss(params):
  given = assign_credit(TREE)
  one = lambda **settings: tree_loss(
    toys.MODEL, params, PROMPT, TREE, given, dict(gradient=1.0), objective=Objective(**settings)
  )[0]
  assert (
    one() == one(losses=dict(gradient=dict(clip=0.2))) != one(losses=dict(gradient=dict(clip=0.01)))
  )


def test_a_cropped_chain_is_its_beginning():
  tree = toys.chains([3, 2, 0], [True, False, False], max_steps=3).replace(chains=3)
  small = tree_lib.crop(tree, 2)
  kept = [[1, 1, 1], [1, 1, 1], [0, 0, 0]]  # two steps of each chain, a token long
  np.testing.assert_array_equal(small.expanded.reshape(3, 3) >= 0, kept)
  np.testing.assert_array_equal(small.length.reshape(3, 3), kept)


def test_chains_apart_and_together_are_the_same_nodes():
  tree = toys.chains([3, 2, 0], [True, False, False], max_steps=3).replace(chains=3)
  numbered = tree.replace(value=jnp.arange(9.0).reshape(1, 9, 1))
  prompt = jax.tree.map(lambda x: x[:1], PROMPT)
  rows, apart = tree_lib.chains_apart(prompt, numbered)
  assert rows.tokens.shape[0] == apart.mask.shape[0] == 3 and apart.chains == 0
  np.testing.assert_array_equal(apart.value[..., 0], [[0, 3, 6], [1, 4, 7], [2, 5, 8]])
  np.testing.assert_array_equal(apart.path, toys.paths(np.asarray(apart.expanded), 1, 3))
  np.testing.assert_array_equal(tree_lib.chains_together(apart.value, 3), numbered.value)
