"""PRM800K, Math-Shepherd and ProcessBench: every label comes back once; what is not in the format
is told by line."""

import json
import random
from collections import Counter

import pytest

from o1jax.data.records import ReaderError
from o1jax.data.step_labels import read_math_shepherd, read_prm800k, read_processbench
from o1jax.data.stepwise import (
  NEUTRAL,
  RIGHT,
  WRONG,
  LabelledSolution,
  read_stepwise,
  write_stepwise,
)
from tests.data import formats
from tests.data.formats import prm_step


def write(path, *records):
  path.write_text(formats.lines(records), encoding='utf-8')
  return path


def random_rows(seed, labels, count=60, **settings):
  rng = random.Random(seed)
  return [formats.labelled(rng, labels(rng), **settings) for _ in range(count)]


def shepherd_rows(seed):
  return random_rows(seed, formats.binary, prefix='Step {}: ')


FORMATS = {
  'prm800k': (
    read_prm800k,
    formats.prm800k_phase2,
    lambda: random_rows(0, formats.until_wrong, answer='7'),
  ),
  'math_shepherd': (read_math_shepherd, formats.math_shepherd, lambda: shepherd_rows(1)),
  'processbench': (
    read_processbench,
    formats.processbench,
    lambda: random_rows(2, formats.first_wrong),
  ),
}


@pytest.mark.parametrize('name', FORMATS)
def test_what_was_written_comes_back_and_can_be_exchanged(tmp_path, name):
  read, record, rows = FORMATS[name]
  rows = rows()
  path = write(tmp_path / f'{name}.jsonl', *map(record, rows))
  assert list(read(path)) == rows
  assert write_stepwise(tmp_path / 'all.jsonl', read(path)) == len(rows)
  assert list(read_stepwise(tmp_path / 'all.jsonl')) == rows


def test_processbench_is_an_array_too(tmp_path):
  rows = random_rows(3, formats.first_wrong)
  path = tmp_path / 'gsm8k.json'
  path.write_text(json.dumps(list(map(formats.processbench, rows)), indent=2))
  assert list(read_processbench(path)) == rows


# As in the documentation: alternatives only after the first mistake, and no step that is chosen.
PHASE2 = formats.prm800k(
  'gcd?',
  [
    prm_step([('I want', 0)], chosen=0),
    prm_step([('I know', -1), ('To factor', 0), ('A tree', 1), ('Hm', None)]),
    prm_step([('behind the end', 1)], chosen=0),
  ],
  finish='found_error',
)
PHASE1 = formats.prm800k(
  'a pencil?',
  [
    prm_step([('Let', 1)], chosen=0),
    prm_step([('3p', -1), ('5p', -1)], human='We have'),
    prm_step([('two', 0), ('So', 1), ('Right', None)], chosen=1),
    {'completions': None, 'human_completion': None, 'chosen_completion': None},
  ],
  phase=1,
  answer='29',
)


def test_prm800k_has_the_trajectory_first_and_each_other_completion_as_a_row(tmp_path):
  path = write(tmp_path / 'phase.jsonl', PHASE2, PHASE1)
  two = lambda *pairs: LabelledSolution('gcd?', *zip(*pairs), '7')
  one = lambda *pairs: LabelledSolution('a pencil?', *zip(*pairs), '29')
  assert list(read_prm800k(path)) == [
    two(('I want', NEUTRAL), ('I know', WRONG)),
    two(('I want', None), ('To factor', NEUTRAL)),
    two(('I want', None), ('A tree', RIGHT)),
    one(('Let', RIGHT), ('We have', RIGHT), ('So', RIGHT)),
    one(('Let', None), ('3p', WRONG)),
    one(('Let', None), ('5p', WRONG)),
    one(('Let', None), ('We have', None), ('two', NEUTRAL)),
  ]


