r"""Ways to write one answer, and the parts of sets, tuples and matrices."""

import random

import pytest

from o1jax.verify.latex import Group, clean, group, join_thousands

PIECES = [
  *r'\ { } ( ) [ ] \{ \} , ; $ $$ \( \) \[ \] . % ^ _ & \\ \, \! ~ \boxed{ \text{ \text{or} \frac \frac12 \left( '
  r'\right) 1 12 345 0.5 x pi sqrt(2) and or = - \pm \infty ^\circ \begin{pmatrix} \end{pmatrix} \langle'.split(),
  ' ',
]


@pytest.mark.parametrize(
  'text, written',
  [
    (r'$\dfrac12$', r'\frac{1}{2}'),
    (r'\left(1,\!000 \right].', '(1000 ]'),
    (r'\[ \boxed{\text{ Friday }} \]', 'Friday'),
    (r'\(1\), \(2\)', r'\(1\), \(2\)'),
    ('$1$ and $2$', '$1$ and $2$'),
    (r'\begin{pmatrix}1\\ 2\end{pmatrix}', r'\begin{pmatrix}1\\ 2\end{pmatrix}'),
    (r'90 ^ {\circ}', r'90 \text{degree }'),
    (r'25^\circ\text{C}', r'25\text{degree C}'),
    ('1 000 1/2', '1000 1/2'),
    ('1 125/1000', '1 125/1000'),
    ('√2 ≤ sqrt(x+1)', r'\sqrt{2} \le \sqrt{x+1}'),
    ('+inf', r'\infty'),
    ('((5))', '((5))'),
    (r'\boxed{\frac{1}{2}}', r'\frac{1}{2}'),
    (r'{1}{2}', '{1}{2}'),
    ('...', ''),
  ],
)
def test_clean(text, written):
  assert clean(text) == written


@pytest.mark.parametrize(
  'text, parts',
  [
    ('(1, 2]', Group('(]', ('1', '2'))),
    (r'\{1; (2, 3)\}', Group('{}', ('1', '(2, 3)'))),
    ('1, 2 and 3', Group('', ('1', '2', '3'))),
    (r'1\text{ or }2', Group('', ('1', '2'))),
    (r'$1$ and \(2\).', Group('', ('1', '2'))),
    ('1, 2, and 3', Group('', ('1', '2', '3'))),
    ('(1, 2), (3, 4)', Group('', ('(1, 2)', '(3, 4)'))),
    ('1,000, 2', Group('', ('1,000', '2'))),
    ('(1,000)', Group('()', ('1', '000'))),
    (r'\langle 1, 2 \rangle', Group('<>', ('1', '2'))),
    (r'\begin{bmatrix} 1 & 2 \\ 3 & 4 \\ \end{bmatrix}', Group('2x2', ('1', '2', '3', '4'))),
    ('((5))', Group('()', ('5',))),
    (r'\{\}', Group('{}', ())),
    ('1,000', None),
    ('(1, 2) + (3, 4)', None),
    (r'(1, 2) \cup (3, 4)', None),
    ('f(1, 2)', None),
    (r'\frac{1}{2}', None),
    ('(1, 2', None),
    ('1), 2', None),
    ('sand', None),
    (r'\lor', None),
    (r'\begin{pmatrix} 1 & 2 \\ 3 \end{pmatrix}', None),
    ('', None),
  ],
)
def test_group(text, parts):
  assert group(text) == parts


def test_join_thousands():
  assert join_thousands('12,345 + 1,000x - 1,23 + 1.234,567') == '12345 + 1000x - 1,23 + 1.234,567'


def test_no_text_is_too_odd():
  """Whatever is cleaned, its parts are parts of it."""
  rng = random.Random(0)
  parted = 0
  for _ in range(4000):
    text = clean(''.join(rng.choices(PIECES, k=rng.randrange(1, 12))))
    parts = group(text)
    parted += parts is not None
    assert all(item and item in text for item in parts.items) if parts else True
  assert parted > 300
