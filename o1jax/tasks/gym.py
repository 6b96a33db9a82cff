"""Any family of reasoning-gym (arXiv:2505.24760) as a task, with its questions, its difficulty, and
its scores as outcomes.

    task(family='mini_sudoku', level=1).problems('train', 1000, 0)

Questions and answers may have several lines. The first line of an answer is the answer step,
`<answer>4 3 1 2`, and the others are steps after it. A demonstration is the family's own answer
alone, since reasoning-gym shows no reasoning. The library's scorers give the verdicts, so there are
none on the device: config.verifier.where must be 'host'.
"""

import ast
import functools
import itertools
import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

from o1jax import types
from o1jax.tasks import asking, splits
from o1jax.tasks.ahead import AheadError, ahead
from o1jax.tasks.gym_family import Family
from o1jax.tasks.gym_family import family as family_of
from o1jax.text.steps import ANSWER, DELIMITER, Behaviours

_SPLITS = ('train', 'validation', 'test')
_DRY = 300  # after so many draws without a new question, a family counts as exhausted
_WORTH = 8  # fewest problems worth a process, whose start takes seconds
_MOST = 16  # most processes where the number is left open
_READS = 4096  # bytes of the end of a solution: some families want long answers


def task(
  *,
  family: str,
  level: int | None = None,
  settings: Mapping[str, Any] | None = None,
  threshold: float = 1.0,
  texts: int = 500,
  workers: int = 0,
  seconds: float = 120.0,
  behaviours: Behaviours = Behaviours(),
) -> types.Task:
  """The problems of one family at one difficulty. The task's name is `gym_` and the family's.

  A problem carries what its scorer needs as `text`, a literal of Python. Other processes draw
  problems. They end with the call, and the problems are kept for later calls. The splits of a seed
  are parts of one sequence and share no question. Problems whose own answer is scored as wrong are
  left out. Plain texts are questions with their answers, of training problems of seed 0.

  Args:
    family: one of reasoning-gym's, such as 'mini_sudoku'.
    level: of its curriculum, from 0; None = the family's defaults.
    settings: other fields of the family's config.
    threshold: least score of a right answer, in (0, 1]. Below 1 many wrong answers pass, see the
      family's scorer.
    texts: how many training problems plain texts are made of, or all where there are fewer.
    workers: processes that draw; 0 = one for each core, up to 16. Problems do not depend on it.
    seconds: most time to draw one problem.
    behaviours: as for other tasks. There is no reasoning here to show them in.

  Raises:
    ValueError: unknown family, level or setting, or one out of range.
    ImportError: reasoning-gym is not installed.
  """
  if not 0 < threshold <= 1:
    raise ValueError(f'gym with threshold={threshold}: it is a score, give a number in (0, 1].')
  if texts < 1 or workers < 0 or seconds <= 0:
    raise ValueError(
      f'gym with texts={texts}, workers={workers}, seconds={seconds}: give at least 1, at least 0, '
      'and more than 0.'
    )
  chosen = family_of(family, level=level, settings=settings)
  workers = workers or min(os.cpu_count() or 1, _MOST)

  @functools.cache
  def sequence(seed):
    return _Sequence(chosen, seed, workers=workers, seconds=seconds)

  return types.Task(
    name=f'gym_{family}',
    problems=functools.partial(_problems, family=chosen, sequence=sequence),
    demonstrate=functools.partial(_demonstrate, family=chosen),
    facts=functools.partial(_facts, family=chosen, sequence=sequence, texts=texts),
    verify=None,
    check=functools.partial(check, family=chosen, threshold=threshold),
    ask=ask,
    reads=_READS,
  )


def ask(question: str) -> types.Problem:
  """Any question in the words of the family; its answer is not known. ValueError for an empty
  one."""
  asking.read_open(question)
  return types.Problem(prompt=question.rstrip(DELIMITER) + DELIMITER)


