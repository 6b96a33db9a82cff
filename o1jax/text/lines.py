"""The lines of a text inside a compiled program, so that a task can read what a solution says.

Written for one text; vmap it over many. A place is the index of a byte.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from o1jax.text.steps import DELIMITER

Array = jax.Array


class Lines(NamedTuple):
  """The first S whole lines of a text, which is their order.

  Attributes:
    begin: int32 [S], the place of a line's first byte.
    end: int32 [S], the place of the delimiter that closes it.
    there: bool [S], False behind the last whole line.
    all: bool [], the text has no more whole lines than these.
  """

  begin: Array
  end: Array
  there: Array
  all: Array


def whole_lines(text: Array, length: Array, *, most: int) -> Lines:
  """The lines that the delimiter closes. What comes behind the last delimiter is none.

  Args:
    text: uint8 [N].
    length: int32 [], of the text.
    most: S.
  """
  closes = (text == ord(DELIMITER)) & (jnp.arange(text.shape[0]) < length)
  count, upcoming = jnp.sum(closes), next_place(closes)

  def step(begin, _):
    end = upcoming[jnp.minimum(begin, text.shape[0])]
    return end + 1, (begin, end)

  _, (begin, end) = jax.lax.scan(step, jnp.int32(0), length=most)
  return Lines(begin, end, jnp.arange(most) < count, count <= most)


def says(text: Array, at: Array, words: str) -> Array:
  """Whether `words` (ASCII) stand at each of the places `at` [...] -> bool [...]."""
  found = at + len(words) <= text.shape[0]
  for i, byte in enumerate(words.encode()):
    found &= byte_at(text, at + i) == byte
  return found


def byte_at(text: Array, at: Array) -> Array:
  """The bytes at places [...], which are clipped to those of the text."""
  return text[jnp.clip(at, 0, text.shape[0] - 1)]


def next_place(marks: Array) -> Array:
  """For every place, itself or the first one behind it that is marked; N where there is none.

  Args:
    marks: bool [N].

  Returns:
    int32 [N + 1]: also for the place behind the text.
  """
  size = marks.shape[0]
  places = jnp.where(marks, jnp.arange(size), size)
  return jnp.append(jax.lax.cummin(places, reverse=True), size)
