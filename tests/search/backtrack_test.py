"""The laws of backtracking, in worlds where every value is known."""

import functools

import jax
import numpy as np
import pytest

from o1jax import tree as tree_lib
from tests.helpers import climb, jit, keys
from tests.worlds import World, random_world

MOST = 12


@functools.cache
def _compiled(give_up, max_steps):
  def run(world, keys, units):
    spend = dict(units=units, most=MOST, max_steps=max_steps)
    return world.search('backtrack', keys, give_up=give_up, **spend)

  return jit(run)


def search(world, units=MOST, *, give_up=0.5, max_steps=4):
  run = _compiled(give_up, max_steps)
  return jax.device_get(run(world, keys(len(world.values)), units))


def states(tree, b, slots):
  """The states that are expanded, in order."""
  found = [int(node) for node in tree.expanded[b, :slots] if node >= 0]
  return [int(tree.tokens[b].flat[n - 1]) if n else 0 for n in found]


def replay(tree, b, give_up, max_steps, units):
  """What should have been expanded after each slot, and by which of the rules, in plain Python."""
  width = tree.mask.shape[-1]
  value = lambda n: tree.value[b].flat[n - 1] if n else 0.5
  parent = lambda n: int(tree.expanded[b, (n - 1) // width])
  path = lambda n: [0, *climb(tree, b, n)] if n else [0]
  start, floor = 0, {}
  for slot in range(units - 1):
    node = int(tree.expanded[b, slot])
    floor[slot] = give_up * value(start)
    taken = {int(x) for x in tree.expanded[b, : slot + 1]}
    free = [
      1 + x * width + a
      for x in range(slot + 1)
      for a in range(width)
      if tree.mask[b, x, a] and not tree.terminal[b, x, a]
    ]
    free = [n for n in free if n not in taken and len(climb(tree, b, n)) < max_steps]
    good = [n for n in free if value(n) >= floor[(n - 1) // width]]
    here = [n for n in good if (n - 1) // width == slot]
    up = [n for n in good if parent(n) in path(node) and value(n) >= give_up * value(parent(n))]
    rules = dict(on=here, back=up, again=free, anew=[0])
    rule = next(rule for rule, some in rules.items() if some)
    best = max(rules[rule], key=value)
    start = start if rule == 'on' else parent(best) if best else 0
    yield rule, best, int(tree.expanded[b, slot + 1])


@pytest.mark.parametrize('give_up', [0.0, 0.5, 0.9])
@pytest.mark.parametrize('ends', [0.3, 0.6])
def test_a_branch_is_followed_until_it_is_given_up(give_up, ends):
  tree = search(random_world(batch=8, ends=ends), give_up=give_up)
  rules = []
  for b in range(8):
    for rule, best, expanded in replay(tree, b, give_up, 4, MOST):
      assert expanded == best
      rules.append(rule)
  assert {'on', 'back'} <= set(rules)
  assert 'again' in rules or give_up < 0.9
  assert 'anew' in rules or ends < 0.5


#   0: .5 ─┬─ 1: .8 ─┬─ 3: .3 ─── 6: .9
#          │         └─ 4: .28
#          └─ 2: .6 ──── 5: .6
DRAWN = World(
  np.array([[1, 2], [3, 4], [5, 5], [6, 6], [7, 7], [7, 7], [7, 7], [7, 7]]),
  np.array([[0.5, 0.8, 0.6, 0.3, 0.28, 0.6, 0.9, 0.01]]),
  np.zeros(8, bool),
)


def test_the_threshold_is_relative_to_where_the_branch_set_out():
  """0.3 is above half of the root's 0.5, and not above 0.7 of it."""
  assert states(search(DRAWN, 4, max_steps=9), 0, 4) == [0, 1, 3, 6]
  assert states(search(DRAWN, 4, give_up=0.7, max_steps=9), 0, 4) == [0, 1, 2, 5]


def test_a_branch_begun_on_the_way_up_sets_out_from_there():
  """The first branch ends below 6. The best left on its way is 2, which sets out from the root, and
  then nothing is left but 4: below half of its parent, it is taken up again last."""
  assert states(search(DRAWN, 7, max_steps=9), 0, 7) == [0, 1, 3, 6, 2, 5, 4]


def test_what_finds_nothing_is_finished_by_a_chain():
  children = np.minimum(np.arange(9) + 1, 8)[:, None].repeat(2, 1)
  tree = search(World(children, np.full((1, 9), 0.5), np.arange(9) == 6), 2, max_steps=7)
  assert tree.chain == 6 and tree_lib.finished(tree)[0, MOST + 3, 0]
  assert tree_lib.finished(tree).sum() == 1