def check(problem: types.Problem, text: str, *, family: Family, threshold: float) -> bool:
  """Whether the family scores an answer with at least `threshold`. The answer is the text after the
  last answer tag, to the end.

  It cannot score a question that it did not draw.
  """
  _, tag, answer = text.rpartition(ANSWER)
  return (
    bool(tag and problem.text) and family.score(answer, ast.literal_eval(problem.text)) >= threshold
  )


# --- problems ---


class _Sequence:
  """The problems of a seed, as far as they have been drawn."""

  def __init__(self, family, seed, *, workers, seconds):
    self._family, self._seed, self._workers, self._seconds = family, seed, workers, seconds
    self._drawn = self._dry = 0  # entries, and how many of the latest gave no new question
    self._flaw = ''  # why one of the latest gave none
    self._found = {split: {} for split in _SPLITS}  # prompt -> problem, in the order of discovery

  def first(self, split, count) -> list[types.Problem]:
    """The first problems of a split, fewer than `count` where the family has no more."""
    if len(self._found[split]) < count and self._dry < _DRY:
      self._extend(split, count)
    return list(itertools.islice(self._found[split].values(), count))

  def lack(self) -> str:
    """Why there are no more problems."""
    return f'{self._drawn} draws, the last {self._dry} without a new question' + (
      self._flaw and f' ({self._flaw})'
    )

  def _extend(self, split, count):
    found = self._found[split]
    missing = count - len(found)
    draws = ahead(
      functools.partial(self._family.draw, seed=self._seed),
      itertools.count(self._drawn),
      seconds=self._seconds,
      workers=min(self._workers, -(-missing // _WORTH)),
    )
    lines = {} if sys.stderr.isatty() else {'mininterval': 30.0}
    bar = tqdm(
      desc=f'{self._family.name}: {split}', total=count, initial=len(found), delay=5, **lines
    )
    try:
      while len(found) < count and self._dry < _DRY:
        self._add(next(draws))
        bar.update(len(found) - bar.n)
    except AheadError as error:
      raise AheadError(f'drawing problems of {self._family.config}: {error}') from None
    finally:
      bar.close()
      draws.close()

  def _add(self, drawn):
    prompt = drawn.question.rstrip(DELIMITER) + DELIMITER
    found = self._found[splits.split_of(f'gym {self._family.name} {prompt}')]
    self._drawn += 1
    if drawn.flaw or prompt in found:
      self._dry, self._flaw = self._dry + 1, drawn.flaw or self._flaw
    else:
      found[prompt] = types.Problem(prompt=prompt, text=drawn.entry)
      self._dry, self._flaw = 0, ''


def _problems(split, count, seed, *, family, sequence) -> list[types.Problem]:
  if split not in _SPLITS:
    raise ValueError(f'gym has no split {split!r}: give one of {_SPLITS}.')
  problems = sequence(seed).first(split, count)
  if len(problems) < count:
    raise ValueError(
      f'the family {family.name!r} gave {len(problems)} problems in split {split!r}, {count} were '
      f'asked: {sequence(seed).lack()}; ask fewer, or choose another level or settings.'
    )
  return problems


# --- demonstrations and plain text ---


def _demonstrate(problem: types.Problem, rng: np.random.Generator, *, family) -> list[str]:
  answer = family.reference(ast.literal_eval(problem.text))
  if answer is None:
    raise ValueError(
      f'the family {family.name!r} tells no answers, so there is nothing to demonstrate: learn it '
      'from outcomes alone.'
    )
  return (ANSWER + answer.strip()).split(DELIMITER)


def _facts(rng: np.random.Generator, *, family, sequence, texts) -> str:
  problems = sequence(0).first('train', texts)
  if not problems:
    raise ValueError(
      f'the family {family.name!r} gave no problem: {sequence(0).lack()}; choose another level '
      'or settings.'
    )
  problem = problems[int(rng.integers(len(problems)))]
  return problem.prompt + (family.reference(ast.literal_eval(problem.text)) or '').strip()
