"""Rows of several steps, decoded in one go: cut into their steps, and written into a tree."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.decode.loop import Steps
from o1jax.model.attention import as_blocks
from o1jax.model.transformer import each_layer
from o1jax.types import Array, KeyValue, Tree, TreeCache


class Chains(NamedTuple):
  """Steps of W rows, [B, S, W, ...]; a step of length 0 was not taken."""

  tokens: Array  # [B, S, W, L]
  length: Array
  logprob: Array  # [B, S, W, L]
  terminal: Array
  value: Array  # P(correct) after the step
  token_value: Array  # [B, S, W, L] P(correct) after each token
  statistics: Mapping[str, Array]  # [B, S, W] each, the mean over the step's tokens

  @property
  def used(self) -> Array:
    """The steps that were taken."""
    return self.length > 0


def cut(rows: Steps, step_length: int) -> Chains:
  """Cuts decoded rows [B, W, 1, S*L], one candidate each, into their steps."""
  rows = jax.tree.map(lambda x: x[:, :, 0], rows._replace(cache=None, after=None))
  batch, count = rows.length.shape
  size = rows.tokens.shape[-1]
  written = jnp.arange(size) < rows.length[..., None]
  place = jnp.where(written, rows.place, size)

  def lay(row):
    """[B, W, S*L] -> [B, S, W, L]: every token at its place in its step, 0 elsewhere."""
    write = lambda place, x: jnp.zeros_like(x).at[place].set(x, mode='drop')
    laid = jax.vmap(jax.vmap(write))(place, row)
    return jnp.moveaxis(laid.reshape(batch, count, -1, step_length), 2, 1)

  length = lay(written.astype(jnp.int32)).sum(-1)
  used = length > 0
  last = used & ~jnp.pad(used[:, 1:], ((0, 0), (0, 1), (0, 0)))
  end = jnp.maximum(length - 1, 0)[..., None]
  token_value = jnp.where(lay(written), jax.nn.sigmoid(lay(rows.value)), 0)
  return Chains(
    tokens=lay(rows.tokens),
    length=length,
    logprob=lay(rows.logprob),
    terminal=last & rows.terminal[:, None],
    value=jnp.take_along_axis(token_value, end, axis=-1)[..., 0],
    token_value=token_value,
    statistics={
      name: lay(x).sum(-1) / jnp.maximum(length, 1) for name, x in rows.statistics.items()
    },
  )


def write_chains(tree: Tree, chains: Chains, parents: Array, path: Array, slot) -> Tree:
  """Writes W chains below their parents [B, W], whose path is `path` [B, W, R]. Step s of chain w
  becomes the only candidate of slot `slot + s*W + w`."""
  batch, steps, width = chains.length.shape
  room, candidates = tree.path.shape[-1], tree_lib.candidates(tree)
  made = 1 + (slot + jnp.arange(steps * width).reshape(steps, width)) * candidates
  before = jnp.broadcast_to(made[:-1], (batch, steps - 1, width))
  above = jnp.concatenate([parents[:, None], before], axis=1)
  # The columns of a path: first the parent's own, then the chain's.
  behind = jnp.arange(room) - jnp.sum(path >= 0, axis=-1, keepdims=True)
  chain = jnp.arange(width)[:, None]
  own = 1 + (slot + behind * width + chain) * candidates
  step = jnp.arange(steps)[:, None, None]
  own = jnp.where((behind >= 0)[:, None] & (behind[:, None] < step), own[:, None], tree_lib.NONE)
  whole = jnp.where((behind < 0)[:, None], path[:, None], own)
  used, fields = chains.used, chains._asdict()
  statistics = fields.pop('statistics')
  fields |= dict(
    mask=used, prior=used.astype(jnp.float32), reward=jnp.where(chains.terminal, chains.value, 0)
  )

  def write(old, new, *axes):
    new = new.reshape(batch, steps * width, *axes, *new.shape[3:])
    start = (0, slot, *[0] * (old.ndim - 2))
    return jax.lax.dynamic_update_slice(old, new.astype(old.dtype), start)

  return tree.replace(
    expanded=write(tree.expanded, jnp.where(used, above, tree_lib.NONE)),
    path=write(tree.path, jnp.where(used[..., None], whole, tree_lib.NONE)),
    scores=tree.scores | {name: write(tree.scores[name], x, 1) for name, x in statistics.items()},
    **{name: write(getattr(tree, name), field, 1) for name, field in fields.items()},
  )


def keep_chains(cache: TreeCache, rows: Steps, chains: Chains, slot, candidates: int) -> TreeCache:
  """Writes what the model remembers of W chains, whose rows were decoded with `keep`, into the
  first candidates of their slots, so that later steps can begin at any of their nodes.

  The cache must have room for the slots.
  """
  length = jnp.moveaxis(chains.length, 1, 2)  # [B, W, S]
  batch, width, steps = length.shape
  start = jnp.cumsum(length, axis=-1) - length
  size, step = rows.after.shape[3], chains.tokens.shape[-1]
  # Which token of the row is which of the step, [B, W, S*L].
  token = jnp.minimum(start[..., None] + jnp.arange(step), size - 1).reshape(batch, width, -1)

  def write(old, new, at, axis):
    return jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), at, axis=axis)

  def blocks(old, new: KeyValue):
    """Of one layer: keys [B, K, W, 1, E, T] and values [B, K, W, 1, T, E]."""
    key = jnp.take_along_axis(new.key[:, :, :, 0], token[:, None, :, None], axis=-1)
    value = jnp.take_along_axis(new.value[:, :, :, 0], token[:, None, :, :, None], axis=-2)
    key = jnp.moveaxis(key.reshape(*key.shape[:-1], steps, step), -2, 2)  # [B, K, S, W, E, L]
    value = jnp.moveaxis(value.reshape(*value.shape[:3], steps, step, -1), 3, 2)
    laid = KeyValue(
      *(x.reshape(*x.shape[:2], steps * width, 1, *x.shape[4:]) for x in (key, value))
    )
    more = [(0, 0)] * 3 + [(0, candidates - 1), (0, 0), (0, 0)]
    laid = as_blocks(jax.tree.map(lambda x: jnp.pad(x, more), laid))
    return jax.tree.map(lambda x, y: write(x, y, slot * candidates, 2), old, laid)

  last = jnp.minimum(start + jnp.maximum(length - 1, 0), size - 1)
  hidden = jnp.take_along_axis(rows.after[:, :, 0], last[..., None], axis=2)  # [B, W, S, D]
  hidden = jnp.moveaxis(hidden, 2, 1).reshape(batch, steps * width, 1, -1)
  hidden = jnp.pad(hidden, [(0, 0), (0, 0), (0, candidates - 1), (0, 0)])
  return cache.replace(
    nodes=each_layer(blocks, cache.nodes, rows.cache), hidden=write(cache.hidden, hidden, slot, 1)
  )
