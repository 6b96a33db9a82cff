"""Small files in the formats that the readers read, as their documentation writes them, with random
text in them."""

import json

from o1jax.data.problems import SolvedProblem
from o1jax.data.stepwise import NEUTRAL, RIGHT, WRONG, LabelledSolution

# What data hold: LaTeX, quotes, other scripts, characters beyond 16 bits, and separators that are
# no ends of lines.
_WORDS = [
  'so',
  '$x^2$',
  r'\frac{1}{2}',
  '"said"',
  'naïve',
  '数',
  '😀',
  '16-3',
  '\\n',
  'a\tb',
  '\u2028',
  '{',
  'back\\',
  '%',
]


def text(rng, most=6):
  """Words on one line, without white space around them."""
  return ' '.join(rng.choices(_WORDS, k=rng.randint(1, most))).strip() + '.'


def solved(rng, **metadata):
  """A random problem; its braces are balanced in the answer."""
  answer = rng.choice(
    ['1,080', '-3', r'\frac{1}{2}', r'\left\{1, 2\right\}', r'[2,5)', '3\\sqrt{2}', '10%']
  )
  steps = tuple(text(rng) for _ in range(rng.randint(1, 5)))
  return SolvedProblem(text(rng) + '?', steps, answer, **metadata)


def labelled(rng, labels, *, prefix='', answer=''):
  """A random solution with these labels; its steps are texts of one line."""
  steps = tuple(prefix.format(i) + text(rng) for i, _ in enumerate(labels, 1))
  return LabelledSolution(text(rng) + '?', steps, tuple(labels), answer)


def lines(records):
  """Objects as JSONL."""
  return ''.join(
    json.dumps(record, ensure_ascii=i % 2 == 0) + '\n' for i, record in enumerate(records)
  )


def gsm8k(row):
  return {'question': row.problem, 'answer': '\n'.join([*row.steps, f'#### {row.answer}'])}


def math(row):
  solution = '\n'.join([*row.steps[:-1], f'{row.steps[-1]} \\boxed{{{row.answer}}}$.'])
  level = f'Level {row.level}' if row.level else 'Level ?'
  return {'problem': row.problem, 'level': level, 'type': row.subject, 'solution': solution}


def math500(row):
  return {
    'problem': row.problem,
    'solution': '\n'.join(row.steps),
    'answer': row.answer,
    'subject': row.subject,
    'level': row.level,
    'unique_id': row.name,
  }


def completion(text, rating):
  return {'text': text, 'rating': rating, 'flagged': None}


def prm_step(completions, *, chosen=None, human=None):
  """A step of PRM800K from (text, rating)s."""
  own = {'text': human, 'rating': None, 'source': 'human', 'flagged': False}
  return {
    'completions': [completion(*c) for c in completions],
    'human_completion': human and own,
    'chosen_completion': chosen,
  }


def prm800k(
  prompt, steps, *, answer='7', phase=2, quality=False, screening=False, finish='solution'
):
  """A record of PRM800K from its steps; see `prm_step`."""
  question = {'problem': prompt, 'ground_truth_answer': answer}
  if phase == 2:
    question |= {
      'ground_truth_solution': f'It is $\\boxed{{{answer}}}$.',
      'pre_generated_steps': ['a', 'b'],
      'pre_generated_answer': '8',
      'pre_generated_verifier_score': 0.01,
    }
  return {
    'labeler': '340d89bc',
    'timestamp': '2023-01-22T04:34:27.052924',
    'generation': 9 if phase == 2 else None,
    'is_quality_control_question': quality,
    'is_initial_screening_question': screening,
    'question': question,
    'label': {'steps': steps, 'total_time': 278270, 'finish_reason': finish},
  }


def prm800k_phase2(row):
  """A trajectory without alternatives: all steps are chosen but a wrong one, which ends it."""
  chosen = [None if label == WRONG else 0 for label in row.labels]
  steps = [
    prm_step([(step, label)], chosen=c) for step, label, c in zip(row.steps, row.labels, chosen)
  ]
  return prm800k(
    row.prompt,
    steps,
    answer=row.answer,
    finish='found_error' if WRONG in row.labels else 'solution',
  )


def math_shepherd(row, task='GSM8K'):
  """Its steps are expected to begin with 'Step 1: ' and so on."""
  written = lambda marks: (
    f'{row.prompt} ' + '\n'.join(f'{step} {mark}' for step, mark in zip(row.steps, marks))
  )
  return {
    'input': written(['ки'] * len(row.steps)),
    'label': written('+' if x == RIGHT else '-' for x in row.labels),
    'task': task,
  }


def processbench(row, number=0):
  label = row.labels.index(WRONG) if WRONG in row.labels else -1
  return {
    'id': f'gsm8k-{number}',
    'generator': 'Qwen2-7B-Instruct',
    'problem': row.prompt,
    'steps': list(row.steps),
    'final_answer_correct': label < 0,
    'label': label,
  }


def stepwise(row):
  """As TRL's own scripts write it, without neutral steps."""
  return {
    'prompt': row.prompt,
    'completions': list(row.steps),
    'labels': [label == RIGHT for label in row.labels],
  }


def first_wrong(rng, most=5):
  """Labels of ProcessBench: right up to the first wrong step, if there is one, and none behind
  it."""
  count = rng.randint(1, most)
  right = rng.randint(0, count)
  return [*[RIGHT] * right, WRONG, *[None] * count][:count]


def until_wrong(rng, most=5):
  """Labels of PRM800K's phase 2: right or neutral up to the first wrong step, which is the last."""
  return [rng.choice([RIGHT, RIGHT, NEUTRAL]) for _ in range(rng.randint(1, most))] + [
    WRONG
  ] * rng.randint(0, 1)


def binary(rng, most=5):
  return [rng.choice([RIGHT, WRONG]) for _ in range(rng.randint(1, most))]


def program(rng):
  """A random problem of MBPP: a function of one number, and its tests."""
  number, name = rng.randint(1, 99), rng.choice(['add', 'plus_some', 'f'])
  code = f'def {name}(x):\r\n\tif x > {number}:\r\n\r\n\t\treturn x  \r\n\treturn x + {number}'
  tests = [f'assert {name}({x}) == {x if x > number else x + number}' for x in (0, number, 100)]
  return {
    'task_id': rng.randint(11, 974),
    'text': text(rng),
    'code': code,
    'test_setup_code': '',
    'test_list': tests,
    'challenge_test_list': [],
  }


def script(rng):
  """A random problem of APPS: it prints what it reads, and a number."""
  number = rng.randint(1, 99)
  code = f'import sys\n\nprint(sys.stdin.read().strip(), {number})\n'
  tests = {'inputs': ['a\n', ['b', 'c', '']], 'outputs': [f'a {number}\n', [f'b\nc {number}', '']]}
  return {
    'problem_id': rng.randint(0, 999),
    'question': text(rng),
    'solutions': json.dumps([code, 'print()']),
    'input_output': json.dumps(tests),
    'difficulty': 'introductory',
    'url': 'https://a.test',
    'starter_code': '',
  }
