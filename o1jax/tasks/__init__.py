"""Tasks that make their own problems, demonstrations and verdicts.

`TASKS` is the table. Another task is a file of this folder, with a function `task`, and a row here.
"""

import dataclasses
import importlib
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple


class Row(NamedTuple):
  """A task of the table.

  Attributes:
    module: of this folder. It is imported when the task is made: the processes that draw problems
      (`tasks.ahead`) import this package too, and start in a fraction of the time without JAX.
    words: what the task is, for people.
    mixes: it is made of other tasks, `task(parts=..., shares=...)`.
    settings_of: the row whose settings it takes, where those are not its own.
  """

  module: str
  words: str
  mixes: bool = False
  settings_of: str = ''

  @property
  def task(self) -> Callable:
    """(**settings) -> Task. ValueError for a setting out of range."""
    return importlib.import_module(f'{__name__}.{self.module}').task

  @property
  def defaults(self) -> dict[str, Any]:
    """The settings that have a default, as a config holds them."""
    if self.settings_of:
      return TASKS[self.settings_of].defaults
    found = {p.name: p.default for p in inspect.signature(self.task).parameters.values()}
    plain = lambda x: dataclasses.asdict(x) if dataclasses.is_dataclass(x) else x
    return {name: plain(x) for name, x in found.items() if x is not inspect.Parameter.empty}


TASKS = {
  'countdown': Row('countdown', 'reach a target with + - * / from given numbers'),
  'calculator': Row(
    'calculator', 'countdown with a calculator that answers', settings_of='countdown'
  ),
  'cipher': Row('cipher', 'read a text of which every letter is a pair of others'),
  'gym': Row('gym', 'a family of reasoning-gym'),
  'mixture': Row('mixture', 'several tasks at once, each with its share', mixes=True),
}
