"""Rows of several steps, decoded in one go: cut into their steps, and written into a tree."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.decode.loop import Steps
from o1jax.types import Array, Tree


class Chains(NamedTuple):
  """Steps of W rows, [B, S, W, ...]; a step of length 0 was not taken."""

  tokens: Array  # [B, S, W, L]
  length: Array
  logprob: Array  # [B, S, W, L]
  terminal: Array
  value: Array  # P(correct) after the step
  token_value: Array  # [B, S, W, L] P(correct) after each token

  @property
  def used(self) -> Array:
    """The steps that were taken."""
    return self.length > 0


def cut(rows: Steps, step_length: int) -> Chains:
  """Cuts decoded rows [B, W, 1, S*L], one candidate each, into their steps."""
  rows = jax.tree.map(lambda x: x[:, :, 0], rows._replace(cache=None))
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
  used = chains.used
  fields = chains._asdict() | dict(
    mask=used, prior=used.astype(jnp.float32), reward=jnp.where(chains.terminal, chains.value, 0)
  )

  def write(old, new, *axes):
    new = new.reshape(batch, steps * width, *axes, *new.shape[3:])
    start = (0, slot, *[0] * (old.ndim - 2))
    return jax.lax.dynamic_update_slice(old, new.astype(old.dtype), start)

  return tree.replace(
    expanded=write(tree.expanded, jnp.where(used, above, tree_lib.NONE)),
    path=write(tree.path, jnp.where(used[..., None], whole, tree_lib.NONE)),
    **{name: write(getattr(tree, name), field, 1) for name, field in fields.items()},
  )
