"""Self-evaluation: the policy is asked whether what it has written is right."""

import functools

import jax
import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.decode.loop import shared_context
from o1jax.model.forward import apply, score_tokens
from o1jax.reward.known import UNKNOWN, Known, Texts
from o1jax.reward.reading import prompt_bytes
from o1jax.text.steps import DELIMITER
from o1jax.types import Array, Task, Tree
from o1jax.verify.outcome import solution_bytes

NAME = 'probe'  # of its row
_AT_ONCE = 8  # solutions of a problem in a pass


def probe(known: Known, tree: Tree, ids: Array) -> Array:
  """p(yes): the policy reads `Task.probe` after a solution, and its probability of going on with
  yes against no is the score (arXiv:2207.05221, P(True)). The line stands in place of the end
  token, or of the last steps where `Probe.instead` says so.

  There is nothing to judge before the end of a solution, nor where the line cannot be written:
  there it is one half.
  """
  line, size = _line(known, tree, ids)
  asks = _asks(tree, ids, size)
  batch, count = ids.shape
  few = min(_AT_ONCE, count)
  # Those that are asked come first, so that there are no more passes than they need.
  order = jnp.argsort(~asks, axis=1, stable=True)
  order = jnp.pad(order, ((0, 0), (0, -count % few)), constant_values=count)
  score = functools.partial(_passed, known, tree)

  def ask(i, found):
    at = jax.lax.dynamic_slice_in_dim(order, i * few, few, axis=1)
    take = jax.vmap(lambda x, at: x[jnp.minimum(at, count - 1)])
    yes = score(take(ids, at), take(line, at), take(size, at))
    return jax.vmap(lambda row, at, new: row.at[at].set(new, mode='drop'))(found, at, yes)

  passes = -(-jnp.max(asks.sum(axis=1)) // few)
  # The name tells how often the loop runs at most, which a reader of the program could not see.
  with jax.named_scope(f'probes/turns_{order.shape[1] // few}'):
    found = jax.lax.fori_loop(0, passes, ask, jnp.full((batch, count), UNKNOWN))
  return jnp.where(asks, found, UNKNOWN)


def tokens_read(known: Known, tree: Tree, ids: Array) -> Array:
  """The tokens that a probe reads after each node, [B, N]: the line, once for each way in which it
  may go on."""
  _, size = _line(known, tree, ids)
  words = sum(len(known.texts.encode(word)) for word in _words(known))
  return jnp.where(_asks(tree, ids, size), 2 * size + words, 0).astype(jnp.float32)


def critique(known: Known, tree: Tree, ids: Array) -> tuple[Array, Array]:
  """The judgement of nodes in words: the line, and the way of the two in which the policy would
  rather go on with it. The score stands on the nodes.

  Returns:
    Tokens [B, N, G], left-packed, which begin and end a line, and how many they are, [B, N]; 0
    where nothing was asked.
  """
  line, size = _line(known, tree, ids, alone=True)
  yes, no = ([*known.texts.encode(word + DELIMITER)] for word in _words(known))
  room = max(len(yes), len(no))
  words = jnp.array([[*row, *[0] * (room - len(row))] for row in (no, yes)], jnp.int32)
  likes = (tree_lib.pick(tree.scores[NAME], ids) >= UNKNOWN).astype(jnp.int32)
  word, count = words[likes], jnp.array([len(no), len(yes)])[likes]
  line = jnp.pad(line, ((0, 0), (0, 0), (0, room)))
  place = jnp.arange(line.shape[-1]) - size[..., None]
  told = jnp.take_along_axis(word, jnp.clip(place, 0, room - 1), axis=-1)
  return jnp.where(place < 0, line, told), jnp.where(_asks(tree, ids, size), size + count, 0)


def longest(texts: Texts) -> int:
  """The most tokens of a `critique`."""
  probe = texts.task.probe
  parts = (len(texts.encode(x)) if isinstance(x, str) else probe.digits for x in probe.parts)
  return sum(parts) + max(len(texts.encode(word + DELIMITER)) for word in (probe.yes, probe.no))


def lacks(task: Task) -> str:
  """What a task would need for it, '' where it has it."""
  return '' if task.probe else 'a line in which a policy judges its solution'


def _words(known):
  return known.texts.task.probe.yes, known.texts.task.probe.no


def _asks(tree, ids, size):
  return tree_lib.pick(tree_lib.finished(tree), ids, fill=False) & (size > 0)


def _line(known: Known, tree: Tree, ids: Array, *, alone: bool = False) -> tuple[Array, Array]:
  """The line after each node in tokens, [B, N, G] left-packed, and its length [B, N], 0 where a
  part of it says nothing. Alone, it goes on with no line that is open."""
  texts, asked = known.texts, known.texts.task.probe
  open_end = jnp.zeros(ids.shape, bool) if alone else _kept(known, tree, ids)[1]
  prompt, text = prompt_bytes(known), solution_bytes(tree, ids, texts.table, size=texts.task.reads)

  def one(prompt, prompt_length, text, length, open_end):
    rows, sizes, there = [], [], jnp.bool_(True)
    for part in (DELIMITER, *asked.parts):
      if isinstance(part, str):
        tokens = texts.encode(part)
        rows.append(jnp.array(tokens, jnp.int32))
        # A step that was left out before the line has left it its delimiter.
        sizes.append(jnp.where(open_end, len(tokens), 0) if len(rows) == 1 else len(tokens))
      else:
        number = part(prompt, prompt_length, text, length)
        tokens, size = _spelled(number, texts.encode, asked.digits)
        rows.append(tokens)
        sizes.append(size)
        there &= number >= 0
    line = jnp.zeros(sum(len(row) for row in rows), jnp.int32)
    place = 0
    for row, size in zip(rows, sizes):
      at = jnp.where(jnp.arange(len(row)) < size, place + jnp.arange(len(row)), len(line))
      line = line.at[at].set(row, mode='drop')
      place += size
    return line, jnp.where(there, place, 0)

  return jax.vmap(jax.vmap(one, (None, None, 0, 0, 0)))(*prompt, *text, open_end)


def _kept(known: Known, tree: Tree, ids: Array) -> tuple[Array, Array]:
  """The nodes on each path, [B, N, R], that the line comes after, the others being -1; and whether
  these are all, [B, N]."""
  nodes = tree_lib.path_nodes(tree, ids)
  tokens, left_out = tree_lib.pick(tree.tokens, nodes), jnp.zeros(nodes.shape, bool)
  for words in known.texts.task.probe.instead:
    begins = jnp.array(known.texts.encode(words), jnp.int32)
    left_out |= jnp.all(tokens[..., : len(begins)] == begins, axis=-1)
  place, stays = jnp.arange(nodes.shape[-1]), (nodes > 0) & ~left_out
  last = jnp.max(jnp.where(stays, place, -1), axis=-1, keepdims=True)
  kept = jnp.where(place <= last, nodes, tree_lib.NONE)
  return kept, jnp.all(kept == nodes, axis=-1)


def _spelled(number, encode, digits):
  """A number in tokens, one a digit, [digits] from the left, and how many it has."""
  powers = 10 ** jnp.arange(digits - 1, -1, -1)
  size = jnp.maximum(jnp.sum(number >= powers), 1)
  tokens = jnp.array([encode(str(digit))[0] for digit in range(10)], jnp.int32)
  return jnp.roll(tokens[number // powers % 10], size - digits), size


def _passed(known: Known, tree: Tree, ids: Array, line: Array, size: Array) -> Array:
  """p(yes) after nodes [B, n] that have read the line [B, n, G] of so many tokens [B, n]."""
  words = [jnp.array(known.texts.encode(word), jnp.int32) for word in _words(known)]
  room = line.shape[-1] + max(map(len, words))
  place = jnp.arange(room) - size[..., None]  # in the word

  def row(word):
    padded = jnp.pad(line, ((0, 0), (0, 0), (0, room - line.shape[-1])))
    inside = (place >= 0) & (place < len(word))
    return jnp.where(inside, word[jnp.clip(place, 0, len(word) - 1)], padded), inside

  tokens, inside = (jnp.stack(x, axis=2) for x in zip(*map(row, words)))  # [B, n, 2, room]
  # The line is read in place of the token that ended the solution.
  open_tree = tree.replace(length=tree.length - tree_lib.finished(tree))
  nodes, _ = _kept(known, tree, ids)
  path = jnp.concatenate([jnp.full_like(nodes[..., :1], tree_lib.ROOT), nodes], axis=-1)
  context = shared_context(open_tree, known.cache, path)
  context = context._replace(self_mask=jnp.tri(room, dtype=bool)[None, None, None])
  start = known.cache.prompt_length[:, None] + tree_lib.pick(open_tree.length, nodes).sum(-1)
  positions = jnp.broadcast_to((start[..., None] + jnp.arange(room))[:, :, None], tokens.shape)
  out = apply(
    known.model,
    known.params,
    tokens,
    positions,
    context,
    longest=tree_lib.longest(tree, known.prompt) + room,
    with_value=False,
  )
  scores = score_tokens(known.model, known.params, out.hidden[..., :-1, :], tokens[..., 1:])
  yes, no = jnp.moveaxis(jnp.sum(scores.logprob * inside[..., 1:], axis=-1), 2, 0)
  return jax.nn.sigmoid(yes - no)
