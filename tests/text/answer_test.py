r"""The final answer of a solution: which of several marks counts, and in one pass over whatever a
model writes."""

import random
import time

import pytest

from o1jax.text.answer import boxed, final_answer, told


@pytest.mark.parametrize(
  'text, answer',
  [
    (r'so \boxed{5}.', '5'),
    (r'\boxed{4}, no: \boxed{5}', '5'),
    (r'\boxed{\frac{1}{2}}', r'\frac{1}{2}'),
    (r'\boxed{x = \boxed{5}}', '5'),
    (r'\boxed{5} and \boxed{6', '5'),
    (r'\boxed{\{1, 2\}}', r'\{1, 2\}'),
    (r'\boxed{[1, 2\}}', r'[1, 2\}'),
    (r'\fbox{5}', '5'),
    (r'\boxed 5$', '5'),
    (r'\boxed {5}', '5'),
    ('\\boxed{1\n2}', '1\n2'),
    ('{5} } { 6}', None),
    (r'\boxedx{5}', None),
    (r'\boxed{5', None),
    ('', None),
  ],
)
def test_boxed(text, answer):
  assert boxed(text) == answer


@pytest.mark.parametrize(
  'text, answer',
  [
    ('#### 7\n<answer>8 the answer is 9, 10 \\boxed{6}', '6'),
    ('<answer>8\n#### 7\nthe answer is 9, 10', '7'),
    ('the answer is 9, 10\n<answer> 8 \nso', '8'),
    ('The answer is 9. There are 10 of them', '9'),
    ('there are 9 and 10 of them', '10'),
    ('#### 7\n#### 8\n', '8'),
    ('<answer>(3+4)*2', '(3+4)*2'),
    ('The final answer is: **$3.50**.', '$3.50'),
    ('Answer: 18 dollars\nbye', '18 dollars'),
    ('the answer is\n12', '12'),
    ('she pays $1,234.50.', '$1,234.50'),
    ('10-5', '5'),
    ('it is -5', '-5'),
    ('a half, 1/2, or 50%', '50%'),
    (r'that is \frac{3}{4} of it', r'\frac{3}{4}'),
    (r'\boxed{}, as 5 is', None),
    ('#### \n5', None),
    ('no idea', None),
    ('', None),
  ],
)
def test_the_first_kind_of_mark_counts_and_the_last_of_its_kind(text, answer):
  assert final_answer(text) == answer


@pytest.mark.parametrize(
  'text, marker, answer',
  [
    ('<answer>a\n<answer>b\nc\n', '<answer>', 'b\nc'),
    ('no', '<answer>', ''),
    (r'so \boxed{5}. Or \boxed{\frac{1}{2}}, it is.', r'\boxed{', r'\frac{1}{2}'),
    (r'so \boxed{5', r'\boxed{', ''),
    ('```python\nprint(1)\n```', '', '```python\nprint(1)\n```'),
  ],
)
def test_what_is_told_of_a_solution_is_behind_its_marker(text, marker, answer):
  assert told(text, marker) == answer


def test_boxed_is_what_trying_each_box_from_the_right_finds():
  rng = random.Random(0)
  found = 0
  for _ in range(3000):
    text = ''.join(
      rng.choices([r'\boxed{', '{', '}', '}', '}', r'\{', r'\}', '1'], k=rng.randrange(12))
    )
    assert boxed(text) == slowly_boxed(text), text
    found += boxed(text) is not None
  assert found > 500


def slowly_boxed(text):
  for start in range(len(text), -1, -1):
    if text.startswith(r'\boxed{', start):
      for end in range(start + 7, len(text)):
        inside = text[start + 7 : end].replace(r'\{', '').replace(r'\}', '')
        if text[end] == '}' and text[end - 1] != '\\' and inside.count('{') == inside.count('}'):
          return text[start + 7 : end]
  return None


@pytest.mark.parametrize(
  'piece',
  [
    '{',
    '}',
    r'\boxed{',
    r'\boxed ',
    '\\',
    '9',
    '9,',
    '-',
    '.',
    'answer is ',
    'answer',
    '####',
    ' ',
    r'\frac{1',
    '$',
  ],
)
def test_a_long_text_takes_one_pass(piece):
  """Looked through anew from each place, it would take hours."""
  began = time.monotonic()
  for end in ('', 'x', '\n', '}'):
    final_answer(piece * (250_000 // len(piece)) + end)
  assert time.monotonic() - began < 10
