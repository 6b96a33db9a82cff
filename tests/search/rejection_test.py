"""The laws of Speculative Rejection, in worlds where every value is known."""

import functools
import math

import jax
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.search import rejection
from o1jax.search.blocks import BLOCK
from tests.helpers import climb, jit, keys
from tests.worlds import random_world

R = 6


@functools.cache
def _compiled(most, alpha, every):
  def run(world, keys, units):
    settings = dict(units=units, most=most, max_steps=R, alpha=alpha, every=every, drawn=True)
    return world.search('rejection', keys, **settings)

  return jit(run)


def search(world, units=9, *, most=9, alpha=0.5, every=2):
  run = _compiled(most, alpha, every)
  return jax.device_get(run(world, keys(len(world.values)), units))


def rounds(tree, alpha, every, most):
  """The ids of the steps of each round's chains, [chains][steps]."""
  at, wide, size, found = 0, most, min(most, BLOCK), []
  for _ in range(0, R, every):
    first = [at + w // size * size * every + w % size for w in range(wide)]
    found.append([[1 + x + step * size for step in range(every)] for x in first])
    at += -(-wide // size) * size * every
    wide -= math.floor(alpha * wide)
  assert at == tree.mask.shape[1]
  return found


@pytest.mark.parametrize(
  'alpha, every, units', [(0.5, 2, 9), (0.5, 1, 6), (0.7, 4, 9), (0.0, 2, 9)]
)
def test_the_best_of_the_growing_chains_grow_on(alpha, every, units):
  world = random_world(batch=6, ends=0.15, seed=2)
  tree = search(world, units, alpha=alpha, every=every)
  stopped = 0
  for b in range(6):
    last = None
    for chains in rounds(tree, alpha, every, 9):
      parents = [int(p) for p in (tree.expanded[b, own[0] - 1] for own in chains) if p >= 0]
      if last is None:
        assert parents == [0] * units
      else:
        best = sorted(last, key=lambda n, b=b: tree.value[b, n - 1, 0], reverse=True)
        kept = best[: len(best) - math.floor(alpha * len(best) + 1e-6)]
        assert parents == kept
        stopped += len(best) - len(kept)
      ends = [own[-1] for own in chains]
      last = [n for n in ends if tree.length[b, n - 1, 0] and not tree.terminal[b, n - 1, 0]]
  assert (stopped > 0) == (alpha > 0)


def test_a_stopped_chain_costs_nothing_more():
  """Eight chains without an end: eight, four and two of them take two steps each."""
  world = random_world(ends=0.0)
  tree = search(world, 8, most=8)
  np.testing.assert_array_equal(tree_lib.generated_tokens(tree), [2 * (8 + 4 + 2)] * 4)


def test_the_last_growing_chain_goes_on_to_its_end():
  tree = search(random_world(ends=0.0), 1, alpha=0.9, every=1)
  np.testing.assert_array_equal(tree_lib.generated_tokens(tree), [R] * 4)


def test_without_rejection_chains_are_those_of_the_policy():
  """Each goes on to its end, whatever the rounds."""
  tree = search(random_world(batch=6, ends=0.15, seed=2), alpha=0.0)
  for b in range(6):
    used = {n for x in range(tree.mask.shape[1]) for n in climb(tree, b, tree.expanded[b, x])}
    ends = [1 + x for x in range(tree.mask.shape[1]) if tree.length[b, x, 0] and 1 + x not in used]
    assert len(ends) == 9
    assert all(tree.terminal[b, n - 1, 0] or len(climb(tree, b, n)) == R for n in ends)


def test_shares_are_whole_chains():
  kept = lambda n, alpha: n - rejection._stopped(n, alpha)
  assert [kept(n, 0.5) for n in range(6)] == [0, 1, 1, 2, 2, 3]
  assert (kept(100, 0.29), kept(1, 0.99), kept(3, 0.0)) == (71, 1, 3)


def test_a_share_that_leaves_no_chain_is_refused():
  with pytest.raises(ValueError, match='alpha=1.0 leaves no chain: give'):
    rejection.room(4, candidates=1, max_steps=R, alpha=1.0, every=2)
