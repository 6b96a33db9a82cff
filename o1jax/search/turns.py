"""What searches that take turns have in common: which solution a turn is about, and what its prompt
says behind that.

The settings of all of them: `text` stands at the end of a turn's prompt, and `critique` is the
score whose judgement in words stands before that, '' = none does.
"""

from collections.abc import Callable

import jax.numpy as jnp

from o1jax import reward
from o1jax import tree as tree_lib
from o1jax.dialogue import writer
from o1jax.reward import SCORES
from o1jax.reward.known import Known, Texts
from o1jax.types import Array, Prompt, Tree

CRITIQUE = reward.CRITIQUE


def check_critique(critique: str) -> None:
  """Raises ValueError where no row of `SCORES` says what it thinks in words."""
  known = [name for name, row in SCORES.items() if row.critique]
  if critique and critique not in known:
    raise ValueError(f"critique={critique!r} is none of {', '.join(known)}, nor '' for none")


def prompts(known: Known, *, text: str, critique: str) -> Callable[[Tree, Array], Prompt]:
  """(tree, origin [B]) -> the prompts of a turn; see `dialogue.writer`."""
  said = None
  if critique:

    def said(tree, origin):
      return tuple(x[:, 0] for x in SCORES[critique].critique(known, tree, origin[:, None]))

  return writer(known.prompt, known.texts.encode, text=text, critique=said)


def tokens_behind(texts: Texts, solution: int, *, text: str, critique: str) -> int:
  """The most tokens behind the question in a turn's prompt, where a solution has at most so
  many."""
  judged = SCORES[critique].longest(texts) if critique else 0
  return solution + judged + len(texts.encode(text))


def last_node(tree: Tree, slot: Array | int, steps: int, *, stride: int = 1) -> Array:
  """The last node of the chain whose step s is in slot `slot + s*stride`, [B]; -1 where it has
  none."""
  slots = slot + jnp.arange(steps) * stride
  made = jnp.sum(tree.expanded[:, slots] >= 0, axis=-1)
  return jnp.where(made > 0, 1 + slot + (made - 1) * stride, tree_lib.NONE)
