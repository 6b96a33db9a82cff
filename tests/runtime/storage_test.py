"""What goes wrong with files, told apart: the system refuses, or the data are damaged."""

import errno
import json
import pathlib

import pytest

from o1jax.runtime import storage
from o1jax.runtime.storage import Damaged, StorageError, cause, reading, together, writing

FULL = 'RESOURCE_EXHAUSTED: Error writing "w/0": Failed to write 3 bytes: No space [os_error_code=\'28\']'


def told(number, status):
  """As TensorStore tells an error of the system."""
  return f'{status}: Error reading "w/0": Failed to read "x": words [os_error_code=\'{number}\'] [source locations]'


def raised(context, error):
  with pytest.raises(Exception) as found:
    with context:
      raise error
  return found.value


def test_what_cannot_be_written_is_named_with_the_system_s_reason(tmp_path):
  for error in (OSError(errno.ENOSPC, 'No space left on device'), ValueError(FULL)):
    found = raised(writing(tmp_path, ValueError), error)
    assert type(found) is StorageError
    assert str(found) == f'{tmp_path} cannot be written: No space left on device'
  (tmp_path / 'file').write_text('')
  with pytest.raises(StorageError, match='file/below cannot be written: Not a directory'):
    with writing(tmp_path / 'file' / 'below'):
      (tmp_path / 'file' / 'below').write_text('')


def test_it_is_told_once_and_an_error_in_the_code_is_left_alone(tmp_path):
  first = raised(writing(tmp_path / 'inner'), OSError(errno.EROFS, 'Read-only file system'))
  assert raised(writing(tmp_path), first) is first
  assert type(raised(writing(tmp_path), ValueError('a bug'))) is ValueError


@pytest.mark.parametrize(
  'error',
  [
    json.JSONDecodeError('Expecting value', 'x', 0),
    FileNotFoundError(2, 'No such file'),
    KeyError('leaves'),
    ValueError('NOT_FOUND: Error opening'),
    ValueError('DATA_LOSS: Checksum mismatch'),
    NotADirectoryError(20, 'Not a'),
    ValueError(told(2, 'NOT_FOUND')),
    ValueError(told(20, 'FAILED_PRECONDITION')),
    IndexError('x'),
  ],
)
def test_what_cannot_be_understood_is_damaged(error):
  assert type(raised(reading(pathlib.Path('x')), error)) is Damaged


@pytest.mark.parametrize(
  'error',
  [
    PermissionError(13, 'Permission denied'),
    OSError(5, 'Input/output error'),
    ValueError('UNAVAILABLE: try again'),
    ValueError('INVALID: opening "w": PERMISSION_DENIED: no'),
    RuntimeError('RESOURCE_EXHAUSTED: Out of memory'),
    ValueError(told(5, 'UNKNOWN')),
    ValueError(told(107, 'FAILED_PRECONDITION')),
    ValueError(told(116, 'NOT_FOUND')),
  ],
)
def test_what_the_system_refuses_is_not_damaged(error):
  found = raised(reading(pathlib.Path('x')), error)
  assert type(found) is StorageError and str(found).startswith('x cannot be read: ')


@pytest.mark.parametrize(
  'error',
  [
    MemoryError(),
    ImportError('zstd'),
    TypeError('x'),
    AttributeError('x'),
    NameError('x'),
    AssertionError('x'),
  ],
)
def test_what_would_befall_good_data_too_is_no_damage(error):
  assert raised(reading(pathlib.Path('x')), error) is error


def test_the_first_error_counts_and_not_what_was_made_of_it():
  for inner, kind in (
    (PermissionError(13, 'Permission denied'), StorageError),
    (ValueError('NOT_FOUND: x'), Damaged),
  ):
    outer = Exception('while reading')
    outer.__cause__ = inner
    found = raised(reading(pathlib.Path('x')), outer)
    assert type(found) is kind and cause(inner) in str(found)


def test_a_cause_is_one_short_line():
  assert cause(ValueError('first.\nsecond')) == 'first'
  assert cause(ValueError()) == 'ValueError'
  assert len(cause(ValueError('long ' * 100))) <= 200


def test_alone_what_fails_fails_as_it_is():
  assert together(lambda: 3) == 3
  failure = Damaged('x')

  def fail():
    raise failure

  with pytest.raises(Damaged) as found:
    together(fail)
  assert found.value is failure


@pytest.mark.parametrize('others, kind', [(1, Damaged), (2, StorageError)])
def test_what_fails_for_another_process_fails_here_too(monkeypatch, others, kind):
  monkeypatch.setattr(storage, 'agree', lambda own: max(own, others))
  with pytest.raises(kind, match='another process'):
    together(lambda: 3)
  own = kind('its own words')

  def fail():
    raise own

  with pytest.raises(kind, match='its own words'):
    together(fail)
