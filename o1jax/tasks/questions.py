"""Questions of published data, such as GSM8K and MATH, with worked solutions of several lines.

The last line of a solution has the answer in a box, and verdicts are on that. See
`o1jax.data.problems`.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from o1jax import types
from o1jax.tasks import asking, splits
from o1jax.text.answer import final_answer
from o1jax.text.steps import DELIMITER

BOX = r'\boxed{'
_READS = 512  # bytes at the end of a solution, enough for its box


def boxed(solved: Any) -> list[str]:
  """The steps of a solved problem, and its answer in a box."""
  return [*solved.steps, f'The answer is {BOX}{solved.answer}}}.']


def task(
  *,
  name: str,
  train: Callable[[], Iterable[Any]],
  test: Callable[[], Iterable[Any]],
  demonstrate: Callable[[Any], list[str]] = boxed,
) -> types.Task:
  """Questions from two sets of solved problems. Each set is read when it is first needed.

  Validation problems are a part of the training set, chosen by their text, so no two splits share a
  question.

  Args:
    name: of the task.
    train: -> solved problems, which have `problem`, `steps` and `answer`
      (`data.problems.SolvedProblem`).
    test: the same.
    demonstrate: the steps of a solved problem.
  """
  read = functools.cache(functools.partial(_read, train, test))
  return types.Task(
    name=name,
    problems=functools.partial(_problems, name=name, read=read),
    demonstrate=functools.partial(_demonstrate, read=read, steps=demonstrate),
    facts=functools.partial(_facts, read=read),
    verify=None,
    check=check,
    ask=ask,
    marker=BOX,
    reads=_READS,
    judges=('task', 'math'),
  )


def check(problem: types.Problem, text: str) -> bool:
  """Whether the final answer of a text is the reference, letter by letter, apart from blanks and
  commas.

  `verify.math.check` accepts more ways to write it.
  """
  answer = final_answer(text)
  return answer is not None and _plain(answer) == _plain(problem.text) != ''


def ask(question: str) -> types.Problem:
  """Any question. Its answer is unknown. ValueError for an empty one."""
  return types.Problem(prompt=asking.read_open(question) + DELIMITER)


def _plain(answer):
  return ''.join(answer.split()).replace(',', '')


def _read(train, test) -> dict[str, dict[str, Any]]:
  """{split: {prompt: solved problem}}. A question of the test set is in no other split."""
  found = {'train': {}, 'validation': {}, 'test': {}}
  for solved in test():
    found['test'].setdefault(_prompt(solved), solved)
  for solved in train():
    prompt = _prompt(solved)
    if prompt not in found['test']:
      split = 'validation' if splits.split_of(prompt) == 'validation' else 'train'
      found[split].setdefault(prompt, solved)
  return found


def _prompt(solved):
  return solved.problem.strip() + DELIMITER


def _problems(split, count, seed, *, name, read) -> list[types.Problem]:
  found = read()
  if split not in found:
    raise ValueError(f'{name} has no split {split!r}: give one of {", ".join(found)}.')
  prompts = list(found[split])
  if len(prompts) < count:
    raise ValueError(
      f'{name} has {len(prompts)} problems in split {split!r}, {count} were asked: ask fewer.'
    )
  order = np.random.default_rng((seed, len(prompts))).permutation(len(prompts))[:count]
  return [types.Problem(prompt=prompts[i], text=found[split][prompts[i]].answer) for i in order]


def _demonstrate(problem: types.Problem, rng: np.random.Generator, *, read, steps) -> list[str]:
  return steps(next(part[problem.prompt] for part in read().values() if problem.prompt in part))


def _facts(rng: np.random.Generator, *, read) -> str:
  """A training question and its solution."""
  train = read()['train']
  prompt = list(train)[int(rng.integers(len(train)))]
  return prompt + DELIMITER.join(train[prompt].steps)
