"""Sampling without replacement: a candidate that is none of its parent's children so far (Shi,
Bieber and Singh 2020, arXiv:2002.09067)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from o1jax.types import Array, Tree

# Of a token's probability, what rounding may leave of it when all of its mass is taken.
_ROUNDING = 1e-5


class Children(NamedTuple):
  """The N nodes of a tree, as children of W parents."""

  tokens: Array  # [B, N, L] int32
  mass: Array  # [B, N, L]: probability of the rest of the step, from each token on
  of: Array  # [B, W, N] bool: a child of the parent


def children_of(tree: Tree, parents: Array) -> Children:
  """What the parents [B, W] have already."""
  batch, _, candidates, size = tree.tokens.shape
  flat = lambda x: x.reshape(batch, -1, *x.shape[3:])
  # After its end, a step has no mass that could be taken. What a world said there has none either.
  sampled = (jnp.arange(size) < flat(tree.length)[..., None]) & ~flat(tree.given)
  logprob = jnp.where(sampled, flat(tree.logprob), 0)
  rest = jnp.cumsum(logprob[..., ::-1], axis=-1)[..., ::-1]
  above = jnp.repeat(tree.expanded, candidates, axis=1)[:, None]
  return Children(
    tokens=flat(tree.tokens),
    mass=jnp.where(sampled, jnp.exp(rest), 0),
    of=(above == parents[..., None]) & (parents >= 0)[..., None] & flat(tree.mask)[:, None],
  )


def all_alike(children: Children, lead: tuple[int, int, int]) -> Array:
  """Which children begin as the candidates do before these have a token, [B, W, A, N]."""
  return jnp.broadcast_to(children.of[:, :, None], (*lead, children.of.shape[-1]))


def taken(children: Children, alike: Array, t: Array, vocab: int) -> Array:
  """Of each next token's probability, what belongs to children that begin as the candidate does.

  Args:
    children: see `Children`.
    alike: [B, W, A, N] bool: the child's first `t` tokens are the candidate's.
    t: [] tokens that the candidates have.
    vocab: V.

  Returns:
    [B, W, A, V]
  """
  size = children.tokens.shape[-1]
  at = lambda x: jax.lax.dynamic_index_in_dim(x, jnp.minimum(t, size - 1), axis=2, keepdims=False)
  mass = jnp.where(alike & (t < size), at(children.mass)[:, None, None], 0)

  def add(token, mass):  # [N], [W, A, N]
    return jnp.zeros((*mass.shape[:2], vocab)).at[..., token].add(mass)

  return jax.vmap(add)(at(children.tokens), mass)


def still_alike(children: Children, alike: Array, t: Array, token: Array) -> Array:
  """`alike` after token `t` [B, W, A] of the candidates."""
  size = children.tokens.shape[-1]
  theirs = jax.lax.dynamic_index_in_dim(children.tokens, jnp.minimum(t, size - 1), axis=2)[..., 0]
  return alike & (theirs[:, None, None] == token[..., None])


def without(mass: Array, taken: Array) -> Array:
  """Mass [..., V] of next tokens without what is taken of it, a share [..., V] of the whole.

  All of it again where nothing is left: a parent that has all its children gets one of them twice.
  """
  whole = mass.sum(-1, keepdims=True)
  left = mass - taken * whole
  left = jnp.where(left > _ROUNDING * mass, left, 0)
  return jnp.where(left.sum(-1, keepdims=True) > _ROUNDING * whole, left, mass)
