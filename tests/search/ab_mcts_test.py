"""The laws of adaptive branching, in worlds where every value is known."""

import functools

import jax
import numpy as np
import pytest

from o1jax import tree as tree_lib
from tests.helpers import climb, jit, keys, real_nodes
from tests.worlds import random_world

R = 4


@functools.cache
def _compiled(most, prior, batch, ahead=0, at_once=1, novelty=True, credit=1.0):
  def run(world, keys, units):
    settings = dict(units=units, most=most, max_steps=R, drawn=True)
    own = dict(prior=prior, ahead=ahead, at_once=at_once, novelty=novelty, credit=credit)
    return world.search('ab_mcts', keys, **settings, **own)

  return jit(run)


def search(world, units=12, *, most=12, prior=1.0, seed=0, **own):
  batch = len(world.values)
  return jax.device_get(_compiled(most, prior, batch, **own)(world, keys(batch, seed), units))


def chains(tree, b, steps=R, at_once=1):
  """(parent, nodes, return) of each chain of so many steps at most, in order."""
  found = []
  filled = tree.mask.shape[1] - tree.chain
  starts = [n + w for n in range(0, filled, steps * at_once) for w in range(at_once)]
  for start in starts:
    slots = range(start, start + steps * at_once, at_once)
    own = [1 + x for x in slots if tree.length[b, x, 0]]
    if own:
      parent, last = int(tree.expanded[b, own[0] - 1]), own[-1]
      cut = len(climb(tree, b, last)) == R and not tree.terminal[b, last - 1, 0]
      found.append((parent, own, 0.0 if cut else float(tree.value[b, last - 1, 0])))
  return found


def text(tree, b, node):
  return tuple(int(tree.tokens[b, n - 1, 0, 0]) for n in climb(tree, b, node))


@pytest.mark.parametrize(
  'ahead, at_once, credit', [(0, 1, 1.0), (2, 1, 1.0), (1, 3, 0.0), (2, 3, 0.5)]
)
def test_counts_are_those_of_the_chains(ahead, at_once, credit):
  """Nodes of equal text are one, and the first of them has its counts. A chain that ends, by itself
  or at depth R, returns its reward or a share of it, and another one the guide."""
  tree = search(random_world(ends=0.3), ahead=ahead, at_once=at_once, credit=credit)
  for b in range(len(tree.mask)):
    visits, total, first = {}, {}, {}
    for _, own, score in chains(tree, b, ahead or R, at_once):
      score *= credit if tree.terminal[b, own[-1] - 1, 0] else 1
      for node in climb(tree, b, own[-1]):
        said = text(tree, b, node)
        first.setdefault(said, node)
        visits[said] = visits.get(said, 0) + 1
        total[said] = total.get(said, 0) + score
    made = tree.length[b, : tree.mask.shape[1] - tree.chain, 0]
    for node in 1 + np.flatnonzero(made):
      said = text(tree, b, node)
      own = first[said] == node
      assert tree.visits[b, node - 1, 0] == visits[said] * own
      np.testing.assert_allclose(
        tree.q[b, node - 1, 0], total[said] / visits[said] * own, atol=1e-5
      )
    assert len(first) < np.count_nonzero(made) and len(chains(tree, b, ahead or R, at_once)) == 12


def test_chains_begin_where_the_tree_can_grow():
  tree = search(random_world(ends=0.3))
  for b, _, _, node in real_nodes(tree):
    above = climb(tree, b, node)[:-1]
    assert not any(tree.terminal[b, n - 1, 0] for n in above)
  began = [parent for b in range(4) for parent, *_ in chains(tree, b)]
  assert 0 < began.count(0) < len(began)


def test_fewer_units_are_the_beginning_of_more():
  world = random_world(ends=0.3)
  few, many = search(world, 5), search(world, 12)
  for name in ('tokens', 'expanded', 'path'):
    whole, part = getattr(many, name), getattr(few, name)
    np.testing.assert_array_equal(part[:, : 5 * R], whole[:, : 5 * R])
  assert (few.expanded[:, 5 * R :] == -1).all()


