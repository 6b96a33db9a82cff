"""One supervised update: it learns, counts, and leaves the reference alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax.learning.optimizer import build_optimizer
from o1jax.learning.supervised import supervised_update
from o1jax.model.compute import supervised_flops
from o1jax.types import Sequences
from tests import toys

OPTIMIZER = build_optimizer(name='adamw', learning_rate=0.03, steps=100, warmup=5, weight_decay=0.0)


@pytest.fixture(scope='module')
def update():
  return supervised_update(toys.MODEL, OPTIMIZER)


@pytest.fixture
def rows():
  """Prompts of 3 tokens, each answered by its own tokens backwards."""
  prompt = np.random.default_rng(0).integers(3, len(toys.TEXTS), (8, 3))
  tokens = np.concatenate([prompt, prompt[:, ::-1], np.full((8, 1), toys.EOS)], axis=1)
  mask = np.broadcast_to(np.arange(7) >= 3, tokens.shape)
  return Sequences(jnp.asarray(tokens), jnp.full(8, 7), jnp.asarray(mask), jnp.ones((8, 7), int))


def test_it_learns_a_small_set_by_heart(update, rows):
  state = toys.state(OPTIMIZER)
  losses = []
  for _ in range(100):
    state, metrics = update(state, rows)
    losses.append(float(metrics['loss']))
  assert losses[0] > 1.5 and losses[-1] < 0.1 and metrics['token_accuracy'] > 0.9


def test_it_counts_updates_and_tokens(update, rows):
  state, metrics = update(toys.state(OPTIMIZER), rows)
  again, _ = update(state, rows)
  assert again.update == 2 and metrics['tokens'] == 56
  jax.tree.map(np.testing.assert_array_equal, again.frozen['reference'], toys.params()['policy'])
  np.testing.assert_allclose(metrics['flops'], supervised_flops(toys.CONFIG, rows))
  assert metrics['gradient_norm'] > 0


def test_it_is_a_function_of_state_and_rows(update, rows):
  first, _ = update(toys.state(OPTIMIZER), rows)
  second, _ = update(toys.state(OPTIMIZER), rows)
  jax.tree.map(np.testing.assert_array_equal, first, second)


def test_the_state_is_donated(update, rows):
  state = toys.state(OPTIMIZER)
  update(state, rows)
  assert all(x.is_deleted() for x in jax.tree.leaves(state.params))


def test_a_loss_that_is_no_number_is_skipped_and_counted(update, rows):
  state = toys.state(OPTIMIZER)
  broken = jax.tree.map(lambda x: x.at[(0,) * x.ndim].set(jnp.nan), toys.params()['policy'])
  state = state.replace(params=state.params | dict(policy=broken))
  before = jax.tree.map(np.array, state)
  after, metrics = update(state, rows)
  assert metrics['skipped'] == 1 and not np.isfinite(metrics['loss']) and after.update == 1
  jax.tree.map(np.testing.assert_array_equal, after.replace(update=0), before)
