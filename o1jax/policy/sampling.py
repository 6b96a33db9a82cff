"""Sampling steps: decode A candidates under W nodes of every problem until each has closed its step."""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.model.attention import Context, gather_path
from o1jax.model.forward import apply, empty_blocks, logits_of, path_mask, shared_mask
from o1jax.model.transformer import each_layer
from o1jax.types import Array, KeyValue, Tree, TreeCache

GRANULARITIES = ('token', 'line', 'tokens', 'solution')


@dataclasses.dataclass(frozen=True)
class Sampling:
  """How a step is sampled and what closes it.

  Attributes:
    eos_id: the token that ends a solution.
    delimiter_id: the token that ends a line.
    granularity: 'line' closes at the delimiter; 'token' and 'tokens' after L tokens; 'solution' at the end token only.
      A step that fills its L tokens is closed in any case and goes on in the next one.
    temperature: 0 is greedy.
    top_k: keep the k likeliest tokens; 0 keeps all.
    top_p: keep the likeliest tokens that reach this mass (arXiv:1904.09751); 1 keeps all.
  """

  eos_id: int
  delimiter_id: int
  granularity: str = 'line'
  temperature: float = 1.0
  top_k: int = 0
  top_p: float = 1.0

  def __post_init__(self):
    if self.granularity not in GRANULARITIES:
      raise ValueError(f'granularity {self.granularity!r} is unknown; choose one of {", ".join(GRANULARITIES)}')
    if self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1:
      raise ValueError(
        f'temperature={self.temperature} must be >= 0, top_k={self.top_k} >= 0 and top_p={self.top_p} in (0, 1]'
      )

  def closes(self, token: Array) -> Array:
    """True where a token ends a step before its L tokens are full."""
    end = token == self.eos_id
    return end | (token == self.delimiter_id) if self.granularity == 'line' else end


class Steps(NamedTuple):
  """Freshly decoded candidates. All [B, W, A, ...]; S tokens in a row, which may hold several steps of L."""

  tokens: Array  # [B, W, A, S] int32
  length: Array  # [B, W, A] int32, of S
  logprob: Array  # [B, W, A, S]
  place: Array  # [B, W, A, S] int32: number of the token's step * L + number of the token in it
  value: Array  # [B, W, A, S] logits of P(correct) after each token
  terminal: Array  # [B, W, A] bool
  hidden: Array  # [B, W, A, D] after the last token
  cache: Any  # keys and values, each layer [B, K, W, A, ...]


def truncate(logits: Array, *, top_k: int = 0, top_p: float = 1.0) -> Array:
  """Drops tokens outside the top k and the nucleus p from logits [..., V]; the likeliest token always stays."""
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


