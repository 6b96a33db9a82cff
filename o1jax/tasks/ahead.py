"""Results of a function of many items, computed ahead of their use by other processes, in the order
of the items.

Each process is a Python of its own, `python -m o1jax.tasks.ahead`. It shares nothing with this
process and its threads, and imports only what the function needs. It hashes strings by a fixed
seed, so the order of a set is the same in all. Item n goes to process n modulo their number, so
results do not depend on that number.
"""

import collections
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from typing import Any

# Errors when the other end of a pipe is gone.
_GONE = (
  EOFError,
  BrokenPipeError,
  ConnectionResetError,
)


class AheadError(RuntimeError):
  """There is no result. The message is one line that names the item and the reason."""


def ahead(
  function: Callable[[Any], Any],
  items: Iterable,
  *,
  workers: int,
  window: int = 8,
  seconds: float = 600.0,
) -> Iterator:
  """The results of `function(item)` in the order of the items.

  Processes start with the first result. They work on at most `workers * window` items ahead of
  those taken. They end with the iterator: when items or patience run out, or when it is closed or
  dropped.

  Args:
    function: one that other processes can import, or a functools.partial of one. What it prints is
      dropped.
    items: small; there may be no end of them. Items and results must pickle.
    workers: processes, at least 1.
    window: items that each process has in hand, at least 1.
    seconds: for one item. For the first ones this includes the start of a process.

  Yields:
    A result for each item.

  Raises:
    AheadError: the function raised, took too long, or ended its process.
  """
  items, team = iter(items), []
  try:
    for _ in range(workers):
      team.append(_Worker(seconds))
      team[-1].tell((function, seconds))
    owed = collections.deque()  # (worker, item)s, in the order of the items
    for worker, item in zip(team * window, items):
      worker.tell(item)
      owed.append((worker, item))
    while owed:
      worker, item = owed.popleft()
      result = worker.result(item)
      for following in itertools.islice(items, 1):
        worker.tell(following)
        owed.append((worker, following))
      yield result
  finally:
    for worker in team:
      worker.end()


class _Worker:
  """A process, and this end of the pipe to it."""

  def __init__(self, seconds):
    self._seconds = seconds
    self._pipe, theirs = multiprocessing.Pipe()
    with theirs:
      # It uses no accelerator, and imports from the same paths as this process.
      env = os.environ | dict(
        JAX_PLATFORMS='cpu', PYTHONHASHSEED='0', PYTHONPATH=os.pathsep.join(map(str, sys.path))
      )
      self._process = subprocess.Popen(
        [sys.executable, '-m', 'o1jax.tasks.ahead', str(theirs.fileno())],
        env=env,
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
      )

  def tell(self, item):
    try:
      self._pipe.send(item)
    except _GONE:  # `result` reports it
      pass

  def result(self, item):
    if not self._pipe.poll(self._seconds):
      raise AheadError(f'a process took over {self._seconds:g} s for item {item!r}')
    try:
      done, told = self._pipe.recv()
    except _GONE:
      raise AheadError(
        f'a process ended with status {self._process.wait()} at item {item!r}; what it said stands '
        'above'
      ) from None
    if not done:
      raise AheadError(f'item {item!r} raised {told}')
    return told

  def end(self):
    self._pipe.close()
    self._process.kill()
    self._process.wait()


# --- in a process of its own ---


def main() -> None:
  """Answers items with (True, result) or (False, words) until the pipe closes."""
  # The signals reach the whole job, whose first process decides.
  for number in (
    signal.SIGINT,
    signal.SIGTERM,
  ):
    signal.signal(number, signal.SIG_IGN)
  pipe = Connection(int(sys.argv[1]))
  try:
    function, seconds = pipe.recv()
    while True:
      item = pipe.recv()
      signal.alarm(int(seconds) + 2)  # in case nobody is left to end it
      told = _computed(function, item)
      signal.alarm(0)
      pipe.send(told)
  except _GONE:
    os._exit(0)


def _computed(function, item):
  try:
    return True, function(item)
  except Exception as error:
    return False, ' '.join(f'{type(error).__name__}: {error}'.split())


if __name__ == '__main__':
  main()
