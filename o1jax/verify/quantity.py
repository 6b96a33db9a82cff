"""Numbers and units of short answers, read without any library. Most answers need no more.

A unit may be left out, and is never converted: 5 cm equals 5, but not 5 m, nor 0.05 m.
"""

import re
from fractions import Fraction
from typing import NamedTuple

PERCENT = '%'
_DECIMAL = r'[+-]?(?:\d+\.?\d*|\.\d+)'
_NUMBER = re.compile(
  rf'(?P<minus>-?) ?(?:(?:(?P<whole>\d+) )?(?P<top>{_DECIMAL})/(?P<bottom>{_DECIMAL})'
  rf'|(?P<decimal>{_DECIMAL})(?:(?:[eE]|(?:\\times|\\cdot|\*|x)10\^)(?P<power>[+-]?\d{{1,3}}|\{{[+-]?\d{{1,3}}\}}))?)',
  re.ASCII,
)
_FRACTION = re.compile(rf' ?\\frac\{{({_DECIMAL})\}}\{{({_DECIMAL})\}}', re.ASCII)
_LOOSE = re.compile(r'(?<!\d) | (?!\d)')  # blanks that do not separate two digits

_CURRENCY = re.compile(r'(?P<minus>-?) ?(?P<sign>\\?\$|[€£¥₹]) ?(?=[\d.])')
_SIGNS = {'$': 'dollar', r'\$': 'dollar', '€': 'euro', '£': 'pound', '¥': 'yen', '₹': 'rupee'}
_POWER = r'(?:\^(?:\d|\{-?\d\}))?'
_BASE = re.compile(r'(?P<value>\d\w*)_(?P<unit>\d\d?|\{\d\d?\})', re.ASCII)
_TYPESET = re.compile(rf'(?P<value>.*?[^ /])(?P<unit>(?:[ /]*\\text\{{[^{{}}]*\}}{_POWER})+)')
_PLAIN = re.compile(rf'(?P<value>.*[\d}})])(?P<unit> ?(?:%|[a-zA-Z][a-zA-Z /.-]*{_POWER}))')
_AREA = re.compile(r'(?<![a-z])(square|sq|cubic|cu)\.? ([a-z]+)')
_WORD = re.compile(r'[a-z]+|[\d%/-]')
# The first name of each stands for all.
_NAMES = """
% percent percentage pct|degree deg|c celsius|f fahrenheit|m meter metre|cm centimeter centimetre|km kilometer kilometre
mm millimeter millimetre|inch inches|ft foot feet|yd yard|mi mile|g gram|kg kilogram|mg milligram|lb pound|oz ounce
l liter litre|ml milliliter millilitre|s second sec|min minute|h hour hr|day d|year yr|/ per|mph|n newton|j joule|w watt
v volt|k kelvin|hz hertz|dollar usd|unit|rad radian"""
_SAME = {name: names.split()[0] for names in re.split('[|\n]', _NAMES) for name in names.split()}
_SCALES = {
  'hundred': 10**2,
  'thousand': 10**3,
  'million': 10**6,
  'billion': 10**9,
  'trillion': 10**12,
}
_NO_UNITS = frozenset(
  'and or not no to by plus minus times over of if else but either sin cos tan log ln mod'.split()
)


class Quantity(NamedTuple):
  """An answer, separated from its unit.

  Attributes:
    value: the text without the unit.
    number: its value where it is a plain number, with words such as million counted in; else None.
    unit: the canonical name of the unit, '' without one.
  """

  value: str
  number: Fraction | None
  unit: str


def number(text: str) -> Fraction | None:
  r"""The exact value of a plain number; None of any other text.

  Plain numbers are whole ones, decimals, fractions of two of these (3/4, \frac{3}{4}), mixed
  numbers (1 3/4, 1\frac{3}{4}) and scientific notation (1.5e3, 1.5 \times 10^{3}) with an exponent
  of at most three digits.
  """
  found = _NUMBER.fullmatch(_LOOSE.sub('', _FRACTION.sub(r' \1/\2', text)))
  if not found:
    return None
  if found['decimal']:
    value = Fraction(found['decimal']) * Fraction(10) ** int((found['power'] or '0').strip('{}'))
  elif Fraction(found['bottom']) == 0:
    return None
  else:
    value = int(found['whole'] or 0) + Fraction(found['top']) / Fraction(found['bottom'])
  return -value if found['minus'] else value


def quantity(text: str) -> Quantity:
  r"""A clean answer (`verify.latex.clean`), separated from its unit.

  A unit is a currency sign before the number, or one of these after it: per cent, degrees, the base
  of a numeral (101_2), words in `\text{}`, plain words that this file knows, and other plain words
  of at least three letters after a blank.
  """
  currency = _CURRENCY.match(text)
  units = [_SIGNS[currency['sign']]] if currency else []
  value = currency['minus'] + text[currency.end() :] if currency else text
  base = _BASE.fullmatch(value)
  if base:
    return Quantity(base['value'], number(base['value']), 'base ' + base['unit'].strip('{}'))
  scale = 1
  found = _TYPESET.fullmatch(value) or _PLAIN.fullmatch(value)
  words = _unit(found['unit']) if found else []
  if words:
    value = found['value'].strip()
    while words and words[0] in _SCALES:
      scale *= _SCALES[words.pop(0)]
  plain = number(value)
  if scale > 1:
    if plain is None:
      return Quantity(text, None, '')
    plain *= scale
    value = str(plain)
  return Quantity(value, plain, ' '.join(units + words))


def _unit(text):
  """The words of a unit in their canonical form; [] where the text is no unit."""
  typeset = r'\text' in text
  text = _AREA.sub(
    lambda found: f'{found[2]} {"2" if found[1][0] == "s" else "3"}',
    text.replace(r'\text', '').lower(),
  )
  words = [_singular(word) for word in _WORD.findall(text)]
  names = [word for word in words if word.isalpha() or word == PERCENT]
  if not names or not _NO_UNITS.isdisjoint(names):
    return []
  known = all(word in _SAME or word in _SCALES for word in names)
  # 5x is a product; 5 cm, 5cm and 5 eggs have units.
  least = 3 - known - typeset
  unit = (
    len(''.join(names)) >= least
    and (known or typeset or text.startswith(' '))
    or names[0] == PERCENT
  )
  return [_SAME.get(word, word) for word in words] if unit else []


def _singular(word):
  return word[:-1] if word not in _SAME and len(word) > 3 and word.endswith('s') else word