@pytest.mark.long
@pytest.mark.parametrize('units', [1, 7, 9])
def test_chains_at_once_are_as_many_as_were_asked(units):
  """Whole rounds of three, and the rest. They begin at the root alone in the first round."""
  tree = search(random_world(ends=0.0), units, most=11, ahead=1, at_once=3)
  assert tree.mask.shape[1] - tree.chain == 12
  for b in range(len(tree.mask)):
    found = chains(tree, b, 1, 3)
    assert len(found) == units and all(parent == 0 for parent, *_ in found[:3])
  if units > 3:
    later = [parent for b in range(4) for parent, *_ in chains(tree, b, 1, 3)[3:]]
    assert any(later) and len(set(later)) > 2


def test_a_batch_is_its_problems_alone():
  world = random_world(ends=0.3)
  together = search(world)
  alone = _compiled(12, 1.0, 1)(world._replace(values=world.values[2:3]), keys(4)[2:3], 12)
  np.testing.assert_array_equal(alone.tokens[0], together.tokens[2])
  np.testing.assert_array_equal(alone.visits[0], together.visits[2])


@pytest.mark.long
@pytest.mark.parametrize('novelty', [False, True])
def test_with_a_heavy_prior_it_walks_to_where_the_guide_is_best(novelty):
  """Nothing that chains return counts then: it goes deeper while a child is better than the node,
  or than the node times the chance of a new child."""
  world = random_world(ends=0.2, seed=1)
  tree = search(world, prior=1e9, ahead=1, novelty=novelty)
  value = lambda b, node: float(tree.value[b, node - 1, 0]) if node else 0.5
  walked = 0
  for b in range(len(tree.mask)):
    every = chains(tree, b, 1)
    for n, (parent, *_) in enumerate(every):
      kids, node = {}, 0
      first, times = {(): 0}, {}
      for _, own, _ in every[:n]:
        for below in own:
          said = text(tree, b, below)
          times[said] = times.get(said, 0) + 1
          if said not in first:
            first[said] = below
            kids.setdefault(first[said[:-1]], []).append(below)
      while True:
        # The ends of chains cannot go on.
        free = [k for k in kids.get(node, ()) if _free(tree, b, k)]
        best = max(free, key=lambda k: value(b, k), default=None)
        made = [times[text(tree, b, kid)] for kid in kids.get(node, ())]
        new = (1 + made.count(1)) / (1 + sum(made)) if novelty else 1
        if best is None or value(b, best) <= new * value(b, node):
          break
        node, walked = best, walked + 1
      assert parent == node
  assert walked > 5


def _free(tree, b, node):
  return bool(tree_lib.expandable(tree, np.full((len(tree.mask), 1), node))[b, 0])


def test_a_problem_without_an_answer_is_finished():
  """By one chain from the leaf of the best guide, in the last slots."""
  world = random_world(batch=32, ends=0.3, seed=3)
  tree = search(world, 2, most=2, ahead=1)
  done, ended = tree.terminal.any((1, 2)), tree.length[:, 2:, 0].any(-1)
  before = tree.terminal[:, :2].any((1, 2))
  assert ended.any() and (ended == ~before).all() and done.sum() > before.sum()


@pytest.mark.parametrize('seed', range(3))
def test_good_branches_get_more_chains(seed):
  """Against drawing all chains from the root: by what the chains return, more go where it is good."""
  world = random_world(batch=16, states=60, multiplicity=(1, 1, 1), ends=0.3, seed=seed)
  world = world._replace(values=np.where(world.values > 0.6, 0.98, 0.02))
  tree = search(world, 40, most=40, prior=0.0, novelty=False)  # values of prefixes say nothing here
  gain = [
    np.mean([score for *_, score in chains(tree, b)[20:]])
    - np.mean([score for *_, score in chains(tree, b)[:5]])
    for b in range(16)
  ]
  assert np.mean(gain) > 0.05


@pytest.mark.long
def test_chains_at_once_begin_apart():
  """Each counts as a failure for those of its round after it."""
  world = random_world(batch=16, states=60, multiplicity=(1, 1, 1), ends=0.0, seed=1)
  tree = search(world, 20, most=20, ahead=1, at_once=4, prior=10.0, novelty=False)
  apart = []
  for b in range(16):
    began = [parent for parent, *_ in chains(tree, b, 1, 4)]
    assert set(began[:4]) == {0}  # there is no other
    apart += [len(set(began[n : n + 4])) for n in range(4, 20, 4)]
  assert np.mean(apart) > 2.25  # drawn by themselves 2.09
