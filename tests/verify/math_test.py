r"""Verdicts on math answers: written pairs by kind, no Python in what a model writes, and hostile
answers."""

import functools
import random
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax.types import Problem, Reference  # noqa: E402
from o1jax.verify import math  # noqa: E402
from o1jax.verify.host import HostVerifier  # noqa: E402
from o1jax.verify.outcome import judge  # noqa: E402
from tests import toys  # noqa: E402
from tests.verify.math_answers import PAIRS  # noqa: E402

BYTES = np.arange(256, dtype=np.uint8)[:, None], np.ones(256, np.int32)  # a token a byte
SECONDS, WORKERS = 2.0, 2


class Called(BaseException):
  """Not an Exception, which the library would catch."""


def forbidden(text, *args):
  raise Called(text)


# --- two answers ---


@pytest.fixture(scope='module')
def prepared():
  math.prepare()


@pytest.fixture
def without_eval(prepared, monkeypatch):
  """Where SymPy evaluates text as Python; some of its modules do so while they are loaded."""
  monkeypatch.setattr('sympy.parsing.sympy_parser.eval_expr', forbidden)


@pytest.mark.parametrize('kind', PAIRS)
def test_pairs(kind, without_eval):
  equal, unequal = PAIRS[kind]
  for right, pairs in ((True, equal), (False, unequal)):
    for one, other in pairs:
      assert (math.equal(one, other), math.equal(other, one)) == (right, right), (one, other)
      if right:
        assert math.equal(one, one) and math.equal(other, other), (one, other)


def test_there_are_pairs_enough():
  equal, unequal = (sum(len(pairs[i]) for pairs in PAIRS.values()) for i in (0, 1))
  assert equal + unequal >= 400 and 0.4 < equal / (equal + unequal) < 0.6


@pytest.mark.parametrize(
  'text',
  [
    '__import__("os").abort()',
    '1+__import__("os").abort()',
    '(1).__class__',
    '2*(exit())',
    r'\text{exit()}',
  ],
)
def test_answers_are_no_python(text, without_eval):
  assert not math.equal(text, 'x+3') and not math.equal(rf'\sqrt{{{text}}}', 'x+3')


def test_any_text_has_a_verdict_in_any_order(monkeypatch):
  monkeypatch.setattr(math, '_symbolic', lambda one, other: False)  # it may take for ever
  rng = random.Random(0)
  answers = [
    answer for pairs in PAIRS.values() for some in pairs for pair in some for answer in pair
  ]
  equal = 0
  for _ in range(3000):
    one, other = (''.join(cut(rng.choice(answers), rng) for _ in range(2)) for _ in range(2))
    other = rng.choice((one, other, other))
    verdict = math.equal(one, other)
    assert math.equal(other, one) == verdict
    equal += verdict
  assert equal > 500


def cut(text, rng):
  a, b = sorted(rng.choices(range(len(text) + 1), k=2))
  return text[a:b]


def test_what_comes_before_the_library_takes_no_time(monkeypatch):
  """Whatever is repeated, as patterns that try all ways to split it would need for ever."""
  monkeypatch.setattr(math, '_symbolic', lambda one, other: False)
  rng = random.Random(0)
  answers = [
    answer
    for pairs in PAIRS.values()
    for some in pairs
    for pair in some
    for answer in pair
    if answer
  ]
  for _ in range(300):
    piece = cut(rng.choice(answers), rng) or ' '
    text = (rng.choice(('', '1', '$', 'x=', '{')) + piece * math.LONGEST)[
      : math.LONGEST - 1
    ] + rng.choice('x}1 ')
    began = time.monotonic()
    math.equal(text, 'x!')
    assert time.monotonic() - began < 10, text


def test_a_long_answer_equals_its_own_text_only(monkeypatch):
  monkeypatch.setattr(math, 'clean', forbidden)
  long = '1' * (math.LONGEST + 1)
  assert (
    math.equal(long, long + ' ') and not math.equal(long, long + '.0') and not math.equal(long, '1')
  )


def test_a_missing_library_is_told_of(monkeypatch):
  monkeypatch.setitem(sys.modules, 'math_verify', None)
  math._library.cache_clear()
  with pytest.raises(ImportError, match=r"pip install -e '\.\[math\]'"):
    math.check.prepare()


# --- solutions ---


@pytest.mark.parametrize(
  'reference, text, right',
  [
    ('18', 'She has 16 - 3 = 13.\n#### 18', True),
    ('18', 'She has 18.\n#### 16', False),
    (r'\frac{1}{2}', r'so $\boxed{0.5}$, not $\frac13$.', True),
    ('(3+4)*2', '<analysis>3\n<answer>14', True),
    ('18', 'The answer is $18.00 per day. Or 17', True),
    ('18', 'I do not know', False),
    ('', '#### ', False),
    ('', '', False),
    ('5', r'\boxed{}5', False),
    ('5', r'\boxed{5, 6}', False),
    ('5', r'\boxed{5} or \boxed{6}', False),
  ],
)
def test_check(reference, text, right):
  assert math.check(Problem('', text=reference), text) == right


