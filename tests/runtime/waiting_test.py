"""Words while one waits: none for a short time, plain lines in a file, one line on a terminal."""

import io
import time

import pytest

from o1jax.runtime.waiting import waiting


class Terminal(io.StringIO):
  def isatty(self):
    return True


def test_a_short_wait_is_not_told():
  for stream in (io.StringIO(), Terminal()):
    with waiting('compiling', stream=stream):
      pass
    assert stream.getvalue() == ''


def test_a_long_wait_is_told_at_once_from_time_to_time_and_in_the_end():
  stream = io.StringIO()
  with waiting('compiling the search', after=0.05, every=0.05, stream=stream):
    time.sleep(0.3)
  first, *between, last = stream.getvalue().splitlines()
  assert first == 'compiling the search ...' and between
  assert all(line == 'compiling the search: 0 s' for line in (*between, last))


def test_a_terminal_has_one_line_that_goes_away():
  stream = Terminal()
  with waiting('compiling', after=0.05, stream=stream):
    time.sleep(0.2)
  # What is left on the screen: each part after the last return to the line's start.
  line, end = [part.rpartition('\r')[2] for part in stream.getvalue().split('\n')]
  assert not end and line == '\033[Kcompiling: 0 s'


def test_an_error_ends_the_wait_and_is_raised():
  stream = io.StringIO()
  with pytest.raises(ValueError, match='no'), waiting('compiling', after=0.01, stream=stream):
    time.sleep(0.1)
    raise ValueError('no')
  told = stream.getvalue()
  time.sleep(0.1)
  assert stream.getvalue() == told
