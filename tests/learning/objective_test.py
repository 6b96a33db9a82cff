"""The objective on a tree does not see padding, the order of problems, or that of siblings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.learning.credit import assign_credit
from o1jax.learning.objective import Objective, Weights, reference_logprob, tree_loss
from o1jax.reward import process
from tests import toys

WEIGHTS = Weights(clone=1.0, distill=0.5, gradient=2.0, kl=0.3, value=0.7, entropy=0.1)
# Nothing is cut off at depth R, so that a larger R changes no verdict.
TREE = (lambda tree: tree.replace(terminal=tree.terminal | process.ended(tree)))(toys.random_tree(6))
PROMPT, _ = toys.problems(3)


@pytest.fixture(scope='module')
def params():
  return toys.params(0, reference=True).replace(reference=toys.params(1).policy)


@pytest.fixture(scope='module')
def loss(params):
  @jax.jit
  def parts(prompt, tree):
    given = assign_credit(tree)
    frozen = reference_logprob(toys.MODEL, params, prompt, tree, Objective())
    _, metrics = tree_loss(toys.MODEL, params, prompt, tree, given, WEIGHTS, reference=frozen)
    return metrics

  return parts


@pytest.fixture(scope='module')
def whole(loss):
  return loss(PROMPT, TREE)


def assert_same(found, expected):
  for name, x in expected.items():
    np.testing.assert_allclose(found[name], x, rtol=1e-4, atol=1e-6, err_msg=name)


def test_every_part_is_there_and_they_add_up(whole):
  parts = {name: float(whole[f'loss_{name}']) for name in WEIGHTS.__dataclass_fields__}
  assert all(abs(x) > 1e-3 for x in parts.values()), parts
  total = sum(getattr(WEIGHTS, name) * x for name, x in parts.items())
  np.testing.assert_allclose(whole['loss'], total, rtol=1e-5)
  # A fresh model is near uniform: its entropy bonus is almost all that there can be.
  np.testing.assert_allclose(parts['entropy'], -np.log(len(toys.TEXTS)), rtol=0.3)


def test_padding_changes_no_loss(loss, whole):
  larger = toys.pad(TREE, slots=1, candidates=2, tokens=3, depth=1)
  wider = PROMPT.replace(tokens=jnp.pad(PROMPT.tokens, ((0, 0), (0, 3)), constant_values=7))
  assert_same(loss(wider, larger), whole)


def test_moving_unused_slots_away_changes_no_loss(loss, whole):
  larger = toys.pad(TREE, slots=3)
  small, order = tree_lib.compact(larger, 8)
  assert (np.asarray(small.expanded) != TREE.expanded).any(axis=1).sum() > 1
  used = np.asarray(small.expanded) >= 0
  assert (used == np.sort(used)[:, ::-1]).all() and used.sum() == (np.asarray(TREE.expanded) >= 0).sum()
  np.testing.assert_array_equal(small.path, toys.paths(np.asarray(small.expanded), 3, 3))
  assert_same(loss(PROMPT, small), whole)
  moved = jax.tree.map(lambda x: jnp.take_along_axis(x, order[..., None], axis=1), assign_credit(larger))
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), moved, assign_credit(small))


def test_slots_that_fall_off_are_missed_by_none_that_stay():
  small, _ = tree_lib.compact(TREE, 5)
  np.testing.assert_array_equal(small.path, toys.paths(np.asarray(small.expanded), 3, 3))
  assert (small.expanded <= 5 * 3).all()


def test_what_stands_on_padding_is_not_read(loss, whole):
  rng = np.random.default_rng(0)
  real = (np.arange(4) < np.asarray(TREE.length)[..., None]) & (np.asarray(TREE.expanded) >= 0)[..., None, None]
  noise = rng.integers(2, len(toys.TEXTS), real.shape)
  assert_same(loss(PROMPT, TREE.replace(tokens=jnp.where(real, TREE.tokens, noise))), whole)


def test_the_order_of_problems_changes_no_loss(loss, whole):
  order = np.array([2, 0, 1])
  assert_same(loss(*jax.tree.map(lambda x: x[order], (PROMPT, TREE))), whole)


def test_the_order_of_siblings_changes_no_loss(loss, whole):
  order = np.random.default_rng(0).permuted(np.broadcast_to(np.arange(3), TREE.mask.shape), axis=-1)
  assert_same(loss(PROMPT, toys.permute(TREE, order)), whole)


def test_the_reference_is_constant_and_none_leaves_the_kl_out(params):
  frozen = lambda reference: reference_logprob(
    toys.MODEL, params.replace(reference=reference), PROMPT, TREE, Objective()
  ).sum()
  gradient = jax.jit(jax.grad(frozen))(params.reference)
  assert not any(np.asarray(x).any() for x in jax.tree.leaves(gradient))
  assert reference_logprob(toys.MODEL, params.replace(reference=None), PROMPT, TREE, Objective()) is None
