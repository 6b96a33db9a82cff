"""A task's data on disk, through TensorFlow Datasets (array_record files) without TensorFlow.

write(task, 'data', counts={'train': 1000, 'test': 500}, texts=5000)
demonstrations = read(task.name, 'data', 'train')
lines = read_text(task.name, 'data')
"""

import contextlib
import functools
import hashlib
import io
import json
import pathlib
from collections.abc import Mapping

import numpy as np
import tensorflow_datasets as tfds

from o1jax import types
from o1jax.data.pipeline import Demonstration, demonstrate, plain_text
from o1jax.text.steps import Given

# Before a step that was given. It stands in no text.
_GIVEN = '\x1f'
PLAIN_TEXT = 'plain_text'  # the split of texts for pre-training: records without prompt and numbers


class TaskData(tfds.core.GeneratorBasedBuilder):
  """The records of one task by split, in their order. A record has prompt, text, numbers, steps
  and, of a mixture, task (see `types.Problem`)."""

  VERSION = tfds.core.Version('1.0.0')

  def __init__(self, *, records: Mapping[str, list[dict]], data_dir):
    self._records = records
    self._mixed = any('task' in record for part in records.values() for record in part)
    super().__init__(data_dir=data_dir, file_format='array_record')

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      description='Problems with demonstrations, and plain text.',
      disable_shuffling=True,
      features=tfds.features.FeaturesDict(
        {
          'prompt': tfds.features.Text(),
          'text': tfds.features.Text(),
          'numbers': tfds.features.Sequence(np.int32),
          'steps': tfds.features.Sequence(tfds.features.Text()),
          **({'task': np.int32} if self._mixed else {}),
        }
      ),
      metadata=tfds.core.MetadataDict(digest=_digest(self._records)),
    )

  def _split_generators(self, dl_manager):
    return {split: self._generate_examples(records) for split, records in self._records.items()}

  def _generate_examples(self, records):
    yield from enumerate(records)


def write(
  task: types.Task, data_dir, *, counts: Mapping[str, int], texts: int, seed: int = 0
) -> pathlib.Path:
  """Writes problems with a demonstration each, and plain text. Data that exist already are kept if
  they are the same.

  Args:
    task: what to write.
    data_dir: folder for many tasks; this one gets data_dir/<task name>.
    counts: problems by split.
    texts: plain texts for pre-training, more than 0.
    seed: of problems, demonstrations and texts.

  Returns:
    The folder of the files.

  Raises:
    ValueError: the folder holds data of other settings, or a split holds too few problems.
  """
  record = functools.partial(_record, mixed=bool(task.parts))
  records = {
    split: [record(*d) for d in demonstrate(task, task.problems(split, count, seed), seed=seed)]
    for split, count in counts.items()
  }
  records[PLAIN_TEXT] = [
    record(types.Problem(prompt='', text=text), []) for text in plain_text(task, texts, seed=seed)
  ]
  root = pathlib.Path(data_dir) / task.name
  builder = TaskData(records=records, data_dir=root)
  if builder.data_path.exists():
    if builder.info.metadata['digest'] != _digest(records):
      raise ValueError(
        f'{root} holds data of other settings: choose another data_dir, or delete it.'
      )
  else:
    tfds.disable_progress_bar()
    # It would report a download that does not happen.
    with contextlib.redirect_stdout(io.StringIO()):
      builder.download_and_prepare()
  return pathlib.Path(builder.data_path)


def read(name: str, data_dir, split: str) -> list[Demonstration]:
  """The demonstrations of a split of task `name`, in the order written. ValueError where there are
  none."""
  return [
    Demonstration(
      types.Problem(
        prompt=record['prompt'].decode(),
        text=record['text'].decode(),
        numbers=tuple(map(int, record['numbers'])),
        task=int(record.get('task', 0)),
      ),
      [_from_disk(step.decode()) for step in record['steps']],
    )
    for record in _source(name, data_dir, split)
  ]


def read_text(name: str, data_dir) -> list[str]:
  """The plain texts of task `name`, in the order written. ValueError where there are none."""
  return [record['text'].decode() for record in _source(name, data_dir, PLAIN_TEXT)]


def _source(name, data_dir, split):
  folder = pathlib.Path(data_dir) / name
  # By number, because leftovers of a killed builder lie beside the versions.
  versions = sorted(folder.glob('task_data/[0-9]*/dataset_info.json'))
  if not versions:
    raise ValueError(
      f'{folder} holds no data of a task {name!r}: write some with o1jax.data.builder.write.'
    )
  builder = tfds.builder_from_directory(versions[-1].parent)
  if split not in builder.info.splits:
    raise ValueError(f'{folder} has no split {split!r}: it has {sorted(builder.info.splits)}.')
  return builder.as_data_source(split)


def _record(problem: types.Problem, steps: list[str], *, mixed: bool) -> dict:
  record = {
    'prompt': problem.prompt,
    'text': problem.text,
    'numbers': list(problem.numbers),
    'steps': [_GIVEN + step if isinstance(step, Given) else step for step in steps],
  }
  return record | {'task': problem.task} if mixed else record


def _from_disk(step: str) -> str:
  return Given(step.removeprefix(_GIVEN)) if step.startswith(_GIVEN) else step


def _digest(records) -> str:
  return hashlib.sha256(json.dumps(records, sort_keys=True).encode()).hexdigest()
