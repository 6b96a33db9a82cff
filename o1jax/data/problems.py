"""Problems with worked solutions, from GSM8K and MATH.

train = list(read_gsm8k('grade_school_math/data/train.jsonl'))
test = list(read_math('MATH/test'))
"""

import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from o1jax.data.fields import field, filled, optional, shown
from o1jax.data.records import ReaderError, read_folder, read_lines
from o1jax.text.answer import boxed

_ANNOTATION = re.compile('<<[^\n]*?>>')
_ANSWER = '####'
_BOX = re.compile(r'\\(?:boxed|fbox)(?![a-zA-Z])')
_LEVEL = re.compile(r'Level ([1-5])')
UNKNOWN_LEVEL = 'Level ?'  # two problems of MATH have it


class SolvedProblem(NamedTuple):
  r"""A problem with one worked solution.

  Attributes:
    problem: the question.
    steps: the lines of the solution, without blank lines and without white space around them. The
      lines of a program keep their indentation.
    answer: the final answer as written there: '1,080', r'\frac{1}{2}'. Of a program, its tests.
    subject: '' where the format has none.
    level: difficulty in 1..5, None where it has none.
    name: the data's own name for the problem, '' where it has none.
  """

  problem: str
  steps: tuple[str, ...]
  answer: str
  subject: str = ''
  level: int | None = None
  name: str = ''


def without_annotations(text: str) -> str:
  """Text without GSM8K's calculator annotations: '48/2 = <<48/2=24>>24' -> '48/2 = 24'."""
  return _ANNOTATION.sub('', text)


def read_gsm8k(
  path, *, keep_annotations: bool = False, skip_bad: bool = False
) -> Iterator[SolvedProblem]:
  """GSM8K (github.com/openai/grade-school-math, arXiv:2110.14168): JSONL of `question` and
  `answer`.

  `answer` holds the solution and, after the last `####`, the final answer. In the files named
  socratic, a step is a question, ` ** ` and its answer; it stays in one piece.

  Args:
    path: the file.
    keep_annotations: leave calculator annotations, `<<48/2=24>>`, in the steps.
    skip_bad: see `records.read_lines`.

  Raises:
    ReaderError: as `records.read_lines` does.
  """
  convert = lambda record: [_gsm8k(record, keep_annotations)]
  return read_lines(path, convert, skip_bad=skip_bad)


def read_gsm8k_tfds(
  folder, split: str, *, keep_annotations: bool = False
) -> Iterator[SolvedProblem]:
  """GSM8K as TensorFlow Datasets prepares it (its `gsm8k`, with file_format='array_record'), read
  without TensorFlow.

  The order is that of the prepared files, not GSM8K's own.

  Args:
    folder: TFDS' data_dir, or the folder of a version in it, with `dataset_info.json`.
    split: 'train', 'test', 'train_socratic' or 'test_socratic'.
    keep_annotations: as in `read_gsm8k`.

  Raises:
    ReaderError: the folder holds no gsm8k, or holds it in files that only TensorFlow reads. Also
      for an unknown split and a malformed record.
  """
  # Imported here, since it takes a second and the other readers do without it.
  import tensorflow_datasets as tfds

  folder = pathlib.Path(folder)
  places = [
    path
    for pattern in ('', '[0-9]*/', 'gsm8k/[0-9]*/')
    for path in folder.glob(f'{pattern}dataset_info.json')
  ]
  if not places:
    raise ReaderError(
      f'{folder} holds no gsm8k of TFDS: expected gsm8k/1.0.0/dataset_info.json in it; or read the '
      'JSONL file with read_gsm8k.'
    )
  builder = tfds.builder_from_directory(max(places).parent)
  if builder.info.file_format != tfds.core.FileFormat.ARRAY_RECORD:
    raise ReaderError(
      f'{builder.data_path} holds {builder.info.file_format.value} files, which need TensorFlow: '
      "prepare it with file_format='array_record', or read the JSONL file with read_gsm8k."
    )
  if split not in builder.info.splits:
    raise ReaderError(
      f'{builder.data_path} has no split {split!r}: it has {sorted(builder.info.splits)}.'
    )
  for number, record in enumerate(builder.as_data_source(split)):
    try:
      yield _gsm8k(
        {name: record[name].decode() for name in ('question', 'answer') if name in record},
        keep_annotations,
      )
    except (ReaderError, UnicodeDecodeError) as error:
      raise ReaderError(f'{builder.data_path}, record {number} of {split}: {error}') from None


