import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax.decode.rows import lay_rows, lengthen, own_blocks, shown_at
from o1jax.model.attention import Context
from o1jax.model.forward import shared_mask
from o1jax.types import KeyValue

B, K, A, E, P, S, ROOM = 2, 2, 3, 4, 5, 6, 2


def _normal(*shape, seed):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def _context(width):
  """A context of a prompt and of paths, both with some of their tokens masked."""
  prompt = KeyValue(_normal(B, K, E, P, seed=1), _normal(B, K, P, E, seed=2))
  path = KeyValue(_normal(B, K, width, E, S, seed=3), _normal(B, K, width, S, E, seed=4))
  rng = np.random.default_rng(5)
  return Context(
    self_mask=None,
    prompt={'policy': (prompt,)},
    prompt_mask=shared_mask(jnp.asarray(rng.random((B, P)) < 0.6)),
    path={'policy': (path,)},
    path_mask=jnp.asarray(rng.random((B, width, S)) < 0.6)[:, :, None, None],
    path_at=jnp.asarray(rng.integers(0, 99, (B, width, S))),
  )


def test_one_row_a_problem_holds_prompt_path_and_room():
  context = _context(1)
  rows, shown, left = lay_rows(context, (B, 1, A), ROOM)
  (kv,) = rows['policy']
  assert kv.key.shape == (B, K, E, P + S + ROOM * A) and kv.value.shape == (
    B,
    K,
    P + S + ROOM * A,
    E,
  )
  (prompt,), (path,) = context.prompt['policy'], context.path['policy']
  np.testing.assert_array_equal(kv.key[..., :P], prompt.key)
  np.testing.assert_array_equal(kv.value[..., P : P + S, :], path.value[:, :, 0])
  np.testing.assert_array_equal(shown[:, 0, :P], context.prompt_mask[:, 0, 0, 0])
  np.testing.assert_array_equal(shown[:, 0, P:], context.path_mask[:, 0, 0, 0])
  assert left.prompt is None and left.path is None


def test_several_expansions_share_the_prompt():
  context = _context(2)
  rows, shown, left = lay_rows(context, (B, 2, A), ROOM)
  (kv,), (path,) = rows['policy'], context.path['policy']
  np.testing.assert_array_equal(kv.key[..., :S].reshape(B, K, 2, E, S), path.key)
  np.testing.assert_array_equal(shown, context.path_mask[:, :, 0, 0])
  assert left.prompt is context.prompt and left.path is None


def test_a_prompt_that_is_short_beside_the_rows_is_in_each_of_them():
  context, room = _context(2), 2 * P
  rows, shown, left = lay_rows(context, (B, 2, A), room)
  (kv,), (prompt,), (path,) = rows['policy'], context.prompt['policy'], context.path['policy']
  keys, values = kv.key.reshape(B, K, 2, E, -1), kv.value.reshape(B, K, 2, -1, E)
  for w in range(2):
    np.testing.assert_array_equal(keys[:, :, w, :, :P], prompt.key)
    np.testing.assert_array_equal(values[:, :, w, :P], prompt.value)
    np.testing.assert_array_equal(shown[:, w, :P], context.prompt_mask[:, 0, 0, 0])
  np.testing.assert_array_equal(keys[..., P : P + S], path.key)
  np.testing.assert_array_equal(shown[..., P:], context.path_mask[:, :, 0, 0])
  assert left.prompt is None and left.path is None


@pytest.mark.parametrize('width', [1, 2])
def test_a_candidate_reads_what_is_shared_and_its_own_tokens_so_far(width):
  _, shown, _ = lay_rows(_context(width), (B, width, A), ROOM)
  visible = np.asarray(shown_at(shown, (B, width, A), ROOM))
  first = shown.shape[-1]
  for t in range(ROOM):
    for b, w, a in np.ndindex(B, width, A):
      reads = np.flatnonzero(visible[b, w, a] <= t)
      own = [first + before * A + a for before in range(t + 1)]
      assert reads.tolist() == [*np.flatnonzero(np.asarray(shown)[b, w]), *own]


def test_own_blocks_are_what_was_written():
  rows, shown, _ = lay_rows(_context(2), (B, 2, A), ROOM)
  rows = lengthen(shown.shape[-1] + (ROOM + 1) * A, rows['policy'][0])
  key, value = _normal(B, K * 2, E, 3 * A, seed=6), _normal(B, K * 2, 3 * A, E, seed=7)
  first = shown.shape[-1]
  rows = KeyValue(rows.key.at[..., first:].set(key), rows.value.at[..., first:, :].set(value))
  got = jax.device_get(own_blocks((B, 2, A), first, rows))
  assert got.key.shape == (B, K, 2, A, E, 3) and got.value.shape == (B, K, 2, A, 3, E)
  for k, w, a, t in np.ndindex(K, 2, A, 3):
    np.testing.assert_array_equal(got.key[:, k, w, a, :, t], key[:, 2 * k + w, :, t * A + a])
    np.testing.assert_array_equal(got.value[:, k, w, a, t], value[:, 2 * k + w, t * A + a])
