"""What a solution of the cipher has decoded so far: can it still become right?

This is the verdict on a solution that is not finished. It reads the lines that `o1jax.tasks.cipher`
writes, and keeps the words that they collect:

- `oyt fjh dni isn drk=think` adds the word behind `=`. The pairs before it are not judged.
- `back;rtqwainr` takes the last word away. It is true where the pairs named spell the word that
  should stand there.
- `stdp no` changes nothing. The word stands until a return takes it away.
- `step ok` is true where that is the word that should stand last.
- Analysis and plan may say anything, and change nothing.
- Of the other tags any may stand before such a line. All else is not true: an answer as well, since
  a closed line is no end of a solution.

The solution can become right where its words are the first ones of the plaintext, and every line
since the last true return is true. An open line behind the whole ones is not read.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from o1jax.text.lines import Lines, byte_at, next_place, says, whole_lines
from o1jax.text.steps import SILENT, TAGS
from o1jax.types import Reference

_BACK = 'back;'
_BYTES = 16  # the room for lines is one for so many bytes: a true line has more


class _Said(NamedTuple):
  """What the lines say, each [S]."""

  reads: jax.Array  # bool: adds a word
  back: jax.Array  # bool: a return
  ok: jax.Array  # bool: the last word is claimed to be right
  silent: jax.Array  # bool: changes nothing
  word: jax.Array  # uint8 [S, Y]: the word that is added, named by a return, or claimed
  size: jax.Array  # int32: its letters, -1 = it is none


class _Place(NamedTuple):
  """Where a solution is, each []."""

  words: jax.Array  # int32: collected so far
  right: jax.Array  # int32: the first so many of them are right
  lost: jax.Array  # bool: a line was not true


def reachable(reference: Reference, text: jax.Array, length: jax.Array) -> jax.Array:
  """The verdict on one unfinished solution, in jnp; vmap it over many.

  Args:
    reference: of one problem, whose text is the plaintext.
    text: uint8 [N], the solution from its beginning. Where it has more than N / 16 lines, the
      verdict is no: true lines are longer.
    length: int32 [].

  Returns:
    bool [].
  """
  # One byte more, so that words behind the last one begin behind the text.
  plain = jnp.pad(reference.text, (0, 1))
  width = plain.shape[0]
  place = jnp.arange(width)
  spaces = jnp.cumsum((plain == ord(' ')) & (place < reference.length))
  # Word w begins behind the w-th space: at the first place by which w spaces have come, and one.
  begins = jnp.append(0, jnp.sum(spaces < jnp.arange(1, width + 2)[:, None], axis=-1) + 1)
  # No word has the size of those behind the last, which is less than -1.
  sizes = jnp.minimum(begins[1:] - 1, reference.length) - begins[:-1]

  def step(now, said):
    at = jnp.where(said.reads, now.words, now.words - 1)
    begin = begins[jnp.clip(at, 0, width)]
    same = jnp.all((byte_at(plain, begin + place) == said.word) | (place >= said.size))
    same &= (at >= 0) & (sizes[jnp.clip(at, 0, width)] == said.size)
    back = said.back & same
    words = now.words + said.reads - back
    right = jnp.minimum(now.right + (said.reads & same & (now.right == now.words)), words)
    true = said.reads | said.silent | (said.ok & same)
    return _Place(words, right, ~back & (now.lost | ~true)), None

  lines = whole_lines(text, length, most=max(text.shape[0] // _BYTES, 1))
  start = _Place(jnp.int32(0), jnp.int32(0), jnp.bool_(False))
  end, _ = jax.lax.scan(step, start, _said(text, lines, width))
  return lines.all & ~end.lost & (end.right == end.words)


def _said(text: jax.Array, lines: Lines, width: int) -> _Said:
  """Reads every line. width: Y, the most letters of a word."""
  tagged = {name: says(text, lines.begin, tag) for name, tag in TAGS.items()}
  body = lines.begin + jnp.select(list(tagged.values()), [len(tag) for tag in TAGS.values()], 0)
  silent = ~lines.there
  for name in SILENT:
    silent |= tagged[name]
  speaks = jnp.stack(list(tagged.values())).any(0) & ~silent
  back = speaks & says(text, body, _BACK)
  ok, no = (speaks & ~back & says(text, lines.end - 3, word) for word in (' ok', ' no'))
  equals = next_place(text == ord('='))[jnp.minimum(body, text.shape[0])]
  reads = speaks & ~back & ~ok & ~no & (equals < lines.end)

  begin = jnp.select([back, ok], [body + len(_BACK), body], equals + 1)
  size = jnp.where(ok, lines.end - 3, lines.end) - begin
  place = jnp.arange(width)
  letters = byte_at(text, begin[:, None] + place)
  pair = [byte_at(text, begin[:, None] + 2 * place + i).astype(jnp.int32) for i in range(2)]
  paired = (sum(pair) % 2 == 0) & _letter(pair[0]) & _letter(pair[1])
  spelled = (size % 2 == 0) & jnp.all(paired | (place >= size[:, None] // 2), axis=-1)
  word = jnp.where(back[:, None], (sum(pair) // 2).astype(jnp.uint8), letters)
  size = jnp.where(back, jnp.where(spelled, size // 2, -1), size)
  return _Said(reads, back, ok, silent | no, word, size)


def _letter(byte: jax.Array) -> jax.Array:
  return (byte >= ord('a')) & (byte <= ord('z'))
