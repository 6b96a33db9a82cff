"""A field is what it should be, or the error says what it is and what was expected."""

from types import NoneType

import pytest

from o1jax.data.fields import field, filled, optional, shown, texts
from o1jax.data.records import ReaderError

RECORD = {
  'text': ' a\n',
  'blank': ' \n',
  'count': 3,
  'flag': True,
  'none': None,
  'half': 'a\ud800',
  'list': ['a', 'b'],
  'mixed': ['a', 1],
  'halves': ['\udc00'],
  'no': [],
  'object': {},
}


def test_fields_come_back():
  assert field(RECORD, 'text', str) == ' a\n' and filled(RECORD, 'text') == 'a'
  assert field(RECORD, 'count', str, int) == 3 and field(RECORD, 'none', str, NoneType) is None
  assert optional(RECORD, 'count', int) == 3
  assert optional(RECORD, 'none', int) is None and optional(RECORD, 'missing', int) is None
  assert texts(RECORD, 'list') == ('a', 'b')


@pytest.mark.parametrize(
  'read, words',
  [
    (lambda: field(RECORD, 'text', int), r"'text' is ' a\\n': expected a whole number"),
    (lambda: field(RECORD, 'flag', int), "'flag' is True: expected a whole number"),
    (lambda: field(RECORD, 'count', bool, str), "'count' is 3: expected true or false or text"),
    (lambda: field(RECORD, 'none', dict), "'none' is None: expected an object"),
    (lambda: field(RECORD, 'list', dict), "'list' is a list: expected an object"),
    (lambda: field(RECORD, 'missing', str), "'missing' is missing: there are 'text', 'blank'"),
    (lambda: field({}, 'missing', str), 'there are none'),
    (
      lambda: field([RECORD], 'text', str),
      "expected an object with the field 'text', and there is a list",
    ),
    (lambda: field(RECORD, 'half', str), 'half of a surrogate pair at character 1'),
    (lambda: optional(RECORD, 'text', int), 'expected a whole number or null'),
    (lambda: optional(3, 'text', str), "expected an object with the field 'text', and there is 3"),
    (lambda: filled(RECORD, 'blank'), "'blank' is blank"),
    (lambda: texts(RECORD, 'no'), 'an empty list'),
    (lambda: texts(RECORD, 'mixed'), "'mixed' has 1 in it"),
    (lambda: texts(RECORD, 'halves'), 'half of a surrogate pair'),
  ],
)
def test_what_a_field_is_not(read, words):
  with pytest.raises(ReaderError, match=words):
    read()


def test_what_is_shown_is_short_and_on_one_line():
  assert shown('a\nb') == r"'a\nb'" and len(shown('x' * 10_000)) < 50 and len(shown(10**4000)) < 50
