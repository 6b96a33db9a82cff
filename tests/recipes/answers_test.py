"""What is said of a question, and the loop that takes one question a line."""

import types

import pytest

from o1jax.evaluation.tree_view import DrawnNode
from o1jax.recipes import answers
from o1jax.recipes.looking import Picture
from o1jax.runtime.config import ConfigError
from o1jax.tasks import countdown


def talk(*lines, show='answer'):
  """What a talk says and complains of; questions are answered with what is shown of them."""
  said, wrong = [], []

  def answer(question, *, show):
    answers.read_question(countdown.task(), question)
    return f'{show} of {question}'

  answers.converse(iter(lines), answer, show=show, say=said.append, complain=wrong.append)
  return said, wrong


def test_a_line_is_a_question_and_an_error_is_one_line_of_many():
  said, wrong = talk('make 9 from 2 3 4', 'hello', '', '  ', '9 from 4 3 2')
  assert said == ['answer of make 9 from 2 3 4\n', 'answer of 9 from 4 3 2\n']
  assert len(wrong) == 1 and wrong[0].startswith("error: 'hello' cannot be read")


@pytest.mark.parametrize('word', ['quit', 'exit', ':q', ' QUIT '])
def test_a_word_ends_it(word):
  assert talk(word, 'make 9 from 2 3 4') == ([], [])


def test_what_is_shown_changes_by_a_word():
  said, wrong = talk(
    '9 from 2 3 4', ':tree', '9 from 2 3 4', ':steps', '9 from 2 3 4', show='steps'
  )
  assert [text.split()[0] for text in said] == ['steps', 'tree', 'steps'] and not wrong
  said, wrong = talk(':all', '9 from 2 3 4')
  assert said == ['answer of 9 from 2 3 4\n'] and ':answer, :steps, :tree' in wrong[0]


@pytest.mark.parametrize(
  'ask, question, words',
  [
    (None, 'make 9 from 2 3 4', 'takes no questions'),
    (countdown.task().ask, 'make 9 from 2 3 \udcff', 'no UTF-8'),
    (countdown.task().ask, 'make 9', 'ask such as'),
  ],
)
def test_what_a_task_cannot_take_is_one_line(ask, question, words):
  with pytest.raises(ConfigError, match=words) as refused:
    answers.read_question(types.SimpleNamespace(name='toy', ask=ask), question)
  assert len(str(refused.value).splitlines()) == 1


def found(answer, correct, *ended):
  root = DrawnNode(0, -1, 'asked', 0, 0.5, 0.5, False, None, False)
  nodes = [
    DrawnNode(i + 1, 0, 'step', 0, 0.5, 0.5, over, None, False) for i, over in enumerate(ended)
  ]
  return Picture('asked', answer, correct, [root, *nodes])


def test_a_verdict_is_told_where_there_is_one_and_an_answer():
  assert answers._answer(found('7', True), known=True) == 'answer: 7 (right, by the verifier)'
  assert answers._answer(found('7', False), known=True) == 'answer: 7 (wrong, by the verifier)'
  assert answers._answer(found('7', False), known=False) == 'answer: 7 (not verified)'
  assert answers._answer(found('a\nb', True), known=True).startswith('answer: \na\nb')
  for correct in (True, False):
    assert answers._answer(found('', correct), known=True) == 'answer: none found'


def test_without_an_answer_it_is_told_why():
  assert answers._summary(found('', False, False, False), []).startswith('no solution was finished')
  assert '2 solutions that ended' in answers._summary(found('', False, True, False, True), [])
