"""Chains in rounds are best-of-N, sampled in another order."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.search import SEARCHES, run
from o1jax.search.sequential import room
from tests.helpers import LINE, jit, keys, prompts, tiny

R, MOST = 3, 5


@functools.cache
def program(width, temperature=1.0):
  model, params = tiny(layers=1)
  shape = dict(step_length=3, max_steps=R, most=MOST, width=width)
  sampling = dataclasses.replace(LINE, temperature=temperature)
  search = functools.partial(run, SEARCHES['sequential'], model, sampling=sampling, **shape)
  return jit(lambda units: search(params, keys(), prompts(), units=units))


def chains(tree, width):
  """[B, N, R, ...] of a field of nodes."""
  rounds = tree.mask.shape[1] // (width * R)

  def part(x):
    x = x[:, :, 0].reshape(x.shape[0], rounds, R, width, *x.shape[3:])
    return np.moveaxis(np.asarray(x), 2, 3).reshape(x.shape[0], rounds * width, R, *x.shape[4:])

  return part


@pytest.mark.parametrize('width', [1, 2])
def test_every_unit_is_one_chain_from_the_root(width):
  for units in (1, 4, MOST):
    tree = jax.device_get(program(width)(units))
    part = chains(tree, width)
    begun = part(tree.length)[:, :, 0] > 0
    np.testing.assert_array_equal(
      begun, np.broadcast_to(np.arange(begun.shape[1]) < units, begun.shape)
    )
    assert ((tree.expanded == tree_lib.ROOT).sum(-1) == units).all()
    # A step follows the one before, until a chain ends.
    length, over = part(tree.length) > 0, part(tree.terminal)
    assert not (length[:, :, 1:] & ~length[:, :, :-1]).any()
    assert not (length[:, :, 1:] & over[:, :, :-1]).any()


@pytest.mark.parametrize('width', [1, 2])
def test_fewer_units_are_the_beginning_of_more(width):
  few, many = (jax.device_get(program(width)(units)) for units in (2, MOST))
  for name in ('tokens', 'expanded', 'path', 'length'):
    whole, part = getattr(many, name), getattr(few, name)
    np.testing.assert_array_equal(part[:, : 2 * R], whole[:, : 2 * R])
  assert (few.expanded[:, 2 * R :] == -1).all()


@pytest.mark.long
def test_chains_differ_and_are_those_of_the_policy():
  """At temperature 0 they are all the greedy solution, as best-of-N's is."""
  drawn = program(1)(MOST)
  first = chains(drawn, 1)(drawn.tokens)
  assert len({x.tobytes() for x in first[0]}) > 1
  cold = program(2, 0.0)(MOST)
  model, params = tiny(layers=1)
  sampling = dataclasses.replace(LINE, temperature=0.0)
  greedy = run(
    SEARCHES['best_of_n'],
    *(model, params, keys(), prompts()),
    **dict(units=1, step_length=3, max_steps=R, sampling=sampling),
  )
  tokens = chains(cold, 2)(cold.tokens)[:, :MOST]
  np.testing.assert_array_equal(
    tokens, np.broadcast_to(np.asarray(greedy.tokens)[:, None, :, 0], tokens.shape)
  )


def test_a_round_has_chains():
  assert room(5, candidates=1, max_steps=R, width=2).slots == 6 * R
