"""Several tasks at once: each problem knows which of them it is of.

The parts may differ in all that a task is. A problem is demonstrated, verified and read as its own
part does it; plain texts are of all parts.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from o1jax import types


def task(*, parts: Sequence[types.Task], shares: Sequence[float]) -> types.Task:
  """A task of which each part has a share of the problems and of the plain texts.

  Problem `i` of a split is of the part that is furthest behind its share, so that the first
  problems of a split hold all parts, and fewer problems are the first of more. A mixture of one
  task is that task. A prompt does not say of which part it is, so several have no rule of thumb and
  no probe. A person's question goes to the first part that takes it.

  Args:
    parts: tasks of different names, none of which is a mixture.
    shares: of the problems, one number above 0 for each part.

  Raises:
    ValueError: parts and shares do not fit each other; or, of `problems`, two parts have a prompt
      in common.
  """
  parts, names = tuple(parts), [part.name for part in parts]
  if not parts or len(parts) != len(shares) or min(shares) <= 0:
    raise ValueError(
      f'mixture of parts={tuple(names)} with shares={tuple(shares)}: give one share above 0 for '
      'each of at least one part.'
    )
  if len(set(names)) < len(names) or any(part.parts for part in parts):
    raise ValueError(f'mixture of parts={tuple(names)}: give each a name, and no other mixture.')
  if len(parts) > 1 and any(part.world for part in parts):
    raise ValueError(
      f'mixture of parts={tuple(names)}: a world answers every problem, so a task with one is not '
      'mixed with others.'
    )
  weights = np.array(shares, float) / sum(shares)
  judges = [judge for judge in parts[0].judges if all(judge in part.judges for part in parts)]
  compiled = all(part.verify for part in parts)
  return types.Task(
    name='mixture',
    problems=functools.partial(_problems, parts=parts, weights=weights),
    demonstrate=lambda problem, rng: parts[problem.task].demonstrate(problem, rng),
    facts=functools.partial(_facts, parts=parts, weights=weights),
    verify=functools.partial(verify, parts=parts) if compiled else None,
    check=functools.partial(check, checks=tuple(part.check for part in parts)),
    fixed=tuple(_of(i, p) for i, part in enumerate(parts) for p in part.fixed),
    ask=functools.partial(ask, parts=parts) if any(part.ask for part in parts) else None,
    marker=parts[0].marker,
    reads=max(part.reads for part in parts),
    world=parts[0].world,
    judges=tuple(judges),
    reachable=functools.partial(reachable, parts=parts)
    if all(part.reachable for part in parts)
    else None,
    heuristic=parts[0].heuristic if len(parts) == 1 else None,
    probe=parts[0].probe if len(parts) == 1 else None,
    parts=parts,
    plant=_plant(parts) if all(part.plant for part in parts) else None,
  )


def _plant(parts):
  return lambda problem, rng, wrong: parts[problem.task].plant(problem, rng, wrong)


def _of(index, problem):
  return dataclasses.replace(problem, task=index)


def _order(count: int, weights: np.ndarray) -> list[int]:
  """The part of each of the first `count` problems."""
  had, order = np.zeros(len(weights)), []
  for i in range(count):
    # In whole parts of a share, so that rounding does not decide between equals.
    order.append(int(np.argmax(np.round((i + 1) * weights - had, 9))))
    had[order[-1]] += 1
  return order


def _problems(split, count, seed, *, parts, weights) -> list[types.Problem]:
  order = _order(count, weights)
  drawn, owner = [], {}
  for i, part in enumerate(parts):
    wanted = order.count(i)
    found = part.problems(split, wanted, seed) if wanted else []
    drawn.append(iter([_of(i, problem) for problem in found]))
    for problem in found:
      other = owner.setdefault(problem.prompt, i)
      if other != i:
        raise ValueError(
          f'the parts {parts[other].name!r} and {part.name!r} of a mixture share the problem '
          f'{problem.prompt!r}: choose settings that keep them apart.'
        )
  return [next(drawn[i]) for i in order]


def _facts(rng: np.random.Generator, *, parts, weights) -> str:
  """A text of one part, drawn by the shares. The draw leaves the part's own random numbers as they
  are."""
  (chooser,) = rng.spawn(1)
  return parts[int(chooser.choice(len(parts), p=weights))].facts(rng)


def ask(question: str, *, parts: Sequence[types.Task]) -> types.Problem:
  """The problem of the first part that takes a question. ValueError with what each wants where none
  does."""
  refusals = []
  for i, part in enumerate(parts):
    try:
      if part.ask:
        return _of(i, part.ask(question))
    except ValueError as error:
      refusals.append(f'{part.name}: {error}')
  raise ValueError(f'no part of the mixture takes this question. {"; ".join(refusals)}')


def verify(
  reference: types.Reference, text: jax.Array, length: jax.Array, *, parts: Sequence[types.Task]
) -> jax.Array:
  """The verdict of the problem's own part, on as much of the end of a text as that reads.

  Args:
    reference: of one problem, with its `task`.
    text: uint8 [N], the end of a solution.
    length: int32 [].

  Returns:
    bool [].
  """

  def by(part, reference, text, length):
    size = min(part.reads, text.shape[0])
    end = jax.lax.dynamic_slice(text, (jnp.maximum(length - size, 0),), (size,))
    return part.verify(reference, end, jnp.minimum(length, size))

  rules = [functools.partial(by, part) for part in parts]
  return jax.lax.switch(reference.task, rules, reference, text, length)


def reachable(
  reference: types.Reference, text: jax.Array, length: jax.Array, *, parts: Sequence[types.Task]
) -> jax.Array:
  """Whether a right answer can still follow, as the problem's own part says; as `verify`, on a
  solution from its beginning."""
  rules = [part.reachable for part in parts]
  return jax.lax.switch(reference.task, rules, reference, text, length)


def check(problem: types.Problem, text: str, *, checks: Sequence) -> bool:
  """The verdict of the problem's own part."""
  return checks[problem.task](problem, text)
