r"""Verdicts on math answers: is the final answer of a solution equal to the reference?

Most answers are numbers, which are compared here, exactly. The rest goes to math-verify (the extra
`math`), a library on SymPy, in a form that it reads without `eval`. It may then take any time,
memory or stack. So judge what a model writes only through `verify.host`, whose processes have
limits.

What counts as equal, where graders differ:

- Values are compared exactly: 2/4, 0.5 and \frac12 are equal, 1/3 and 0.333 are not. Any form of a
  value will do.
- A unit or currency sign may be left out, but not replaced (`verify.quantity`). A percentage equals
  both its number, as the graders of MATH and GSM8K have it, and its value, as math-verify has it:
  50% is 50, and 0.5.
- The variable of `x = 5` and `x \in (1, 2)` may be left out, but not replaced.
- The items of sets, and of lists without brackets, have no order. Those of tuples, intervals and
  matrices have one. Open and closed brackets differ, and (1, 2) is a pair and an interval. A set of
  one item is that item.
- Words are compared as text, without case. (B) is B.
"""

import functools
import logging
import re
from fractions import Fraction

from o1jax.text.answer import final_answer
from o1jax.types import Problem
from o1jax.verify.latex import Group, clean, group, join_thousands
from o1jax.verify.quantity import PERCENT, quantity

LONGEST = 400  # characters of an answer; a longer answer equals only its own text
_PLACES = 100  # math-verify ignores differences below 1e-100

_UNORDERED = ('', '{}')  # kinds of a Group
_BLANK = re.compile(r'(?<!\d) +| +(?!\d)')
_TEXT = re.compile(r'\\text\{([^{}]*)\}')
_RELATION = re.compile(r'(?<![<>!:])=|\\(?:in|approx)(?![a-zA-Z])')
_NAME = re.compile(  # x_1, f^{-1}(x), \angle ABC, (x, y), \text{Area}
  r"[^\d=<>+*/^{},-]{0,30}(?:_(?:\w|\{\w{1,5}\}))?(?:'|\^\{-1\})?(?:\([a-z]\))?"
  r'|\([a-z](?:, ?[a-z])+\)|\\text\{[^{}]{1,30}\}'
)
_WORDS = re.compile(r"[A-Za-z]{3}[A-Za-z .'-]*|[A-Za-z]+(?: [A-Za-z.'-]+)+")
_IMAGINARY = re.compile(r'(?<![\\a-zA-Z])i(?![a-zA-Z])')
_FACTOR = re.compile(r'(?<![_^\d])(\d+) ?\(')


def check(problem: Problem, text: str) -> bool:
  """Whether the final answer of a solution equals `problem.text`, an answer without a solution. For
  `HostVerifier`.

  It is wrong where the problem or the solution has no answer.
  """
  answer = final_answer(text)
  return answer is not None and equal(problem.text, answer)


def equal(one: str, other: str) -> bool:
  """Whether two answers are equal, in any order. No answer equals an empty one."""
  if max(len(one), len(other)) > LONGEST:
    return bool(one.strip()) and one.strip() == other.strip()
  one, other = clean(one), clean(other)
  return bool(one and other) and _equal(one, other)


def prepare() -> None:
  """Loads math-verify and lets it read and compare a little. What the library caches then speeds up
  all forks of the process.

  Raises:
    ImportError: math-verify is not installed.
  """
  for one, other in _TRIED:
    equal(one, other)


check.prepare = prepare
_TRIED = (
  (r'\frac{\sqrt{3}}{3}', r'\frac{1}{\sqrt{3}}'),
  ('(x+1)^2', 'x^{2}+2x+1'),
  (r'2\pi r', r'\pi + e'),
  (r'(-\infty, 1] \cup (2, 3)', 'x < 2'),
  ('y = 2x + 3', '2x - y = 5'),
  (r'\sqrt[3]{2}', r'2^{1/3} + 0.5i'),
  (r'\log_2 3 \cdot \sin x', r'\tan(x)'),
  (r'3\begin{pmatrix} 1 \\ a \end{pmatrix}', r'\begin{pmatrix} 1 \\ 2 \end{pmatrix}'),
)


def _equal(one, other):
  """`equal` of clean answers."""
  one, other = _bare(one), _bare(other)
  if _key(one) == _key(other):
    return True
  parts = _parts(one), _parts(other)
  if all(parts):
    return _same_parts(*parts)
  one, other = (text if found else join_thousands(text) for text, found in zip((one, other), parts))
  named = [('', text) if found else _named(text) for text, found in zip((one, other), parts)]
  (name, value), (other_name, other_value) = named
  same_name = name == other_name or '' in (name, other_name)
  if (value, other_value) != (one, other) and same_name and '=' not in value + other_value:
    return _equal(value, other_value)
  equations = ('=' in one) + ('=' in other)
  # The other of [1, 3] may be the union of [1, 2] and [2, 3], or 1 <= x <= 3.
  if any(parts) or equations:
    return equations != 1 and _symbolic(one, other)
  return _same_quantity(one, other)


