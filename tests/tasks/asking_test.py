"""Questions of people: what is read is what was asked, and all else is refused."""

import itertools

import pytest

from o1jax.tasks import cipher, countdown


def ask(question, **trained):
  return countdown.ask(question, numbers=3, **trained)


@pytest.mark.parametrize(
  'question',
  [
    'make 26 from 3 5 7',
    '26 from 3,5,7',
    '3 5 7 = 26',
    'Make 26: 3, 5 and 7.',
    'how do I get from 3, 5 and 7 to 26?',
    'from 3, 5 and 7 make 26',
    'from 3, 5, and 7, make 26',
    'use 3, 5, 7 to reach 26',
    '3 5 7 -> 26',
    ' get\n26   using 3 5 7 ',
  ],
)
def test_the_target_is_the_target_wherever_it_stands(question):
  problem = ask(question)
  assert problem.numbers == (26, 3, 5, 7) and problem.prompt == 'make 26 from 3,5,7\n'


# Other numbers, as people write them, in each place of a question that is read.
@pytest.mark.parametrize(
  'number',
  [
    *('-26', '\u221226', '+26', '2.5', '2,5', '.5', '1,000', '1.000', '1 000', '1_000'),
    *('1/2', '\u00bd', '1e1', '0x1a', '026', '0', '26!', '26%', '$26', '26\u00b2', 'twenty', 'x'),
    *('\u0662\u0666', '\uff12\uff16', '26 26', '26 or 27', '26=26', '1000001', '9' * 5000, '', ' '),
  ],
)
@pytest.mark.parametrize(
  'form', ['make {} from 3 5 7', '3 5 7 = {}', 'from 3, 5 and 7 to {}', 'make 26 from 3 {} 7']
)
def test_what_is_no_plain_number_is_refused(form, number):
  with pytest.raises(ValueError, match='ask such as "make 12 from 3 4 5"|put a blank') as refused:
    ask(form.format(number))
  assert len(str(refused.value).splitlines()) == 1 and len(str(refused.value)) < 300


@pytest.mark.parametrize(
  'question',
  [
    *('', ' ', '\n', 'hello', '5', '1' * 50, 'make 24', 'make 24 from', '26 3 5 7', '26=3,5,7'),
    *('make 26 from 3 5', 'make 26 from 3 5 7 9', 'make 26 from 3+5 7', 'make 26 from 3;5;7'),
    *('do not make 26 from 3 5 7', 'make 26 from 3 5 7 without 3', 'make 26 from 3 5 7 = 26'),
    *('make 26 from 3 5 7\nmake 27 from 3 5 7', 'make 26 from 3 5 7 ' + 'please ' * 20_000),
    *(
      'make at least 26 from 3 5 7',
      'make 26. from 3 5 7',
      'make 26 from 3 -5 7',
      'make 26 from 3, , 5, 7',
    ),
  ],
)
def test_what_is_no_countdown_is_refused_with_the_form(question):
  with pytest.raises(ValueError, match='ask such as "make 12 from 3 4 5"'):
    ask(question)


def test_a_comma_that_may_join_or_part_is_refused():
  with pytest.raises(ValueError, match="'1,234': put a blank"):
    ask('make 26 from 1,234 5')
  assert ask('make 26 from 1, 234, 5').numbers == (26, 1, 234, 5)


def test_every_problem_of_the_task_is_read_as_itself():
  for numbers in (2, 3, 4):
    task = countdown.task(numbers=numbers, max_number=12)
    for problem in task.problems('train', 20, 0):
      assert task.ask(problem.prompt) == problem  # and it has no note


@pytest.mark.parametrize(
  'question, note',
  [
    ('make 26 from 3 5 7', ''),
    ('make 26 from 13 6 7', 'trained on numbers up to 12'),
    ('make 105 from 3 5 7', 'trained on targets from 10 to 100'),
    ('make 9 from 3 5 7', 'trained on targets from 10 to 100'),
    ('make 99 from 1 1 1', 'no way leads to 99'),
  ],
)
def test_a_note_tells_what_training_never_showed(question, note):
  assert ask(question, max_number=12, max_target=100).note == note


def test_a_cipher_as_people_ask_it():
  asked = cipher.problem('oyfjdnisdr')
  for question in ('decode oyfjdnisdr', ' OYFJDNISDR ', 'Decode:  oyfjdnisdr\n'):
    assert cipher.ask(question) == asked


@pytest.mark.parametrize(
  'question',
  [
    *('', ' ', 'decode', 'decode ', 'oyf', 'oyfj!', 'oy fj1x', 'decoded oyfj', '\u00f6\u00df'),
    'x' * 5001,
  ],
)
def test_what_is_no_cipher_is_refused_with_the_form(question):
  with pytest.raises(ValueError, match='(?i)ask such as "decode oyfjdnisdr rtqwainr"') as refused:
    cipher.ask(question)
  assert len(str(refused.value)) < 300


def test_a_cipher_longer_than_training_had():
  for words, letters in itertools.product((2, 3), (4, 5)):
    found = cipher.ask(' '.join(['oy' * letters] * words), max_words=2, max_letters=4).note
    assert ('up to 2 words' in found) == (words > 2)
    assert ('up to 4 letters' in found) == (letters > 4)
