"""Labelled solutions as tokens, spelled as a policy writes them: prompts and steps are encoded
separately, and the delimiter closes each step."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from o1jax.data.pipeline import first_fit
from o1jax.data.stepwise import LabelledSolution
from o1jax.text.steps import DELIMITER, NEUTRAL, RIGHT, WRONG
from o1jax.text.tokenizer import Tokenizer
from o1jax.types import LabelledRows

# What a critic is to say of a neutral step; None = the step has no label.
NEUTRALS = {'half': 0.5, 'right': 1.0, 'masked': None}


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


def label_rows(
  spelled: Sequence[Spelled],
  labels: Sequence[Sequence[int | None]],
  *,
  row_length: int,
  neutral: str = 'half',
) -> LabelledRows:
  """Rows for a critic: solutions packed first-fit, each with a target at the end of its labelled
  steps.

  Args:
    spelled: at least one solution, none longer than a row.
    labels: of the steps of each; None = not labelled, so the step teaches nothing.
    row_length: T.
    neutral: a key of `NEUTRALS`.
  """
  told = {RIGHT: 1.0, NEUTRAL: NEUTRALS[neutral], WRONG: 0.0, None: None}
  rows = first_fit([len(one.ids) for one in spelled], row_length)
  shape = len(rows), row_length
  out = LabelledRows(
    tokens=np.zeros(shape, np.int32),
    length=np.zeros(len(rows), np.int32),
    segment=np.zeros(shape, np.int32),
    written=np.zeros(shape, bool),
    target=np.zeros(shape, np.float32),
    mask=np.zeros(shape, bool),
  )
  for r, row in enumerate(rows):
    start = 0
    for number, i in enumerate(row, 1):
      one, end = spelled[i], start + len(spelled[i].ids)
      out.tokens[r, start:end] = one.ids
      out.segment[r, start:end] = number
      out.written[r, start + one.first : end] = True
      for place, label in zip(one.ends, labels[i], strict=True):
        if told[label] is not None:
          out.target[r, start + place], out.mask[r, start + place] = told[label], True
      start = end
    out.length[r] = start
  return out
