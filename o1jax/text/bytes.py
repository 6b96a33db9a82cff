"""Tokens to bytes inside a compiled program, so that a verifier works with any tokenizer."""

import jax
import jax.numpy as jnp

Array = jax.Array


def token_bytes(
  tokens: Array, length: Array, table: tuple[Array, Array], *, size: int
) -> tuple[Array, Array]:
  """The text of token rows, as contiguous bytes.

  Args:
    tokens: int32 [..., T].
    length: int32 [...], the number of tokens of each row that count.
    table: (uint8 [V, M], int32 [V]) from `Tokenizer.bytes_table`.
    size: N. A longer text keeps its last N bytes, since the answer stands at the end.

  Returns:
    bytes uint8 [..., N], 0 beyond the text, and its length int32 [...].
  """
  pieces, piece_length = map(jnp.asarray, table)
  lead = tokens.shape[:-1]
  row = lambda tokens, length: _row_bytes(tokens, length, pieces, piece_length, size)
  text, text_length = jax.vmap(row)(tokens.reshape(-1, tokens.shape[-1]), length.reshape(-1))
  return text.reshape(*lead, size), text_length.reshape(lead)


def _row_bytes(tokens, length, pieces, piece_length, size):
  index = jnp.arange(tokens.shape[0])
  ends = jnp.cumsum(jnp.where(index < length, piece_length[tokens], 0))
  total = ends[-1]
  dropped = jnp.maximum(total - size, 0)
  starts = jnp.concatenate([jnp.zeros_like(ends[:1]), ends[:-1]]) - dropped
  # Each token marks the byte it starts at; the running maximum then names the token of every byte.
  # A token without bytes shares its start with its successor, which is the larger index and wins.
  marks = jnp.zeros(size, jnp.int32).at[jnp.maximum(starts, 0)].max(index, mode='drop')
  owner = jax.lax.cummax(marks)
  position = jnp.arange(size)
  offset = jnp.clip(position - starts[owner], 0, pieces.shape[1] - 1)
  text_length = total - dropped
  return jnp.where(position < text_length, pieces[tokens[owner], offset], 0).astype(
    jnp.uint8
  ), text_length


def after_last(text: Array, length: Array, marker: bytes, *, size: int) -> tuple[Array, Array]:
  """The text after the last `marker`.

  Args:
    text: uint8 [N].
    length: int32 [].
    marker: bytes to look for, shorter than N.
    size: S, the number of bytes returned: the first S of a longer remainder.

  Returns:
    bytes uint8 [S], 0 beyond the remainder, and the length of the whole remainder int32 []. The
    length may exceed S; it is -1 where the text has no marker.
  """
  starts = jnp.arange(text.shape[0] - len(marker) + 1)
  found = starts + len(marker) <= length
  for i, byte in enumerate(marker):
    found &= text[i : i + starts.shape[0]] == byte
  begin = jnp.max(jnp.where(found, starts, -1)) + len(marker)
  rest = jnp.where(found.any(), length - begin, -1)
  window = jax.lax.dynamic_slice(jnp.pad(text, (0, size)), (begin,), (size,))
  return jnp.where(jnp.arange(size) < rest, window, 0), rest
