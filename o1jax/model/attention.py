"""One attention for prefill, decoding and learning: queries read several segments of keys under one
softmax.

The rank of a segment says who shares it. All of a problem share [B, K, S, E] (the prompt). The A
siblings of an expansion share [B, K, W, S, E] (the path). [B, K, W, A, S, E] belongs to one
candidate (its own step).

Heads stand right behind the batch. So each product is one plain batched matrix product, with the
sharing axes folded into its rows. Keys are kept transposed, [..., E, S]: reading them row by row
made scores eight times slower on a CPU.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from o1jax.model.variants import RopeScaling
from o1jax.types import Array, KeyValue


class Segment(NamedTuple):
  """Keys and values, and a mask of which query reads which of them, broadcastable to
  [B, W, A, Q, S] (True = reads)."""

  kv: KeyValue
  mask: Array


class Context(NamedTuple):
  """What the tokens of a forward pass may read; `None` = nothing. The key-value entries hold all
  layers.

  `self_mask` [.., Q, Q], broadcastable to [B, W, A, Q, Q], is for the tokens of the pass
  themselves.

  With `rows`, the A siblings of an expansion share keys [B, K*W, E, S], which have room for their
  own tokens. The pass is of one token, and `self_mask` is [.., 1, S]. The pass writes the siblings'
  keys from column `at` on before it reads: if it wrote them afterwards, XLA would copy the rows at
  every token. XLA would copy [B, K, W, ...] too, because it drops a lone K or W.

  With `path_ids` [B, W, R-1], ids in groups, the pass is over a whole tree, and the path is
  gathered from the keys of the pass itself (`model.groups`, `model.tree_attention`). Each token
  then reads its own step up to itself.

  `path_at` and `rows_at` [B, W, S] are positions: of the path's tokens, and of the rows' columns.
  `windowed` reads them and makes `near`: the positions of the queries, and the window.
  """

  self_mask: Array
  prompt: KeyValue | None = None
  prompt_mask: Array | None = None
  path: KeyValue | None = None
  path_mask: Array | None = None
  path_ids: Array | None = None
  rows: KeyValue | None = None
  at: Array | None = None
  path_at: Array | None = None
  rows_at: Array | None = None
  near: tuple[Array, Array] | None = None


def windowed(context: Context, positions: Array, window: int) -> Context:
  """The part of a context that a local layer reads: for each token the last `window` tokens, itself
  included.

  Args:
    context: all that came before.
    positions: [B, W, A, Q] of the pass's own tokens.
    window: at least 1.
  """
  close = lambda at: positions[..., None] - at < window
  if context.path_ids is not None:
    return context._replace(near=(positions, jnp.full(positions.shape[0], window)))
  own = positions[..., None, :] if context.rows is None else context.rows_at[:, :, None, None]
  context = context._replace(self_mask=context.self_mask & close(own))
  if context.prompt is not None:
    prompt_mask = context.prompt_mask & close(jnp.arange(context.prompt_mask.shape[-1]))
    context = context._replace(prompt_mask=prompt_mask)
  if context.path is not None:
    context = context._replace(
      path_mask=context.path_mask & close(context.path_at[:, :, None, None])
    )
  return context


def turns(
  positions: Array, half: int, base: float, *, longest: int, scaling: RopeScaling | None = None
) -> tuple[Array, Array]:
  """Sine and cosine of the rotary angles (arXiv:2104.09864), positions [...] -> [..., 1, E/2] each,
  for all heads.

  They come from a table of the positions below `longest`. Without it XLA would compute both anew
  for every element that is rotated.
  """
  angles = np.arange(longest)[:, None] * _stretched(base ** -(np.arange(half) / half), scaling)
  return tuple(
    jnp.asarray(table, jnp.float32)[positions][..., None, :]
    for table in (np.sin(angles), np.cos(angles))
  )


def _stretched(rate: np.ndarray, scaling: RopeScaling | None) -> np.ndarray:
  """Radians a token for each pair of numbers, see `RopeScaling`."""
  if scaling is None:
    return rate
  rounds = rate * scaling.length / (2 * np.pi)  # turns of the pair within the length
  kept = np.clip((rounds - scaling.low) / (scaling.high - scaling.low), 0, 1)
  return rate * (kept + (1 - kept) / scaling.factor)


def rotate(x: Array, by: tuple[Array, Array]) -> Array:
  """Rotary positions. x [..., N, E]; by: the `turns` of their positions."""
  sin, cos = by
  first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(
    x.dtype
  )


def capped(x: Array, cap: float) -> Array:
  """`cap * tanh(x / cap)`, or x where the cap is 0."""
  return cap * jnp.tanh(x / cap) if cap else x


def attend(query: Array, segments: list[Segment], *, cap: float = 0.0) -> Array:
  """Grouped-query attention over the union of segments.

  Args:
    query: [B, K, W, A, Q, G, E], rotated; G = H / K queries share a key head.
    segments: see the module docstring.
    cap: of scores, see `capped`.

  Returns:
    [B, K, W, A, Q, G, E]. A query that may read nothing returns a mean of values, never NaN.
  """
  query = query * query.shape[-1] ** -0.5
  scores = []
  for kv, mask in segments:
    rows = query.reshape(*kv.key.shape[:-2], -1, query.shape[-1])
    score = capped((rows @ kv.key).astype(jnp.float32), cap)
    scores.append(
      jnp.where(mask[:, None, ..., None, :], score.reshape(*query.shape[:-1], -1), -1e30)
    )
  # One softmax over all segments. They are not concatenated, which would copy scores and
  # probabilities.
  peak = functools.reduce(jnp.maximum, [jnp.max(score, axis=-1, keepdims=True) for score in scores])
  peak = jax.lax.stop_gradient(peak)
  total, out = 0, 0
  for score, (kv, _) in zip(scores, segments):
    mass = jnp.exp(score - peak)
    total += jnp.sum(mass, axis=-1, keepdims=True)
    rows = mass.astype(query.dtype).reshape(*kv.value.shape[:-2], -1, kv.value.shape[-2])
    out += (rows @ kv.value).reshape(query.shape)
  return out / total.astype(query.dtype)


def path_rooms(nodes: int, step: int) -> tuple[int, ...]:
  """The sizes of path that programs are compiled for, in nodes and in rising order: thirds of the
  longest, or one size where paths are short.

  Every query reads the whole room of a path, so a program takes the least room that suffices.
  """
  return (
    (nodes,) if nodes * step < 64 else tuple(sorted({-(-nodes * part // 3) for part in (1, 2, 3)}))
  )


def as_blocks(kv: KeyValue) -> KeyValue:
  """Keys [B, K, X, A, E, L] and values [B, K, X, A, L, E] of nodes as a tree keeps them:
  [B, K, X*A, E*L].

  Accelerators store arrays in tiles of the last two axes. A, E or L alone would fill half a tile.
  """
  return jax.tree.map(
    lambda x: x.reshape(*x.shape[:2], x.shape[2] * x.shape[3], x.shape[4] * x.shape[5]), kv
  )


def gather_path(kv: KeyValue, ids: Array, step: int) -> KeyValue:
  """Keys and values along paths, as segments [B, K, W, ...], from `as_blocks` at ids [B, W, R-1],
  with L = `step`.

  An id < 1 gathers some node: the caller masks it.
  """

  key, value = (
    jax.vmap(lambda blocks, ids: blocks[:, jnp.maximum(ids - 1, 0)])(x, ids) for x in kv
  )
  key = jnp.moveaxis(key.reshape(*key.shape[:-1], -1, step), 3, 4)  # [B, K, W, E, R-1, L]
  return KeyValue(
    key.reshape(*key.shape[:4], -1), value.reshape(*value.shape[:3], -1, key.shape[3])
  )
