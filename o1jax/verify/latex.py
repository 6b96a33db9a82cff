"""Short answers in LaTeX or plain text: one canonical form for each, and the parts of sets, tuples,
intervals and matrices."""

import re
from typing import NamedTuple

_SIGNS = str.maketrans(
  {
    '−': '-',
    '–': '-',
    '×': r'\times ',
    '·': r'\cdot ',
    '÷': '/',
    '⁄': '/',
    'π': r'\pi ',
    '∞': r'\infty ',
    '±': r'\pm ',
    '∓': r'\mp ',
    '°': r'^\circ ',
    '≤': r'\le ',
    '≥': r'\ge ',
    '≠': r'\ne ',
    '≈': r'\approx ',
    '∪': r'\cup ',
    '∩': r'\cap ',
    '∈': r'\in ',
    '∅': r'\emptyset ',
    '²': '^2',
    '³': '^3',
    '\xa0': ' ',
    '“': '"',
    '”': '"',
    '’': "'",
  }
)


def _repeating(whole, fixed, repeated):
  """0.1(6) = 15/90."""
  top = int(whole + fixed + repeated) - int('0' + whole + fixed)
  return rf'\frac{{{top}}}{{{10 ** len(fixed) * (10 ** len(repeated) - 1)}}}'


_REWRITTEN = [
  (re.compile(pattern), by)
  for pattern, by in (
    (r'(?<!\\)\\(?:left|right|[bB]igg?[lrm]?|displaystyle|limits)(?![a-zA-Z])\.?', ''),
    (r'(?<=\d)(?:\{,\}|,\\! ?|\\[,;: ])(?=\d{3}(?!\d))', ''),  # 1{,}000, 1,\!000 and 1\,000
    (r'(?<!\\)\\!', ''),
    (r'(?<!\\)\\(?:[,;:> ]|q?quad(?![a-zA-Z]))|~', ' '),
    (r'\\[dtc]frac(?![a-zA-Z])', r'\\frac'),
    (r'\\(?:text(?:bf|it|rm|normal|tt|sf)|mathrm|mbox|hbox)\s*\{', r'\\text{'),
    (
      r'\^\s*(?:\\circ|\{\s*\\circ\s*\})(?:\s*(?:\\text\{)?\s*([CF])(?![a-zA-Z])\}?)?',
      r'\\text{degree \1}',
    ),
    (r'\\%', '%'),
    (r'\\lbrace(?![a-zA-Z])', r'\\{'),
    (r'\\rbrace(?![a-zA-Z])', r'\\}'),
    (r'(?<![\\a-zA-Z])\+?(?:infinity|infty|inf)(?![a-zA-Z])|\+\\infty(?![a-zA-Z])', r'\\infty '),
    (r'(?<![\\a-zA-Z])pi(?![a-zA-Z])', r'\\pi '),
    (r'(?:√|(?<![\\a-zA-Z])sqrt)\s*(?:(\d+)|\(([^()]*)\))', r'\\sqrt{\1\2}'),
    (r'\\frac\s*(\d)(?=\s*[\d{])', r'\\frac{\1}'),
    (r'(\\frac\{[^{}]*\})\s*(\d)', r'\1{\2}'),
    (r'(?<=\d) (?=\d{3}(?![\d/]))', ''),  # 1 000 000
    (r'(\d*)\.(\d*)\\overline\{(\d+)\}', lambda found: _repeating(*found.groups())),
    (r'\\varnothing(?![a-zA-Z])', r'\\emptyset'),
    (r'\s+', ' '),
  )
]
_NEST = r'((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)'
_AROUND = [
  re.compile(pattern, re.DOTALL)
  for pattern in (
    r'\$\$([^$]*)\$\$',
    r'\$([^$]*)\$',
    r'\\\(((?:(?!\\\().)*)\\\)',
    r'\\\[((?:(?!\\\[).)*)\\\]',
    r'\*\*(.*)\*\*',
    r'["\'`](.*)["\'`]',
    r'(.*)[.,;:]',
    rf'(?:\\(?:text|boxed|fbox))?\{{{_NEST}\}}',
    r'\(([^(),;\[\]]*)\)',
  )
]
_MATRIX = re.compile(r'\\begin\{([pbB]?matrix)\}(.*)\\end\{\1\}', re.DOTALL)
_TOKEN = re.compile(
  r'\\[{}]|\\[lr]angle(?![a-zA-Z])|[(){}\[\]]'
  r'|(?P<cut>[,;]|\\text\{ ?(?:and|or) ?\}|(?<![\\a-zA-Z])(?:and|or)(?![a-zA-Z]))|\\.',
  re.DOTALL,
)
_OPEN = {'(': '(', '[': '[', r'\{': '{', r'\langle': '<', '{': ''}
_CLOSE = {')': ')', ']': ']', r'\}': '}', r'\rangle': '>', '}': ''}
_THOUSANDS = re.compile(r'(?<![\d.])\d{1,3}(?:,\d{3})+(?!\d)')


