"""Attention over a whole tree: every token reads the prompt, its path, and its own step up to
itself.

A reader is one key head of one group of nodes. We take a few readers at a time, so that their
scores take little memory and stay in a CPU's caches. We take them in the order of their depth, and
read no more of their paths than the deepest has. The gradient is written by hand: it keeps one
number a query and computes the scores again (FlashAttention, arXiv:2205.14135).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from o1jax.model.attention import capped, path_rooms
from o1jax.model.sharding import map_shards
from o1jax.types import Array, KeyValue

# Scores to make at once: half a MB on a CPU, a quarter of the cache of a core. Elsewhere 128 MB,
# which fill the device.
SCORES = dict(cpu=2**17, default=2**25)


class Paths(NamedTuple):
  """What each group of A nodes reads.

  `ids` [B, W, N] are the path's nodes (< 1 = none), `mask` [B, W, A or 1, N*L] is of their tokens,
  `prompt_mask` is [B, P]. In a local layer `near` is the positions [B, W, A, L] of all tokens, and
  the window [B].
  """

  ids: Array
  mask: Array
  prompt_mask: Array
  near: tuple[Array, Array] | None = None


def attend_tree(
  query: Array, kv: KeyValue, prompt: KeyValue, paths: Paths, *, cap: float = 0.0
) -> Array:
  """Grouped-query attention of all tokens of a tree.

  Args:
    query: [B, W, A, L, K, G, E], rotated.
    kv: keys [B, K, W, A, E, L] and values [B, K, W, A, L, E] of the same tokens.
    prompt: [B, K, E, P] and [B, K, P, E].
    paths: see `Paths`.
    cap: of scores, see `attention.capped`.

  Returns:
    As `query`.
  """
  rooms = path_rooms(paths.ids.shape[-1], query.shape[3])
  chunks = {
    platform: functools.partial(in_chunks, Plan(rooms, size, cap))
    for platform, size in SCORES.items()
  }
  read = functools.partial(jax.lax.platform_dependent, **chunks)
  # Problems and heads are independent. The compiler does not see that in a loop over them.
  like, heads = ('batch', None, None, None, 'kv_heads'), ('batch', 'kv_heads')
  return map_shards(read, like, like, heads, heads, ('batch',))(query, kv, prompt, paths)


class Plan(NamedTuple):
  """`rooms`: sizes of path to have programs for, see `path_rooms`; `scores`: how many to make at
  once; `cap`: of scores."""

  rooms: tuple[int, ...]
  scores: int
  cap: float = 0.0


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def in_chunks(plan: Plan, query: Array, kv: KeyValue, prompt: KeyValue, paths: Paths) -> Array:
  """`attend_tree` a few readers at a time."""
  return _forward(plan, query, kv, prompt, paths)[0]


class Readers(NamedTuple):
  """All U = B*K*W readers and what they read. Q = L*G, and keys and values have tokens first.

  - `query` [U, A, Q, E], scaled.
  - `own` [U*A, L, E]: keys and values of the nodes themselves.
  - `prompt` [B*K, P, E], and `prompt_of` [U]: which of them a reader reads.
  - `nodes` [U, N]: the path, as rows of `own`; `depth` [U]: how many of them exist.
  - `seen` [U, P + N*L, A or 1]: which candidate reads which token of the prompt and the path.
  - `near`, in a local layer: positions of queries [U, A, Q] and of the prompt and the path
    [U, P + N*L], and the window [U].
  """

  query: Array
  own: KeyValue
  prompt: KeyValue
  prompt_of: Array
  nodes: Array
  depth: Array
  seen: Array
  near: tuple[Array, Array, Array] | None

  def own_nodes(self, some: Array) -> Array:
    """Rows of `own` that are the nodes of the readers `some`, [r, A]."""
    width = self.query.shape[1]
    return some[:, None] * width + jnp.arange(width)


def _readers(query: Array, kv: KeyValue, prompt: KeyValue, paths: Paths) -> Readers:
  batch, slots, width, step, heads, _, size = query.shape
  first = (jnp.arange(batch * heads) * slots * width).reshape(batch, heads, 1, 1)
  nodes = first + jnp.maximum(paths.ids - 1, 0)[:, None]
  shown = jnp.broadcast_to(
    paths.prompt_mask[:, None, None], (*paths.mask.shape[:3], paths.prompt_mask.shape[-1])
  )
  seen = jnp.swapaxes(jnp.concatenate([shown, paths.mask], axis=-1), -1, -2)
  each_head = lambda x: jnp.repeat(x[:, None], heads, axis=1).reshape(-1, *x.shape[2:])
  tokens_first = lambda kv: KeyValue(jnp.swapaxes(kv.key, -1, -2), kv.value)
  flat = lambda x, rows: x.reshape(-1, rows, size)
  return Readers(
    query=_by_reader(query) * size**-0.5,
    own=jax.tree.map(lambda x: flat(x, step), tokens_first(kv)),
    prompt=jax.tree.map(lambda x: flat(x, x.shape[2]), tokens_first(prompt)),
    prompt_of=jnp.repeat(jnp.arange(batch * heads), slots),
    nodes=nodes.reshape(-1, nodes.shape[-1]),
    depth=each_head(jnp.sum(paths.ids > 0, axis=-1)),
    seen=each_head(seen),
    near=paths.near and jax.tree.map(each_head, _near(query, paths)),
  )


def _near(query: Array, paths: Paths) -> tuple[Array, Array, Array]:
  """`Readers.near`, for each group of nodes: [B, W, ...]."""
  positions, window = paths.near
  batch, slots, width, step, _, group, _ = query.shape
  nodes = jnp.maximum(paths.ids - 1, 0)
  on_path = jax.vmap(lambda at, nodes: at[nodes])(positions.reshape(batch, -1, step), nodes)
  in_prompt = jnp.broadcast_to(
    jnp.arange(paths.prompt_mask.shape[-1]), (batch, slots, paths.prompt_mask.shape[-1])
  )
  keys = jnp.concatenate([in_prompt, on_path.reshape(batch, slots, -1)], axis=-1)
  return (
    jnp.repeat(positions, group, axis=-1),
    keys,
    jnp.broadcast_to(window[:, None], (batch, slots)),
  )


def _by_reader(x: Array) -> Array:
  """[B, W, A, L, K, G, E] -> [B*K*W, A, L*G, E]."""
  batch, slots, width, _, heads, _, size = x.shape
  return jnp.moveaxis(x, 4, 1).reshape(batch * heads * slots, width, -1, size)


def _by_token(x: Array, like: Array) -> Array:
  """Undoes `_by_reader`."""
  batch, slots, width, step, heads, group, size = like.shape
  return jnp.moveaxis(x.reshape(batch, heads, slots, width, step, group, size), 1, 4)


def _forward(plan, query, kv, prompt, paths):
  readers = _readers(query, kv, prompt, paths)

  def step(out, some):
    new = _switch(plan, _read, readers, some)
    return tuple(old.at[some].set(x) for old, x in zip(out, new)), None

  empty = jnp.zeros_like(readers.query), jnp.zeros(readers.query.shape[:-1], jnp.float32)
  (read, normaliser), _ = jax.lax.scan(step, empty, _in_order(readers, plan.scores))
  read = _by_token(read, query)
  return read, (query, kv, prompt, paths, read, normaliser)


def _backward(plan, kept, given):
  query, kv, prompt, paths, read, normaliser = kept
  readers = _readers(query, kv, prompt, paths)
  mean = _by_reader(jnp.sum((given * read).astype(jnp.float32), axis=-1, keepdims=True))[..., 0]
  given = _by_reader(given)

  def step(grads, some):
    queries, nodes, prompts = grads
    # A reader that is only padding must have no gradient, or the nodes on its path would get it
    # too.
    pull = [x.at[some].get(mode='fill', fill_value=0) for x in (given, mean)]
    of_query, of_prompt, ids, of_path, of_own = _switch(
      plan, _read_back, readers, some, normaliser[some], *pull
    )
    nodes = _add(_add(nodes, ids, of_path), readers.own_nodes(some), of_own)
    return (
      queries.at[some].set(of_query),
      nodes,
      _add(prompts, readers.prompt_of[some], of_prompt),
    ), None

  start = jax.tree.map(jnp.zeros_like, (readers.query, readers.own, readers.prompt))
  of_query, of_own, of_prompt = jax.lax.scan(step, start, _in_order(readers, plan.scores))[0]

  def as_given(grad, like):
    key = grad.key.reshape(*like.key.shape[:-2], *like.value.shape[-2:])
    return KeyValue(jnp.swapaxes(key, -1, -2), grad.value.reshape(like.value.shape))

  of_query = _by_token(of_query, query) * query.shape[-1] ** -0.5
  return of_query, as_given(of_own, kv), as_given(of_prompt, prompt), None


in_chunks.defvjp(_forward, _backward)


def _add(sums: KeyValue, at: Array, new: KeyValue) -> KeyValue:
  return jax.tree.map(lambda old, x: old.at[at].add(x), sums, new)


def _in_order(readers: Readers, scores: int) -> Array:
  """Indices of readers by depth, [.., a few]. Padding is the index of a reader that does not exist,
  whose writes are dropped."""
  count, width, rows, _ = readers.query.shape
  row = readers.seen.shape[1] + readers.own.key.shape[1]
  few = min(max(scores // (width * rows * row), 1), count)
  order = jnp.argsort(readers.depth)
  return jnp.pad(order, (0, -count % few), constant_values=count).reshape(-1, few)


def _switch(plan, function, readers, some, *data):
  """Runs the program for the least room that holds the paths of the readers `some`."""
  enough = sum(jnp.max(readers.depth[some]) > room for room in plan.rooms[:-1])
  programs = [functools.partial(function, room, plan.cap) for room in plan.rooms]
  return jax.lax.switch(enough, programs, readers, some, *data)


class Part(NamedTuple):
  """Rows of queries, each n of which read the same keys: query [r, n, Q, E], kv [r, n, S, E], mask
  [r, n, S, Q].

  Scores are [r, n, S, Q]. Queries come last, since there are most of them.
  """

  query: Array
  kv: KeyValue
  mask: Array

  def cut(self, x: Array) -> Array:
    """Numbers of all queries [r, A, Q] in the shape of this part, [r, n, 1, Q]."""
    return x.reshape(*self.query.shape[:2], 1, -1)


def _parts(room: int, readers: Readers, some: Array) -> tuple[Part, Part]:
  """What the readers `some` share (the prompt and `room` nodes of a path), and the own step of each
  of their A candidates."""
  query = readers.query[some]
  count, width, rows, size = query.shape
  own = jax.tree.map(lambda x: x[readers.own_nodes(some)], readers.own)
  step = own.key.shape[2]

  def shared(prompt, nodes):
    path = nodes[readers.nodes[some, :room]].reshape(count, -1, size)
    return jnp.concatenate([prompt[readers.prompt_of[some]], path], axis=1)[:, None]

  there = readers.seen.shape[1] - (readers.nodes.shape[1] - room) * step
  seen = readers.seen[some][:, None, :there]
  seen = jnp.repeat(seen, width * rows // seen.shape[-1], axis=-1)
  causal = jnp.asarray(np.repeat(np.triu(np.ones((step, step), bool)), rows // step, axis=1))[
    None, None
  ]
  if readers.near:
    of_query, of_key, window = (x[some] for x in readers.near)
    close = (
      of_query.reshape(count, 1, 1, -1) - of_key[:, None, :there, None]
      < window[:, None, None, None]
    )
    apart = jnp.arange(rows) // (rows // step) - jnp.arange(step)[:, None]
    seen, causal = seen & close, causal & (apart < window[:, None, None, None])
  return (
    Part(
      query.reshape(count, 1, -1, size), jax.tree.map(shared, readers.prompt, readers.own), seen
    ),
    Part(query, own, causal),
  )


def _scores(keys, queries, cap=0.0):
  return capped((keys @ jnp.swapaxes(queries, -1, -2)).astype(jnp.float32), cap)


def _joined(x: Array, like: Array) -> Array:
  """From the shape of a part, [r, n, Y, Q], to that of all queries, [r, A, Q, Y]."""
  return jnp.swapaxes(x, -1, -2).reshape(*like.shape[:3], -1)


def _read(room, cap, readers, some):
  """What the readers `some` read [r, A, Q, E], and their normaliser [r, A, Q]."""
  parts = _parts(room, readers, some)
  query = parts[1].query
  scores = [jnp.where(part.mask, _scores(part.kv.key, part.query, cap), -1e30) for part in parts]
  peak = functools.reduce(
    jnp.maximum, [_joined(jnp.max(x, axis=2, keepdims=True), query) for x in scores]
  )
  mass = [jnp.exp(x - part.cut(peak)) for x, part in zip(scores, parts)]
  total = sum(_joined(jnp.sum(x, axis=2, keepdims=True), query) for x in mass)
  values = (
    jnp.swapaxes(part.kv.value, -1, -2) @ x.astype(query.dtype) for x, part in zip(mass, parts)
  )
  read = sum(_joined(x, query) for x in values) / total.astype(query.dtype)
  return read, (peak + jnp.log(total))[..., 0]


def _read_back(room, cap, readers, some, normaliser, given, mean):
  """Gradients of `_read`, in this order: queries; keys and values of the prompt; those of the path,
  with its rows of `own`; own ones."""
  of_query, of_kv = 0, []
  for part in _parts(room, readers, some):
    pull = given.reshape(part.query.shape)
    scores = _scores(part.kv.key, part.query, cap)
    probs = jnp.where(part.mask, jnp.exp(scores - part.cut(normaliser)), 0)
    of_scores = probs * (_scores(part.kv.value, pull) - part.cut(mean))
    if cap:
      of_scores *= 1 - (scores / cap) ** 2
    of_scores = of_scores.astype(given.dtype)
    of_query += _joined(jnp.swapaxes(part.kv.key, -1, -2) @ of_scores, given)
    of_kv.append(KeyValue(of_scores @ part.query, probs.astype(given.dtype) @ pull))
  shared, own = of_kv
  first, spare = readers.prompt.key.shape[1], ((0, 0), (0, readers.nodes.shape[1] - room))
  path = lambda x: jnp.pad(
    x[:, 0, first:].reshape(x.shape[0], room, *own.key.shape[2:]), (*spare, (0, 0), (0, 0))
  )
  of_prompt = jax.tree.map(lambda x: x[:, 0, :first], shared)
  return (
    of_query,
    of_prompt,
    jnp.pad(readers.nodes[some, :room], spare),
    jax.tree.map(path, shared),
    own,
  )
