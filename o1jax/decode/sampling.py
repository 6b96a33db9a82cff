"""Sampling steps: decode A candidates under W nodes of every problem until each has closed its
step."""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from o1jax import tree as tree_lib
from o1jax.decode.rows import lay_rows, lengthen, own_blocks, places_at, shown_at
from o1jax.model.attention import Context, gather_path, path_rooms
from o1jax.model.forward import apply, logits_of, path_mask, shared_mask
from o1jax.model.sharding import constrain, ways
from o1jax.model.transformer import each_layer
from o1jax.types import Array, Tree, TreeCache

GRANULARITIES = ('token', 'line', 'tokens', 'solution')

_FEW = 4


@dataclasses.dataclass(frozen=True)
class Sampling:
  """How a step is sampled and what closes it.

  Attributes:
    eos_id: the token that ends a solution, or several.
    delimiter_id: the token that ends a line, or several.
    granularity: 'line' closes at the delimiter; 'token' and 'tokens' after L tokens; 'solution' at
      the end token only. A step that fills its L tokens is closed in any case and goes on in the
      next one.
    temperature: 0 is greedy.
    top_k: keep the k likeliest tokens; 0 keeps all.
    top_p: keep the likeliest tokens that reach this mass (arXiv:1904.09751); 1 keeps all.
  """

  eos_id: int | tuple[int, ...]
  delimiter_id: int | tuple[int, ...]
  granularity: str = 'line'
  temperature: float = 1.0
  top_k: int = 0
  top_p: float = 1.0

  def __post_init__(self):
    if self.granularity not in GRANULARITIES:
      raise ValueError(
        f'granularity {self.granularity!r} is unknown; choose one of {", ".join(GRANULARITIES)}'
      )
    if self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1:
      raise ValueError(
        f'temperature={self.temperature} must be >= 0, top_k={self.top_k} >= 0 and '
        f'top_p={self.top_p} in (0, 1]'
      )

  def ends(self, token: Array) -> Array:
    """True where a token ends a solution."""
    return _is_any(token, self.eos_id)

  def closes(self, token: Array) -> Array:
    """True where a token ends a step before its L tokens are full."""
    end = self.ends(token)
    return end | _is_any(token, self.delimiter_id) if self.granularity == 'line' else end


def _is_any(token: Array, ids: int | tuple[int, ...]) -> Array:
  """One id or a few are compared; the thousand tokens of some vocabularies that hold a newline are
  looked up."""
  ids = (ids,) if isinstance(ids, int) else ids
  if len(ids) <= _FEW:
    return functools.reduce(jnp.logical_or, [token == i for i in ids], jnp.zeros(token.shape, bool))
  table = np.zeros(max(ids) + 1, bool)
  table[list(ids)] = True
  return jnp.asarray(table).at[token].get(mode='fill', fill_value=False)


class Steps(NamedTuple):
  """Freshly decoded candidates. All [B, W, A, ...]; S tokens in a row, which may hold several steps
  of L."""

  tokens: Array  # [B, W, A, S] int32
  length: Array  # [B, W, A] int32, of S
  logprob: Array  # [B, W, A, S]
  place: Array  # [B, W, A, S] int32: number of the token's step * L + number of the token in it
  value: Array  # [B, W, A, S] logits of P(correct) after each token
  terminal: Array  # [B, W, A] bool
  hidden: Array  # [B, W, A, D] after the last token
  cache: Any  # keys and values, each layer [B, K, W, A, ...]


