"""Records of JSON files as rows, one record in memory at a time. Faults are reported with file and
line."""

import contextlib
import functools
import gzip
import json
import pathlib
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from absl import logging

from o1jax.files import is_pointer

_GZIP, _BOM = b'\x1f\x8b', b'\xef\xbb\xbf'
_TOLD = 3  # most malformed records that a report names
_SPACE = re.compile(r'[\s,]*')


class ReaderError(ValueError):
  """A file is not in the format. The message is one line: file and line, what is there, what was
  expected.

  Attributes:
    line: 1-based, in the file; in the record, where a converter raised it.
  """

  def __init__(self, message: str, *, line: int = 1):
    super().__init__(message)
    self.line = line


class _Record(NamedTuple):
  path: pathlib.Path
  line: int  # where it begins
  parse: Callable[[], Any]  # raises ReaderError where it is malformed


def read_lines(path, convert: Callable[[Any], Iterable], *, skip_bad: bool = False) -> Iterator:
  """Rows of a JSONL file, in order.

  The file may be compressed by gzip. A file named `.json` or `.json.gz` that begins with `[` is one
  array of records. Blank lines are no records. The file is opened when the first row is asked for.

  Args:
    path: the file.
    convert: the value of a record -> its rows; raises ReaderError for one that is not in the
      format.
    skip_bad: instead of raising, log how many of how many records were malformed, and the first
      few. The line is logged when the rows end, or when the reader stops asking for them.

  Raises:
    ReaderError: for a malformed record. Whatever `skip_bad` says, also for a file that is missing,
      empty, damaged or a Git-LFS pointer, and for an array that cannot be parsed, because nothing
      after the fault can be.
  """
  path = pathlib.Path(path)
  if path.is_dir():
    held = ', '.join(sorted(entry.name for entry in path.iterdir())[:6]) or 'nothing'
    raise ReaderError(f'{path} is a folder: give a file (it holds {held}).')
  yield from _rows(path, _records(path), convert, skip_bad)


def read_folder(
  folder, pattern: str, convert: Callable[[Any, pathlib.Path], Iterable], *, skip_bad: bool = False
) -> Iterator:
  """Rows of the files below a folder that match a pattern, each file being one record. `convert` is
  given the file's name too.

  Files come by folder, 2.json before 10.json. See `read_lines`.
  """
  folder = pathlib.Path(folder)
  if not folder.is_dir():
    raise ReaderError(f'{folder} is no folder: give one with files {pattern} in it.')
  found = filter(pathlib.Path.is_file, folder.rglob(pattern))
  files = sorted(found, key=lambda file: (file.parent, len(file.name), file.name))
  if not files:
    raise ReaderError(f'{folder} has no files {pattern} in it, nor in its folders.')
  named = lambda value_and_file: convert(*value_and_file)
  yield from _rows(folder, map(_whole, files), named, skip_bad)


def _rows(path, records, convert, skip_bad):
  count, bad, told = 0, 0, []
  try:
    for record in records:
      count += 1
      try:
        rows = list(convert(record.parse()))
      except ReaderError as error:
        line = record.line + error.line - 1
        message = f'{record.path}:{line}: {error}'
        if not skip_bad:
          raise ReaderError(message, line=line) from None
        bad += 1
        told += [message] if bad <= _TOLD else []
      else:
        yield from rows
  finally:
    if bad:
      logging.warning('%s: skipped %d of %d records: %s', path, bad, count, ' | '.join(told))
  if not count:
    raise ReaderError(f'{path} is empty: expected records.')


@contextlib.contextmanager
def _opened(path):
  """The bytes of a file, decompressed."""
  if not path.exists():
    raise ReaderError(f'{path} is not there.')
  if is_pointer(path):
    raise ReaderError(
      f'{path} is a Git-LFS pointer, not the data: run git lfs pull in its repository.'
    )
  with open(path, 'rb') as file:
    head = file.read(len(_GZIP))
    file.seek(0)
    try:
      yield gzip.open(file) if head.startswith(_GZIP) else file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
      raise ReaderError(f'{path} is damaged: {error}') from None


def _records(path):
  with _opened(path) as file:
    if path.name.endswith(('.json', '.json.gz')) and _begins_array(file):
      yield from _elements(path, file)
      return
    for number, line in enumerate(file, 1):
      line = line.removeprefix(_BOM) if number == 1 else line
      if line.strip():
        yield _Record(path, number, functools.partial(_parse, line))


def _begins_array(file):
  head = file.read(64).removeprefix(_BOM).lstrip()
  file.seek(0)
  return head.startswith(b'[')


def _elements(path, file):
  """Parses the elements of an array one by one. The text is in memory, but not the values."""
  line = 1
  try:
    text = _text(file.read())
    at, counted = text.index('[') + 1, 0
    decoder = json.JSONDecoder(parse_constant=_no_number)
    while not text.startswith(']', at := _SPACE.match(text, at).end()):
      line, counted = line + text.count('\n', counted, at), at
      with _parsing():
        value, at = decoder.raw_decode(text, at)
      yield _Record(path, line, lambda value=value: value)
    if text[at + 1 :].strip():
      raise ReaderError('there is text behind the end of the array.')
  except ReaderError as error:
    line = max(line, error.line)  # not every error knows its own
    raise ReaderError(f'{path}:{line}: {error}', line=line) from None


def _whole(path):
  """A file as one record: its value and its path."""
  with _opened(path) as file:
    data = file.read().removeprefix(_BOM)
  return _Record(path, 1, lambda: (_parse(data), path))


def _parse(data: bytes):
  with _parsing():
    # Text that breaks off does so on its last line, not on the line after it.
    return json.loads(_text(data).rstrip(), parse_constant=_no_number)


@contextlib.contextmanager
def _parsing():
  try:
    yield
  except ReaderError:
    raise
  except json.JSONDecodeError as error:
    raise ReaderError(
      f'this is not JSON ({error.msg}, column {error.colno}).', line=error.lineno
    ) from None
  except RecursionError:
    raise ReaderError('this is nested too deeply.') from None
  except ValueError as error:  # a number of thousands of digits
    raise ReaderError(f'this cannot be read ({error}).') from None


def _text(data):
  try:
    return data.decode()
  except UnicodeDecodeError as error:
    line = data.count(b'\n', 0, error.start) + 1
    raise ReaderError(
      f'this is not UTF-8 ({error.reason} at byte {error.start}).', line=line
    ) from None


def _no_number(name):
  raise ReaderError(f'{name} is no JSON number.')
