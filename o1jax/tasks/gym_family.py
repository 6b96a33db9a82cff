"""One family of reasoning-gym (arXiv:2505.24760): its difficulty, its entries, and the scores of
answers.

This file is separate from `o1jax.tasks.gym` because the processes that draw entries need nothing
else.
"""

import dataclasses
import difflib
import fractions
import importlib
import json
import math
import random
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

CHUNK = 500  # entries of one dataset of the library, which prepares some of them beforehand

# What reasoning-gym lists as a family but is none.
REFUSED = {'composite': 'a mixture of families'}
# The key of an answer in the metadata of entries that have none elsewhere.
_REFERENCES = {
  'graph_color': 'possible_answer',
  'propositional_logic': 'example_answer',
  'rubiks_cube': 'example_correct_answer',
}
# Some scorers evaluate the text of an answer as Python, directly or through sympy. These patterns
# say what they may be given: no attribute, no quoted text beside a call, and no names except
# functions of analysis. So nothing else can be called.
_ARITHMETIC = re.compile(r'(?!.*(?:\*\*|//))[0-9+\-*/() ]*')
_FORMULA = re.compile(
  r'(?:[0-9\s+\-*/(),]|(?<=[0-9])\.|(?<![0-9])\.(?=[0-9])|'
  r'\b(?:[A-Za-z]|a?(?:sin|cos|tan|cot|sec|csc)h?|exp|log|ln|sqrt|pi|Abs)\b)*',
  re.ASCII,
)
_LIST = re.compile(r'[\w\s,\[\]"\'-]*', re.ASCII)
FORMS = {
  'binary_matrix': _LIST,
  'coin_flip': re.compile(
    '[0-9.,/ ]*(?:e-?[0-9]{1,2})?'
  ),  # not evaluated, but worked out digit by digit
  'countdown': _ARITHMETIC,
  'intermediate_integration': _FORMULA,
  'n_queens': _LIST,
  'polynomial_multiplication': _FORMULA,
  'puzzle24': _ARITHMETIC,
  'simple_integration': _FORMULA,
  'spiral_matrix': _LIST,
  'string_insertion': _LIST,
}
# Some scorers give 1.0 to wrong answers. These functions say what an answer must fulfil besides. In
# `coin_flip`, `0` agrees in its only digit with any probability below 1. In `game_of_life_halting`
# any text counts as true. In `puzzle24` the numbers need not be the given ones.
_BESIDES = {
  'coin_flip': lambda answer, entry: abs(_fraction(answer) - _fraction(entry['answer'])) <= 1e-4,
  'game_of_life_halting': lambda answer, entry: answer == entry['answer'],
  'puzzle24': lambda answer, entry: _numbers(answer) == sorted(entry['metadata']['numbers']),
}


class Drawn(NamedTuple):
  """The result of one draw.

  question: in the family's words. entry: what `Family.score` needs, a literal of Python. flaw: why
  there is no problem after all; '' where there is one.
  """

  question: str = ''
  entry: str = ''
  flaw: str = ''


class Family:
  """A family at one difficulty. It can be pickled for other processes.

  Attributes:
    name: as reasoning-gym calls it.
    config: its settings there. Its seed and size have no effect.
  """

  def __init__(self, name: str, config: Any):
    """See `family`."""
    self.name, self.config = name, config
    # Made here, so that a process of `verify.host` has it before it forks for an answer.
    self._scorer = self._dataset(0)
    self._chunk = None

  def __reduce__(self):
    return Family, (self.name, self.config)

  def draw(self, index: int, *, seed: int) -> Drawn:
    """Entry `index` of the endless sequence of a seed.

    It is a function of (family, seed, index) where strings are hashed by a fixed seed, as in
    `ahead`. It seeds the global generators of `random` and NumPy, from which some families draw.
    """
    # NumPy's seed has 32 bits. Neighbouring seeds must not share entries.
    start = random.Random(seed).getrandbits(31)
    number, place = divmod(index, CHUNK)
    random.seed(start + index)
    np.random.seed(start + index)
    try:
      if not self._chunk or self._chunk[0] != (seed, number):
        self._chunk = (seed, number), self._dataset(start + number * CHUNK)
      drawn = self._chunk[1][place]
    except Exception as error:  # some families give up on an entry
      return Drawn(flaw=f'{type(error).__name__}: {error}')
    entry = _plain({'answer': drawn['answer'], 'metadata': drawn['metadata']})
    answer = self.reference(entry)
    score = 1.0 if answer is None else self.score(answer, entry)
    flaw = '' if score == 1 else f'the score of its own answer {answer!r} is {score:g}'
    return Drawn(drawn['question'], repr(entry), flaw)

  def reference(self, entry: dict) -> str | None:
    """A right answer; None where the family gives none."""
    answer = entry['answer']
    if answer is None and self.name in _REFERENCES:
      answer = entry['metadata'][_REFERENCES[self.name]] or None
    return answer if answer is None or isinstance(answer, str) else json.dumps(answer)

  def score(self, answer: str, entry: dict) -> float:
    """The score that reasoning-gym gives an answer, in [0, 1], without the spaces around it.

    It is 0 for an answer that its scorer would raise on, that must not be evaluated (`FORMS`), or
    that the scorer is known to overrate.
    """
    answer = answer.strip()
    if self.name in FORMS and not FORMS[self.name].fullmatch(answer):
      return 0.0
    try:
      if self.name in _BESIDES and not _BESIDES[self.name](answer, entry):
        return 0.0
      return float(self._scorer.score_answer(answer, entry))
    except Exception:
      return 0.0

  def _dataset(self, seed):
    kind, _ = library('factory').DATASETS[self.name]
    return kind(dataclasses.replace(self.config, seed=seed, size=CHUNK))


