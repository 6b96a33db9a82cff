"""The two verdicts on arithmetic agree, and hold to the grammar."""

import jax
import jax.numpy as jnp
import numpy as np

from o1jax.tasks import infix
from o1jax.text.steps import ANSWER

ROWS = 10_000
verify = jax.jit(jax.vmap(infix.verify))


def verdicts(cases, size=96):
  """Cases (numbers, text) -> bool array. Rows are always as many, so that a width is compiled
  once."""
  text = np.zeros((ROWS, size), np.uint8)
  length = np.zeros(ROWS, np.int32)
  numbers = np.full((ROWS, 5), -1, np.int32)
  for i, (given, solution) in enumerate(cases):
    encoded = solution.encode()[-size:]
    text[i, : len(encoded)], length[i], numbers[i, : len(given)] = (
      list(encoded),
      len(encoded),
      given,
    )
  return np.asarray(verify(jnp.asarray(text), jnp.asarray(length), jnp.asarray(numbers)))[
    : len(cases)
  ]


FIXED = [  # numbers, what follows the answer tag, verdict
  ((26, 3, 5, 7), '5+3*7', True),
  ((26, 3, 5, 7), '(3*7)+5', True),
  ((26, 3, 5, 7), '((((5))))+3*7', True),
  ((26, 3, 5, 7), '(((((5)))))+3*7', False),  # deeper than the grammar allows
  ((26, 3, 5, 7), ' 5 + 3 * 7 ', True),
  ((26, 3, 5, 7), '5+3*7' + ' ' * 43, True),
  ((26, 3, 5, 7), '5+3*7' + ' ' * 44, False),  # longer than SIZE
  ((26, 3, 5, 7), '', False),
  ((26, 3, 5, 7), '   ', False),
  ((26, 3, 5, 7), '26', False),
  ((26, 3, 5, 7), '5+21', False),
  ((26, 3, 5, 7), '5+3*7+0', False),
  ((26, 3, 5, 7), '5+3*7*1', False),
  ((26, 3, 5, 7), '5+3*7\n', False),
  ((26, 3, 5, 7), '5+3*7\0', False),
  ((26, 3, 5, 7), '5+3*7)', False),
  ((26, 3, 5, 7), '5+3*7)\0', False),
  ((26, 3, 5, 7), '5+3*7)' + '\0' * 43, False),
  ((26, 3, 5, 7), '(5+3*7', False),
  ((26, 3, 5, 7), '5+3*07', False),
  ((26, 3, 5, 7), '5+3*7.0', False),
  ((26, 3, 5, 7), '+5+3*7', False),
  ((26, 3, 5, 7), '5+-3*-7', False),
  ((26, 3, 5, 7), '5+3*7=26', False),
  ((26, 3, 5, 7), '5+3(7)', False),
  ((26, 3, 5, 7), '(5)+(3)*(7)', True),
  ((26, 3, 5, 7), '()5+3*7', False),
  ((26, 3, 5, 7), '5 3', False),
  ((26, 3, 5, 7), '5\t+3*7', False),
  ((26, 3, 5, 7), '٥+3*7', False),
  ((26, 3, 5, 7), '1' + ANSWER + '5+3*7', True),  # the last tag counts
  ((26, 3, 5, 7), '5+3*7' + ANSWER, False),
  ((26, 2, 6), '26', False),
  ((26, 26), '2 6', False),
  ((35, 5, 7), '5*7', True),
  ((36, 3, 5, 7), '5 + 3 * 7', False),
  ((1, 3, 5, 7), '5-7+3', False),  # -2 on the way
  ((1, 3, 5, 7), '5+3-7', True),
  ((9, 3, 5, 7), '7+5-3', True),
  ((5, 3, 5, 7), '7-5+3', True),
  ((10, 4, 5, 2), '5/2*4', False),  # 2.5 on the way
  ((10, 4, 5, 2), '5*4/2', True),
  ((10, 4, 5, 2), '4/2*5', True),
  ((10, 4, 5, 2), '5*(4/2)', True),
  ((10, 4, 5, 2), '5*4//2', False),
  ((16, 4, 2), '4**2', False),
  ((16, 4, 2), '4* *2', False),
  ((2, 24, 4, 3), '24/4/3', True),
  ((18, 24, 4, 3), '24/(4/3)', False),
  ((10, 5, 5, 10), '10/(5-5)', False),
  ((0, 5, 5, 10), '(5-5)/10', True),
  ((0, 5, 5, 0), '0/(5-5)', False),
  ((10, 5, 5, 0), '5+5+0', True),
  ((10, 5, 5, 0), '5+5+00', False),
  ((10, 10), '0010', False),
  ((10, 1000, 1000, 100000), '1000*1000/100000', True),
  ((99, 1000, 1001, 1), '1000*1001-1', False),
  ((10, 100000, 100000, 1000000000), '100000*100000/1000000000', False),
  ((2147483647, 65536, 65536, 1), '65536*65536-1', False),
  ((26, 3, 5, 7), '5+3*99999999999999999999', False),
]


