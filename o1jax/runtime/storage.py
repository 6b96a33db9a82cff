"""Faults of files in words for people: what cannot be written or read, and what is not what was
written."""

import contextlib
import errno
import os
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any

from o1jax.runtime.processes import agree

# Errors which show that data are missing or are not what was written. Any other error is one of the
# system or of the code.
_ABSENT = FileNotFoundError, NotADirectoryError, IsADirectoryError
_DATA = (*_ABSENT, ValueError, LookupError, EOFError)
# The parts of a TensorStore error: the system's number, where there was one, and a status code. The
# codes listed here speak of the system rather than of the data.
_NUMBER = re.compile(r"os_error_code='(\d+)'")
_ABSENT_NUMBERS = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
_REFUSED = re.compile(
  '(PERMISSION_DENIED|UNAUTHENTICATED|UNAVAILABLE|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|ABORTED):'
)
# The system's errors for a place that cannot be written, whatever is written there.
REFUSALS = (
  errno.ENOSPC,
  errno.EDQUOT,
  errno.EFBIG,
  errno.EROFS,
  errno.EACCES,
  errno.EPERM,
  errno.EIO,
)


class StorageError(OSError):
  """The system refused to write or read. The message is one line: what, and why."""


class Damaged(Exception):
  """What is on disk is not what was saved. The message says how that was seen."""


@contextlib.contextmanager
def writing(path: pathlib.Path, *errors: type[Exception]) -> Iterator[None]:
  """A context in which an error of the system, or one of `errors`, becomes a StorageError that
  names path and cause."""
  try:
    yield
  except StorageError:
    raise
  except (OSError, *errors) as error:
    raise StorageError(f'{path} cannot be written: {cause(error)}') from error


@contextlib.contextmanager
def reading(path: pathlib.Path) -> Iterator[None]:
  """A context in which an error of the data becomes Damaged, and one of the system, which may pass,
  StorageError.

  Any other error (no memory left, a missing library, a bug) would befall all good data too, and
  stays what it is.
  """
  try:
    yield
  except (Damaged, StorageError):
    raise
  except Exception as error:
    first = first_cause(error)
    if _of_the_system(first):
      raise StorageError(f'{path} cannot be read: {cause(error)}') from error
    if isinstance(first, _DATA):
      raise Damaged(f'it cannot be read ({cause(error)})') from error
    raise


def together(action: Callable[[], Any]) -> Any:
  """The result of `action`. If it is Damaged or a StorageError for one process, it is for all."""
  kinds = Damaged, StorageError
  result = failure = None
  try:
    result = action()
  except kinds as error:
    failure = error
  worst = agree(0 if failure is None else 1 + kinds.index(type(failure)))
  if not worst:
    return result
  kind = kinds[worst - 1]
  raise failure if isinstance(failure, kind) else kind('another process could not read it')


def cause(error: BaseException) -> str:
  """The cause of an error in one line: the system's own words where there are any."""
  error = first_cause(error)
  code = _NUMBER.search(str(error))
  if code:
    return os.strerror(int(code[1]))
  lines = str(getattr(error, 'strerror', None) or error).splitlines()
  return f'{lines[0].rstrip(".") if lines else type(error).__name__:.200}'


def first_cause(error: BaseException) -> BaseException:
  """The error from which the others were raised."""
  return error if error.__cause__ is None else first_cause(error.__cause__)


def _of_the_system(error):
  code = _NUMBER.search(str(error))
  if code:
    return int(code[1]) not in _ABSENT_NUMBERS
  return (
    isinstance(error, OSError)
    and not isinstance(error, _ABSENT)
    or bool(_REFUSED.search(str(error)))
  )
