"""Lines of bytes are those of Python's texts."""

import functools

import jax
import numpy as np

from o1jax.text.lines import next_place, says, whole_lines

SIZE, MOST = 40, 6


def drawn():
  rng = np.random.default_rng(0)
  texts = [''.join(rng.choice(list('ab\n'), int(n))) for n in rng.integers(0, SIZE + 1, 300)]
  texts += ['', '\n', 'a', 'a\n', '\n' * MOST, '\n' * (MOST + 1), 'a' * SIZE]
  rows = np.full((len(texts), SIZE), ord('\n'), np.uint8)  # what lies behind a text is no line
  for row, text in zip(rows, texts):
    row[: len(text)] = list(text.encode())
  return texts, rows, np.array(list(map(len, texts)))


def test_whole_lines_are_those_that_split_finds():
  texts, rows, length = drawn()
  found = jax.jit(jax.vmap(lambda text, n: whole_lines(text, n, most=MOST)))(rows, length)
  for i, text in enumerate(texts):
    expected = text.split('\n')[:-1]
    there = np.asarray(found.there[i])
    places = zip(np.asarray(found.begin[i])[there], np.asarray(found.end[i])[there])
    assert [text[begin:end] for begin, end in places] == expected[:MOST]
    assert found.all[i] == (len(expected) <= MOST)


def test_words_stand_where_find_sees_them():
  texts, rows, _ = drawn()
  at = np.broadcast_to(np.arange(SIZE + 3), (len(texts), SIZE + 3))
  for words in ('a', 'ab', 'ab\na'):
    found = np.asarray(jax.vmap(functools.partial(says, words=words))(rows, at))
    for row, said in zip(rows, found):
      text = row.tobytes().decode()
      assert said.tolist() == [text.startswith(words, i) for i in range(SIZE + 3)]


def test_the_next_place_is_the_first_that_is_marked_from_there_on():
  for marks in np.random.default_rng(1).random((50, 12)) < 0.3:
    expected = [next((j for j in range(i, 12) if marks[j]), 12) for i in range(13)]
    assert np.asarray(next_place(marks)).tolist() == expected