def _gsm8k(record, keep_annotations):
  problem, text = filled(record, 'question'), field(record, 'answer', str)
  solution, mark, answer = (text if keep_annotations else without_annotations(text)).rpartition(
    _ANSWER
  )
  answer = answer.strip()
  if not mark or not answer or '\n' in answer:
    raise ReaderError(
      f"the field 'answer' ends with {shown(text[-40:])}: expected a last line `#### answer`."
    )
  return SolvedProblem(problem, _lines(solution), answer)


def read_math(path, *, skip_bad: bool = False) -> Iterator[SolvedProblem]:
  """MATH (github.com/hendrycks/math, arXiv:2103.03874), also as JSONL, and MATH-500
  (github.com/openai/prm800k).

  A record has `problem` and `solution`. It may have `level` ('Level 5' or 5), `type` or `subject`,
  `unique_id`, and `answer`. Without an `answer`, the answer is the solution's `boxed_answer`.

  Args:
    path: a JSONL file, or a folder with <subject>/<n>.json in it: MATH/train or MATH/test.
    skip_bad: see `records.read_lines`; a folder's records are its files.

  Raises:
    ReaderError: as `records.read_lines` does, and for a folder that holds both splits.
  """
  folder = pathlib.Path(path)
  if not folder.is_dir():
    return read_lines(path, lambda record: [_math(record)], skip_bad=skip_bad)
  if (folder / 'train').is_dir() and (folder / 'test').is_dir():
    raise ReaderError(
      f'{folder} holds both splits of MATH: give {folder / "train"} or {folder / "test"}.'
    )
  convert = lambda record, file: [
    _math(record)._replace(name=f'{folder.name}/{file.relative_to(folder).as_posix()}')
  ]
  return read_folder(folder, '*.json', convert, skip_bad=skip_bad)


def _math(record):
  problem, solution = filled(record, 'problem'), filled(record, 'solution')
  answer = filled(record, 'answer') if 'answer' in record else boxed_answer(solution)
  subject = optional(record, 'subject', str) or optional(record, 'type', str) or ''
  return SolvedProblem(
    problem,
    _lines(solution),
    answer,
    subject,
    _level(record),
    optional(record, 'unique_id', str) or '',
  )


def boxed_answer(solution: str) -> str:
  r"""The content of the last `\boxed{}` or `\fbox{}` of a LaTeX text.

  MATH also writes `\boxed 5$`. Only the last box counts, unlike in `text.answer.boxed`, which reads
  what a model wrote.

  Raises:
    ReaderError: there is no box, or the last one is empty or has no closing brace.
  """
  boxes = [match.start() for match in _BOX.finditer(solution)]
  if not boxes:
    raise ReaderError(
      f'the solution ends with {shown(solution[-40:])}: expected its answer in a \\boxed{{}}.'
    )
  last = solution[boxes[-1] :]
  answer = boxed(last)
  if answer is None:
    raise ReaderError(f'the last box of the solution is not closed: {shown(last)}.')
  if not answer.strip():
    raise ReaderError('the last \\boxed{} of the solution is empty: expected its answer.')
  return answer.strip()


def _level(record):
  level = optional(record, 'level', str, int)
  if type(level) is str and level != UNKNOWN_LEVEL:
    match = _LEVEL.fullmatch(level)
    level = int(match[1]) if match else 0
  if type(level) is int and not 1 <= level <= 5:
    raise ReaderError(
      f"the field 'level' is {shown(record['level'])}: expected 'Level 1' to 'Level 5', or 1 to 5."
    )
  return level if type(level) is int else None


def _lines(text):
  return tuple(line.strip() for line in text.split('\n') if line.strip())
