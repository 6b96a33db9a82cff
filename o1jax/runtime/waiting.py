"""Words for the time in which nothing else is shown, such as while a program compiles."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import TextIO

from o1jax.runtime.processes import first


@contextlib.contextmanager
def waiting(
  words: str, *, after: float = 1.0, every: float = 30.0, stream: TextIO | None = None
) -> Iterator[None]:
  """A context that tells what is waited for, and how long it has taken, where that is long.

  On a terminal it is one line that counts seconds and goes away in the end. Elsewhere it is a plain
  line at first, one from time to time, and one in the end. Of several processes the first tells.

  Args:
    words: such as 'compiling the update of learn'.
    after: seconds in which nothing is said.
    every: seconds between two plain lines.
    stream: where to; by default stderr.
  """
  stream = sys.stderr if stream is None else stream
  if not first():
    yield
    return
  over, began, told = threading.Event(), time.monotonic(), []

  def tell():
    pause = after
    while not over.wait(pause):
      seconds = f': {time.monotonic() - began:.0f} s' if told or stream.isatty() else ' ...'
      if stream.isatty():
        print(f'\r{words}{seconds}', end='\033[K', file=stream, flush=True)
      else:
        print(f'{words}{seconds}', file=stream, flush=True)
      told.append(seconds)
      pause = 1.0 if stream.isatty() else every

  teller = threading.Thread(target=tell, daemon=True)
  teller.start()
  try:
    yield
  finally:
    over.set()
    teller.join()
    if told and stream.isatty():
      print('\r\033[K', end='', file=stream, flush=True)
    if told:
      print(f'{words}: {time.monotonic() - began:.0f} s', file=stream, flush=True)
