"""Labelled solutions as tokens: where steps end, and that a policy would write the same."""

import numpy as np
import pytest

from o1jax.data.spelled import label_rows, spell
from o1jax.data.stepwise import LabelledSolution, read_stepwise
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


def packed(tokenizer, rows, *, row_length=64, **how):
  spelled = spell(tokenizer, rows, markers=('<answer>',))
  return spelled, label_rows(spelled, [row.labels for row in rows], row_length=row_length, **how)


def test_rows_have_targets_where_steps_end(tokenizer):
  rows = [
    solution('3*7=21;5,21', '<answer>5')._replace(labels=(1, -1)),
    solution('7', '3', '5')._replace(labels=(None, 0, 1)),
  ]
  spelled, found = packed(tokenizer, rows)
  first, second = (len(one.ids) for one in spelled)
  assert found.tokens.shape == (1, 64) and found.length.tolist() == [first + second]
  assert found.tokens[0, : first + second].tolist() == spelled[0].ids + spelled[1].ids
  assert found.segment[0].tolist() == [1] * first + [2] * second + [0] * (64 - first - second)
  ends = [*spelled[0].ends, *(first + end for end in spelled[1].ends[1:])]
  assert np.flatnonzero(found.mask[0]).tolist() == ends
  assert found.target[0, ends].tolist() == [1, 0, 0.5, 1]
  starts = np.cumsum(found.written[0])[
    [spelled[0].first - 1, first - 1, first + spelled[1].first - 1]
  ]
  assert starts.tolist() == [0, first - spelled[0].first, first - spelled[0].first]
  assert not found.written[0, first + second :].any()


@pytest.mark.parametrize('neutral, targets', [('half', [0.5]), ('right', [1.0]), ('masked', [])])
def test_a_neutral_step_teaches_what_is_asked(tokenizer, neutral, targets):
  _, found = packed(tokenizer, [solution('7')._replace(labels=(0,))], neutral=neutral)
  assert found.target[found.mask].tolist() == targets


def test_a_label_of_minus_100_is_no_label(tokenizer, tmp_path):
  """TRL took -100 for right (trl #2127)."""
  rows = []
  for name, label in (('a', '-100'), ('b', 'null')):
    path = tmp_path / f'{name}.jsonl'
    path.write_text(f'{{"prompt": "make 7", "completions": ["7", "5"], "labels": [1, {label}]}}\n')
    rows.append(packed(tokenizer, list(read_stepwise(path)))[1])
  assert rows[0].mask.sum() == 1
  for name in ('target', 'mask', 'tokens'):
    np.testing.assert_array_equal(getattr(rows[0], name), getattr(rows[1], name))