# --- hostile solutions, through the host ---

BOMBS = {
  'exponent tower': ('9^{9^{9^{9^{9}}}}', '3^{2^{81}}'),
  'factorial': ('(10^{9})!', '(10^{9}+1)!-(10^9)!'),
  'nested factorials': ('9!!!!!!!', r'\sqrt{2}'),
  'sum': (r'\sum_{n=1}^{10^{12}} \frac{\sin n}{n}', r'\sqrt{2}'),
  'product': (r'\prod_{n=1}^{10^{9}} (n^2+1)', '10^{9}!'),
  'expansion': ('(x+y+z+w)^{4000}-1', '(x+y+z+w)^{3999}(x+y+z+w)'),
  'eigenvalues': (r'\operatorname{eigenvalues}(' + r'\operatorname{zeros}(900,900))', r'\sqrt{2}'),
  'zeros': (r'\operatorname{zeros}(99999,99999)', r'\sqrt{2}'),
}
ODD = {
  'roots': r'\sqrt{' * 60 + '2' + '}' * 60,
  'fractions': r'\frac{1}{1+' * 30 + '1' + '}' * 30,
  'parentheses': '(' * 190 + '1' + ')' * 190,
  'minus': '-' * 399,
  'set of sets': r'\{' * 90 + r'\}' * 90,
  'boxes': r'\boxed{' * 50 + '5' + '}' * 50,
  'plus minus': r'1 \pm ' * 60 + '1',
  'nines': '9' * 399,
  'exponent': '1e999999999',
  'million nines': '9' * 10**6,
  'million braces': '{' * 10**6,
  'million boxes': r'\boxed{' * 150_000,
  'million blanks': ' ' * 10**6,
  'surrogates': '\ufffd\x00' * 100,
}


@pytest.fixture(scope='module')
def verifier():
  return HostVerifier(math.check, seconds=SECONDS, workers=WORKERS, memory=0.5, size=256)


@pytest.mark.long
def test_a_hostile_answer_costs_its_time_out_at_most_and_no_other_verdict(verifier):
  honest = [
    (Problem('', text=r'2\sqrt{2}'), rf'so \boxed{{{text}}}') for text in (r'\sqrt{8}', r'\sqrt{7}')
  ]
  assert verifier.verdicts(honest).tolist() == [True, False]
  hostile = [
    (Problem('', text=reference), rf'\boxed{{{bomb}}}') for bomb, reference in BOMBS.values()
  ]
  for name, text in ODD.items():
    hostile.append(
      (Problem('', text=r'\sqrt{2}'), text if name.startswith('million') else rf'\boxed{{{text}}}')
    )
  for i in range(0, len(hostile), WORKERS):
    number = f'{i}\\sqrt{{{i + 2}}}'
    honest = [(Problem('', text=number), f'#### {answer}') for answer in (number, '-1-' + number)]
    began, asked = time.monotonic(), [*hostile[i : i + WORKERS], *honest]
    assert verifier.verdicts(asked).tolist() == [*[False] * (len(asked) - 2), True, False]
    assert time.monotonic() - began < SECONDS + 5  # of a busy machine
  assert verifier.failure is None


@pytest.mark.long
def test_a_search_is_judged(verifier):
  references = [r'\frac{\sqrt{3}}{3}', '1,000']
  texts = [
    [
      r'\boxed{\frac{1}{\sqrt{3}}}',
      r'\boxed{\sqrt{3}}',
      r'\boxed{9^{9^{9^{9}}}}',
      r'\boxed{' + ' ' * 150 + '3^{-1/2}}',
      '2',
    ],
    ['#### 1000', r'\boxed{10^3}', '<answer>999', 'the answer is $1000.', '9' * 200],
  ]
  tree = jax.tree.map(
    lambda *parts: jnp.concatenate(parts), *(finished_tree(row, length=200) for row in texts)
  )
  letters = [list(reference.encode().ljust(20, b'\0')) for reference in references]
  lengths = np.array([len(reference) for reference in references], np.int32)
  reference = Reference(np.array(letters, np.uint8), lengths, np.full((2, 1), -1, np.int32))
  verify = functools.partial(verifier.outcome, table=BYTES)
  judged = jax.jit(lambda reference, tree: judge(reference, tree, verify))(reference, tree)
  np.testing.assert_array_equal(judged.outcome[:, 0], [[1, 0, 0, 1, 0], [1, 1, 0, 1, 0]])
  assert verifier.failure is None


def finished_tree(texts, length):
  """One problem's tree of whole solutions below the root."""
  tree = toys.hand_tree(
    [0],
    width=len(texts),
    max_steps=1,
    step=length,
    terminal=[[True] * len(texts)],
    length=[[len(t) for t in texts]],
  )
  return tree.replace(
    tokens=jnp.array([[[list(text.encode().ljust(length, b'\0')) for text in texts]]], jnp.int32)
  )
