"""Traces of what the devices do, for XProf and Perfetto."""

import contextlib
import pathlib
import sys
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def trace(folder: pathlib.Path) -> Iterator[None]:
  """Writes a trace of what runs inside to `folder`; wait for the devices before you leave.

  `plugins/profile/DATE/` in it then holds `*.xplane.pb`, which `xprof FOLDER` opens, and `perfetto_trace.json.gz` for
  https://ui.perfetto.dev.
  """
  with jax.profiler.trace(str(folder), create_perfetto_trace=True):
    yield
  print(f'profile: {folder}', file=sys.stderr)


class Traced:
  """A few updates of a stage, traced as they pass; the first two are left out, since they warm up.

  A stage that has no more than those leaves no trace.
  """

  SKIP, COUNT = 2, 3

  def __init__(self, folder: pathlib.Path | None, *, start: int):
    """start: updates done so far. folder: None = traces nothing."""
    self._first, self._last = start + self.SKIP, start + self.SKIP + self.COUNT
    self._folder, self._open = folder, contextlib.ExitStack()

  def __enter__(self):
    return self

  def __exit__(self, *error):
    self._open.close()

  def passed(self, done: int, state) -> None:
    """`done` updates are over, or under way on the devices; the last of them makes `state`."""
    if self._folder is None or done not in (self._first, self._last):
      return
    jax.block_until_ready(state)
    self._open.close()
    if done == self._first:
      self._open.enter_context(trace(self._folder))