def truncate(logits: Array, *, top_k: int = 0, top_p: float = 1.0) -> Array:
  """Drops tokens outside the top k and the nucleus p from logits [..., V]; the likeliest token
  always stays."""
  if not top_k and top_p >= 1:
    return logits
  ranked = jnp.sort(logits, axis=-1, descending=True)
  floor = ranked[..., min(top_k or logits.shape[-1], logits.shape[-1]) - 1, None]
  if top_p < 1:
    probs = jax.nn.softmax(ranked, axis=-1)
    inside = jnp.cumsum(probs, axis=-1) - probs < top_p
    nucleus = jnp.min(jnp.where(inside, ranked, jnp.inf), axis=-1, keepdims=True)
    floor = jnp.maximum(floor, nucleus)
  return jnp.where(logits >= floor, logits, -jnp.inf)


def sample_token(uniform: Array, mass: Array) -> Array:
  """Inverse-CDF sample: one uniform number a token instead of V Gumbels. uniform [...], mass [...,
  V] >= 0 -> [...].

  First a block of tokens is drawn and then one in it: running sums along all of V are slow on a
  CPU, and need the whole of V in one place where it is split among devices, which then only send
  the sums of their blocks.
  """
  vocab = mass.shape[-1]
  parts = ways('vocab') if vocab % ways('vocab') == 0 else 1
  share, size = vocab // parts, 2 ** math.ceil(math.log2(vocab) / 2)
  blocks = mass.reshape(*mass.shape[:-1], parts, share)
  blocks = jnp.pad(blocks, [(0, 0)] * (blocks.ndim - 1) + [(0, -share % size)])
  blocks = blocks.reshape(*mass.shape[:-1], -1, size)
  of_block = constrain(blocks.sum(axis=-1), *[None] * mass.ndim)
  reached = jnp.cumsum(of_block, axis=-1)
  target = uniform * reached[..., -1]
  block = _first_beyond(target, reached, of_block)
  before = jnp.where(
    block > 0,
    jnp.take_along_axis(reached, jnp.maximum(block - 1, 0)[..., None], axis=-1)[..., 0],
    0,
  )
  inside = jnp.take_along_axis(blocks, block[..., None, None], axis=-2)[..., 0, :]
  inside = _first_beyond(target - before, jnp.cumsum(inside, axis=-1), inside)
  part, block = jnp.divmod(block, -(-share // size))
  return part * share + block * size + inside


def _first_beyond(target: Array, reached: Array, mass: Array) -> Array:
  """The first place at which the running sums pass the target, [...]; one without mass is never it.

  Sums taken in parallel may differ by a rounding where nothing was added, or fall short of the
  target at the end.
  """
  place = jnp.arange(mass.shape[-1], dtype=jnp.int32)
  there = (mass > 0) & (reached > target[..., None])
  first = jnp.min(jnp.where(there, place, place[-1]), axis=-1)
  return jnp.minimum(first, jnp.max(jnp.where(mass > 0, place, 0), axis=-1))


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
  steps: int = 1,
  depth: int | None = None,
) -> Steps:
  """Decodes candidates under each parent.

  What a candidate reads: the prompt, its parent's path (gathered once, shared by the siblings) and
  its own tokens so far.

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
    steps: most steps in a row for each candidate, which never goes below depth R.
    depth: no parent is deeper; None = unknown, which takes programs for several, since every token
      reads all the room that there is for a path.

  Returns:
    See `Steps`, with S = steps * L; candidates under parent -1 have length 0.
  """
  lead = (*parents.shape, candidates or tree.mask.shape[-1])
  start = cache.prompt_length[:, None] + tree_lib.pick(tree.length, path).sum(-1)
  root = (parents == tree_lib.ROOT)[..., None]
  hidden = jnp.where(root, cache.root_hidden[:, None], tree_lib.pick(cache.hidden, parents))
  hidden = jnp.broadcast_to(hidden[:, :, None], (*lead, hidden.shape[-1]))
  closed = jnp.broadcast_to((parents < 0)[..., None], lead)
  deep = jnp.sum(path >= 0, axis=-1)  # a parent at depth d has a path of d + 1 ids
  limit = 1 + path.shape[-1] - deep

  def run(nodes):
    return decode(
      model,
      params,
      keys,
      _shared_context(tree, cache, path[..., : 1 + nodes]),
      start,
      hidden,
      closed,
      sampling=sampling,
      step_length=tree.tokens.shape[-1],
      steps=steps,
      limit=limit if steps > 1 else None,
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
) -> Steps:
  """Decodes up to `steps` steps in a row for every candidate; the loop ends as soon as all have
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

  Returns:
    See `Steps`.
  """
  lead, size = closed.shape, steps * step_length
  room = size if limit is None else jnp.minimum(limit, steps)[..., None] * step_length
  row = functools.partial(jnp.zeros, (*lead, size))
  at = functools.partial(jax.lax.dynamic_update_index_in_dim, axis=3)

  uniform = _uniforms(keys, size, lead[1:]) if sampling.temperature else jnp.zeros((size, *lead))
  shared = [mask for mask in (context.prompt_mask, context.path_mask) if mask is not None]
  longest = sum(mask.shape[-1] for mask in shared) + size
  widths = _widths(size)
  rows, shown, context = lay_rows(context, lead, widths[0])
  first = shown.shape[-1]  # where the candidates' own tokens begin in the rows

  def body(visible, places, carry):
    t, closed, place, made = carry
    logits = logits_of(model, params, made.hidden)
    token, logprob = _next_token(uniform[t], logits, sampling)
    token = jnp.where(closed, 0, token)
    own = dict(rows=made.cache, rows_at=places, at=first + t * lead[-1])
    reads = context._replace(self_mask=(visible <= t)[:, :, :, None], **own)
    positions = jnp.broadcast_to((start + t)[..., None, None], (*lead, 1))
    out = apply(model, params, token[..., None], positions, reads, longest=longest)
    made = Steps(
      tokens=at(made.tokens, token, t),
      length=made.length + ~closed,
      logprob=at(made.logprob, jnp.where(closed, 0, logprob), t),
      place=at(made.place, place, t),
      value=at(made.value, out.value[..., 0], t),
      terminal=made.terminal | (~closed & sampling.ends(token)),
      hidden=jnp.where(closed[..., None], made.hidden, out.hidden[..., 0, :]),
      cache=out.cache,
    )
    over = sampling.closes(token)
    place = jnp.where(over, (place // step_length + 1) * step_length, place + 1)
    return t + 1, closed | sampling.ends(token) | (place >= room), place, made

  made = Steps(
    tokens=row(jnp.int32),
    length=jnp.zeros(lead, jnp.int32),
    logprob=row(),
    place=row(jnp.int32),
    value=row(),
    terminal=jnp.zeros(lead, bool),
    hidden=hidden,
    cache=rows,
  )
  carry = jnp.int32(0), closed, jnp.zeros(lead, jnp.int32), made

  def unfinished(width, carry):
    return (carry[0] < width) & ~jnp.all(carry[1])

  # Every token reads the whole of its rows, so they start short and grow.
  for before, width in zip([0, *widths], widths):
    *carry, made = carry
    if width > widths[0]:
      made = made._replace(
        cache=each_layer(functools.partial(lengthen, first + width * lead[-1]), made.cache)
      )
    step = functools.partial(
      body, shown_at(shown, lead, width), places_at(context.rows_at, lead, start, width)
    )
    with jax.named_scope(f'turns_{width - before}'):  # at most: who reads the program cannot know
      carry = jax.lax.while_loop(functools.partial(unfinished, width), step, (*carry, made))
  made = carry[-1]
  return made._replace(cache=each_layer(functools.partial(own_blocks, lead, first), made.cache))


def _widths(size: int) -> list[int]:
  widths = [64]
  while widths[-1] < size:
    widths.append(2 * widths[-1])
  return [*widths[:-1], size]


class Chains(NamedTuple):
  """Rows of several steps, cut into them: [B, R, N, ...] for R steps of N rows; a step of length 0
  was not taken."""

  tokens: Array  # [B, R, N, L]
  length: Array
  logprob: Array  # [B, R, N, L]
  terminal: Array
  value: Array  # P(correct) after the step
  token_value: Array  # [B, R, N, L] P(correct) after each token

  @property
  def used(self) -> Array:
    """The steps that were taken."""
    return self.length > 0

  def node_fields(self) -> dict[str, Array]:
    """The steps as fields of a `Tree`: unmerged lone candidates, finished ones rewarded by the
    critic."""
    return self._asdict() | dict(
      mask=self.used,
      prior=self.used.astype(jnp.float32),
      reward=jnp.where(self.terminal, self.value, 0),
    )


def cut(rows: Steps, step_length: int) -> Chains:
  """Cuts decoded rows [B, N, R*L] (one parent, its axis taken away) into their steps."""
  batch, count = rows.length.shape
  size = rows.tokens.shape[-1]
  written = jnp.arange(size) < rows.length[..., None]
  place = jnp.where(written, rows.place, size)

  def lay(row):
    """[B, N, R*L] -> [B, R, N, L]: every token at its place in its step, 0 elsewhere."""
    laid = jax.vmap(jax.vmap(lambda place, x: jnp.zeros_like(x).at[place].set(x, mode='drop')))(
      place, row
    )
    return jnp.moveaxis(laid.reshape(batch, count, -1, step_length), 2, 1)

  length = lay(written.astype(jnp.int32)).sum(-1)
  used = length > 0
  last = used & ~jnp.pad(used[:, 1:], ((0, 0), (0, 1), (0, 0)))
  end = jnp.maximum(length - 1, 0)[..., None]
  token_value = jnp.where(lay(written), jax.nn.sigmoid(lay(rows.value)), 0)
  value = jnp.take_along_axis(token_value, end, axis=-1)[..., 0]
  return Chains(
    lay(rows.tokens),
    length,
    lay(rows.logprob),
    last & rows.terminal[:, None],
    jnp.where(used, value, 0),
    token_value,
  )


def _shared_context(tree: Tree, cache: TreeCache, path: Array) -> Context:
  """What the A siblings of each expansion read in common, gathered once: the prompt and their
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
  """What a candidate under the root reads besides its own tokens."""
  width = jax.tree.leaves(cache.prompt)[0].shape[-1]
  return Context(
    self_mask=jnp.ones((1, 1, 1, 1, 1), bool),
    prompt=cache.prompt,
    prompt_mask=shared_mask(jnp.arange(width) < cache.prompt_length[:, None]),
  )


def _uniforms(keys: Array, size: int, shape: tuple[int, ...]) -> Array:
  """A uniform number for each token, [S, B, W, A], by key and token: in the loop, each would be a
  loop of its own."""

  def draw(t, key):
    return jax.random.uniform(jax.random.fold_in(key, t), shape)

  return jax.vmap(jax.vmap(draw, (None, 0)), (0, None))(jnp.arange(size), keys)


def _next_token(uniform, logits, sampling: Sampling):
  """Samples one token per candidate; its log-prob is that of the whole distribution at the sampling
  temperature."""
  scaled = logits / (sampling.temperature or 1.0)
  peak = jnp.max(scaled, axis=-1, keepdims=True)
  total = jnp.sum(jnp.exp(scaled - peak), axis=-1)
  if sampling.temperature == 0:
    vocab = jnp.arange(logits.shape[-1], dtype=jnp.int32)
    # argmax would take one number at a time.
    token = jnp.min(jnp.where(scaled == peak, vocab, vocab[-1]), axis=-1)
  else:
    kept = truncate(scaled, top_k=sampling.top_k, top_p=sampling.top_p)
    token = sample_token(uniform, jnp.exp(kept - peak))
  chosen = jnp.take_along_axis(scaled, token[..., None], axis=-1)[..., 0]
  return token, chosen - peak[..., 0] - jnp.log(total)
