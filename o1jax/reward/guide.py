"""A guide: what a search follows, written as an expression of scores, such as
`critic * confidence - 0.1 * length`.

The critic alone is external guidance, the policy's confidence internal, and their product combined
(arXiv:2412.14135, figure 6).
"""

import ast
import operator
from collections.abc import Callable, Iterable

from o1jax.types import Array

CRITIC = 'critic'
# Exact verdicts, of prefixes too. A search that follows it is a ceiling and no method.
ORACLE = 'oracle'
_MOST = 1e30  # of a number in a guide: float32 holds products of it with scores
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}


def names(guide: str) -> tuple[str, ...]:
  """The scores that a guide reads, each once.

  Raises:
    ValueError: it is no sum, difference or product of names and numbers.
  """
  found = (node.id for node in ast.walk(_parsed(guide)) if isinstance(node, ast.Name))
  return tuple(dict.fromkeys(found))


def check_guide(guide: str, known: Iterable[str]) -> None:
  """Raises ValueError for a guide that is no expression, or reads a score that nothing writes."""
  known, read = tuple(known), names(guide)
  missing = [name for name in read if name not in known]
  if missing:
    raise ValueError(
      f'{guide!r} reads {", ".join(missing)}, which nothing writes on a tree: choose from '
      f'{", ".join(known)}'
    )
  if not read:
    raise ValueError(f'{guide!r} reads no score: name one of {", ".join(known)}')


def follow(guide: str, score: Callable[[str], Array]) -> Array:
  """The number of a guide, of the same shape as its scores. `score` gives one by its name, and is
  asked for each once."""
  known = {name: score(name) for name in names(guide)}

  def value(node):
    if isinstance(node, ast.Name):
      return known[node.id]
    if isinstance(node, ast.Constant):
      return node.value
    if isinstance(node, ast.UnaryOp):
      return -value(node.operand)
    return _OPERATORS[type(node.op)](value(node.left), value(node.right))

  return value(_parsed(guide))


def _parsed(guide: str) -> ast.expr:
  """The expression as Python's grammar reads it, with nothing in it but what a guide may have."""
  try:
    parsed = ast.parse(guide.strip(), mode='eval').body
    _check(parsed)
  except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
    raise ValueError(
      f'{guide!r:.80} is no guide: write names and finite numbers with + - * and brackets'
    ) from error
  return parsed


def _check(node):
  if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
    _check(node.left)
    _check(node.right)
  elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
    _check(node.operand)
  elif isinstance(node, ast.Constant):
    if type(node.value) not in (int, float) or not abs(node.value) <= _MOST:
      raise ValueError
  elif not isinstance(node, ast.Name):
    raise ValueError
