"""Data that others published, and how data become arrays.

`FORMATS` is the table of published problems, and `LABELS` that of solutions with labelled steps.
Another format is a reader in this folder, and a row here.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from o1jax.data.planted import planted
from o1jax.data.problems import read_gsm8k, read_math
from o1jax.data.programs import read_apps, read_mbpp
from o1jax.data.step_labels import read_math_shepherd, read_prm800k, read_processbench
from o1jax.data.stepwise import LabelledSolution, read_stepwise
from o1jax.tasks import programs, questions


class Format(NamedTuple):
  """A form of published problems.

  Attributes:
    task: (name=, train=, test=) -> Task of two sets of solved problems.
    read: (path, skip_bad=, ...) -> solved problems of a file.
    words: what it is, for people.
    needs: what `read` is given besides: 'split' where one file holds all splits, 'check' where the
      answer of a problem is tests, which it checks.
  """

  task: Callable
  read: Callable
  words: str
  needs: tuple[str, ...] = ()

  @property
  def defaults(self) -> dict[str, Any]:
    """The settings of a task that is read from files; each split has a path."""
    return dict(train='', test='', skip_bad=False)


FORMATS = {
  'gsm8k': Format(questions.task, read_gsm8k, 'school arithmetic in words (arXiv:2110.14168)'),
  'math': Format(questions.task, read_math, 'competition mathematics (arXiv:2103.03874)'),
  'mbpp': Format(
    programs.task, read_mbpp, 'short Python programs (arXiv:2108.07732)', needs=('split', 'check')
  ),
  'apps': Format(
    programs.task, read_apps, 'programs of contests (arXiv:2105.09938)', needs=('check',)
  ),
}


class Labels(NamedTuple):
  """A source of solutions with labelled steps.

  Attributes:
    read: (path, skip_bad=) -> `LabelledSolution`s of a file; of a source that is `made`,
      (task, problems, seed=) -> one for each problem.
    words: what it is, for people.
    made: it is made of a task's own problems, and takes no file.
  """

  read: Callable[..., Iterator[LabelledSolution]]
  words: str
  made: bool = False


LABELS = {
  'processbench': Labels(read_processbench, 'the first wrong step, by people (arXiv:2412.06559)'),
  'prm800k': Labels(read_prm800k, 'every step, by people (arXiv:2305.20050)'),
  'math_shepherd': Labels(read_math_shepherd, 'whether a step can be saved (arXiv:2312.08935)'),
  'stepwise': Labels(read_stepwise, "TRL's form, to which all others convert"),
  'planted': Labels(planted, "one wrong step in every second of a task's solutions", made=True),
}
