"""Turns: a later turn is a chain whose prompt was written from a solution of a turn before.

So a revision needs no new kind of node. It is an ordinary search of its own prompt, and what it
samples is judged and chosen like every other solution. `joined` puts it into the tree of the
dialogue, in which each chain from the root is a turn.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.decode.grow import Grow
from o1jax.text.steps import DELIMITER
from o1jax.tree import ASKED, ORIGIN
from o1jax.types import Array, Prompt, Tree, TreeCache

SCORES = (ASKED, ORIGIN)  # the names of what `joined` writes on nodes
# Tokens in a row for each problem: [B, G] and how many they are [B].
Row = tuple[Array, Array]
# (prompt, keys [B]) -> an empty tree of one chain, its cache, and what grows it.
Open = Callable[[Prompt, Array], tuple[Tree, TreeCache, Grow]]


class Turn(NamedTuple):
  """What was asked in a turn, and what came of it.

  Attributes:
    prompt: what was asked.
    tree: [B, R, 1, L], one chain of steps; nothing is expanded where nothing was asked.
    origin: [B] the nodes of the dialogue's tree that the prompt was written from, -1 = none.
  """

  prompt: Prompt
  tree: Tree
  origin: Array


class Revise(Protocol):
  """Takes one more turn; a search knows dialogues by this function alone."""

  def __call__(self, tree: Tree, keys: Array, origin: Array, *, slot: Array | int) -> Tree:
    """Asks for a revision of one solution of every problem, and samples it as a chain.

    Args:
      tree: of the dialogue, [B, X, 1, L]; grows in the returned copy.
      keys: [B] one key a problem, already specific to this turn.
      origin: [B] the last nodes of the solutions, or -1: then nothing is asked.
      slot: [] where the chain begins; its step s fills slot `slot + s`.
    """


def reviser(open_turn: Open, write: Callable[[Tree, Array], Prompt]) -> Revise:
  """The `Revise` of B problems.

  Args:
    open_turn: begins the search of a turn.
    write: (tree, origin [B]) -> the prompt of the turn.
  """

  def revise(tree, keys, origin, *, slot):
    asked = write(tree, origin)
    new, cache, grow = open_turn(asked, keys)
    roots = jnp.where(origin > tree_lib.ROOT, tree_lib.ROOT, tree_lib.NONE)[:, None]
    new, _ = grow(new, cache, keys, roots, slot=0, steps=new.mask.shape[1], depth=0)
    return joined(tree, Turn(asked, new, origin), slot)

  return revise


def joined(tree: Tree, turn: Turn, slot: Array | int) -> Tree:
  """The tree of a dialogue with one more turn in slots `slot` and on.

  The score `tree.ASKED` of each of its nodes is the number of tokens of the turn's prompt, which
  stands before its first step in place of the question, and `tree.ORIGIN` is the node that the
  prompt was written from.
  """
  new, used = turn.tree, turn.tree.expanded >= 0
  moved = lambda ids: jnp.where(ids > tree_lib.ROOT, ids + slot, ids)
  told = {ASKED: turn.prompt.length, ORIGIN: turn.origin}
  told = {
    name: jnp.where(used, x[:, None], 0).astype(jnp.float32)[..., None] for name, x in told.items()
  }
  new = new.replace(
    expanded=moved(new.expanded),
    path=moved(new.path),
    scores=new.scores | told,
    root_value=tree.root_value,
  )

  def write(old, x):
    return jax.lax.dynamic_update_slice_in_dim(old, x.astype(old.dtype), slot, axis=1)

  part = lambda name: jax.tree.map(write, getattr(tree, name), getattr(new, name))
  names = (name for name in Tree.__dataclass_fields__ if name not in ('root_value', *_STATIC))
  return tree.replace(**{name: part(name) for name in names})


_STATIC = ('chain', 'chains')  # of a tree, and no arrays


def writer(
  prompt: Prompt,
  encode: Callable[[str], list[int]],
  *,
  text: str = '',
  critique: Callable[[Tree, Array], Row] | None = None,
) -> Callable[[Tree, Array], Prompt]:
  """Writes the prompt of a revision: the question, the attempt, what was said of it, and a text.

  Args:
    prompt: the questions, [B, P].
    encode: text -> its tokens.
    text: stands at the end, such as a request for another attempt.
    critique: (tree, origin [B]) -> a row of what is said of each attempt, 0 tokens where that is
      nothing; None = nothing is.

  Returns:
    (tree, origin [B]) -> the prompts [B, P]. Where they have no room, the beginning of what stands
    behind the question is left out.
  """
  batch, width = prompt.tokens.shape

  def write(tree, origin):
    ids = jnp.maximum(origin, tree_lib.ROOT)[:, None]
    tokens, length = (x[:, 0] for x in tree_lib.solution_tokens(tree, ids))
    done = tree_lib.pick(tree_lib.finished(tree), ids, fill=False)[:, 0]
    # A new line stands where the solution ended.
    rows = [(tokens, length - done), _constant(encode(DELIMITER), done)]
    if critique is not None:
      rows.append(critique(tree, origin))
    rows.append(_constant(encode(text), jnp.ones(batch, bool)))
    behind, size = _end_to_end(rows)
    room = width - prompt.length
    lost = jnp.maximum(size - room, 0)
    place = jnp.arange(width) - prompt.length[:, None]
    shown = jnp.clip(place + lost[:, None], 0, behind.shape[1] - 1)
    shown = jnp.take_along_axis(behind, shown, axis=1)
    whole = prompt.length + size - lost
    inside = jnp.arange(width) < whole[:, None]
    return Prompt(jnp.where(inside & (place >= 0), shown, prompt.tokens), whole)

  return write


def _constant(ids: list[int], where: Array) -> Row:
  """The same tokens for every problem, and none where it is not wanted."""
  tokens = jnp.broadcast_to(jnp.array(ids, jnp.int32), (len(where), len(ids)))
  return tokens, jnp.where(where, len(ids), 0)


def _end_to_end(rows: list[Row]) -> Row:
  """Rows of tokens as one, left-packed."""
  width = sum(tokens.shape[1] for tokens, _ in rows)

  def one(rows):
    line, place = jnp.zeros(max(width, 1), jnp.int32), 0
    for tokens, size in rows:
      at = jnp.arange(len(tokens))
      line = line.at[jnp.where(at < size, place + at, width)].set(tokens, mode='drop')
      place += size
    return line, place

  return jax.vmap(one)(rows)
