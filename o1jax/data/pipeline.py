"""From a task's problems, demonstrations and plain text to arrays, and to a stateless stream of
batches of them."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from absl import logging

from o1jax import types
from o1jax.text.steps import Given, join_steps
from o1jax.text.tokenizer import Tokenizer


class Demonstration(NamedTuple):
  """A problem and the tagged steps that solve it, without delimiters."""

  problem: types.Problem
  steps: list[str]


def demonstrate(
  task: types.Task, problems: Sequence[types.Problem], *, seed: int = 0
) -> list[Demonstration]:
  """One demonstration of each problem. That of problem i is a function of (seed, i)."""
  return [
    Demonstration(problem, task.demonstrate(problem, np.random.default_rng((seed, i))))
    for i, problem in enumerate(problems)
  ]


def plain_text(task: types.Task, count: int, *, seed: int = 0) -> list[str]:
  """`count` texts for pre-training; text i is a function of (seed, i)."""
  return [task.facts(np.random.default_rng((seed, i))) for i in range(count)]


def corpus(texts: Iterable[str], demonstrations: Iterable[Demonstration]) -> list[str]:
  """The texts to train a tokenizer on: plain text, and prompts with their solutions."""
  return [*texts, *(d.problem.prompt + join_steps(d.steps) for d in demonstrations)]


def encode_problems(
  tokenizer: Tokenizer, problems: Sequence[types.Problem], *, prompt_length: int
) -> tuple[types.Prompt, types.Reference]:
  """B problems as arrays: what a policy is asked, and separately what a verifier needs.

  The reference is as wide as the longest text and the most numbers among these problems (at least 1
  each).

  Raises:
    ValueError: for no problems, a prompt of more than `prompt_length` tokens, or a tokenizer of
      another task.
  """
  if not problems:
    raise ValueError('there are no problems to encode: give at least one.')
  check_tokenizer(tokenizer, (problem.prompt for problem in problems))
  prompts = tokenizer.encode_prompts([problem.prompt for problem in problems])
  longest = max(range(len(prompts)), key=lambda i: len(prompts[i]))
  if len(prompts[longest]) > prompt_length:
    raise ValueError(
      f'the prompt {problems[longest].prompt!r} has {len(prompts[longest])} tokens, and '
      f'prompt_length={prompt_length}: raise it to at least {len(prompts[longest])}, or make the '
      'problems of the task smaller.'
    )
  texts = [list(problem.text.encode()) for problem in problems]
  numbers = [problem.numbers for problem in problems]
  tokens, length = _pad(prompts, prompt_length, tokenizer.pad_id)
  text, text_length = _pad(texts, max(1, *map(len, texts)), 0)
  numbers, _ = _pad(numbers, max(1, *map(len, numbers)), types.UNUSED)
  return (
    types.Prompt(tokens=tokens, length=length),
    types.Reference(
      text=text.astype(np.uint8),
      length=text_length,
      numbers=numbers,
      task=np.array([problem.task for problem in problems], np.int32),
    ),
  )


def plain_rows(tokenizer: Tokenizer, texts: Sequence[str], *, row_length: int) -> types.Sequences:
  """Rows for pre-training: whole texts, each closed by the end token, packed first-fit. Everything
  except padding is a target.

  Raises:
    ValueError: for no texts, or one that does not fit in a row.
  """
  if not texts:
    raise ValueError('there is no plain text to make rows of: give at least one text.')
  rows = [[*tokenizer.encode(text), tokenizer.eos_id] for text in texts]
  pieces = [_Piece('plain text', text, ids, [True] * len(ids)) for text, ids in zip(texts, rows)]
  return _pack(pieces, row_length, tokenizer.pad_id)


def instruction_rows(
  tokenizer: Tokenizer, demonstrations: Sequence[Demonstration], *, row_length: int
) -> types.Sequences:
  """Rows for instruction tuning: prompt, solution, end token, packed first-fit. Prompts, and
  what a world says, are no targets.

  Prompts and steps are encoded separately, as sampling makes them.

  Raises:
    ValueError: for no demonstrations, or one that does not fit in a row.
  """
  if not demonstrations:
    raise ValueError('there are no demonstrations to make rows of: give at least one.')
  prompts = tokenizer.encode_prompts([problem.prompt for problem, _ in demonstrations])
  pieces = []
  for prompt, (problem, steps) in zip(prompts, demonstrations):
    ids, learned = list(prompt), [False] * len(prompt)
    for step, line in zip(steps, tokenizer.encode_steps(steps)):
      ids += line
      learned += [not isinstance(step, Given)] * len(line)
    text = problem.prompt + join_steps(steps)
    pieces.append(_Piece('demonstration', text, ids, learned))
  return _pack(pieces, row_length, tokenizer.pad_id)


def batches(rows, *, batch_size: int, seed: int = 0) -> Callable[[int], types.Sequences]:
  """A stream of batches without state: update -> batch, a function of (seed, update) alone.

  Every epoch takes each row once, in a new random order. A batch may reach into the next epoch.

  Args:
    rows: any pytree of arrays with one leading axis: Sequences, or a (Prompt, Reference).
    batch_size: rows in a batch.
    seed: of the order.

  Returns:
    A function from the number of the update (>= 0) to a pytree like `rows` of `batch_size` rows.

  Raises:
    ValueError: there are no rows, or `batch_size` is less than 1.
  """
  count = len(jax.tree.leaves(rows)[0])
  if count < 1 or batch_size < 1:
    raise ValueError(
      f'batches of batch_size={batch_size} from {count} rows: give at least 1 of each.'
    )
  import grain  # late: it takes half a second

  order = grain.MapDataset.range(count).seed(seed).shuffle().repeat().batch(batch_size)
  stream = order.map(lambda chosen: jax.tree.map(lambda leaf: leaf[chosen], rows))
  return lambda update: stream[int(update)]


def mixed_batches(
  rows, others, *, batch_size: int, share: float, seed: int = 0
) -> Callable[[int], types.Sequences]:
  """`batches` that take a share of their rows, rounded down, from `others`: rehearsal of an earlier
  stage.

  Raises:
    ValueError: the share is not in [0, 1), or there are no rows to draw from.
  """
  if not 0 <= share < 1:
    raise ValueError(f'a share of {share} of each batch for rehearsal: give a number in [0, 1).')
  rehearsed = int(share * batch_size)
  new = batches(rows, batch_size=batch_size - rehearsed, seed=seed)
  if not rehearsed:
    return new
  old = batches(others, batch_size=rehearsed, seed=seed + 1)
  return lambda update: jax.tree.map(
    lambda *leaves: np.concatenate(leaves), new(update), old(update)
  )


def check_steps(
  tokenizer: Tokenizer,
  demonstrations: Iterable[Demonstration],
  *,
  step_length: int,
  max_steps: int,
  says: int = 0,
) -> None:
  """Checks that search can express every demonstration.

  says: tokens of a step that are kept free for what a world says behind it.

  Raises:
    ValueError: a step has more than `step_length - says` tokens, with its delimiter or end token.
      Or a demonstration has more than `max_steps` steps. Or the tokenizer is that of another task.
  """
  demonstrations = list(demonstrations)
  check_tokenizer(tokenizer, (join_steps(d.steps) for d in demonstrations))
  lengths = (
    (len(ids), step)
    for d in demonstrations
    for ids, step in zip(tokenizer.encode_steps(d.steps), d.steps)
    if not isinstance(step, Given)
  )
  length, step = max(lengths, default=(0, ''))
  if length > step_length - says:
    free = f' with {says} of them kept free for what the world says' if says else ''
    raise ValueError(
      f'the demonstrated step {step!r} has {length} tokens with its end, and '
      f'step_length={step_length}{free}: '
      f'raise it to at least {length + says}, or make the problems of the task smaller.'
    )
  count = lambda d: sum(not isinstance(step, Given) for step in d.steps)
  most = max(demonstrations, key=count, default=None)
  if most and count(most) > max_steps:
    raise ValueError(
      f'the demonstration of {most.problem.prompt!r} has {count(most)} steps, and '
      f'max_steps={max_steps}: raise it to at least {count(most)}, or show fewer dead ends.'
    )


def fitting(
  tokenizer: Tokenizer,
  demonstrations: Sequence[Demonstration],
  *,
  step_length: int,
  max_steps: int,
  row_length: int,
) -> list[Demonstration]:
  """The demonstrations that search can express and a row can hold. A step of more than
  `step_length` tokens goes on in the next. A warning counts the rest, which published data always
  have.

  Raises:
    ValueError: none fits.
  """
  prompts = tokenizer.encode_prompts([problem.prompt for problem, _ in demonstrations])
  kept = []
  for prompt, demonstration in zip(prompts, demonstrations):
    lengths = [len(ids) for ids in tokenizer.encode_steps(demonstration.steps)]
    taken = sum(-(-length // step_length) for length in lengths)
    if taken <= max_steps and len(prompt) + sum(lengths) <= row_length:
      kept.append(demonstration)
  if not kept:
    raise ValueError(
      f'none of {len(demonstrations)} demonstrations fits in max_steps={max_steps} steps of '
      f'step_length='
      f'{step_length} tokens and rows of row_length={row_length}: raise them'
    )
  if len(kept) < len(demonstrations):
    logging.warning(
      '%d of %d demonstrations are longer than %d steps of %d tokens, or a row of %d: they are '
      'left out',
      len(demonstrations) - len(kept),
      len(demonstrations),
      max_steps,
      step_length,
      row_length,
    )
  return kept


def check_tokenizer(tokenizer: Tokenizer, texts: Iterable[str]) -> None:
  """Checks that the tokenizer was trained on texts like these: it has a token for each of their
  characters.

  Raises:
    ValueError: names the characters that it can only spell in bytes.
  """
  unknown = tokenizer.unknown_characters(texts)
  if unknown:
    raise ValueError(
      f'the tokenizer has no token for {unknown}: it was trained on texts of another task; train '
      f'it '
      'on this one (Tokenizer.train), or load the one saved with the run.'
    )


class _Piece(NamedTuple):
  """What stays together in a row: its tokens, and which of them are targets."""

  kind: str
  text: str
  ids: list[int]
  learned: list[bool]


_OPEN_ROWS = 32  # rows tried for a piece: enough to fill rows to about 98 %


def first_fit(lengths: Sequence[int], row_length: int) -> list[list[int]]:
  """Which texts of these lengths go into which row: each into the first of the newest rows that has
  room. All fit in a row of their own."""
  rows: list[list[int]] = []
  room: list[int] = []
  for i, length in enumerate(lengths):
    first = max(len(rows) - _OPEN_ROWS, 0)
    fit = next((n for n in range(first, len(rows)) if room[n] >= length), len(rows))
    if fit == len(rows):
      rows.append([])
      room.append(row_length)
    rows[fit].append(i)
    room[fit] -= length
  return rows


def _pack(pieces: Sequence[_Piece], row_length: int, pad: int) -> types.Sequences:
  for piece in pieces:
    if len(piece.ids) > row_length:
      raise ValueError(
        f'the {piece.kind} {piece.text!r} has {len(piece.ids)} tokens with its end, and row_length='
        f'{row_length}: raise it to at least {len(piece.ids)}, or make the task smaller.'
      )
  packed = first_fit([len(piece.ids) for piece in pieces], row_length)
  rows = [[pieces[i] for i in row] for row in packed]
  flat = [[t for piece in row for t in piece.ids] for row in rows]
  target = [[learned for piece in row for learned in piece.learned] for row in rows]
  segment = [[n for n, piece in enumerate(row, 1) for _ in piece.ids] for row in rows]
  tokens, length = _pad(flat, row_length, pad)
  return types.Sequences(
    tokens=tokens,
    length=length,
    mask=_pad(target, row_length, 0)[0] > 0,
    segment=_pad(segment, row_length, 0)[0],
  )


def _pad(rows: Sequence[Sequence[int]], width: int, fill: int) -> tuple[np.ndarray, np.ndarray]:
  padded = np.full((len(rows), width), fill, np.int32)
  for out, row in zip(padded, rows):
    out[: len(row)] = row
  return padded, np.array([len(row) for row in rows], np.int32)
