"""Solutions with a label on each step, from PRM800K, Math-Shepherd and ProcessBench."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from o1jax.data.fields import field, filled, optional, shown, texts
from o1jax.data.problems import without_annotations
from o1jax.data.records import ReaderError, read_lines
from o1jax.data.stepwise import NEUTRAL, RIGHT, WRONG, LabelledSolution

_MARK = 'ки'
_FIRST_STEP = re.compile('step 1:', re.IGNORECASE)


def read_prm800k(path, *, skip_bad: bool = False) -> Iterator[LabelledSolution]:
  """PRM800K (github.com/openai/prm800k, arXiv:2305.20050), phase 1 or 2.

  The first row of a record is its trajectory. Each step of it is the completion that was chosen, or
  the labeler's own, which is right. Where there is neither, the first completion ends the
  trajectory. Every other rated completion is a row of its own, in which the steps before it have no
  label. So every label of the data occurs once. Records for quality control and for the screening
  of labelers give no rows.

  Args:
    path: a JSONL file.
    skip_bad: see `records.read_lines`.

  Raises:
    ReaderError: as `records.read_lines` does.
  """
  return read_lines(path, _prm800k, skip_bad=skip_bad)


class _Step(NamedTuple):
  """One step of a trajectory, and the other completions that were rated there."""

  text: str
  label: int | None
  others: list[tuple[str, int | None]]
  last: bool = False


def _prm800k(record):
  if any(
    [
      field(record, f'is_{name}_question', bool)
      for name in ('quality_control', 'initial_screening')
    ]
  ):
    return []
  question = field(record, 'question', dict)
  prompt, answer = filled(question, 'problem'), optional(question, 'ground_truth_answer', str) or ''
  steps, labels, rows = [], [], []
  for value in field(field(record, 'label', dict), 'steps', list):
    step = _step(value)
    if step is None:
      break
    unlabelled = [None] * len(steps)
    rows += [
      LabelledSolution(prompt, (*steps, text), (*unlabelled, rating), answer)
      for text, rating in step.others
      if rating is not None
    ]
    steps.append(step.text)
    labels.append(step.label)
    if step.last:
      break
  return [LabelledSolution(prompt, tuple(steps), tuple(labels), answer), *rows] if steps else []


def _step(value):
  """The step of the trajectory; None where the labeler stopped before it."""
  completions = [
    (field(c, 'text', str), _rating(c)) for c in optional(value, 'completions', list) or []
  ]
  human = optional(value, 'human_completion', dict, str)
  chosen = optional(value, 'chosen_completion', int)
  if chosen is not None:
    if not 0 <= chosen < len(completions):
      raise ReaderError(
        f"the field 'chosen_completion' is {shown(chosen)} of {len(completions)} completions: "
        'expected an index from 0, or null.'
      )
    return _Step(*completions.pop(chosen), completions)
  if human is not None:
    return _Step(human if isinstance(human, str) else field(human, 'text', str), RIGHT, completions)
  return _Step(*completions.pop(0), completions, last=True) if completions else None


def _rating(completion):
  rating = optional(completion, 'rating', int)
  if rating not in (RIGHT, NEUTRAL, WRONG, None):
    raise ReaderError(f"the field 'rating' is {shown(rating)}: expected -1, 0, 1 or null.")
  return rating


def read_math_shepherd(
  path, *, keep_annotations: bool = False, skip_bad: bool = False
) -> Iterator[LabelledSolution]:
  """Math-Shepherd (huggingface.co/datasets/peiyi9979/Math-Shepherd, arXiv:2312.08935): JSONL.

  `input` is the problem and its steps, each closed by the mark `ки`. `label` is the same text with
  `+` or `-` in place of each mark: whether any sampled continuation reached the right answer. Steps
  keep their 'Step 1:'. In some records the problem has a mark of its own, which is dropped. Where
  there is no 'Step 1:', the problem ends at its question mark.

  Args:
    path: the file.
    keep_annotations: leave calculator annotations, `<<48/2=24>>`, in the steps.
    skip_bad: see `records.read_lines`.

  Raises:
    ReaderError: as `records.read_lines` does.
  """
  return read_lines(
    path, lambda record: [_math_shepherd(record, keep_annotations)], skip_bad=skip_bad
  )


def _math_shepherd(record, keep_annotations):
  text, marked = filled(record, 'input'), filled(record, 'label')
  field(record, 'task', str)
  *parts, rest = text.split(_MARK)
  if not parts or rest:
    raise ReaderError(
      f"the field 'input' ends with {shown(text[-40:])}: expected steps closed by the mark "
      f'{_MARK!r}.'
    )
  end, labels = 0, []
  for part in parts:
    end += len(part) + 1
    labels.append({'+': RIGHT, '-': WRONG}.get(marked[end - 1 : end]))
  if None in labels or end != len(marked):
    raise ReaderError(
      f"the field 'label' is not the text of 'input' with + or - for each of its {len(parts)} "
      f'marks.'
    )
  prompt, steps = _split_problem(parts)
  if not keep_annotations:
    steps = map(without_annotations, steps)
  steps = tuple(step.strip() for step in steps)
  return LabelledSolution(prompt, steps, tuple(labels[-len(steps) :]))


def _split_problem(parts):
  """Texts that each ended with a mark -> the problem, and the steps."""
  begins = (
    (i, match.start()) for i, part in enumerate(parts) if (match := _FIRST_STEP.search(part))
  )
  first, begin = next(begins, (0, parts[0].find('?') + 1))
  prompt, step = ''.join(parts[:first]) + parts[first][:begin], parts[first][begin:]
  if not prompt.strip() or not step.strip():
    raise ReaderError(
      f"the field 'input' begins with {shown(parts[0])}: expected a problem, and then 'Step 1:'."
    )
  return prompt.strip(), [step, *parts[first + 1 :]]


def read_processbench(path, *, skip_bad: bool = False) -> Iterator[LabelledSolution]:
  """ProcessBench (github.com/QwenLM/ProcessBench, arXiv:2412.06559): an array in a .json file, or
  JSONL.

  `label` is the index of the first wrong step, -1 where all are right. Steps after the first wrong
  one have no label.

  Args:
    path: the file.
    skip_bad: see `records.read_lines`.

  Raises:
    ReaderError: as `records.read_lines` does.
  """
  return read_lines(path, lambda record: [_processbench(record)], skip_bad=skip_bad)


def _processbench(record):
  for name, kind in dict(id=str, generator=str, final_answer_correct=bool).items():
    field(record, name, kind)
  prompt, steps, first = (
    filled(record, 'problem'),
    texts(record, 'steps'),
    field(record, 'label', int),
  )
  if not -1 <= first < len(steps):
    raise ReaderError(
      f"the field 'label' is {shown(first)} of {len(steps)} steps: expected an index from 0, or -1."
    )
  right = len(steps) if first < 0 else first
  labels = [*[RIGHT] * right, WRONG, *[None] * len(steps)]
  return LabelledSolution(prompt, steps, tuple(labels[: len(steps)]))
