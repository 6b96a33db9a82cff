"""The laws of beam search and of diverse verifier tree search, in worlds where every candidate and
every value is known."""

import functools

import jax
import numpy as np
import pytest

from o1jax import tree as tree_lib
from tests.helpers import climb, jit, keys, real_nodes
from tests.worlds import World, random_world

METHODS = ['beam', 'dvts']


@functools.cache
def _compiled(method, most, max_steps, aggregate):
  def run(world, keys, units):
    settings = dict(units=units, most=most, max_steps=max_steps, aggregate=aggregate)
    return world.search(method, keys, **settings)

  return jit(run)


def search(world, *, method='beam', units=3, most=None, max_steps=4, aggregate='last'):
  run = _compiled(method, most or units, max_steps, aggregate)
  return jax.device_get(run(world, keys(len(world.values)), units))


def state(tree, b, node):
  return int(tree.tokens[b].reshape(-1)[node - 1]) if node else 0


def expected(world, b, units, max_steps, method):
  """The states that each depth expands, in plain Python: one list a depth, in no order."""
  score = lambda s: float(world.values[b, s])
  kids = lambda s: list(dict.fromkeys(int(k) for k in world.children[s]))
  found, beams, places = [[0] * units], [[0]] * units, units
  if method == 'dvts':
    for _ in range(max_steps - 1):
      beams = [[max(kids(s), key=score) for s in own] for own in beams]
      beams = [[s for s in own if not world.terminal[s]] for own in beams]
      found.append([s for own in beams for s in own])
    return [sorted(depth) for depth in found if depth]
  pool = kids(0)  # the root's slots hold the same candidates, each of which is kept once
  for _ in range(max_steps - 1):
    kept = sorted(pool, key=score, reverse=True)[:places]
    done = [s for s in kept if world.terminal[s]]
    places -= len(done)
    beams = [s for s in kept if not world.terminal[s]]
    found.append(beams)
    pool = [k for s in beams for k in kids(s)]
  return [sorted(depth) for depth in found if depth]


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('units', [1, 3])
def test_the_best_are_expanded(method, units):
  # Without merging states by chance: a state has children of its own.
  rng = np.random.default_rng(3)
  children = np.arange(1, 1 + 3 * 121).reshape(121, 3)
  children = np.concatenate([children, np.tile(children[-1:], (243, 1))])
  world = World(children, rng.uniform(0.05, 0.95, (5, 364)), rng.random(364) < 0.2)
  tree = search(world, method=method, units=units)
  for b in range(5):
    found = []
    for depth in range(4):
      slots = [x for x in range(depth * units, (depth + 1) * units) if tree.expanded[b, x] >= 0]
      found.append(sorted(state(tree, b, tree.expanded[b, x]) for x in slots))
    assert [depth for depth in found if depth] == expected(world, b, units, 4, method)


def test_one_beam_goes_on_from_the_best_candidate_as_one_subtree_does():
  world = random_world(ends=0.1)
  one, other = (search(world, method=method, units=1) for method in METHODS)
  jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_finished_beam_keeps_its_place():
  #   0 ─┬─ 1: .9 *        the best, and finished: one of two places is taken
  #      ├─ 2: .8 ─── 4: .7 ...
  #      └─ 3: .7          not among the best two
  children = np.array([[1, 2, 3], [5, 5, 5], [4, 4, 4], [5, 5, 5], [6, 6, 6], [5, 5, 5], [6, 6, 6]])
  values = np.array([[0.5, 0.9, 0.8, 0.7, 0.7, 0.1, 0.1]])
  tree = search(World(children, values, np.arange(7) == 1), units=2, max_steps=3)
  assert [state(tree, 0, node) for node in tree.expanded[0] if node > 0] == [2, 4]
  assert tree_lib.finished(tree)[0, 0, 0]


@pytest.mark.parametrize('method', METHODS)
def test_fewer_beams_than_there_is_room_for(method):
  """One program serves every number of beams: what it leaves is that of a search with so many."""
  world = random_world(ends=0.1)
  few, among = search(world, method=method, units=2), search(world, method=method, units=2, most=5)
  for depth in range(4):
    own, wide = few.expanded[:, 2 * depth :], among.expanded[:, 5 * depth :]
    assert ((own[:, :2] >= 0) == (wide[:, :2] >= 0)).all() and not (wide[:, 2:5] >= 0).any()
  for b in range(4):
    lines = [
      sorted(
        tuple(state(tree, b, i) for i in climb(tree, b, node))
        for problem, x, a, node in real_nodes(tree)
        if problem == b and tree.mask[b, x, a]
      )
      for tree in (few, among)
    ]
    assert lines[0] == lines[1]


@pytest.mark.parametrize('method', METHODS)
def test_a_problem_does_not_know_its_batch(method):
  """Beams are never shared between problems."""
  world = random_world()
  together = search(world, method=method)
  for b in range(4):
    alone = search(world._replace(values=world.values[[b] * 4]), method=method)
    jax.tree.map(lambda x, y, b=b: np.testing.assert_array_equal(x[b], y[0]), together, alone)


def test_the_aggregate_decides_which_beams_stay():
  """A bad step that was made is forgotten by the last value, and not by the least."""
  #   0 ─┬─ 1: .2 ─── 3: .9 ─── 5
  #      └─ 2: .6 ─── 4: .7 ─── 6
  children = np.array([[1, 2], [3, 3], [4, 4], [5, 5], [6, 6], [5, 5], [6, 6]])
  values = np.array([[0.5, 0.2, 0.6, 0.9, 0.7, 0.5, 0.5]])
  world = World(children, values, np.zeros(7, bool))
  kept = {}
  for aggregate in ('last', 'min'):
    tree = search(world, units=2, max_steps=3, aggregate=aggregate)
    # Beams stand in the order of their scores.
    kept[aggregate] = state(tree, 0, tree.expanded[0, 4])
  assert kept == {'last': 3, 'min': 4}
