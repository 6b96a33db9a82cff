"""Ctrl-C that loses no update."""

import os
import signal
import threading

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
  """A context in which the first SIGINT or SIGTERM sets `requested` instead of stopping the
  program.

  The loop looks at `requested` after each call, which may make several updates. It then saves and
  leaves. A SIGINT after the first signal raises KeyboardInterrupt at once; a SIGTERM does not,
  because schedulers repeat it. The handlers found on entry are put back on exit. Off the main
  thread, where Python receives no signals, nothing changes.

      with Interrupt() as interrupt:
        while update < updates and not interrupt.requested:
          ...
  """

  def __init__(self):
    self.requested = False
    self._previous = {}

  def __enter__(self) -> 'Interrupt':
    if threading.current_thread() is threading.main_thread():
      self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
    return self

  def __exit__(self, *exception) -> None:
    for number, handler in self._previous.items():
      # None stands for a handler that was not set from Python and cannot be put back.
      signal.signal(number, signal.SIG_DFL if handler is None else handler)
    self._previous = {}

  def _handle(self, number, frame) -> None:
    if self.requested:
      if number == signal.SIGINT:
        raise KeyboardInterrupt
      return
    self.requested = True
    # Not print: a signal may arrive inside a print, and buffered streams refuse to be entered
    # twice.
    os.write(
      2, b'\nStopping when the updates under way are done; once more (Ctrl-C) stops at once.\n'
    )