class Group(NamedTuple):
  """Several answers in one.

  Attributes:
    kind: its brackets. '{}' is a set; '()', '[]', '[)' and so on are a tuple or an interval (one
      notation for both); '<>' is one too. '' is a list without brackets, and '2x3' a matrix of 2
      rows and 3 columns.
    items: its parts, those of a matrix row by row.
  """

  kind: str
  items: tuple[str, ...]


def clean(text: str) -> str:
  """An answer in its canonical form, without what is only typesetting, such as spacing or
  delimiters.

  Takes time proportional to the square of the text's length.
  """
  text = text.translate(_SIGNS)
  for pattern, by in _REWRITTEN:
    text = pattern.sub(by, text)
  return _inside(text)


def group(text: str) -> Group | None:
  """The parts of a clean answer; None where it is one answer, or its brackets do not match.

  A comma before three digits (1,000) is part of a number, unless brackets hold the whole answer:
  (1,000) is a pair.
  """
  matrix = _MATRIX.fullmatch(text)
  if matrix:
    rows = [row.split('&') for row in matrix[2].split(r'\\') if row.strip()]
    items = tuple(cell.strip() for row in rows for cell in row)
    even = len({*map(len, rows)}) == 1 and r'\begin' not in matrix[2]
    return Group(f'{len(rows)}x{len(rows[0])}', items) if even else None
  depth, cuts, tokens = 0, ([], []), [*_TOKEN.finditer(text)]
  closed = 0  # index of the token that closes the first bracket
  for i, token in enumerate(tokens):
    depth += (token.group() in _OPEN) - (token.group() in _CLOSE)
    if depth < 0:
      return None
    closed = closed or (i if depth == 0 else 0)
    if token['cut'] and depth < 2:
      cuts[depth].append(token.span())
  if depth or not tokens:
    return None
  first, last = tokens[0], tokens[-1]
  if (
    first.start() == 0
    and first.group() in _OPEN
    and tokens[closed] is last
    and last.end() == len(text)
  ):
    kind = _OPEN[first.group()] + _CLOSE[last.group()]
    return Group(kind, _pieces(text, [first.span(), *cuts[1], last.span()]))
  numbers = [number.span() for number in _THOUSANDS.finditer(text)]
  outside = [cut for cut in cuts[0] if not any(start < cut[0] < end for start, end in numbers)]
  return Group('', _pieces(text, [(0, 0), *outside, (len(text), 0)])) if outside else None


def join_thousands(text: str) -> str:
  """12,345 -> 12345."""
  return _THOUSANDS.sub(lambda number: number.group().replace(',', ''), text)


def _pieces(text, cuts):
  """The texts between cuts, without empty ones."""
  pieces = (_inside(text[before[1] : after[0]]) for before, after in zip(cuts, cuts[1:]))
  return tuple(piece for piece in pieces if piece)


def _inside(text):
  """A text without its outer blanks, delimiters and brackets, and without the stop that closes
  it."""
  before = None
  while before != text:
    before = text = text.strip()
    for pattern in _AROUND:
      inside = pattern.fullmatch(text)
      text = inside[1].strip() if inside else text
  return text
