"""The numbers of updates as TensorBoard reads them."""

import contextlib
import pathlib
import time
from collections.abc import Mapping

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata

from o1jax.runtime.metrics import describe
from o1jax.runtime.storage import writing


class Events:
  """The TensorBoard events of a stage.

  Written on the spot: tensorboardX's own writer has a thread for it, which dies of a full disk, and
  a queue, which then blocks the run for ever.
  """

  def __init__(self, folder: pathlib.Path, purge: int):
    """Opens a file in the folder; what TensorBoard has of updates from `purge` on is dropped."""
    self._folder, self._described = folder, set()
    with writing(folder):
      folder.mkdir(parents=True, exist_ok=True)
      # The suffix keeps two openings within one second from writing the same file.
      self._writer = EventsWriter(str(folder / 'events'), f'.{time.time_ns()}')
      self._write(purge, session_log=SessionLog(status=SessionLog.START))

  def write(self, update: int, numbers: Mapping[str, float]) -> None:
    """Writes the numbers of an update. StorageError where they could not be written."""
    values = [
      Summary.Value(tag=name, simple_value=number, metadata=self._first(name))
      for name, number in numbers.items()
    ]
    with writing(self._folder):
      self._write(update, summary=Summary(value=values))

  def close(self) -> None:
    """Closes the file, in which all is written."""
    with contextlib.suppress(OSError):  # what failed was told when it did
      self._writer.close()

  def _first(self, name):
    """What TensorBoard wants to hear of a curve once."""
    if name in self._described:
      return None
    self._described.add(name)
    return SummaryMetadata(summary_description=describe(name))

  def _write(self, update, **what):
    self._writer.write_event(Event(wall_time=time.time(), step=update, **what))
    self._writer.flush()