def test_every_rating_of_prm800k_occurs_once(tmp_path):
  rng = random.Random(5)
  for i in range(40):
    steps, rated = [], Counter()
    for step in range(rng.randint(1, 6)):
      completions = [(f'{step}.{c}', rng.choice([1, 0, -1])) for c in range(rng.randint(1, 5))]
      human = f'{step}.human' if rng.random() < 0.3 else None
      steps.append(
        prm_step(
          completions, chosen=None if human else rng.randrange(len(completions)), human=human
        )
      )
      rated.update([*completions, *([(human, RIGHT)] if human else [])])
    rows = list(read_prm800k(write(tmp_path / f'{i}.jsonl', formats.prm800k('p', steps, phase=1))))
    labelled = Counter(
      (step, label)
      for row in rows
      for step, label in zip(row.steps, row.labels)
      if label is not None
    )
    assert labelled == rated
    trajectory = rows[0].steps
    assert len(trajectory) == len(steps)
    assert all(row.steps[:-1] == trajectory[: len(row.steps) - 1] for row in rows)


def test_rows_for_control_and_screening_are_dropped_from_prm800k(tmp_path):
  steps = [prm_step([('a', 1)], chosen=0)]
  dropped = [
    formats.prm800k('control', steps, quality=True),
    formats.prm800k('screening', steps, screening=True),
    formats.prm800k('nothing', []),
  ]
  path = write(tmp_path / 'phase2.jsonl', *dropped, formats.prm800k('kept', steps))
  assert [row.prompt for row in read_prm800k(path)] == ['kept']


def prm_with(**step):
  return formats.prm800k('p', [prm_step([('a', 1)], chosen=0) | step])


@pytest.mark.parametrize(
  'record, words',
  [
    (
      prm_with(completions=[formats.completion('a', 2)]),
      "'rating' is 2: expected -1, 0, 1 or null",
    ),
    (
      prm_with(completions=[formats.completion('a', True)]),
      "'rating' is True: expected a whole number or null",
    ),
    (prm_with(completions=[formats.completion('a', 0.5)]), "'rating' is 0.5"),
    (prm_with(completions=[formats.completion(None, 1)]), "'text' is None"),
    (prm_with(completions=['a']), "an object with the field 'text', and there is 'a'"),
    (
      prm_with(chosen_completion=1),
      "'chosen_completion' is 1 of 1 completions: expected an index from 0, or null",
    ),
    (prm_with(chosen_completion=-1), "'chosen_completion' is -1 of 1"),
    (prm_with(chosen_completion=None, human_completion={'rating': None}), "'text' is missing"),
    (formats.prm800k('p', None), "'steps' is None: expected a list"),
    (formats.prm800k(' ', []), "'problem' is blank"),
    (formats.prm800k('p', [], answer=29), "'ground_truth_answer' is 29"),
    (
      formats.prm800k('p', [], quality=0),
      "'is_quality_control_question' is 0: expected true or false",
    ),
    (
      {'question': {'problem': 'p'}},
      "'is_quality_control_question' is missing: there are 'question'",
    ),
  ],
)
def test_prm800k_malformed(tmp_path, record, words):
  path = write(tmp_path / 'phase2.jsonl', PHASE1, record, PHASE2)
  with pytest.raises(ReaderError, match=f'phase2.jsonl:2: .*{words}'):
    list(read_prm800k(path))
  assert len(list(read_prm800k(path, skip_bad=True))) == 7


BUZZ = {
  'input': ' What did Buzz eat?  Step 1: It is 5+8 = <<5+8=13>>13.  ки\nStep 2: 6 slices. The answer is: 6 ки',
  'label': ' What did Buzz eat?  Step 1: It is 5+8 = <<5+8=13>>13.  +\nStep 2: 6 slices. The answer is: 6 -',
  'task': 'GSM8K',
}


def with_marks(text):
  """A record from a text whose marks are written as labels, between bars."""
  labels = text.replace('|', '')
  return {'input': text.replace('|+|', 'ки').replace('|-|', 'ки'), 'label': labels, 'task': 'MATH'}