def family(
  name: str, *, level: int | None = None, settings: Mapping[str, Any] | None = None
) -> Family:
  """A family at a difficulty.

  Args:
    name: one of reasoning-gym's.
    level: of its curriculum, from 0. Each attribute is at this level, or at its highest. None = the
      family's defaults.
    settings: other fields of the family's config.

  Raises:
    ValueError: unknown name, level or setting, or one that the family refuses.
    ImportError: reasoning-gym is not installed.
  """
  datasets = library('factory').DATASETS
  if name in REFUSED:
    raise ValueError(f'the family {name!r} of reasoning-gym is no task: it is {REFUSED[name]}.')
  if name not in datasets:
    raise ValueError(
      f'reasoning-gym has no family {name!r}: {_choices(name, datasets.keys() - REFUSED)}'
    )
  settings = dict(settings or {})
  fields = {field.name for field in dataclasses.fields(datasets[name][1])} - {'seed', 'size'}
  for field in settings:
    if field not in fields:
      raise ValueError(f'the family {name!r} has no setting {field!r}: {_choices(field, fields)}')
  config = datasets[name][1]() if level is None else _at_level(name, level)
  try:
    return Family(name, dataclasses.replace(config, **settings))
  except Exception as error:
    why = str(error) or type(error).__name__
    raise ValueError(
      f'the family {name!r} refuses level={level}, settings={settings}: {why}.'
    ) from None


def library(module: str):
  """A module of reasoning_gym, imported only where it is used. Raises ImportError that names the
  extra."""
  try:
    return importlib.import_module(f'reasoning_gym.{module}')
  except ImportError as error:
    raise ImportError(
      f"the task gym needs reasoning-gym ({error}): pip install -e '.[tasks]'"
    ) from None


def _at_level(name, level):
  if name not in library('factory').CURRICULA:
    raise ValueError(f'the family {name!r} has no levels: give level=None, and settings.')
  curriculum = library('factory').create_curriculum(name)
  count = max((len(attribute.levels) for attribute in curriculum.attributes.values()), default=0)
  if level not in range(count):
    raise ValueError(
      f'the family {name!r} has no level {level}: give 0..{count - 1}, or None for its defaults.'
    )
  curriculum.set_global_level(level)
  return curriculum.generate_configuration()


def _choices(name, known) -> str:
  near = difflib.get_close_matches(name, known) or sorted(known)
  return f'choose one of {", ".join(near)}.'


def _plain(value):
  """The value in types that Python has literals for. Others become text, which no scorer reads."""
  if isinstance(value, dict):
    return {_plain(key): _plain(item) for key, item in value.items()}
  for kind in (list, tuple, set):
    if isinstance(value, kind):
      return kind(map(_plain, value))
  value = value.item() if isinstance(value, np.generic) else value
  if value is None or isinstance(value, bool):
    return value
  for kind in (int, float, str):
    if isinstance(value, kind) and (kind is not float or math.isfinite(value)):
      return kind(value)
  return str(value)


def _numbers(text):
  return sorted(map(int, re.findall('[0-9]+', text)))


def _fraction(text):
  return fractions.Fraction(text.replace(',', ''))
