"""The decoding loop: candidates under W nodes of every problem, until each has closed its steps."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.decode import race as races
from o1jax.decode.distinct import Children, all_alike, children_of, still_alike, taken
from o1jax.decode.rows import lay_rows, lengthen, own_blocks, places_at, shown_at, unravelled
from o1jax.decode.rules import Sampling, logprob_of, next_mass, next_token
from o1jax.model.attention import Context, gather_path, path_rooms
from o1jax.model.forward import apply, logits_of, path_mask, shared_mask
from o1jax.model.transformer import each_layer
from o1jax.types import Array, Tree, TreeCache

# {name: (logits [..., V] at the sampling temperature, token [...]) -> [...]}: what is taken down of
# each token while it is sampled.
Statistics = Mapping[str, Callable[[Array, Array], Array]]


class Steps(NamedTuple):
  """Freshly decoded candidates, all [B, W, A, ...]. A row has S tokens, which may hold several
  steps of L."""

  tokens: Array  # [B, W, A, S] int32
  length: Array  # [B, W, A] int32, of S
  logprob: Array  # [B, W, A, S]
  place: Array  # [B, W, A, S] int32: number of the token's step * L + number of the token in it
  value: Array  # [B, W, A, S] logits of P(correct) after each token
  terminal: Array  # [B, W, A] bool
  hidden: Array  # [B, W, A, D] after the last token
  cache: Any  # keys and values, each layer [B, K, W, A, ...]
  after: Array | None = None  # [B, W, A, S, D] hidden states after each token, where they are kept
  statistics: Mapping[str, Array] = {}  # [B, W, A, S] each, where they are asked for


def decode_steps(
  model,
  params,
  keys: Array,
  tree: Tree,
  cache: TreeCache,
  parents: Array,
  path: Array,
  *,
  sampling: Sampling,
  candidates: int | None = None,
  each: Array | None = None,
  steps: int = 1,
  depth: int | None = None,
  own: int | None = None,
  keep: bool = False,
  distinct: bool = False,
  replacement: bool = True,
  statistics: Statistics | None = None,
) -> Steps:
  """Decodes candidates under each parent.

  A candidate reads the prompt, its parent's path (gathered once, shared by the siblings) and its
  own tokens so far.

  Args:
    model: the language model.
    params: policy and critic are read.
    keys: [B] one key a problem, so that a problem's samples do not depend on its batch.
    tree: the tree so far.
    cache: its keys and values.
    parents: [B, W] ids of the nodes to expand, -1 = none (nothing is decoded there).
    path: [B, W, R] from the root to each parent.
    sampling: see `Sampling`.
    candidates: for each parent; None = A.
    each: [B, W] of them that are decoded; None = all.
    steps: most steps in a row for each candidate, which never goes below depth R.
    depth: no parent is deeper. None = unknown: several sizes of path then have a program each,
      since every token reads the whole room of its path.
    own: most tokens of a step; None = L.
    keep: the hidden states after all tokens.
    distinct: candidates are none of their parent's children so far.
    replacement: candidates are independent; else no two of one expansion are alike, see
      `decode.race`.
    statistics: see `Statistics`.

  Returns:
    See `Steps`, with S = steps * L. Candidates under parent -1 have length 0, and so have those for
    which there was no other text.
  """
  lead = (*parents.shape, candidates or tree.mask.shape[-1])
  start = cache.prompt_length[:, None] + tree_lib.pick(tree.length, path).sum(-1)
  root = (parents == tree_lib.ROOT)[..., None]
  if depth == 0:  # there may be no room for the hidden states of nodes
    hidden = jnp.broadcast_to(
      cache.root_hidden[:, None], (*parents.shape, cache.root_hidden.shape[-1])
    )
  else:
    hidden = jnp.where(root, cache.root_hidden[:, None], tree_lib.pick(cache.hidden, parents))
  hidden = jnp.broadcast_to(hidden[:, :, None], (*lead, hidden.shape[-1]))
  closed = jnp.broadcast_to((parents < 0)[..., None], lead)
  if each is not None:
    closed |= jnp.arange(lead[-1]) >= each[..., None]
  deep = jnp.sum(path >= 0, axis=-1)  # a parent at depth d has a path of d + 1 ids
  limit = 1 + path.shape[-1] - deep

  def run(nodes):
    return decode(
      model,
      params,
      keys,
      shared_context(tree, cache, path[..., : 1 + nodes]),
      start,
      hidden,
      closed,
      sampling=sampling,
      step_length=own or tree.tokens.shape[-1],
      steps=steps,
      limit=limit if steps > 1 else None,
      keep=keep,
      children=children_of(tree, parents) if distinct else None,
      replacement=replacement or lead[-1] == 1,
      statistics=statistics,
    )

  rooms = path_rooms(path.shape[-1] - 1, tree.tokens.shape[-1]) if depth is None else (depth,)
  enough = sum(jnp.max(deep) - 1 > room for room in rooms[:-1])
  return jax.lax.switch(enough, [functools.partial(run, room) for room in rooms])


def decode(
  model,
  params,
  keys: Array,
  context: Context,
  start: Array,
  hidden: Array,
  closed: Array,
  *,
  sampling: Sampling,
  step_length: int,
  steps: int = 1,
  limit: Array | None = None,
  keep: bool = False,
  children: Children | None = None,
  replacement: bool = True,
  statistics: Statistics | None = None,
) -> Steps:
  """Decodes up to `steps` steps in a row for every candidate. The loop ends as soon as all have
  closed their last.

  Args:
    model: the language model.
    params: policy and critic are read.
    keys: [B] one key a problem.
    context: what candidates read besides their own tokens; it holds at least the prompt.
    start: [B, W] position of the first token.
    hidden: [B, W, A, D] after the token before it.
    closed: [B, W, A] candidates for which nothing is decoded.
    sampling: see `Sampling`.
    step_length: L.
    steps: most steps in a row; S = steps * L.
    limit: [B, W] most steps of each parent's candidates, at least 1; None = `steps` for all.
    keep: the hidden states after all tokens.
    children: of which no candidate is to be another copy; None = any may be.
    replacement: see `decode_steps`.
    statistics: see `Statistics`.

  Returns:
    See `Steps`.
  """
  lead, size = closed.shape, steps * step_length
  room = size if limit is None else jnp.minimum(limit, steps)[..., None] * step_length
  if not (replacement or sampling.temperature):
    raise ValueError('temperature=0 has one candidate: sample with replacement, or above 0')
  drawn = lead[1:] if replacement else (*lead[1:], lead[-1], 2)
  uniform = _uniforms(keys, size, drawn) if sampling.temperature else jnp.zeros((size, *lead))
  places = jnp.sum(~closed, axis=-1)
  shared = [mask for mask in (context.prompt_mask, context.path_mask) if mask is not None]
  longest = sum(mask.shape[-1] for mask in shared) + size
  widths = _widths(size)
  rows, shown, context = lay_rows(context, lead, widths[0])
  first = shown.shape[-1]  # where the candidates' own tokens begin in the rows

  def body(width, visible, rows_at, now):
    now, token, logits = _drawn(
      now, uniform, logits_of(model, params, now.made.hidden), children, places, sampling
    )
    own = dict(rows=now.made.cache, rows_at=rows_at, at=first + now.t * lead[-1])
    if now.race is not None:
      visible = shown_at(shown, lead, width, now.race.column)
    reads = context._replace(self_mask=(visible <= now.t)[:, :, :, None], **own)
    positions = jnp.broadcast_to((start + now.t)[..., None, None], (*lead, 1))
    out = apply(model, params, token[..., None], positions, reads, longest=longest)
    made = _with_token(now, token, logits, out, sampling, statistics or {})
    over = sampling.closes(token)
    place = jnp.where(over, (now.place // step_length + 1) * step_length, now.place + 1)
    closed = now.closed | sampling.ends(token) | (place >= room)
    return now._replace(t=now.t + 1, closed=closed, place=place, made=made)

  now = _Candidates(
    t=jnp.int32(0),
    closed=closed,
    place=jnp.zeros(lead, jnp.int32),
    alike=None if children is None else all_alike(children, lead),
    race=None if replacement else races.begin(closed, size),
    made=_nothing(lead, size, hidden, rows, keep=keep, statistics=statistics),
  )

  def unfinished(width, now):
    return (now.t < width) & ~jnp.all(now.closed)

  # Every token reads the whole of its rows, so they start short and grow.
  for before, width in zip([0, *widths], widths):
    if width > widths[0]:
      longer = functools.partial(lengthen, first + width * lead[-1])
      now = now._replace(made=now.made._replace(cache=each_layer(longer, now.made.cache)))
    visible = shown_at(shown, lead, width) if replacement else None
    rows_at = places_at(context.rows_at, lead, start, width)
    # The name tells how often the loop runs at most, which a reader of the program could not see.
    with jax.named_scope(f'turns_{width - before}'):
      step = functools.partial(body, width, visible, rows_at)
      now = jax.lax.while_loop(functools.partial(unfinished, width), step, now)
  blocks = each_layer(functools.partial(own_blocks, lead, first), now.made.cache)
  if now.race is not None:
    blocks = each_layer(functools.partial(unravelled, now.race.column), blocks)
  return now.made._replace(cache=blocks)


class _Candidates(NamedTuple):
  """Candidates after `t` tokens."""

  t: Array
  closed: Array  # [B, W, A] bool
  place: Array  # [B, W, A] int32 of the next token, see `Steps`
  alike: Array | None  # see `distinct.taken`
  race: races.Race | None
  made: Steps


def _drawn(
  now: _Candidates,
  uniform: Array,
  logits: Array,
  children: Children | None,
  places: Array,
  sampling: Sampling,
) -> tuple[_Candidates, Array, Array]:
  """The next token of each candidate, and the logits [B, W, A, V] that it is drawn from.

  In a race, a candidate may go on with the text of another one. Then all that is known of that text
  goes with it.
  """
  known = None if children is None else taken(children, now.alike, now.t, logits.shape[-1])
  if now.race is None:
    token = next_token(uniform[now.t], logits, sampling, known)
  else:
    mass = next_mass(logits, sampling, known)
    race, of, token, closed = races.go_on(now.race, now.closed, places, now.t, uniform[now.t], mass)
    logits, place, alike = _taken_from(of, (logits, now.place, now.alike))
    # Keys stay in their columns.
    made = _taken_from(of, now.made._replace(cache=None))._replace(cache=now.made.cache)
    there = race.time < jnp.inf
    made = made._replace(length=made.length * there, terminal=made.terminal & there)
    now = now._replace(closed=closed, place=place, alike=alike, race=race, made=made)
  token = jnp.where(now.closed, 0, token)
  if children is not None:
    now = now._replace(alike=still_alike(children, now.alike, now.t, token))
  return now, token, logits


def _with_token(now: _Candidates, token, logits, out, sampling, statistics) -> Steps:
  """`made` with one more token, and what the model puts out after it. Candidates that are closed
  stay as they are, since nobody reads behind their length."""
  t, closed, made = now.t, now.closed, now.made
  at = lambda field, new: jax.lax.dynamic_update_index_in_dim(field, new, t, axis=3)
  opened = lambda new: jnp.where(closed, 0, new)
  noted = {name: f(logits / (sampling.temperature or 1.0), token) for name, f in statistics.items()}
  return Steps(
    tokens=at(made.tokens, token),
    length=made.length + ~closed,
    logprob=at(made.logprob, opened(logprob_of(token, logits, sampling))),
    place=at(made.place, now.place),
    value=at(made.value, out.value[..., 0]),
    terminal=made.terminal | (~closed & sampling.ends(token)),
    hidden=jnp.where(closed[..., None], made.hidden, out.hidden[..., 0, :]),
    cache=out.cache,
    after=None if made.after is None else at(made.after, out.hidden[..., 0, :]),
    statistics={name: at(made.statistics[name], opened(x)) for name, x in noted.items()},
  )


def _taken_from(of: Array, fields):
  """Fields [B, W, A, ...] of other candidates `of` [B, W, A] of the same parents."""

  def one(x):
    return jnp.take_along_axis(x, of.reshape(*of.shape, *[1] * (x.ndim - 3)), axis=2)

  return jax.tree.map(one, fields)


def _nothing(
  lead: tuple[int, int, int],
  size: int,
  hidden: Array,
  rows: Any,
  *,
  keep: bool,
  statistics: Statistics | None,
) -> Steps:
  """Room for S = `size` tokens of each candidate, none of which is written."""
  row = functools.partial(jnp.zeros, (*lead, size))
  return Steps(
    tokens=row(jnp.int32),
    length=jnp.zeros(lead, jnp.int32),
    logprob=row(),
    place=row(jnp.int32),
    value=row(),
    terminal=jnp.zeros(lead, bool),
    hidden=hidden,
    cache=rows,
    after=jnp.zeros((*lead, size, hidden.shape[-1]), hidden.dtype) if keep else None,
    statistics={name: row() for name in statistics or {}},
  )


def _widths(size: int) -> list[int]:
  widths = [64]
  while widths[-1] < size:
    widths.append(2 * widths[-1])
  return [*widths[:-1], size]


def shared_context(tree: Tree, cache: TreeCache, path: Array) -> Context:
  """The context that the A siblings of each expansion share, gathered once: the prompt and their
  parent's path."""
  ids, step = path[..., 1:], tree.tokens.shape[-1]
  context = prompt_context(cache)
  if not ids.shape[-1]:
    return context
  length = tree_lib.pick(tree.length, ids)
  start = cache.prompt_length[:, None, None] + jnp.cumsum(length, axis=-1) - length
  return context._replace(
    path=each_layer(lambda kv: gather_path(kv, ids, step), cache.nodes),
    path_mask=path_mask(tree.length, ids, step)[:, :, None, None],
    path_at=(start[..., None] + jnp.arange(step)).reshape(*ids.shape[:2], -1),
  )


def prompt_context(cache: TreeCache) -> Context:
  """The context of a candidate under the root."""
  width = jax.tree.leaves(cache.prompt)[0].shape[-1]
  return Context(
    self_mask=jnp.ones((1, 1, 1, 1, 1), bool),
    prompt=cache.prompt,
    prompt_mask=shared_mask(jnp.arange(width) < cache.prompt_length[:, None]),
  )


def _uniforms(keys: Array, size: int, shape: tuple[int, ...]) -> Array:
  """A uniform number for each token, [S, B, W, A], by key and token. Drawn inside the loop, each
  would be a loop of its own."""

  def draw(t, key):
    return jax.random.uniform(jax.random.fold_in(key, t), shape)

  return jax.vmap(jax.vmap(draw, (None, 0)), (0, None))(jnp.arange(size), keys)
