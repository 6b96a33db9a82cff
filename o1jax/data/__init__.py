"""Data that others published, and how data become arrays.

`FORMATS` is the table of published problems. Another format is a reader in this folder, and a row
here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from o1jax.data.problems import read_gsm8k, read_math
from o1jax.data.programs import read_apps, read_mbpp
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
