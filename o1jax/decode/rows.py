"""Rows of keys for decoding: all that the A siblings of an expansion read, their own tokens
included, in one array.

One product over a row is faster than one for each of its parts. Each sibling then meets the own
tokens of the others, which a mask hides. A token's keys are written in place, see
`attention.Context`.
"""

import math
from typing import Any

import jax.numpy as jnp

from o1jax.model.attention import Context
from o1jax.model.forward import empty_blocks
from o1jax.model.transformer import each_layer
from o1jax.types import Array, KeyValue


def lay_rows(context: Context, lead: tuple[int, int, int], room: int) -> tuple[Any, Array, Context]:
  """Rows of the keys that siblings share, with room for some tokens of each.

  Returns the rows; who may read the shared part [B, W, S]; and the rest of the context, with the
  positions of the shared part in `rows_at`.

  The prompt, which all of a problem share, joins the rows where there is one row for each problem,
  or where it is short beside them: one product is faster than two.
  """
  batch, width, siblings = lead
  parts, masks, places = [], [], []
  prompt_size = context.prompt_mask.shape[-1]
  joins = width == 1 or 4 * prompt_size <= room * siblings
  if joins:
    parts.append(each_layer(lambda kv: _repeat(kv, width), context.prompt))
    masks.append(jnp.broadcast_to(context.prompt_mask[:, :, 0, 0], (batch, width, prompt_size)))
    places.append(jnp.broadcast_to(jnp.arange(prompt_size), (batch, width, prompt_size)))
  if context.path is not None:
    parts.append(context.path)
    masks.append(context.path_mask[:, :, 0, 0])
    places.append(context.path_at)
  parts.append(each_layer(lambda kv: empty_blocks(kv, (width,), room * siblings), context.prompt))
  side_by_side = lambda parts, kind: jnp.concatenate(
    [jnp.zeros((batch, width, 0), kind), *parts], axis=-1
  )
  shown = side_by_side(masks, bool)
  left = context._replace(
    path=None, path_mask=None, path_at=None, rows_at=side_by_side(places, jnp.int32)
  )
  if joins:
    left = left._replace(prompt=None, prompt_mask=None)
  return each_layer(_end_to_end, *parts), shown, left


def _repeat(kv: KeyValue, width: int) -> KeyValue:
  """[B, K, ...] -> [B, K, W, ...]."""
  return KeyValue(*(jnp.repeat(x[:, :, None], width, axis=2) for x in kv))


def _end_to_end(*parts: KeyValue) -> KeyValue:
  """Keys and values, [B, K, W, ...] or [B, K, ...], as one row of [B, K*W, ...]; see `Context`."""
  fold = lambda x: x.reshape(x.shape[0], math.prod(x.shape[1:-2]), *x.shape[-2:])
  keys, values = zip(*(map(fold, part) for part in parts))
  return KeyValue(jnp.concatenate(keys, axis=-1), jnp.concatenate(values, axis=-2))


def lengthen(size: int, kv: KeyValue) -> KeyValue:
  """The same rows with room for `size` columns."""
  more = [(0, 0)] * (kv.key.ndim - 1) + [(0, size - kv.key.shape[-1])]
  return KeyValue(jnp.pad(kv.key, more), jnp.pad(kv.value, [*more[:-2], more[-1], more[-2]]))


def shown_at(
  shown: Array, lead: tuple[int, int, int], width: int, column: Array | None = None
) -> Array:
  """The token from which on each candidate reads each column of its rows, [B, W, A, S]; `width` and
  more = never.

  Column `t * A + a` of the own part is token t of candidate a, or of those whose `column`
  [B, W, A, S] is a at token t.
  """
  siblings = jnp.arange(lead[-1])
  column = siblings[:, None] if column is None else column[..., :width]
  own = jnp.where(column[..., None] == siblings, jnp.arange(width)[:, None], width)
  own = own.reshape(*own.shape[:-2], -1)
  shared = jnp.where(shown, 0, width)[:, :, None]
  return jnp.concatenate(
    [jnp.broadcast_to(x, (*lead, x.shape[-1])) for x in (shared, own)], axis=-1
  )


def places_at(places: Array, lead: tuple[int, int, int], start: Array, width: int) -> Array:
  """Positions of all columns of rows [B, W, S]. `places` are those of the shared part, `start`
  [B, W] is where the own part begins."""
  own = start[..., None] + jnp.repeat(jnp.arange(width), lead[-1])
  return jnp.concatenate([places, own], axis=-1)


def own_blocks(lead: tuple[int, int, int], first: int, kv: KeyValue) -> KeyValue:
  """The candidates' own tokens, taken out of the rows, [B, K, W, A, ...]."""
  batch, width, siblings = lead
  key = kv.key[..., first:].reshape(batch, -1, width, kv.key.shape[-2], kv.key.shape[-1] - first)
  key = jnp.moveaxis(key.reshape(*key.shape[:-1], -1, siblings), -1, 3)
  value = kv.value[..., first:, :].reshape(
    batch, -1, width, key.shape[-1], siblings, kv.value.shape[-1]
  )
  return KeyValue(key, jnp.swapaxes(value, 3, 4))


def unravelled(column: Array, kv: KeyValue) -> KeyValue:
  """The candidates' tokens [B, K, W, A, ...], where another candidate wrote some of them: token t
  of a candidate is that of candidate `column[..., t]`, [B, W, A, S]."""
  at = column[:, None]
  return KeyValue(
    jnp.take_along_axis(kv.key, at[..., None, :], axis=3),
    jnp.take_along_axis(kv.value, at[..., None], axis=3),
  )
