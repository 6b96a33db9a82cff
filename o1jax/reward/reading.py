"""Scores that read what is written, by what the task says of its texts."""

import jax
import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.reward.known import UNKNOWN, Known
from o1jax.text.bytes import token_bytes
from o1jax.text.lines import says
from o1jax.text.steps import TAGS
from o1jax.types import Array, Task, Tree
from o1jax.verify.outcome import solution_bytes

PRM = 'prm'  # the score of that name
_PROMPT = 512  # most bytes of a prompt's end that a task is told


def heuristic(known: Known, tree: Tree, ids: Array) -> Array:
  """The task's rule of thumb, which is told what is asked and the last `Task.reads` bytes of what
  is written (external guidance by rules, arXiv:2412.14135)."""
  task = known.texts.task
  prompt, size = prompt_bytes(known)
  text, length = solution_bytes(tree, ids, known.texts.table, size=task.reads)
  of_nodes = jax.vmap(task.heuristic, in_axes=(None, None, 0, 0))
  return jax.vmap(of_nodes)(prompt, size, text, length)


def prompt_bytes(known: Known) -> tuple[Array, Array]:
  """The end of each prompt as bytes, uint8 [B, P'], and how many they are, [B]."""
  tokens, table = known.prompt.tokens, known.texts.table
  size = min(tokens.shape[-1] * table[0].shape[1], _PROMPT)
  return token_bytes(tokens, known.prompt.length, table, size=size)


def prm(known: Known, tree: Tree, ids: Array) -> Array:
  """The product of the critic's P over the steps up to a node: what a process reward model says of
  them together (arXiv:2305.20050).

  A step that returns to an earlier state takes back those before it. So the product begins with the
  last one. A critic of few layers can forget at a later step what it saw at an earlier one; the
  product does not.
  """
  del known
  nodes = tree_lib.path_nodes(tree, ids)
  back = tree_lib.pick(tree.scores[tree_lib.note(PRM)], nodes) > 0
  # How many returns there are behind each step.
  behind = jnp.cumsum(back[..., ::-1], axis=-1)[..., ::-1] - back
  value = tree_lib.pick(tree.value, nodes, fill=1.0)
  return jnp.where(behind > 0, 1.0, value).prod(-1)


def returns(known: Known, tree: Tree, ids: Array) -> Array:
  """1 for a step that is a correction, else 0: what `prm` keeps of it."""
  table, tag = known.texts.table, TAGS['correction']
  # Each token has at least one byte of the tag.
  tokens = tree_lib.pick(tree.tokens, ids)[..., : len(tag)]
  count = jnp.minimum(tree_lib.pick(tree.length, ids), tokens.shape[-1])
  size = tokens.shape[-1] * table[0].shape[1]
  text, _ = token_bytes(tokens, count, table, size=size)
  begins = jax.vmap(jax.vmap(lambda line: says(line, jnp.int32(0), tag)))
  return begins(text).astype(jnp.float32)


def feedback(known: Known, tree: Tree, ids: Array) -> Array:
  """What the world said last on the way to a node: 1, or 0 where that told of an error; one half
  where it has said nothing (feedback of the environment, arXiv:2412.14135)."""
  world = known.texts.task.world
  nodes = tree_lib.path_nodes(tree, ids)
  heard = tree_lib.pick(tree.given.any(-1), nodes, fill=False)
  place = jnp.arange(heard.shape[-1])
  last = jnp.max(jnp.where(heard, place, -1), axis=-1, keepdims=True)
  node = jnp.take_along_axis(nodes, jnp.maximum(last, 0), axis=-1)[..., 0]
  # Given text stands at the end of a step.
  tokens, given = tree_lib.pick(tree.tokens, node), tree_lib.pick(tree.given, node, fill=False)
  count = given.sum(-1)
  start = tree_lib.pick(tree.length, node) - count
  at = jnp.minimum(start[..., None] + jnp.arange(tokens.shape[-1]), tokens.shape[-1] - 1)
  said = token_bytes(
    jnp.take_along_axis(tokens, at, axis=-1), count, known.texts.table, size=world.says
  )
  failed = jax.vmap(jax.vmap(world.failed))(*said)
  return jnp.where(last[..., 0] >= 0, 1 - failed.astype(jnp.float32), UNKNOWN)


def lacks_heuristic(task: Task) -> str:
  """What a task would need for it, '' where it has it."""
  return '' if task.heuristic else 'a rule of thumb'


def lacks_feedback(task: Task) -> str:
  """The same for feedback."""
  return '' if task.world and task.world.failed else 'a world that tells of errors'
