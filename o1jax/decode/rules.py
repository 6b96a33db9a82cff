"""The rules of sampling tokens: what closes a step, what may be drawn, and the draw."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from o1jax.decode.distinct import without
from o1jax.model.sharding import constrain, shard_count
from o1jax.types import Array

GRANULARITIES = ('line', 'tokens')

_FEW = 4


@dataclasses.dataclass(frozen=True)
class Sampling:
  """How a step is sampled and what closes it.

  Attributes:
    eos_id: the token that ends a solution, or several.
    delimiter_id: the token that ends a line, or several.
    granularity: 'line' closes at the delimiter, 'tokens' after L tokens. Both close at the end
      token. With L = 1 a step is a token, and one step of a large L is the whole solution. A line
      that fills its L tokens is closed in any case and goes on in the next step.
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
  """Whether a token is one of some ids. A few ids are compared. Some vocabularies have thousands of
  tokens with a newline, which are looked up."""
  ids = (ids,) if isinstance(ids, int) else ids
  if len(ids) <= _FEW:
    return functools.reduce(jnp.logical_or, [token == i for i in ids], jnp.zeros(token.shape, bool))
  table = np.zeros(max(ids) + 1, bool)
  table[list(ids)] = True
  return jnp.asarray(table).at[token].get(mode='fill', fill_value=False)


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
  """Inverse-CDF sample, with one uniform number a token instead of V Gumbels. uniform [...], mass
  [..., V] >= 0 -> [...].

  First a block of tokens is drawn, then one token in it. Running sums along all of V are slow on a
  CPU. Where V is sharded, they would need all of it in one place; with blocks, devices only send
  the sums of theirs.
  """
  vocab = mass.shape[-1]
  parts = shard_count('vocab') if vocab % shard_count('vocab') == 0 else 1
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
  """The first place at which the running sums pass the target, [...]. A place without mass is never
  chosen.

  Sums taken in parallel may differ by a rounding where nothing was added, or fall short of the
  target at the end.
  """
  place = jnp.arange(mass.shape[-1], dtype=jnp.int32)
  there = (mass > 0) & (reached > target[..., None])
  first = jnp.min(jnp.where(there, place, place[-1]), axis=-1)
  return jnp.minimum(first, jnp.max(jnp.where(mass > 0, place, 0), axis=-1))


def next_token(
  uniform: Array, logits: Array, sampling: Sampling, taken: Array | None = None
) -> Array:
  """Samples one token per candidate, [...], from logits [..., V] and one uniform number each.

  taken: [..., V] of each token's probability, what is not to be sampled again.

  Raises:
    ValueError: something is taken, and `sampling` does not sample by these probabilities.
  """
  if sampling.temperature:
    return sample_token(uniform, next_mass(logits, sampling, taken))
  _check_taken(sampling, taken)
  vocab = jnp.arange(logits.shape[-1], dtype=jnp.int32)
  peak = jnp.max(logits, axis=-1, keepdims=True)
  # argmax would take one number at a time.
  return jnp.min(jnp.where(logits == peak, vocab, vocab[-1]), axis=-1)


def next_mass(logits: Array, sampling: Sampling, taken: Array | None = None) -> Array:
  """What the next token is drawn from, [..., V], up to a factor; see `next_token`. The temperature
  is above 0."""
  _check_taken(sampling, taken)
  scaled = logits / sampling.temperature
  kept = truncate(scaled, top_k=sampling.top_k, top_p=sampling.top_p)
  mass = jnp.exp(kept - jnp.max(scaled, axis=-1, keepdims=True))
  return mass if taken is None else without(mass, taken)


def _check_taken(sampling: Sampling, taken: Array | None) -> None:
  if taken is not None and (not sampling.temperature or sampling.top_k or sampling.top_p < 1):
    raise ValueError(f'{sampling} cannot sample without replacement: give it all tokens')


def logprob_of(token: Array, logits: Array, sampling: Sampling) -> Array:
  """Log-prob of a token [...] under the whole distribution at the sampling temperature."""
  scaled = logits / (sampling.temperature or 1.0)
  chosen = jnp.take_along_axis(scaled, token[..., None], axis=-1)[..., 0]
  peak = jnp.max(scaled, axis=-1)
  return chosen - peak - jnp.log(jnp.sum(jnp.exp(scaled - peak[..., None]), axis=-1))
