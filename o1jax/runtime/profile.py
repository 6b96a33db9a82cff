"""Traces of the devices' work, for XProf and Perfetto."""

import contextlib
import pathlib
import sys
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def trace(folder: pathlib.Path) -> Iterator[None]:
  """Writes a trace of what runs inside to `folder`. Wait for the devices before you leave.

  The folder then holds `plugins/profile/DATE/*.xplane.pb`, which `xprof FOLDER` opens, and
  `perfetto_trace.json.gz` beside it for https://ui.perfetto.dev.
  """
  with jax.profiler.trace(str(folder), create_perfetto_trace=True):
    yield
  print(f'profile: {folder}', file=sys.stderr)


class Traced:
  """Traces a few calls of a stage's update as they pass. The first two are left out, since they
  warm up.

  A stage with no more than those leaves no trace.
  """

  SKIP, COUNT = 2, 3

  def __init__(self, folder: pathlib.Path | None):
    """folder: None = traces nothing."""
    self._calls, self._folder, self._open = 0, folder, contextlib.ExitStack()

  def __enter__(self):
    return self

  def __exit__(self, *error):
    self._open.close()

  def passed(self, state) -> None:
    """One more call is over, or under way on the devices. `state` is its result."""
    self._calls += 1
    if self._folder is None or self._calls not in (self.SKIP, self.SKIP + self.COUNT):
      return
    jax.block_until_ready(state)
    self._open.close()
    if self._calls == self.SKIP:
      self._open.enter_context(trace(self._folder))
