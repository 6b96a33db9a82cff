"""The objective on a tree does not see padding, the order of problems, or that of siblings."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.learning.credit import assign_credit
from o1jax.learning.objective import Objective, Weights, reference_logprob, tree_loss
from o1jax.reward import process
from tests import toys
from tests.helpers import best_of_n

WEIGHTS = Weights(clone=1.0, distill=0.5, gradient=2.0, kl=0.3, value=0.7, entropy=0.1)
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
  @functools.partial(jax.jit, static_argnames='objective')
  def parts(prompt, tree, given=None, objective=Objective()):
    given = assign_credit(tree) if given is None else given
    frozen = dict(reference=toys.params(1)['policy'])
    settings = dict(
      reference=reference_logprob(toys.MODEL, params, frozen, prompt, tree, objective),
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


def test_room_for_the_tokens_that_are_there_is_enough(loss, whole):
  made = tree_lib.generated_tokens(TREE)
  assert made.max() < TREE.tokens[0].size
  assert_same(loss(PROMPT, TREE, objective=Objective(tokens=int(made.max()))), whole)


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


def test_chains_apart_lose_what_they_lose_together(params, loss):
  """A best-of-4 search as 12 trees of one chain: the same losses, and each chain's own tokens in
  order."""
  search = functools.partial(
    best_of_n, toys.MODEL, units=4, sampling=toys.SAMPLING, step_length=4, max_steps=3
  )
  keys = jax.random.split(jax.random.key(0), 3)
  tree = jax.jit(search)(params, keys, PROMPT)
  tree = tree.replace(
    outcome=jnp.where(tree.terminal, tree.tokens[..., 0] % 2, 0).astype(jnp.float32)
  )
  assert 0 < tree.outcome.sum() < tree.terminal.sum()
  given = jax.jit(assign_credit)(tree)
  apart = tree_lib.split_chains(tree, 4)
  assert apart.mask.shape == (12, 3, 1)
  np.testing.assert_array_equal(apart.path, toys.paths(np.asarray(apart.expanded), 1, 3))
  for b, i in np.ndindex(3, 4):
    np.testing.assert_array_equal(apart.tokens[4 * b + i], tree.tokens[b, i::4])
    np.testing.assert_array_equal(apart.root_value[4 * b + i], tree.root_value[b])
  prompt = jax.tree.map(lambda x: jnp.repeat(x, 4, axis=0), PROMPT)

  assert_same(loss(prompt, apart, tree_lib.split_chains(given, 4)), loss(PROMPT, tree, given))


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


def test_the_reference_is_constant_and_none_leaves_the_kl_out(params):
  frozen = lambda reference: reference_logprob(
    toys.MODEL, params, dict(reference=reference), PROMPT, TREE, Objective()
  ).sum()
  gradient = jax.jit(jax.grad(frozen))(toys.params(1)['policy'])
  assert not any(np.asarray(x).any() for x in jax.tree.leaves(gradient))
  assert reference_logprob(toys.MODEL, params, {}, PROMPT, TREE, Objective()) is None
