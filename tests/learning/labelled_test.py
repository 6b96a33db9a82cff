"""Learning from labelled steps: what has a label is learned, what has none teaches nothing, and the
policy is held."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax.learning.labelled import label_loss, labelled_update
from o1jax.learning.optimizer import build_optimizer, init_state
from o1jax.model.compute import labelled_flops, token_flops
from o1jax.model.forward import forward_rows
from o1jax.types import LabelledRows
from tests import toys

OPTIMIZER = build_optimizer(name='adamw', learning_rate=0.02, steps=60, warmup=5, weight_decay=0.0)


def drawn(seed=0, *, batch=4, width=12):
  """Rows of two solutions each, with labels on some tokens."""
  rng = np.random.default_rng(seed)
  length = rng.integers(8, width + 1, batch)
  at = np.arange(width)
  real = at < length[:, None]
  return jax.tree.map(
    jnp.asarray,
    LabelledRows(
      tokens=np.where(real, rng.integers(3, len(toys.TEXTS), (batch, width)), 0).astype(np.int32),
      length=length.astype(np.int32),
      segment=np.where(real, 1 + (at >= 5), 0).astype(np.int32),
      written=real & (at % 5 > 1),
      target=rng.choice([0.0, 0.5, 1.0], (batch, width)).astype(np.float32),
      mask=real & (rng.random((batch, width)) < 0.4),
    ),
  )


@functools.partial(jax.jit, static_argnames='keep')
def gradient(params, frozen, rows, keep=0.0):
  loss = lambda params: label_loss(toys.MODEL, params, frozen, rows, keep=keep)
  return jax.value_and_grad(loss, has_aux=True)(params)


def reference(seed=0):
  return dict(reference=toys.params(seed)['policy'])


def alone(params, tokens, length):
  """The critic's logits after each token of one row."""
  return np.asarray(_alone(params, tokens, length).value[0, 0, 0])


_alone = jax.jit(functools.partial(forward_rows, toys.MODEL))


def test_it_is_the_cross_entropy_of_labelled_steps():
  rows = drawn()
  (loss, metrics), _ = gradient(toys.params(), {}, rows)
  # Each solution in a row of its own.
  parts = []
  for b in range(4):
    for segment in (1, 2):
      own = np.flatnonzero(np.asarray(rows.segment[b]) == segment)
      tokens = np.zeros((1, 12), np.int32)
      tokens[0, : len(own)] = rows.tokens[b, own]
      p = 1 / (1 + np.exp(-alone(toys.params(), tokens, np.array([len(own)]))[: len(own)]))
      y = np.asarray(rows.target[b, own])
      each = -(y * np.log(p) + (1 - y) * np.log(1 - p))
      parts.append(each[np.asarray(rows.mask[b, own])])
  np.testing.assert_allclose(loss, np.concatenate(parts).mean(), rtol=1e-5)
  assert metrics.keys() == {'loss', 'loss_value'} and metrics['loss'] == metrics['loss_value']


def test_what_has_no_label_teaches_nothing():
  rows = drawn()
  (loss, _), grads = gradient(toys.params(), {}, rows)
  other = rows.replace(target=jnp.where(rows.mask, rows.target, 1 - rows.target))
  (same, _), again = gradient(toys.params(), {}, other)
  assert same == loss
  jax.tree.map(np.testing.assert_array_equal, grads, again)
  # As if its steps, which come last, had not been written.
  bare = rows.replace(mask=rows.mask & (rows.segment == 1))
  cut = bare.replace(
    length=jnp.full_like(rows.length, 5), segment=jnp.where(rows.segment == 1, 1, 0)
  )
  (one, _), left = gradient(toys.params(), {}, bare)
  (two, _), right = gradient(toys.params(), {}, cut)
  np.testing.assert_allclose(one, two, rtol=1e-6)
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), left, right)
  nothing = rows.replace(mask=jnp.zeros_like(rows.mask))
  (zero, _), none = gradient(toys.params(), {}, nothing)
  assert zero == 0 and not any(np.any(x) for x in jax.tree.leaves(none))


def test_the_policy_is_held_to_its_start():
  rows = drawn()
  (loss, metrics), grads = gradient(toys.params(), reference(), rows, keep=2.0)
  assert metrics['loss_kl'] == 0 and loss == metrics['loss_value']  # its gradient is 0, too
  _, free = gradient(toys.params(), {}, rows)
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), grads, free)
  (loss, metrics), _ = gradient(toys.params(), reference(1), rows, keep=2.0)
  assert metrics['loss_kl'] > 1e-3
  np.testing.assert_allclose(loss, metrics['loss_value'] + 2 * metrics['loss_kl'], rtol=1e-6)
  # Prompts hold nothing: the policy never writes them.
  silent = rows.replace(written=jnp.zeros_like(rows.written))
  assert gradient(toys.params(), reference(1), silent, keep=2.0)[0][1]['loss_kl'] == 0


def train(rows, updates=60, **how):
  update = labelled_update(toys.MODEL, OPTIMIZER, **how)
  learns = how.get('learns', ('policy', 'critic'))
  frozen = reference() if how.get('keep') else {}
  state, found = init_state(toys.params(), OPTIMIZER, frozen=frozen, learns=learns), []
  for _ in range(updates):
    state, metrics = update(state, rows)
    found.append(jax.device_get(metrics))
  return state, found


def test_labels_are_learned_by_heart_and_the_policy_moves_less_where_it_is_held():
  rows = drawn()
  rows = rows.replace(target=jnp.round(rows.target * 0.9))  # 0 and 1
  state, free = train(rows)
  assert free[0]['loss_value'] > 0.5 and free[-1]['loss_value'] < 0.1
  held_state, held = train(rows, keep=3.0)
  assert held[-1]['loss_value'] < 0.3
  moved = [
    gradient(one.params, reference(), rows, keep=1.0)[0][1]['loss_kl']
    for one in (state, held_state)
  ]
  assert moved[1] < 0.2 * moved[0]
  np.testing.assert_allclose(held[0]['tokens'], rows.length.sum())
  jax.tree.map(
    np.testing.assert_array_equal, held_state.frozen['reference'], toys.params()['policy']
  )


def test_what_does_not_learn_stays():
  state, found = train(drawn(), updates=3, learns=('critic',))
  jax.tree.map(np.testing.assert_array_equal, state.params['policy'], toys.params()['policy'])
  before, after = (jax.tree.leaves(x['critic']) for x in (toys.params(), state.params))
  assert any(np.any(x != y) for x, y in zip(before, after))
  assert int(state.update) == 3 and all(np.isfinite(m['gradient_norm']) for m in found)


@pytest.mark.parametrize('keeps', [False, True])
def test_flops_are_those_of_the_passes(keeps):
  rows = drawn(batch=1)
  one = np.asarray(rows.segment[0])
  read = [np.sum(one[: i + 1] == one[i]) for i in range(int(rows.length[0]))]
  head = 2 * toys.CONFIG.vocab_size * toys.CONFIG.width
  expected = 0.0
  for n in read:
    both, policy = (float(token_flops(toys.CONFIG, n, critic=c)) for c in (True, False))
    expected += 3 * both + policy if keeps else 3 * (both - head)
  np.testing.assert_allclose(labelled_flops(toys.CONFIG, rows, keeps=keeps), expected, rtol=1e-6)
