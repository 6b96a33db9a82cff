"""Tokens to bytes and the search for a marker, against plain Python on random rows."""

import jax
import numpy as np
import pytest

from o1jax.text.bytes import after_last, token_bytes

PIECES = [b'', b'a', b'bc', b'<answer>', b'', b'\n', b'longer than most']
TABLE = (
  np.array([list(p.ljust(16, b'\0')) for p in PIECES], np.uint8),
  np.array(list(map(len, PIECES)), np.int32),
)


@pytest.mark.parametrize('size', [4, 16, 300])
def test_token_bytes_are_the_joined_pieces(size):
  rng = np.random.default_rng(size)
  tokens = rng.integers(len(PIECES), size=(3, 50, 12)).astype(np.int32)
  length = rng.integers(13, size=(3, 50)).astype(np.int32)
  text, text_length = jax.jit(lambda t, n: token_bytes(t, n, TABLE, size=size))(tokens, length)
  assert text.shape == (3, 50, size) and text.dtype == np.uint8
  for place in np.ndindex(3, 50):
    kept = b''.join(PIECES[i] for i in tokens[place][: length[place]])[-size:]
    assert text_length[place] == len(kept)
    assert bytes(np.asarray(text[place])) == kept.ljust(size, b'\0')


@pytest.mark.parametrize('size', [3, 40])
def test_after_last_is_rpartition(size):
  rng = np.random.default_rng(0)
  parts = [b'ab', b'xx', b'a', b'b', b'xxab']
  texts = [
    b''.join(parts[i] for i in rng.integers(len(parts), size=n)) for n in rng.integers(9, size=300)
  ]
  rows = np.array([list(text.ljust(40, b'\0')) for text in texts], np.uint8)
  # Not to be read.
  rows = np.where(np.arange(40) < np.array([[len(t)] for t in texts]), rows, ord('b'))
  lengths = np.array([len(text) for text in texts], np.int32)
  found, length = jax.vmap(lambda t, n: after_last(t, n, b'ab', size=size))(rows, lengths)
  for i, text in enumerate(texts):
    _, marker, rest = text.rpartition(b'ab')
    assert length[i] == (len(rest) if marker else -1)
    assert bytes(np.asarray(found[i])) == (rest[:size] if marker else b'').ljust(size, b'\0')
