"""Next-token prediction: closed form, the mask, and padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax.model.forward import forward_rows, logits_of
from o1jax.policy.initialise import next_token_loss
from o1jax.types import Sequences
from tests import toys

VOCAB = len(toys.TEXTS)
loss = jax.jit(lambda params, rows: next_token_loss(toys.MODEL, params, rows))
gradient = jax.jit(jax.grad(lambda params, rows: next_token_loss(toys.MODEL, params, rows)[0]))


@pytest.fixture(scope='module')
def params():
  return toys.params()


def rows(seed=0, *, batch=4, width=9):
  rng = np.random.default_rng(seed)
  length = rng.integers(5, width + 1, batch)
  place = np.arange(width)
  tokens = np.where(place < length[:, None], rng.integers(3, VOCAB, (batch, width)), toys.PAD)
  mask = (place >= 3) & (place < length[:, None])
  return Sequences(*map(jnp.asarray, (tokens, length, mask, (place < length[:, None]).astype(int))))


def test_a_model_that_knows_nothing_pays_log_v(params):
  blind = params | dict(policy=jax.tree.map(jnp.zeros_like, params['policy']))
  value, metrics = loss(blind, rows())
  np.testing.assert_allclose(value, np.log(VOCAB), rtol=1e-6)
  np.testing.assert_array_equal(metrics['loss'], value)


def test_is_the_mean_over_targets_of_what_the_token_before_predicts(params):
  given = rows()

  @jax.jit
  def predict(tokens, length):
    hidden = forward_rows(toys.MODEL, params, tokens, length).hidden[:, 0, 0]
    return jax.nn.log_softmax(logits_of(toys.MODEL, params, hidden))

  log = np.asarray(predict(given.tokens, given.length))
  targets = np.argwhere(np.asarray(given.mask))
  expected = -np.mean([log[b, t - 1, given.tokens[b, t]] for b, t in targets])
  hits = np.mean([log[b, t - 1].argmax() == given.tokens[b, t] for b, t in targets])
  value, metrics = loss(params, given)
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  np.testing.assert_allclose(metrics['token_accuracy'], hits, rtol=1e-6)


def test_what_pads_a_row_is_not_read(params):
  given = rows()
  noise = np.random.default_rng(1).integers(3, VOCAB, given.tokens.shape)
  real = np.arange(9) < np.asarray(given.length)[:, None]
  wild = given.replace(tokens=jnp.where(real, given.tokens, noise))
  wider = jax.tree.map(lambda x: jnp.pad(x, ((0, 0), (0, 2))) if x.ndim == 2 else x, given)
  for other in (wild, wider):
    np.testing.assert_allclose(loss(params, other)[0], loss(params, given)[0], rtol=1e-5)


def test_what_the_mask_leaves_out_is_no_target(params):
  """The last token of a row is a target and nothing else, so what it does to the gradient it does
  as a target."""
  given = rows()
  last = np.arange(9) == np.asarray(given.length)[:, None] - 1
  without = given.replace(mask=given.mask & ~last)
  other = jnp.where(last, (given.tokens + 1) % VOCAB, given.tokens)
  jax.tree.map(
    np.testing.assert_array_equal,
    gradient(params, without),
    gradient(params, without.replace(tokens=other)),
  )
  moved = jax.tree.map(
    lambda x, y: float(jnp.abs(x - y).max()),
    gradient(params, given),
    gradient(params, given.replace(tokens=other)),
  )
  assert max(jax.tree.leaves(moved)) > 1e-3


def test_texts_packed_in_one_row_are_read_as_if_alone(params):
  apart, width = rows(batch=2), 9
  lengths = np.asarray(apart.length)
  order = np.concatenate([b * width + np.arange(n) for b, n in enumerate(lengths)])
  packed = Sequences(
    tokens=apart.tokens.reshape(-1)[order][None],
    length=jnp.asarray([lengths.sum()]),
    mask=apart.mask.reshape(-1)[order][None],
    segment=jnp.repeat(jnp.array([1, 2]), lengths)[None],
  )
  np.testing.assert_allclose(loss(params, packed)[0], loss(params, apart)[0], rtol=1e-5)
  # The first token of the second text is no target even where the mask keeps it.
  first = packed.replace(mask=packed.mask.at[0, lengths[0]].set(True))
  np.testing.assert_array_equal(loss(params, first)[0], loss(params, packed)[0])
