"""Attention over a whole tree: every token reads the prompt, its path, and its own step up to itself.

On a CPU it takes a few groups of nodes at a time, so that their scores stay in the caches, in the order of their depth,
and reads no more of their paths than the deepest of them has. Its gradient, by hand, keeps one number a query and
computes the scores again (FlashAttention, arXiv:2205.14135). Elsewhere it is plain `attend`.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from o1jax.model.attention import Segment, attend, gather_path, path_rooms
from o1jax.types import Array, KeyValue

SCORES = 2**17  # that are made at once: half a MB, a quarter of a core's cache


class Paths(NamedTuple):
  """Who reads what, for each group of A nodes: ids [B, W, N] of the path's nodes (< 1 = none), mask [B, W, A or 1, N*L]
  of its tokens, prompt_mask [B, P]."""

  ids: Array
  mask: Array
  prompt_mask: Array


class Keys(NamedTuple):
  """Of one problem: `prompt` and `nodes` with tokens last, keys [K, E, P] and [K, W*A, E, L], or with tokens first."""

  prompt: KeyValue
  nodes: KeyValue

  def turned(self) -> 'Keys':
    """Tokens last and first change places."""
    return jax.tree.map(lambda x: jnp.swapaxes(x, -1, -2), self)


def attend_tree(query: Array, kv: KeyValue, prompt: KeyValue, paths: Paths) -> Array:
  """Grouped-query attention of all tokens of a tree.

  Args:
    query: [B, W, A, L, K, G, E], rotated.
    kv: keys [B, K, W, A, E, L] and values [B, K, W, A, L, E] of the same tokens.
    prompt: [B, K, E, P] and [B, K, P, E].
    paths: see `Paths`.

  Returns:
    As `query`.
  """
  rooms = path_rooms(paths.ids.shape[-1], query.shape[3])
  chunked = functools.partial(in_chunks, rooms)
  return jax.lax.platform_dependent(query, kv, prompt, paths, cpu=chunked, default=at_once)


def at_once(query: Array, kv: KeyValue, prompt: KeyValue, paths: Paths) -> Array:
  """`attend_tree` by `attend`: what the other is held to."""
  segments = [
    Segment(kv, jnp.tri(query.shape[3], dtype=bool)[None, None, None]),
    Segment(prompt, paths.prompt_mask[:, None, None, None]),
    Segment(gather_path(kv, paths.ids), paths.mask[:, :, :, None]),
  ]
  return jnp.moveaxis(attend(jnp.moveaxis(query, 4, 1), segments), 1, 4)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def in_chunks(rooms: tuple[int, ...], query: Array, kv: KeyValue, prompt: KeyValue, paths: Paths) -> Array:
  """`attend_tree` a few groups at a time, by a program for each of `rooms`, see `path_rooms`."""
  return _forward(rooms, query, kv, prompt, paths)[0]


def _forward(rooms, query, kv, prompt, paths):
  def one(problem):
    query, kv, prompt, paths = problem
    keys = Keys(prompt, _flat(kv))

    def step(out, slots):
      new = _switch(rooms, _read, paths, slots, keys, query[slots])
      return tuple(old.at[slots].set(x) for old, x in zip(out, new)), None

    empty = jnp.zeros_like(query), jnp.zeros(query.shape[:-1], jnp.float32)
    return jax.lax.scan(step, empty, _in_order(paths, query))[0]

  read, normaliser = jax.lax.map(one, (query, kv, prompt, paths))
  return read, (query, kv, prompt, paths, read, normaliser)


def _backward(rooms, kept, given):
  def one(problem):
    query, kv, prompt, paths, read, normaliser, given = problem
    keys = Keys(prompt, _flat(kv))
    turned = keys.turned()

    def step(grads, slots):
      of_query, of_keys = grads
      # A group that only fills up has no gradient, or the nodes on its path would get it too.
      some = query[slots], read[slots], normaliser[slots], given.at[slots].get(mode='fill', fill_value=0)
      new, nodes, of_rows = _switch(rooms, _read_back, paths, slots, (keys, turned), *some)
      return (of_query.at[slots].set(new), _spread(of_keys, nodes, of_rows)), None

    zeros = functools.partial(jax.tree.map, jnp.zeros_like)
    # Values, too, gather their gradients with tokens last.
    start = zeros(query), Keys(*(KeyValue(kv.key, kv.key) for kv in zeros(keys)))
    of_query, of_keys = jax.lax.scan(step, start, _in_order(paths, query))[0]
    back = KeyValue(*(x.reshape(kv.key.shape) for x in of_keys.nodes)), of_keys.prompt
    return of_query, *(KeyValue(x.key, jnp.swapaxes(x.value, -1, -2)) for x in back)

  return *jax.lax.map(one, (*kept, given)), None


in_chunks.defvjp(_forward, _backward)


def _flat(kv: KeyValue) -> KeyValue:
  return KeyValue(*(x.reshape(x.shape[0], -1, *x.shape[-2:]) for x in kv))


def _in_order(paths: Paths, query: Array) -> Array:
  """Numbers of groups by depth, [.., a few]; filled up with one that is not there, whose writes are dropped."""
  count = query.shape[0]
  row = paths.prompt_mask.shape[-1] + paths.mask.shape[-1] + query.shape[1] * query.shape[2]
  few = min(max(SCORES // (query[0, ..., 0].size * row), 1), count)
  order = jnp.argsort(jnp.sum(paths.ids > 0, axis=-1))
  return jnp.pad(order, (0, -count % few), constant_values=count).reshape(-1, few)


def _switch(rooms, function, paths, slots, keys, *data):
  """Runs the program for the least room that the paths of these groups have."""
  ids, mask = paths.ids[slots], paths.mask[slots]
  enough = sum(jnp.max(jnp.sum(ids > 0, axis=-1)) > room for room in rooms[:-1])
  branches = [functools.partial(function, room, rooms[-1]) for room in rooms]
  return jax.lax.switch(enough, branches, ids, mask, paths.prompt_mask, slots, keys, *data)


def _read(room, most, ids, mask, prompt_mask, slots, keys, query):
  """Some groups: query [g, A, L, K, G, E] -> read alike, normaliser [g, A, L, K, G]."""
  del most
  nodes = _nodes(ids[:, :room], slots, query)
  scores = _scores(query, _row(keys.prompt.key, keys.nodes.key, nodes))
  scores = jnp.where(_visible(room, mask, prompt_mask, query), scores, -1e30)
  peak = jnp.max(scores, axis=-1, keepdims=True)
  mass = jnp.exp(scores - peak)
  total = jnp.sum(mass, axis=-1, keepdims=True)
  read = mass.astype(query.dtype) @ _column(keys.prompt.value, keys.nodes.value, nodes)
  return _behind(read / total.astype(query.dtype), query), _behind(peak + jnp.log(total), query)[..., 0]


def _read_back(room, most, ids, mask, prompt_mask, slots, keys, query, read, normaliser, given):
  """Gradients of `_read`: of queries, and of keys and values with tokens last, by node, for `most` path nodes."""
  keys, turned = keys
  nodes = _nodes(ids[:, :room], slots, query)
  scores = _scores(query, _row(keys.prompt.key, keys.nodes.key, nodes))
  probs = jnp.exp(scores - _front(normaliser[..., None]))
  probs = jnp.where(_visible(room, mask, prompt_mask, query), probs, 0)
  mean = _front(jnp.sum((given * read).astype(jnp.float32), axis=-1, keepdims=True))
  given = _front(given)
  pull = (given @ _row(turned.prompt.value, turned.nodes.value, nodes)).astype(jnp.float32)
  of_scores = (probs * (pull - mean)).astype(query.dtype)
  scale = query.shape[-1] ** -0.5
  of_query = scale * _behind(of_scores @ _column(turned.prompt.key, turned.nodes.key, nodes), query)
  of_keys = jnp.swapaxes(scale * _front(query), -1, -2) @ of_scores
  of_values = jnp.swapaxes(given, -1, -2) @ probs.astype(query.dtype)
  first, width = prompt_mask.shape[-1], query.shape[2]
  left = most - room

  def part(x):
    """[K, g, E, S] -> of the prompt [K, E, P], of nodes [K, g, N + A, E, L]."""
    blocks = jnp.moveaxis(x[..., first:].reshape(*x.shape[:-1], -1, width), 3, 2)
    return jnp.sum(x[..., :first], axis=1), jnp.pad(blocks, [(0, 0)] * 2 + [(0, left)] + [(0, 0)] * 2)

  parts = [part(x) for x in (of_keys, of_values)]
  return of_query, jnp.pad(nodes, ((0, 0), (0, left))), Keys(*(KeyValue(*pair) for pair in zip(*parts)))


def _spread(grads: Keys, nodes: Array, new: Keys) -> Keys:
  prompt = jax.tree.map(jnp.add, grads.prompt, new.prompt)
  return Keys(prompt, jax.tree.map(lambda old, x: old.at[:, nodes].add(x), grads.nodes, new.nodes))


def _nodes(ids, slots, query):
  """Places in `Keys.nodes` of the nodes on the paths, where there are any, and of the groups' own, [g, room + A]."""
  width = query.shape[1]
  return jnp.concatenate([jnp.maximum(ids - 1, 0), slots[:, None] * width + jnp.arange(width)], axis=1)


