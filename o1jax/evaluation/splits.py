"""The problems of a task that are measured: a test, and a validation for what has to be chosen
first.

Results of the validation problems stand beside the others as results of a task of their own,
'TASK:validation'.
"""

from collections.abc import Sequence

VALIDATION, TEST = 'validation', 'test'
SPLITS = (VALIDATION, TEST)


def task_of(name: str, split: str) -> str:
  """What results of a split have as their task."""
  return name if split == TEST else f'{name}:{split}'


def split_of(task: str) -> str:
  """The split of results by their task."""
  return VALIDATION if task.endswith(f':{VALIDATION}') else TEST


def problems_of(task: str) -> str:
  """Whose results they are, in words."""
  split = split_of(task)
  return f'{task.removesuffix(f":{split}")} {split} problems'


def of_test(rows: Sequence) -> list:
  """The rows of test problems alone."""
  return [row for row in rows if split_of(row.task) == TEST]
