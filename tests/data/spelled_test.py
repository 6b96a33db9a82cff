"""Labelled solutions as tokens: where steps end, and that a policy would write the same."""

import pytest

from o1jax.data.spelled import spell
from o1jax.data.stepwise import LabelledSolution
from o1jax.text.tokenizer import Tokenizer

TEXT = 'make 26 from 7,3,5\n<completion>3*7=21;5,21\n<completion>5+21=26\n<answer>5+3*7'


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory):
  return Tokenizer.train([TEXT], tmp_path_factory.mktemp('spelled') / 'tokenizer.model')


def solution(*steps, prompt='make 26 from 7,3,5'):
  return LabelledSolution(prompt, steps, (1,) * len(steps))


def one(tokenizer, *steps, markers=('<answer>',), **how):
  (found,) = spell(tokenizer, [solution(*steps, **how)], markers=markers)
  return found


def test_it_is_what_a_policy_writes(tokenizer):
  prompt, *steps = TEXT.split('\n')
  found = one(tokenizer, *steps)
  assert found.ids == [*tokenizer.encode(prompt + '\n'), *sum(tokenizer.encode_steps(steps), [])]
  assert found.ids[: found.first] == tokenizer.encode(prompt + '\n')
  # The delimiter ends a step, and the end token the last.
  ends = [found.ids[end] for end in found.ends]
  assert ends == [*tokenizer.encode('\n\n'), tokenizer.eos_id]
  assert found.ends[-1] == len(found.ids) - 1


def test_a_solution_that_stops_before_its_answer_is_left_open(tokenizer):
  steps = TEXT.split('\n')[1:-1]
  found = one(tokenizer, *steps)
  assert tokenizer.eos_id not in found.ids
  whole = one(tokenizer, *TEXT.split('\n')[1:])
  assert found.ids == whole.ids[: len(found.ids)] and found.ends == whole.ends[:-1]
  assert one(tokenizer, *steps, markers=('=26',)).ids[-1] == tokenizer.eos_id
  assert one(tokenizer, *steps, markers=('nowhere', '')).ids[-1] == tokenizer.eos_id


def test_a_step_of_several_lines_ends_with_the_last(tokenizer):
  apart = one(tokenizer, '3*7=21', '5+21=26', '<answer>5')
  joined = one(tokenizer, '3*7=21\n\n 5+21=26 ', '<answer>5\n')
  assert joined.ids == apart.ids and joined.ends == apart.ends[1:]
  blank = one(tokenizer, '', '<answer>5')
  assert len(blank.ends) == 2 and blank.ends[0] == blank.first


def test_a_prompt_is_closed_once(tokenizer):
  assert one(tokenizer, '5', prompt='make 26').ids == one(tokenizer, '5', prompt='make 26\n').ids


def test_labels_are_not_read(tokenizer):
  rows = [solution('3*7=21', '<answer>5'), solution('5', prompt='make 7')]
  flipped = [row._replace(labels=tuple(-x for x in row.labels), answer='5') for row in rows]
  markers = ('<answer>',)
  assert spell(tokenizer, rows, markers=markers) == spell(tokenizer, flipped, markers=markers)
