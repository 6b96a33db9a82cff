"""Solutions with a label on each step, exchanged in the format of TRL's stepwise supervision.

write_stepwise('prm800k.jsonl', read_prm800k('prm800k/data/phase2_train.jsonl'))
rows = list(read_stepwise('prm800k.jsonl'))
"""

import gzip
import json
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from o1jax.data.fields import field, filled, optional, shown, texts
from o1jax.data.records import ReaderError, read_lines
from o1jax.text.steps import NEUTRAL, RIGHT, WRONG

_NUMBERS = {RIGHT: 1, NEUTRAL: 0.5, WRONG: 0, None: -100}  # in a file
_LABELS = {number: label for label, number in _NUMBERS.items()}


class LabelledSolution(NamedTuple):
  """A solution with a label on each step.

  Attributes:
    prompt: the problem.
    steps: at least one text, each of which may hold several lines.
    labels: one for each step: RIGHT (1), NEUTRAL (0: not wrong, but no progress), WRONG (-1), or
      None (not labelled).
    answer: the problem's true final answer, '' where the format has none.
  """

  prompt: str
  steps: tuple[str, ...]
  labels: tuple[int | None, ...]
  answer: str = ''


def read_stepwise(path, *, skip_bad: bool = False) -> Iterator[LabelledSolution]:
  """Reads what `write_stepwise` wrote, or TRL's own files (huggingface.co/docs/trl/dataset_formats,
  stepwise supervision).

  JSONL of `prompt`, `completions` and `labels`. A label is true or 1, false or 0, 0.5 for a neutral
  step, or -100 or null for a step without one.

  Args:
    path: the file.
    skip_bad: see `records.read_lines`.

  Raises:
    ReaderError: as `records.read_lines` does.
  """
  return read_lines(path, lambda record: [_stepwise(record)], skip_bad=skip_bad)


def write_stepwise(path, rows: Iterable[LabelledSolution]) -> int:
  """Writes rows as TRL's stepwise supervision: JSONL, compressed where the name ends with .gz.

  Labels are numbers, so that a column has one type: 1 right, 0 wrong, 0.5 neutral, -100 without a
  label. TRL makes integers of them. So it takes neutral for wrong, as it does in PRM800K, and its
  loss ignores -100. An answer is a field `answer`, which TRL does not read. The file appears only
  when it is whole.

  Returns:
    How many rows were written.

  Raises:
    ValueError: for no rows, or one that `read_stepwise` would refuse or change.
  """
  path = pathlib.Path(path)
  part = path.with_name(f'{path.name}.part')
  count = 0
  try:
    with (gzip.open if path.suffix == '.gz' else open)(part, 'wt', encoding='utf-8') as file:
      for row in rows:
        file.write(_line(row) + '\n')
        count += 1
    if not count:
      raise ValueError(f'there are no rows to write to {path}: give at least one.')
    os.replace(part, path)
  finally:
    part.unlink(missing_ok=True)
  return count


def _stepwise(record):
  prompt, steps = filled(record, 'prompt'), texts(record, 'completions')
  values = field(record, 'labels', list)
  if len(values) != len(steps):
    raise ReaderError(
      f"there are {len(values)} 'labels' for {len(steps)} 'completions': expected one for each."
    )
  for value in values:
    if isinstance(value, str | list | dict) or value is not None and value not in _LABELS:
      raise ReaderError(
        f"the field 'labels' has {shown(value)} in it: expected true or 1, false or 0, 0.5 or -100."
      )
  labels = tuple(_LABELS.get(value) for value in values)
  return LabelledSolution(prompt, steps, labels, optional(record, 'answer', str) or '')


def _line(row):
  labels = [_NUMBERS.get(label) for label in row.labels]
  answer = dict(answer=row.answer) if row.answer else {}
  line = json.dumps(dict(prompt=row.prompt, completions=row.steps, labels=labels, **answer))
  if _stepwise(json.loads(line)) != row:
    raise ValueError(
      f'the row of {shown(row.prompt)} with labels {row.labels} would not come back as it is: '
      'labels are 1, 0, -1 or None, and a prompt has no white space around it.'
    )
  return line
