"""How many of the other solutions of a problem agree with each."""

import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.reward.known import UNKNOWN, Known
from o1jax.types import Array, Task, Tree
from o1jax.verify.answers import answer_keys

NAME = 'agreement'
_EXACT = 2**24 - 3  # float32 holds all integers up to 2^24


def note(known: Known, tree: Tree, ids: Array) -> Array:
  """A number for the answer of each finished solution, which float32 holds exactly; 0 for prefixes.
  So that no answer is read twice while a tree grows."""
  task, marked = known.texts.task, _marked(known.texts.task)
  reads = max(part.reads for part in task.each())
  keys = answer_keys(tree, ids, known.texts.table, marker=marked, reads=reads)
  done = tree_lib.pick(tree_lib.finished(tree), ids, fill=False)
  return jnp.where(done, 1 + (keys % _EXACT).astype(jnp.float32), 0)


def agreement(known: Known, tree: Tree, ids: Array) -> Array:
  """The share of the problem's other finished solutions that have the same answer: self-consistency
  (arXiv:2203.11171) as a number of a solution.

  The solution of the greatest is the one that a majority vote chooses. Nothing is known of a
  prefix, nor of the only solution: they have one half. It depends on all solutions of the tree that
  are there when it is computed.
  """
  del known
  notes = tree.scores[tree_lib.note(NAME)]
  done = tree_lib.finished(tree).reshape(notes.shape[0], 1, -1)
  own = tree_lib.pick(jnp.where(tree_lib.finished(tree), notes, 0), ids)[..., None]
  same = jnp.sum((own == notes.reshape(done.shape)) & done, axis=-1)
  others = done.sum(-1) - 1
  known_of = (own[..., 0] > 0) & (others > 0)
  return jnp.where(known_of, (same - 1) / jnp.maximum(others, 1), UNKNOWN)


def lacks(task: Task) -> str:
  """What a task would need for its solutions to agree, '' where it has it."""
  if len({part.marker for part in task.each()}) > 1:
    return 'one way to mark an answer that all of its parts share'
  return '' if _marked(task) else 'answers that can be the same'


def _marked(task):
  return task.each()[0].marker
