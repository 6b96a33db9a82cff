import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax.model.attention import Segment, as_blocks, attend, gather_path
from o1jax.model.tree_attention import Paths, Plan, in_chunks
from o1jax.types import KeyValue
from tests.helpers import jit

B, W, A, L, K, G, E, P, N = 2, 7, 3, 4, 2, 2, 8, 5, 3


def _inputs(seed=0, N=N):
  """Random arrays, and paths of every depth, of which the siblings of some groups read parts."""
  rng = np.random.default_rng(seed)
  normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
  kv = KeyValue(normal(B, K, W, A, E, L), normal(B, K, W, A, L, E))
  prompt = KeyValue(normal(B, K, E, P), normal(B, K, P, E))
  depth = np.stack([rng.permutation(np.arange(W) % (N + 1)) for _ in range(B)])
  ids = np.where(np.arange(N) < depth[..., None], rng.integers(1, 1 + W * A, (B, W, N)), -1)
  reads = (np.arange(N * L) < rng.integers(0, N * L, (B, W, A, 1))) & np.repeat(
    ids > 0, L, axis=-1
  )[:, :, None]
  paths = Paths(jnp.asarray(ids), jnp.asarray(reads), jnp.arange(P) < jnp.array([[P], [2]]))
  return normal(B, W, A, L, K, G, E), kv, prompt, paths


def at_once(query, kv, prompt, paths, cap=0.0):
  """The same by plain `attend`."""
  own, before, path = (
    jnp.tri(L, dtype=bool)[None, None, None],
    paths.prompt_mask[:, None, None, None],
    paths.mask,
  )
  path = path[:, :, :, None]
  if paths.near:
    at, window = paths.near
    close = lambda keys: at[..., None] - keys < window[:, None, None, None, None]
    on_path = jax.vmap(lambda at, ids: at[jnp.maximum(ids - 1, 0)])(at.reshape(B, -1, L), paths.ids)
    own, before = own & close(at[..., None, :]), before & close(jnp.arange(P))
    path = path & close(on_path.reshape(B, W, 1, 1, -1))
  segments = [
    Segment(kv, own),
    Segment(prompt, before),
    Segment(gather_path(as_blocks(kv), paths.ids, L), path),
  ]
  return jnp.moveaxis(attend(jnp.moveaxis(query, 4, 1), segments, cap=cap), 1, 4)


def _with_gradients(attention, query, kv, prompt, paths):
  pull = jnp.asarray(np.random.default_rng(1).normal(size=query.shape), jnp.float32)
  read, back = jax.vjp(lambda *data: attention(*data, paths), query, kv, prompt)
  return read, back(pull)


@pytest.mark.long
@pytest.mark.parametrize('rooms', [(N,), (1, 2, 3)])
@pytest.mark.parametrize('few', [1, 5, 28])  # readers at a time; 5 does not divide 28
def test_chunks_are_attention_at_once_and_so_are_their_gradients(rooms, few):
  plan = Plan(rooms, few * A * L * G * (P + N * L + L))
  data = _inputs()
  chunked = jit(lambda *data: _with_gradients(functools.partial(in_chunks, plan), *data))(*data)
  whole = jit(lambda *data: _with_gradients(at_once, *data))(*data)
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-5), chunked, whole)


def test_local_layers_and_capped_scores_and_their_gradients():
  query, kv, prompt, paths = _inputs()
  start = np.random.default_rng(2).integers(0, 12, (B, W, A, 1))
  near = jnp.asarray(start + np.arange(L)), jnp.array([3, 9])
  plan = Plan((1, 2, 3), 5 * A * L * G * (P + N * L + L), cap=1.5)
  data = 2 * query, kv, prompt, paths._replace(near=near)
  chunked = jit(lambda *data: _with_gradients(functools.partial(in_chunks, plan), *data))(*data)
  whole = jit(lambda *data: _with_gradients(functools.partial(at_once, cap=1.5), *data))(*data)
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=5e-5), chunked, whole)
  everything = _with_gradients(at_once, 2 * query, kv, prompt, paths)[0]
  assert np.max(np.abs(everything - whole[0])) > 0.5


def test_a_tree_takes_no_memory_for_scores():
  """The compiled gradient keeps less than one score for each pair of a query and a key that it may
  read."""
  data = jax.tree.map(lambda x: jnp.repeat(x, 10, axis=0), _inputs(N=48))
  queries, keys = data[0][..., 0].size, P + 48 * L + L

  def bytes_of(attention):
    compiled = jax.jit(functools.partial(_with_gradients, attention)).lower(*data).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  assert (
    bytes_of(functools.partial(in_chunks, Plan((48,), 2**17)))
    < 4 * queries * keys
    < bytes_of(at_once)
  )