def test_math_shepherd_in_its_own_words(tmp_path):
  path = write(tmp_path / 'math-shepherd.jsonl', BUZZ)
  steps = ('Step 1: It is 5+8 = 13.', 'Step 2: 6 slices. The answer is: 6')
  assert list(read_math_shepherd(path)) == [
    LabelledSolution('What did Buzz eat?', steps, (RIGHT, WRONG))
  ]
  assert (
    next(read_math_shepherd(path, keep_annotations=True)).steps[0]
    == 'Step 1: It is 5+8 = <<5+8=13>>13.'
  )


@pytest.mark.parametrize(
  'text, prompt, steps, labels',
  [
    (
      'Let x = 1. |+| Find - or + x. Step 1: 1 |-|',
      'Let x = 1.  Find - or + x.',
      ('Step 1: 1',),
      (WRONG,),
    ),
    (
      'Find x. |-|\nStep 1: 1 |+|\nStep 2: 2 |-|',
      'Find x.',
      ('Step 1: 1', 'Step 2: 2'),
      (RIGHT, WRONG),
    ),
    ('Find x. step 1: 1 |+| step 2: 2 |-|', 'Find x.', ('step 1: 1', 'step 2: 2'), (RIGHT, WRONG)),
    ('How many? It is 1. |-| So 2. |+|', 'How many?', ('It is 1.', 'So 2.'), (WRONG, RIGHT)),
  ],
)
def test_math_shepherd_has_odd_records(tmp_path, text, prompt, steps, labels):
  path = write(tmp_path / 'math-shepherd.jsonl', with_marks(text))
  assert list(read_math_shepherd(path)) == [LabelledSolution(prompt, steps, labels)]


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'input': BUZZ['input'] + ' more'}, 'expected steps closed by the mark'),
    ({'input': 'What? Step 1: none'}, 'expected steps closed by the mark'),
    ({'label': BUZZ['label'] + '\nStep 3: +'}, r'with \+ or - for each of its 2 marks'),
    ({'label': BUZZ['label'].replace('+\n', '\n')}, 'for each of its 2 marks'),
    ({'label': BUZZ['label'].replace('+\n', '0\n')}, 'for each of its 2 marks'),
    ({'label': BUZZ['label'][:-2]}, 'for each of its 2 marks'),
    ({'task': None}, "'task' is None"),
    (
      with_marks('Find x. It is 1 |+|'),
      "begins with 'Find x. It is 1 ': expected a problem, and then 'Step 1:'",
    ),
    (with_marks('Step 1: It is 1 |+|'), "expected a problem, and then 'Step 1:'"),
    (with_marks('What is x? |+|'), "expected a problem, and then 'Step 1:'"),
  ],
)
def test_math_shepherd_malformed(tmp_path, changes, words):
  path = write(tmp_path / 'math-shepherd.jsonl', BUZZ, BUZZ | changes)
  with pytest.raises(ReaderError, match=f'math-shepherd.jsonl:2: .*{words}'):
    list(read_math_shepherd(path))


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'label': 2}, "'label' is 2 of 2 steps: expected an index from 0, or -1"),
    ({'label': -2}, "'label' is -2 of 2"),
    ({'label': False}, "'label' is False: expected a whole number"),
    ({'steps': []}, "'steps' is an empty list"),
    ({'steps': ['a', None]}, "'steps' has None in it"),
    ({'final_answer_correct': 'true'}, "'final_answer_correct' is 'true': expected true or false"),
    ({'id': 3}, "'id' is 3: expected text"),
  ],
)
def test_processbench_malformed(tmp_path, changes, words):
  good = formats.processbench(LabelledSolution('p', ('a', 'b'), (RIGHT, WRONG)))
  path = write(tmp_path / 'gsm8k.jsonl', good, good | changes, good)
  with pytest.raises(ReaderError, match=f'gsm8k.jsonl:2: .*{words}'):
    list(read_processbench(path))
  assert len(list(read_processbench(path, skip_bad=True))) == 2
