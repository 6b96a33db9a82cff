"""The candidates of a parent, drawn together without replacement: stochastic beam search (Kool, van
Hoof and Welling 2019, arXiv:1903.06059).

Its Gumbels are told as a race. Every text arrives at a random time, at a rate that is its
probability, and the first A to arrive are the draw. A race over all texts is one over their first
tokens and then, from each, one over the next. So a candidate is a text so far with the time of the
first arrival behind it, and each token lets the A earliest go on.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from o1jax.decode.rules import sample_token
from o1jax.types import Array

# Of a distribution, what rounding may leave when all of its tokens are drawn.
_ROUNDING = 1e-7


class Race(NamedTuple):
  """The A candidates of each parent, the earliest first."""

  logprob: Array  # [B, W, A] of the text so far, in what it is drawn from
  time: Array  # [B, W, A] logarithm of the arrival; inf where there is no candidate
  column: Array  # [B, W, A, S] int32: the candidate that wrote each token of this one


class Next(NamedTuple):
  """The candidates after one more token."""

  race: Race
  of: Array  # [B, W, A] int32: the candidate before, whose text each goes on with
  token: Array  # [B, W, A] int32
  closed: Array  # [B, W, A] bool: it has no such token


def begin(closed: Array, size: int) -> Race:
  """One candidate without a token under each parent, and none where all are closed [B, W, A]."""
  siblings = jnp.arange(closed.shape[-1])
  none = closed | (siblings > 0)
  # The first arrival of all says nothing about which text arrives.
  time = jnp.where(none, jnp.inf, 0.0)
  column = jnp.broadcast_to(siblings[:, None], (*closed.shape, size))
  return Race(jnp.zeros(closed.shape), time, column)


def go_on(race: Race, closed: Array, places: Array, t: Array, uniform: Array, mass: Array) -> Next:
  """Lets the earliest A of all next texts go on.

  Args:
    race: candidates of t tokens.
    closed: [B, W, A] those to which no token is added.
    places: [B, W] candidates that a parent may have, at most A.
    t: [] number of the token.
    uniform: [B, W, A, A, 2] random numbers in [0, 1).
    mass: [B, W, A, V] of next tokens, at least 0.
  """
  siblings = closed.shape[-1]
  whole = mass.sum(-1)
  closed |= race.time == jnp.inf

  def arrive(carry, number):
    """The next token to arrive behind each candidate."""
    left, time = carry
    rank, chance = number
    rest = left.sum(-1)
    rate = race.logprob + jnp.log(rest / whole)
    later = jnp.logaddexp(time, jnp.log(-jnp.log1p(-chance[..., 1])) - rate)
    # Behind the first arrival of a candidate, races are without memory.
    time = jnp.where(rank == 0, time, jnp.where(rest > _ROUNDING * whole, later, jnp.inf))
    token = jnp.where(closed, 0, sample_token(chance[..., 0], left))
    here = jnp.take_along_axis(left, token[..., None], axis=-1)[..., 0]
    logprob = race.logprob + jnp.log(here / whole)
    left = jnp.where(jnp.arange(left.shape[-1]) == token[..., None], 0, left)
    return (left, time), (token, time, logprob)

  numbers = jnp.arange(siblings), jnp.moveaxis(uniform, 3, 0)
  found = jax.lax.scan(arrive, (mass, race.time), numbers)[1]
  token, time, logprob = (jnp.moveaxis(x, 0, -1) for x in found)  # [B, W, A, A]
  time = jnp.where(closed[..., None] & (jnp.arange(siblings) > 0), jnp.inf, time)
  logprob = jnp.where(closed[..., None], race.logprob[..., None], logprob)
  flat = lambda x: x.reshape(*closed.shape[:2], -1)
  earliest, which = jax.lax.top_k(-flat(time), siblings)
  of = which // siblings
  take = lambda x: jnp.take_along_axis(x, of, axis=2)
  time = jnp.where(jnp.arange(siblings) < places[..., None], -earliest, jnp.inf)
  column = jnp.take_along_axis(race.column, of[..., None], axis=2)
  column = jax.lax.dynamic_update_index_in_dim(
    column, jnp.broadcast_to(jnp.arange(siblings), of.shape), t, axis=3
  )
  return Next(
    Race(jnp.take_along_axis(flat(logprob), which, axis=2), time, column),
    of=of,
    token=jnp.take_along_axis(flat(token), which, axis=2),
    closed=take(closed) | (time == jnp.inf),
  )
