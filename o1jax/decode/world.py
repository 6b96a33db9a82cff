"""Text that nobody sampled: what a world says after a step, and what is written in place of an end.
The policy reads it as if it had written it."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from o1jax import tree as tree_lib
from o1jax.decode.loop import shared_context
from o1jax.model.forward import apply, score_tokens
from o1jax.model.transformer import each_layer
from o1jax.text.bytes import token_bytes
from o1jax.types import Array, KeyValue, Prompt, Tree, TreeCache


class World(NamedTuple):
  """What is said after a step.

  Attributes:
    answer: (prompt, tree, ids [B, N]) -> tokens [B, N, G] and length [B, N], 0 where it is silent.
    tokens: G, which is kept free at the end of every step: a policy samples up to L - G tokens.
  """

  answer: Callable[[Prompt, Tree, Array], tuple[Array, Array]]
  tokens: int


class Edit(NamedTuple):
  """What is written into steps that were just made, in place of their last tokens or behind them.

  Attributes:
    rule: (tree, ids [B, N]) -> kept [B, N], tokens [B, N, G] and length [B, N]: how many tokens of
      each step stay, and the text behind those. A length of 0 leaves the step as it is.
    spare: tokens that are kept free for it at the end of every step.
  """

  rule: Callable[[Tree, Array], tuple[Array, Array, Array]]
  spare: int


def text_world(
  answer: Callable[[Array, Array], tuple[Array, Array]],
  table: tuple[Array, Array],
  characters: np.ndarray,
  *,
  reads: int,
  tokens: int,
) -> World:
  """A world that reads the text of a step and answers in characters.

  Args:
    answer: (text uint8 [N], length []) of one step -> (text uint8 [G], length []).
    table: bytes of every token, from `Tokenizer.bytes_table`.
    characters: [256] int, the token of each byte, from `Tokenizer.characters`.
    reads: N, bytes of the end of a step that it is told.
    tokens: G.
  """

  def of_nodes(prompt, tree, ids):
    del prompt
    text, length = token_bytes(
      tree_lib.pick(tree.tokens, ids), tree_lib.pick(tree.length, ids), table, size=reads
    )
    said, count = jax.vmap(jax.vmap(answer))(text, length)
    return jnp.asarray(characters, jnp.int32)[said], count

  return World(of_nodes, tokens)


def append(
  model,
  params,
  prompt: Prompt,
  tree: Tree,
  cache: TreeCache,
  ids: Array,
  world: World,
  *,
  temperature: float = 1.0,
) -> tuple[Tree, TreeCache]:
  """Writes what a world says after the steps that end at nodes `ids` [B, N].

  Finished nodes, and those at depth R, are told nothing. The policy reads the text in one pass, so
  that what follows depends on it. Its own log-probs of the text are kept, and `Tree.given` marks
  the text.
  """
  tokens, length = world.answer(prompt, tree, ids)
  goes_on = tree_lib.expandable(tree, ids) & (ids > tree_lib.ROOT)
  sampled = tree_lib.pick(tree.length, ids)
  length = jnp.where(goes_on, jnp.minimum(length, tree.tokens.shape[-1] - sampled), 0)

  def write(tree, cache):
    path, before = tree_lib.path_to(tree, ids), tree_lib.pick(cache.hidden, ids)
    said = _read(model, params, prompt, tree, cache, path, before, tokens, temperature or 1.0)
    return _written(tree, cache, ids, tokens, sampled, length, said, first=sampled)

  return jax.lax.cond(jnp.any(length > 0), write, lambda tree, cache: (tree, cache), tree, cache)


def rewrite(
  model,
  params,
  prompt: Prompt,
  tree: Tree,
  cache: TreeCache,
  ids: Array,
  edit: Edit,
  *,
  temperature: float = 1.0,
) -> tuple[Tree, TreeCache]:
  """Edits the steps that end at nodes `ids` [B, N], which are not expanded yet.

  A step that is edited is open: it may be expanded, and it is worth what the critic says of it.
  What was sampled and does not stay is counted in the score `tree.TAKEN`. The policy reads the
  step anew, since what it remembers of the end is not what it would of the text.
  """
  kept, text, length = edit.rule(tree, ids)
  size = tree.tokens.shape[-1]
  length = jnp.where(ids > tree_lib.ROOT, jnp.minimum(length, size - kept), 0)

  def write(tree, cache):
    place = jnp.arange(size) - kept[..., None]
    shown = jnp.take_along_axis(text, jnp.clip(place, 0, text.shape[-1] - 1), axis=-1)
    tokens = jnp.where(place < 0, tree_lib.pick(tree.tokens, ids), shown)
    slots = jnp.maximum(ids - 1, 0) // tree_lib.candidates(tree)
    path = jnp.take_along_axis(tree.path, slots[..., None], axis=1)
    above = jnp.take_along_axis(tree.expanded, slots, axis=1)[..., None]
    before = tree_lib.pick(cache.hidden, above[..., 0])
    before = jnp.where(above > tree_lib.ROOT, before, cache.root_hidden[:, None])
    said = _read(model, params, prompt, tree, cache, path, before, tokens, temperature or 1.0)
    opened = reopened(tree, ids, kept, length)
    first = jnp.zeros_like(kept)
    return _written(opened, cache, ids, tokens, kept, length, said, first=first)

  return jax.lax.cond(jnp.any(length > 0), write, lambda tree, cache: (tree, cache), tree, cache)


def reopened(tree: Tree, ids: Array, kept: Array, length: Array) -> Tree:
  """The tree whose nodes `ids` [B, N] are no ends any more, where they are given a text of some
  length [B, N] behind the `kept` of their tokens."""
  told = jnp.where(length > 0, ids, tree_lib.NONE)
  taken = tree.scores[tree_lib.TAKEN]
  count = tree_lib.pick(tree.length, ids) - kept
  return tree.replace(
    terminal=tree_lib.put(tree.terminal, told, jnp.zeros(ids.shape, bool)),
    reward=tree_lib.put(tree.reward, told, jnp.zeros(ids.shape)),
    scores=tree.scores | {tree_lib.TAKEN: tree_lib.put(taken, told, count.astype(taken.dtype))},
  )


class _Read(NamedTuple):
  """What a pass over tokens [B, N, G] gives."""

  hidden: Array  # [B, N, G, D]
  value: Array  # [B, N, G] P(correct)
  logprob: Array  # [B, N, G]
  cache: dict[str, KeyValue]  # [B, K, N, 1, ...]


def _read(model, params, prompt, tree, cache, path, before, tokens, temperature) -> _Read:
  """One pass over what follows the nodes at the end of each path [B, N, R], whose last hidden state
  is `before` [B, N, D]: it reads the prompt and the path."""
  size = tokens.shape[-1]
  start = cache.prompt_length[:, None] + tree_lib.pick(tree.length, path).sum(-1)
  context = shared_context(tree, cache, path)
  context = context._replace(self_mask=jnp.tri(size, dtype=bool)[None, None, None])
  positions = (start[..., None] + jnp.arange(size))[:, :, None]
  longest = tree_lib.longest(tree, prompt)
  out = apply(model, params, tokens[:, :, None], positions, context, longest=longest)
  hidden = out.hidden[:, :, 0]
  before = jnp.concatenate([before[:, :, None], hidden[:, :, :-1]], axis=2)
  scores = score_tokens(model, params, before, tokens, temperature=temperature)
  return _Read(hidden, jax.nn.sigmoid(out.value[:, :, 0]), scores.logprob, out.cache)


def _written(tree, cache, ids, tokens, kept, length, said: _Read, *, first):
  """Writes given text behind the `kept` tokens of nodes. tokens, said: [B, N, G], which begin with
  token `first` [B, N] of the step."""
  # The token that was read at each place of the step, and whether it is given.
  place = jnp.arange(tree.tokens.shape[-1]) - kept[..., None]
  inside = (place >= 0) & (place < length[..., None])
  place = jnp.clip(place + (kept - first)[..., None], 0, tokens.shape[-1] - 1)
  told = jnp.where(length > 0, ids, tree_lib.NONE)
  last = jnp.maximum(kept + length - 1 - first, 0)[..., None]

  def fill(field, new):
    new = jnp.where(inside, jnp.take_along_axis(new, place, axis=-1), tree_lib.pick(field, ids))
    return tree_lib.put(field, told, new)

  value = jnp.take_along_axis(said.value, last, axis=-1)[..., 0]
  tree = tree.replace(
    tokens=fill(tree.tokens, tokens),
    logprob=fill(tree.logprob, said.logprob),
    token_value=fill(tree.token_value, said.value),
    given=fill(tree.given, jnp.ones(tokens.shape, bool)),
    length=tree_lib.put(tree.length, told, kept + length),
    value=tree_lib.put(tree.value, told, value),
  )
  blocks = lambda old, new: _fill_blocks(old, new, told, inside, place)
  hidden = jnp.take_along_axis(said.hidden, last[..., None], axis=2)[:, :, 0]
  return tree, cache.replace(
    nodes=each_layer(blocks, cache.nodes, said.cache),
    hidden=tree_lib.put(cache.hidden, told, hidden),
  )


def _fill_blocks(old: KeyValue, new: KeyValue, told, inside, place) -> KeyValue:
  """Writes keys [B, K, N, 1, E, G] and values [B, K, N, 1, G, E] into blocks [B, K, X*A, E*L]."""
  step = inside.shape[-1]

  def one(blocks, new, told, inside, place, axis):
    """Of one problem: blocks [K, X*A, E*L], new [K, N, E, G] or [K, N, G, E]."""
    shape = (step, new.shape[-1]) if axis == 2 else (new.shape[-2], step)
    at = jnp.where(told > 0, told - 1, blocks.shape[1])
    held = blocks[:, jnp.minimum(at, blocks.shape[1] - 1)].reshape(*new.shape[:2], *shape)
    wide = (None, slice(None), slice(None), None) if axis == 2 else (None, slice(None), None)
    new = jnp.take_along_axis(new, jnp.broadcast_to(place[wide], held.shape), axis=axis)
    mixed = jnp.where(inside[wide], new.astype(blocks.dtype), held)
    return blocks.at[:, at].set(mixed.reshape(*new.shape[:2], -1), mode='drop')

  key = jax.vmap(lambda *x: one(*x, axis=3))(old.key, new.key[:, :, :, 0], told, inside, place)
  value = jax.vmap(lambda *x: one(*x, axis=2))(
    old.value, new.value[:, :, :, 0], told, inside, place
  )
  return KeyValue(key, value)
