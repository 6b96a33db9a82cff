"""What a score may know of a problem beside the tree."""

from collections.abc import Callable
from typing import Any, NamedTuple

from o1jax.types import Array, Params, Prompt, Task, TreeCache

UNKNOWN = 0.5  # a score that knows nothing of a node


class Texts(NamedTuple):
  """How the texts of a task are read and written in tokens.

  Attributes:
    task: whose texts.
    table: (uint8 [V, M], int32 [V]) the bytes of every token, from `Tokenizer.bytes_table`.
    encode: text -> its tokens.
  """

  task: Task
  table: tuple[Array, Array]
  encode: Callable[[str], list[int]]


class Known(NamedTuple):
  """What a score may know beside the tree: never a reference, so no score tells a verdict.

  Attributes:
    model: the language model that samples.
    params: its parameters.
    keys: [B] one key a problem.
    prompt: B problems.
    cache: what the model remembers of the tree.
    texts: see `Texts`.
  """

  model: Any = None
  params: Params | None = None
  keys: Array | None = None
  prompt: Prompt | None = None
  cache: TreeCache | None = None
  texts: Texts | None = None