def _front(x: Array) -> Array:
  """Key heads first, the rest of the queries in one: [g, A, L, K, G, E] -> [K, g, A*L*G, E]."""
  return jnp.moveaxis(x, 3, 0).reshape(x.shape[3], x.shape[0], -1, x.shape[-1])


def _behind(x: Array, query: Array) -> Array:
  """Undoes `_front`."""
  count, *inner, heads, group, _ = query.shape
  return jnp.moveaxis(x.reshape(heads, count, *inner, group, -1), 0, 3)


def _scores(query, row):
  return (_front(query * query.shape[-1] ** -0.5) @ row).astype(jnp.float32)


def _row(prompt, blocks, nodes):
  """Tokens last: [K, E, P] and [K, W*A, E, L] -> [K, g, E, S]."""
  taken = jnp.moveaxis(blocks[:, nodes], 2, 3)
  taken = taken.reshape(*taken.shape[:3], -1)
  return jnp.concatenate([jnp.broadcast_to(prompt[:, None], (*taken.shape[:3], prompt.shape[-1])), taken], axis=-1)


def _column(prompt, blocks, nodes):
  """Tokens first: [K, P, E] and [K, W*A, L, E] -> [K, g, S, E]."""
  heads, count, width = prompt.shape[0], nodes.shape[0], prompt.shape[-1]
  taken = blocks[:, nodes].reshape(heads, count, -1, width)
  return jnp.concatenate([jnp.broadcast_to(prompt[:, None], (heads, count, *prompt.shape[1:])), taken], axis=2)


def _visible(room, mask, prompt_mask, query):
  """[g, A*L*G, S]: the prompt, the path, and of the own step of the group's nodes each token's own up to itself."""
  count, width, length, _, group, _ = query.shape
  lead = count, width, length, group
  shared = [jnp.broadcast_to(prompt_mask, (count, 1, prompt_mask.shape[-1])), mask[..., : room * length]]
  own = np.kron(np.eye(width, dtype=bool), np.tri(length, dtype=bool)).reshape(width, length, 1, -1)
  parts = [jnp.broadcast_to(x[:, :, None, None], (*lead, x.shape[-1])) for x in shared]
  parts.append(jnp.broadcast_to(own, (*lead, own.shape[-1])))
  return jnp.concatenate(parts, axis=-1).reshape(count, -1, sum(x.shape[-1] for x in parts))