def sample_token(uniform: Array, logits: Array) -> Array:
  """Inverse-CDF sample: one uniform number a token instead of V Gumbels. uniform [...], logits [..., V] -> [...]."""
  probs = jax.nn.softmax(logits, axis=-1)
  mass = jnp.cumsum(probs, axis=-1)
  # Sums taken in parallel may differ by a rounding where nothing was added: a token without mass is never chosen.
  above = jnp.where(probs > 0, mass > uniform[..., None] * mass[..., -1:], -1)
  return jnp.argmax(above, axis=-1).astype(jnp.int32)


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
) -> Steps:
  """Decodes candidates under each parent.

  What a candidate reads: the prompt, its parent's path (gathered once, shared by the siblings) and its own tokens so
  far.

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

  Returns:
    See `Steps`, with S = steps * L; candidates under parent -1 have length 0.
  """
  lead = (*parents.shape, candidates or tree.mask.shape[-1])
  start = cache.prompt_length[:, None] + tree_lib.pick(tree.length, path).sum(-1)
  root = (parents == tree_lib.ROOT)[..., None]
  hidden = jnp.where(root, cache.root_hidden[:, None], tree_lib.pick(cache.hidden, parents))
  hidden = jnp.broadcast_to(hidden[:, :, None], (*lead, hidden.shape[-1]))
  closed = jnp.broadcast_to((parents < 0)[..., None], lead)
  context = _shared_context(tree, cache, path)
  limit = 1 + path.shape[-1] - jnp.sum(path >= 0, axis=-1)  # a parent at depth d has a path of d + 1 ids
  return decode(
    model,
    params,
    keys,
    context,
    start,
    hidden,
    closed,
    sampling=sampling,
    step_length=tree.tokens.shape[-1],
    steps=steps,
    limit=limit if steps > 1 else None,
  )


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
  """Decodes up to `steps` steps in a row for every candidate; the loop ends as soon as all have closed their last.

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

  def body(carry):
    t, closed, place, made = carry
    logits = logits_of(model, params, made.hidden)
    token, logprob = _next_token(uniform[t], logits, sampling)
    token = jnp.where(closed, 0, token)
    width = jax.tree.leaves(made.cache)[0].shape[-1]
    reads = context._replace(own=made.cache, at=t, self_mask=(jnp.arange(width) <= t)[None, None, None, None])
    positions = jnp.broadcast_to((start + t)[..., None, None], (*lead, 1))
    out = apply(model, params, token[..., None], positions, reads)
    made = Steps(
      tokens=at(made.tokens, token, t),
      length=made.length + ~closed,
      logprob=at(made.logprob, jnp.where(closed, 0, logprob), t),
      place=at(made.place, place, t),
      value=at(made.value, out.value[..., 0], t),
      terminal=made.terminal | (~closed & (token == sampling.eos_id)),
      hidden=jnp.where(closed[..., None], made.hidden, out.hidden[..., 0, :]),
      cache=out.cache,
    )
    step = place // step_length
    over = sampling.closes(token)
    place = jnp.where(over, (step + 1) * step_length, place + 1)
    return t + 1, closed | (token == sampling.eos_id) | (place >= room), place, made

  made = Steps(
    tokens=row(jnp.int32),
    length=jnp.zeros(lead, jnp.int32),
    logprob=row(),
    place=row(jnp.int32),
    value=row(),
    terminal=jnp.zeros(lead, bool),
    hidden=hidden,
    cache=each_layer(functools.partial(_own_blocks, lead, 0), context.prompt),
  )
  carry = jnp.int32(0), closed, jnp.zeros(lead, jnp.int32), made

  def unfinished(width, carry):
    return (carry[0] < width) & ~jnp.all(carry[1])

  # Every token reads the whole of its own cache, so the cache starts small and grows with the rows.
  for width in _widths(size):
    *carry, made = carry
    blocks = each_layer(functools.partial(_own_blocks, lead, width), context.prompt)
    made = made._replace(cache=jax.tree.map(_lay_into, blocks, made.cache))
    carry = jax.lax.while_loop(functools.partial(unfinished, width), body, (*carry, made))
  made = carry[-1]
  return made._replace(cache=each_layer(functools.partial(_by_parent, lead), made.cache))


def _own_blocks(lead: tuple[int, int, int], width: int, kv: KeyValue) -> KeyValue:
  """Room for `width` tokens of candidates [B, W, A]: keys [B, K*W*A, E, width], see `Context`; values alike."""
  empty = empty_blocks(kv, lead[1:], width)
  return KeyValue(*(x.reshape(lead[0], math.prod(x.shape[1:4]), *x.shape[4:]) for x in empty))


def _by_parent(lead: tuple[int, int, int], kv: KeyValue) -> KeyValue:
  """Own blocks as [B, K, W, A, ...]."""
  return KeyValue(*(x.reshape(lead[0], -1, *lead[1:], *x.shape[-2:]) for x in kv))


def _widths(size: int) -> list[int]:
  widths = [64]
  while widths[-1] < size:
    widths.append(2 * widths[-1])
  return [*widths[:-1], size]


def _lay_into(block: Array, part: Array) -> Array:
  return jax.lax.dynamic_update_slice(block, part, (0,) * block.ndim)


class Chains(NamedTuple):
  """Rows of several steps, cut into them: [B, R, N, ...] for R steps of N rows; a step of length 0 was not taken."""

  tokens: Array  # [B, R, N, L]
  length: Array
  logprob: Array  # [B, R, N, L]
  terminal: Array
  value: Array  # P(correct) after the step

  @property
  def used(self) -> Array:
    """The steps that were taken."""
    return self.length > 0

  def node_fields(self) -> dict[str, Array]:
    """The steps as fields of a `Tree`: unmerged lone candidates, finished ones rewarded by the critic."""
    return self._asdict() | dict(
      mask=self.used, prior=self.used.astype(jnp.float32), reward=jnp.where(self.terminal, self.value, 0)
    )


def cut(rows: Steps, step_length: int) -> Chains:
  """Cuts decoded rows [B, N, R*L] (one parent, its axis taken away) into their steps."""
  batch, count = rows.length.shape
  size = rows.tokens.shape[-1]
  written = jnp.arange(size) < rows.length[..., None]
  place = jnp.where(written, rows.place, size)

  def lay(row):
    """[B, N, R*L] -> [B, R, N, L]: every token at its place in its step, 0 elsewhere."""
    laid = jax.vmap(jax.vmap(lambda place, x: jnp.zeros_like(x).at[place].set(x, mode='drop')))(place, row)
    return jnp.moveaxis(laid.reshape(batch, count, -1, step_length), 2, 1)

  length = lay(written.astype(jnp.int32)).sum(-1)
  used = length > 0
  last = used & ~jnp.pad(used[:, 1:], ((0, 0), (0, 1), (0, 0)))
  end = jnp.maximum(length - 1, 0)[..., None]
  value = jax.nn.sigmoid(jnp.take_along_axis(lay(rows.value), end, axis=-1)[..., 0])
  return Chains(
    lay(rows.tokens), length, lay(rows.logprob), last & rows.terminal[:, None], jnp.where(used, value, 0)
  )


def _shared_context(tree: Tree, cache: TreeCache, path: Array) -> Context:
  """What the A siblings of each expansion read in common, gathered once: the prompt and their parent's path."""
  ids, step = path[..., 1:], tree.tokens.shape[-1]
  context = prompt_context(cache)
  if not ids.shape[-1]:
    return context
  return context._replace(
    path=each_layer(lambda kv: gather_path(kv, ids), cache.nodes),
    path_mask=path_mask(tree.length, ids, step)[:, :, None, None],
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
  """A uniform number for each token, [S, B, W, A], by key and token: in the loop, each would be a loop of its own."""

  def draw(t, key):
    return jax.random.uniform(jax.random.fold_in(key, t), shape)

  return jax.vmap(jax.vmap(draw, (None, 0)), (0, None))(jnp.arange(size), keys)


def _next_token(uniform, logits, sampling: Sampling):
  """Samples one token per candidate; its log-prob is that of the whole distribution at the sampling temperature."""
  scaled = logits / (sampling.temperature or 1.0)
  if sampling.temperature == 0:
    token = jnp.argmax(logits, axis=-1).astype(jnp.int32)
  else:
    token = sample_token(uniform, truncate(scaled, top_k=sampling.top_k, top_p=sampling.top_p))
  chosen = jnp.take_along_axis(scaled, token[..., None], axis=-1)[..., 0]
  return token, chosen - jax.nn.logsumexp(scaled, axis=-1)


