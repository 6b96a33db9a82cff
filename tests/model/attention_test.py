import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax.model.attention import Segment, as_blocks, attend, gather_path, rotate, turns
from o1jax.types import KeyValue

B, K, W, A, Q, G, E = 2, 2, 3, 2, 4, 2, 6


def _normal(*shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def _segment(*shared, size, seed):
  """Random keys, values and mask of a segment shared as `shared` says: () by a problem, (W,) by
  siblings, (W, A)."""
  lead = (B, K, *shared)
  kv = KeyValue(_normal(*lead, E, size, seed=seed), _normal(*lead, size, E, seed=seed + 1))
  mask = (
    np.random.default_rng(seed).random(
      (B, W if shared else 1, A if len(shared) > 1 else 1, Q, size)
    )
    < 0.7
  )
  mask[..., 0] = True
  return Segment(kv, jnp.asarray(mask))


SEGMENTS = [_segment(size=5, seed=1), _segment(W, size=7, seed=2), _segment(W, A, size=3, seed=3)]


def _plain(query, segments):
  """One query at a time, with NumPy."""
  out = np.zeros(query.shape)
  for b, k, w, a, q, g in np.ndindex(query.shape[:-1]):
    keys, values = [], []
    for kv, mask in segments:
      mask = np.broadcast_to(mask, (B, W, A, Q, mask.shape[-1]))[b, w, a, q]
      own = (b, k, w, a)[: kv.key.ndim - 2]
      keys.append(np.asarray(kv.key[own]).T[mask])
      values.append(np.asarray(kv.value[own])[mask])
    keys, values = np.concatenate(keys), np.concatenate(values)
    weight = np.exp(keys @ np.asarray(query[b, k, w, a, q, g], np.float64) / np.sqrt(E))
    out[b, k, w, a, q, g] = weight / weight.sum() @ values
  return out


@pytest.mark.parametrize('chosen', [(0,), (2,), (0, 2), (0, 1, 2), (2, 1, 0)])
def test_attend_is_softmax_attention_over_the_union(chosen):
  query = 2 * _normal(B, K, W, A, Q, G, E)
  segments = [SEGMENTS[i] for i in chosen]
  np.testing.assert_allclose(jax.jit(attend)(query, segments), _plain(query, segments), atol=2e-5)


def test_cutting_a_segment_in_two_changes_nothing():
  query = _normal(B, K, W, A, Q, G, E)
  kv, mask = SEGMENTS[1]
  left = Segment(KeyValue(kv.key[..., :3], kv.value[..., :3, :]), mask[..., :3])
  right = Segment(KeyValue(kv.key[..., 3:], kv.value[..., 3:, :]), mask[..., 3:])
  np.testing.assert_allclose(attend(query, [SEGMENTS[1]]), attend(query, [left, right]), atol=1e-6)


def test_a_query_that_reads_nothing_is_finite():
  kv, mask = SEGMENTS[2]
  query = _normal(B, K, W, A, Q, G, E)

  def total(query):
    return attend(query, [Segment(kv, jnp.zeros_like(mask))]).sum()

  value, grad = jax.jit(jax.value_and_grad(total))(query)
  assert np.isfinite(value) and np.isfinite(grad).all()


def test_rotation_is_relative():
  """rotate(q, i) . rotate(k, j) depends on i - j alone, and lengths are kept (arXiv:2104.09864)."""
  query, key = _normal(E, seed=1), _normal(E, seed=2)

  @jax.jit
  def turned(x, position):
    return rotate(
      jnp.broadcast_to(x, (1, 1, E)), turns(jnp.array([position]), E // 2, 100.0, longest=20)
    )[0, 0]

  product = {(i, j): turned(query, i) @ turned(key, j) for i in (0, 3, 8) for j in (0, 3, 8)}
  moved = {(i, j): turned(query, i + 5) @ turned(key, j + 5) for i, j in product}
  np.testing.assert_allclose(list(product.values()), list(moved.values()), rtol=1e-4)
  assert abs(product[3, 0] - product[0, 3]) > 0.1
  np.testing.assert_allclose(jnp.linalg.norm(turned(query, 7)), jnp.linalg.norm(query), rtol=1e-5)
  np.testing.assert_array_equal(turned(query, 0), query)


def test_gather_path_joins_the_blocks_of_a_path():
  slots, width, step = 4, 2, 3
  kv = KeyValue(_normal(B, K, slots, width, E, step), _normal(B, K, slots, width, step, E))
  ids = np.array([[[1, 4], [8, 2], [7, 7]], [[2, 5], [3, 1], [6, 8]]])
  got = gather_path(as_blocks(kv), jnp.asarray(ids), step)
  kv, got = jax.device_get((kv, got))
  for b, w in np.ndindex(2, 3):
    places = [divmod(node - 1, width) for node in ids[b, w]]
    key = np.concatenate([kv.key[b, :, x, a] for x, a in places], axis=-1)
    value = np.concatenate([kv.value[b, :, x, a] for x, a in places], axis=-2)
    np.testing.assert_array_equal(got.key[b, :, w], key)
    np.testing.assert_array_equal(got.value[b, :, w], value)
