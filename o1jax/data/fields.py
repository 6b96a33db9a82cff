"""Fields of JSON records, with the checks that a reader makes. A fault is a ReaderError written for
people."""

from types import NoneType
from typing import Any

from o1jax.data.records import ReaderError

_KINDS = {
  str: 'text',
  int: 'a whole number',
  bool: 'true or false',
  list: 'a list',
  dict: 'an object',
  NoneType: 'null',
}


def field(record, name: str, *kinds: type) -> Any:
  """A field of an object.

  Args:
    record: a value of JSON.
    name: of the field.
    kinds: the types that its value may have, of str, int, bool, list, dict and NoneType. Text must
      be Unicode, so without halves of surrogate pairs.

  Raises:
    ReaderError: the record is no object, lacks the field, or has a value of another type in it.
  """
  if type(record) is not dict:
    raise ReaderError(f'expected an object with the field {name!r}, and there is {shown(record)}.')
  if name not in record:
    held = ', '.join(repr(key[:20]) for key in list(record)[:6]) or 'none'
    raise ReaderError(f'the field {name!r} is missing: there are {held}.')
  value = record[name]
  if type(value) not in kinds:
    expected = ' or '.join(_KINDS[kind] for kind in kinds)
    raise ReaderError(f'the field {name!r} is {shown(value)}: expected {expected}.')
  if type(value) is str:
    _check_text(name, value)
  return value


def optional(record, name: str, *kinds: type) -> Any:
  """Like `field`, but None where it is missing or null."""
  if type(record) is dict and name not in record:
    return None
  return field(record, name, *kinds, NoneType)


def filled(record, name: str) -> str:
  """A text field that is not blank, without the white space around it. Raises ReaderError as
  `field` does."""
  value = field(record, name, str).strip()
  if not value:
    raise ReaderError(f'the field {name!r} is blank: expected text.')
  return value


def texts(record, name: str) -> tuple[str, ...]:
  """A field with a list of at least one text. Raises ReaderError as `field` does."""
  values = field(record, name, list)
  if not values:
    raise ReaderError(f'the field {name!r} is an empty list: expected at least one text.')
  for value in values:
    if type(value) is not str:
      raise ReaderError(f'the field {name!r} has {shown(value)} in it: expected a list of texts.')
    _check_text(name, value)
  return tuple(values)


def shown(value) -> str:
  """A value of JSON in an error: short and on one line."""
  if isinstance(value, dict | list):
    return _KINDS[type(value)]
  return repr(value[:40]) if isinstance(value, str) else str(value)[:40]


def _check_text(name, value):
  try:
    value.encode()
  except UnicodeEncodeError as error:
    raise ReaderError(
      f'the field {name!r} has half of a surrogate pair at character {error.start}.'
    ) from None
