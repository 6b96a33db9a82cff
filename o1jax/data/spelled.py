"""Labelled solutions as tokens, spelled as a policy writes them: prompts and steps are encoded
separately, and the delimiter closes each step."""

from collections.abc import Sequence
from typing import NamedTuple

from o1jax.data.stepwise import LabelledSolution
from o1jax.text.steps import DELIMITER
from o1jax.text.tokenizer import Tokenizer


class Spelled(NamedTuple):
  """A solution as a row of tokens.

  Attributes:
    ids: the prompt, then the steps.
    first: the place of the first token of the first step.
    ends: the place of the last token of each step, which is where a critic is asked about it.
  """

  ids: list[int]
  first: int
  ends: list[int]


def spell(
  tokenizer: Tokenizer, solutions: Sequence[LabelledSolution], *, markers: Sequence[str]
) -> list[Spelled]:
  """The tokens of solutions; labels and answers are not read.

  A step of several lines is several steps of a policy, and its end is that of the last. Blank
  lines, and white space around lines, are left out. The end token closes a solution whose last step
  holds an answer, and the delimiter closes one that stops before.

  Args:
    tokenizer: of the policy.
    solutions: at least one step each.
    markers: what stands before an answer, see `Task.marker`; any of them will do.
  """
  prompts = tokenizer.encode_prompts([closed(solution.prompt) for solution in solutions])
  return [
    _spelled(tokenizer, prompt, solution.steps, markers)
    for prompt, solution in zip(prompts, solutions, strict=True)
  ]


def closed(prompt: str) -> str:
  """A prompt as a `Problem` has it, closed by the delimiter."""
  return prompt.strip() + DELIMITER


def _spelled(tokenizer, prompt, steps, markers) -> Spelled:
  parts = [_lines(step) for step in steps]
  lines = [line for part in parts for line in part]
  over = any(marker in steps[-1] for marker in markers)
  # One more step after an open solution, so that the delimiter closes its last one.
  encoded = tokenizer.encode_steps(lines if over else [*lines, ''])[: len(lines)]
  ids, ends, place = list(prompt), [], 0
  for part in parts:
    for line in encoded[place : place + len(part)]:
      ids += line
    place += len(part)
    ends.append(len(ids) - 1)
  return Spelled(ids, len(prompt), ends)


def _lines(step: str) -> list[str]:
  return [line.strip() for line in step.split(DELIMITER) if line.strip()] or ['']
