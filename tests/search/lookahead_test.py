"""The laws of lookahead search, in worlds where every candidate and every value is known."""

import functools

import jax
import numpy as np
import pytest

from o1jax import tree as tree_lib
from tests.helpers import jit, keys
from tests.worlds import World, random_world

R = 4


@functools.cache
def _compiled(method, most, max_steps, settings):
  def run(world, keys, units):
    spend = dict(units=units, most=most, max_steps=max_steps)
    return world.search(method, keys, **spend, **dict(settings))

  return jit(run)


def search(world, units=2, *, method='lookahead', most=None, max_steps=R, **settings):
  run = _compiled(method, most or units, max_steps, tuple(settings.items()))
  return jax.device_get(run(world, keys(len(world.values)), units))


def own_world(seed=3):
  """In which a state has children of its own."""
  rng = np.random.default_rng(seed)
  children = np.arange(1, 1 + 3 * 121).reshape(121, 3)
  children = np.concatenate([children, np.tile(children[-1:], (243, 1))])
  return World(children, rng.uniform(0.05, 0.95, (5, 364)), rng.random(364) < 0.2)


def state(tree, b, node):
  return int(tree.tokens[b].reshape(-1)[node - 1]) if node else 0


def expected(world, b, units, ahead):
  """The states that each depth expands, in plain Python. A chain goes on to the first child."""

  def score(s, depth):
    for deeper in range(depth + 1, min(depth + ahead, R) + 1):
      del deeper
      s = s if world.terminal[s] else int(world.children[s, 0])
    return float(world.values[b, s])

  found, places, pool = [[0] * units], units, list(map(int, world.children[0]))
  for depth in range(1, R):
    kept = sorted(pool, key=functools.partial(score, depth=depth), reverse=True)[:places]
    places -= sum(bool(world.terminal[s]) for s in kept)
    found.append([s for s in kept if not world.terminal[s]])
    pool = [int(k) for s in found[-1] for k in world.children[s]]
  return [sorted(depth) for depth in found if depth]


@pytest.mark.parametrize('ahead, units', [(0, 3), (1, 3), (2, 1), (2, 3)])
def test_candidates_are_judged_by_where_they_lead(ahead, units):
  world = own_world()
  tree = search(world, units, ahead=ahead)
  for b in range(5):
    found = []
    for depth in range(R):
      slots = [x for x in range(depth * units, (depth + 1) * units) if tree.expanded[b, x] >= 0]
      found.append(sorted(state(tree, b, tree.expanded[b, x]) for x in slots))
    assert [depth for depth in found if depth] == expected(world, b, units, ahead)


def test_looking_ahead_changes_choices():
  #   0 ─┬─ 1: .9 ─── 3: .1
  #      └─ 2: .5 ─── 4: .8
  children = np.array([[1, 2], [3, 3], [4, 4], [5, 5], [5, 5], [5, 5]])
  values = np.array([[0.5, 0.9, 0.5, 0.1, 0.8, 0.5]])
  world = World(children, values, np.zeros(6, bool))
  taken = {
    ahead: state(tree, 0, tree.expanded[0, 1])
    for ahead in (0, 1)
    for tree in [search(world, 1, ahead=ahead)]
  }
  assert taken == {0: 1, 1: 2}


def test_without_a_step_ahead_it_is_beam_search():
  world = random_world(ends=0.1)
  both = (
    search(world, 3, ahead=0, aggregate='min'),
    search(world, 3, method='beam', aggregate='min'),
  )
  jax.tree.map(np.testing.assert_array_equal, *both)


def test_chains_are_billed_and_their_solutions_are_found():
  """A beam without end: at each of three depths two chains of two steps, the last of one."""
  world = random_world(batch=2, multiplicity=(1, 1), ends=0.0)
  spent = tree_lib.generated_tokens(search(world, 1, ahead=2))
  np.testing.assert_array_equal(spent, [R * 2 + 2 * (2 + 2 + 1)] * 2)
  tree = search(random_world(ends=0.3, seed=2), 2, ahead=2)
  assert tree_lib.finished(tree)[:, R * 2 :].any()


def test_the_aggregate_reads_the_whole_way():
  """The worst value on the way decides, and the chain's are among them."""
  #   0 ─┬─ 1: .9 ─── 3: .2 ─── 5: .9
  #      └─ 2: .5 ─── 4: .6 ─── 6: .5
  children = np.array([[1, 2], [3, 3], [4, 4], [5, 5], [6, 6], [6, 6], [6, 6]])
  values = np.array([[0.5, 0.9, 0.5, 0.2, 0.6, 0.9, 0.5]])
  world = World(children, values, np.zeros(7, bool))
  taken = {}
  for aggregate in ('last', 'min'):
    tree = search(world, 1, ahead=2, aggregate=aggregate)
    taken[aggregate] = state(tree, 0, tree.expanded[0, 1])
  assert taken == {'last': 1, 'min': 2}


def test_fewer_beams_than_there_is_room_for():
  world = random_world(ends=0.1)
  few, among = search(world, 1, ahead=2), search(world, 1, most=3, ahead=2)
  for depth in range(R):
    own, wide = few.expanded[:, depth], among.expanded[:, 3 * depth]
    states = [[state(x, b, n[b]) for b in range(4)] for x, n in ((few, own), (among, wide))]
    assert states[0] == states[1] and (among.expanded[:, 3 * depth + 1 : 3 * depth + 3] < 0).all()
  assert (tree_lib.generated_tokens(few) == tree_lib.generated_tokens(among)).all()