def test_fixed_cases():
  cases = [(numbers, ANSWER + answer) for numbers, answer, _ in FIXED]
  expected = [verdict for *_, verdict in FIXED]
  assert [infix.check(*case) for case in cases] == expected
  assert verdicts(cases).tolist() == expected


def test_without_a_tag_there_is_no_answer():
  cases = [
    ((26, 3, 5, 7), text)
    for text in ('', '5+3*7', 'answer>5+3*7', '<answer5+3*7', '<analysis>5+3*7')
  ]
  assert not verdicts(cases).any() and not any(infix.check(*case) for case in cases)


def _expression(rng, numbers):
  """A random expression on all the numbers."""
  if len(numbers) == 1:
    return str(numbers[0])
  cut = int(rng.integers(1, len(numbers)))
  text = (
    _expression(rng, numbers[:cut]) + rng.choice(list('+-*/')) + _expression(rng, numbers[cut:])
  )
  return f'({text})' if rng.random() < 0.4 else text


def _spoil(rng, text):
  """A near miss: one small edit."""
  junk = [*'()-*/+ 015\n=.\0é_,x', '00', '**', '//', '()', '99999999999', ANSWER]
  place = int(rng.integers(len(text) + 1))
  kind = rng.integers(4)
  if kind == 0:
    return text[:place] + junk[rng.integers(len(junk))] + text[place:]
  if kind == 1:
    return text[:place] + text[place + 1 :]
  if kind == 2:
    return text[:place] + junk[rng.integers(len(junk))] + text[place + 1 :]
  return text[:place] + text[place : place + 3][::-1] + text[place + 3 :]


def fuzzed(count):
  rng = np.random.default_rng(0)
  symbols = list('()+-*/ 0123456789') + ['(', ')', '12', ' ']
  for i in range(count):
    given = [
      int(n)
      for n in rng.integers(
        0 if i % 7 == 0 else 1, [5, 13, 100, 2000][i % 4], size=rng.integers(2, 5)
      )
    ]
    answer = _expression(rng, [int(n) for n in rng.permutation(given)])
    try:
      # Mostly reachable, so that many a verdict is yes.
      target = max(min(int(eval(answer)), 2 * infix.LIMIT), 0)
    except ZeroDivisionError:
      target = 10
    for _ in range(int(rng.integers(0, 3)) if i % 3 else 0):
      answer = _spoil(rng, answer)
    if i % 10 == 0:
      answer = ''.join(symbols[j] for j in rng.integers(len(symbols), size=rng.integers(60)))
    if i % 11 == 0:
      answer = answer.replace('+', ' + ').replace('(', '( ')
    yield (target, *given), 'x\n' * int(rng.integers(3)) + ANSWER + answer


def test_verdicts_agree_on_ten_thousand_strings():
  cases = list(fuzzed(ROWS))
  fast, slow = verdicts(cases), np.array([infix.check(*case) for case in cases])
  assert [case for case, one, other in zip(cases, fast, slow) if one != other] == []
  assert 0.1 < slow.mean() < 0.9


def test_the_width_of_the_row_does_not_matter():
  cases = [(numbers, ANSWER + answer) for numbers, answer, _ in FIXED if len(answer) < 30]
  assert (verdicts(cases, size=40) == verdicts(cases)).all()
