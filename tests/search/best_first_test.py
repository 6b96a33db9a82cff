"""The laws of best-first search, in worlds where every value is known."""

import functools

import jax
import numpy as np
import pytest

from o1jax import tree as tree_lib
from tests.helpers import climb, jit, keys
from tests.worlds import World, random_world

R, MOST = 4, 10


@functools.cache
def _compiled(width, depth_weight, uncertainty_weight, max_steps):
  own = dict(width=width, depth_weight=depth_weight, uncertainty_weight=uncertainty_weight)
  return jit(
    lambda world, keys, units: world.search(
      'best_first', keys, units=units, most=MOST, max_steps=max_steps, **own
    )
  )


def search(world, units=MOST, *, width=1, depth_weight=0.0, uncertainty_weight=0.0, max_steps=R):
  run = _compiled(width, depth_weight, uncertainty_weight, max_steps)
  return jax.device_get(run(world, keys(len(world.values)), units))


def queue(tree, b, slots):
  """The nodes that can grow, made in the first `slots` slots and not expanded there."""
  taken = {int(parent) for parent in tree.expanded[b, :slots]}
  width = tree.mask.shape[-1]
  every = [1 + x * width + a for x in range(slots) for a in range(width) if tree.mask[b, x, a] > 0]
  grows = lambda n: not tree.terminal[b].flat[n - 1] and len(climb(tree, b, n)) < R
  return [n for n in every if n not in taken and grows(n)]


@pytest.mark.long
@pytest.mark.parametrize(
  'width, depth_weight, uncertainty_weight',
  [(1, 0.0, 0.0), (1, 0.5, 0.0), (1, -0.5, 0.0), (1, 0.0, 2.0), (4, 0.0, 0.0)],
)
@pytest.mark.parametrize('units', [MOST, 7])
def test_the_best_of_the_queue_is_expanded(width, depth_weight, uncertainty_weight, units):
  settings = dict(depth_weight=depth_weight, uncertainty_weight=uncertainty_weight)
  tree = search(random_world(), units, width=width, **settings)
  for b in range(4):
    expanded = [int(node) for node in tree.expanded[b]]
    value = lambda n, b=b: tree.value[b].flat[n - 1]
    priority = lambda n, b=b, value=value: (
      value(n)
      + depth_weight * len(climb(tree, b, n)) / R
      + uncertainty_weight * value(n) * (1 - value(n))
    )
    assert expanded[0] == 0
    for slot in range(1, units, width):
      best = sorted(queue(tree, b, slot), key=priority, reverse=True)[: min(width, units - slot)]
      assert [n for n in expanded[slot : slot + width] if n >= 0] == best
    if tree_lib.finished(tree)[b, :units].any():
      assert expanded[units:] == [-1] * (len(expanded) - units)


def test_depth_and_uncertainty_change_what_is_expanded():
  trees = [search(random_world(), **{name: 2.0}) for name in ('depth_weight', 'uncertainty_weight')]
  trees.append(search(random_world()))
  expanded = {x.expanded.tobytes() for x in trees}
  assert len(expanded) == 3
  deep, _, best = (tree_lib.parent_depth(x)[:, :MOST].mean() for x in trees)
  assert deep > best


def test_an_unfinished_problem_is_finished_by_a_chain_from_its_likeliest_leaf():
  """State s leads to s + 1 and to 7, which leads nowhere; only 5 ends."""
  children = np.array([[1, 7], [2, 7], [3, 7], [4, 7], [5, 7], [7, 7], [7, 7], [7, 7]])
  values = np.array([[0.5, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.1]])
  tree = search(World(children, values, np.arange(8) == 5), 2, max_steps=6)
  assert tree.chain == 5
  path = [int(tree.tokens[0].flat[n - 1]) for n in climb(tree, 0, tree.expanded[0, -3])]
  assert tree.expanded[0, :2].tolist() == [0, 1] and path == [1, 2, 3, 4]
  np.testing.assert_array_equal(np.argwhere(tree_lib.finished(tree)), [[0, MOST + 2, 0]])
