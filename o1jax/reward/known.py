"""What a score may know of a problem beside the tree."""

from typing import Any, NamedTuple

from o1jax.types import Array, Params, Prompt, TreeCache


class Known(NamedTuple):
  """What a score may know beside the tree: never a reference, so no score tells a verdict.

  Attributes:
    model: the language model that samples.
    params: its parameters.
    keys: [B] one key a problem.
    prompt: B problems.
    cache: what the model remembers of the tree.
  """

  model: Any = None
  params: Params | None = None
  keys: Array | None = None
  prompt: Prompt | None = None
  cache: TreeCache | None = None