def _bare(text):
  """An answer without the brackets of a group of one."""
  parts = group(text)
  while parts and parts.kind in ('', '{}', '()') and len(parts.items) == 1:
    text = parts.items[0]
    parts = group(text)
  return text


def _key(text):
  r"""A key that texts share if they differ only in blanks, `\text` and, where there is no LaTeX,
  case."""
  text = _BLANK.sub('', _TEXT.sub(r'\1', text))
  return text if '\\' in text else text.casefold()


def _parts(text) -> Group | None:
  r"""`group`, where `\pm` makes two of one."""
  parts = group(text)
  if r'\pm' in text and (parts is None or parts.kind in _UNORDERED):
    items = parts.items if parts else (text,)
    signs = ('+', '-'), ('-', '+')
    split = (item.replace(r'\pm', a).replace(r'\mp', b) for item in items for a, b in signs)
    parts = Group(parts.kind if parts else '', tuple(split))
  return parts


def _same_parts(one, other):
  if one.kind in _UNORDERED and other.kind in _UNORDERED:
    names = [{_named(item)[0] for item in parts.items} - {''} for parts in (one, other)]
    if max(map(len, names)) > 1 and names[0] != names[1]:  # x = 1, y = 2 is not 2, 1
      return False
    found = lambda items, among: all(any(_equal(item, each) for each in among) for item in items)
    return found(one.items, other.items) and found(other.items, one.items)
  alike = one.kind == other.kind and len(one.items) == len(other.items)
  return alike and all(_equal(a, b) for a, b in zip(one.items, other.items))


def _named(text):
  """(variable, value) of `x = value`; ('', value) of `2 + 3 = value`, and ('', text) of other
  texts."""
  first, *rest = (piece.strip() for piece in _RELATION.split(text))
  if not rest:
    return '', text
  last = rest[-1]
  if _NAME.fullmatch(first):
    return _key(first), last
  if _NAME.fullmatch(last):
    return _key(last), first
  if r'\approx' in text:
    return '', first
  return '', text if re.search('[a-zA-Z]', first) else last


def _same_quantity(one, other):
  a, b = quantity(one), quantity(other)
  if a.unit and b.unit and a.unit != b.unit:
    return False
  if a.number is not None and b.number is not None:
    percent = (a.unit == PERCENT) - (b.unit == PERCENT)
    return a.number == b.number or percent != 0 and a.number == b.number * Fraction(100) ** percent
  if (a.value, b.value) != (one, other):
    return _equal(a.value, b.value)
  return not (_WORDS.fullmatch(one) or _WORDS.fullmatch(other)) and _symbolic(one, other)


@functools.cache
def _library():
  """`math_verify`, and a function that reads LaTeX for it.

  The library's own `parse` makes numbers by `sympify` and reads plain text by `parse_expr`. Both
  are Python's `eval`.
  """
  try:
    import math_verify
    from latex2sympy2_extended import NormalizationConfig, normalize_latex
    from latex2sympy2_extended.latex2sympy2 import _Latex2Sympy
    from sympy import Rational
  except ImportError:
    raise ImportError(
      "verdicts on math answers need the library math-verify: pip install -e '.[math]'"
    ) from None

  class Reader(_Latex2Sympy):
    def parse_number(self, text):
      return Rational(text.replace(',', ''))

  logging.getLogger('math_verify').setLevel(logging.ERROR)  # it warns that its time-outs are off
  form = NormalizationConfig(
    basic_latex=True, units=False, malformed_operators=True, nits=True, boxed='none'
  )
  return math_verify, lambda text: Reader(is_real=True).parse(normalize_latex(text, form))


def _symbolic(one, other):
  """math-verify's verdict. Its time-outs are alarms, and are off: the worker ends whatever holds an
  answer up."""
  library, read = _library()
  # Its verdict may depend on which answer is the reference. Here both orders count the same.
  try:
    sides = [read(_spelled_out(text)) for text in sorted((one, other))]
  except Exception:  # it raises nothing more specific for what it cannot read
    return False
  return library.verify(
    *sides, numeric_precision=_PLACES, allow_set_relation_comp=True, timeout_seconds=None
  )


def _spelled_out(text):
  """The text without what the library misreads."""
  text = _FACTOR.sub(r'\1\\cdot (', text.replace('**', '^'))  # 3(\frac12) as a mixed number
  if r'\sum' not in text and r'\prod' not in text:
    text = _IMAGINARY.sub('I', text)  # i as a variable
  return text
