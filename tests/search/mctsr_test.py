"""MCTSr: which solution is refined next, in plain Python, and that each refinement is a turn."""

import functools
import math

import jax
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.keys import of_problems
from o1jax.model.compute import search_cost
from o1jax.search import SEARCHES, run
from o1jax.tree import ORIGIN
from tests import toys
from tests.helpers import best_of_n, jit, keys
from tests.search.revision_test import SHAPE, asked
from tests.worlds import random_world

N, R, B = 12, 4, 4


@functools.cache
def found(units=N, **settings):
  """Of a world of tables."""
  world = random_world(multiplicity=(2, 1, 1), ends=0.3, seed=5)
  how = dict(SEARCHES['mctsr'].settings) | dict(max_steps=R, most=N, drawn=True) | settings
  search = jit(lambda world, keys: world.search('mctsr', keys, units=units, **how))
  return jax.device_get(search(world, keys(B)))


def worths(tree, b):
  """(min + mean)/2 of the values of each solution's steps, and the id of its last node."""
  for n in range(N):
    made = [x for x in range(n * R, (n + 1) * R) if tree.expanded[b, x] >= 0]
    values = [float(tree.value[b, x, 0]) for x in made]
    ended = any(tree.terminal[b, x, 0] for x in made)
    yield (min(values) + sum(values) / len(values)) / 2 if ended else 0.0, 1 + made[-1]


class Plain:
  """The tree of solutions in plain Python: parents, children, and Q after all back-ups."""

  def __init__(self, worth):
    self.worth, self.parent, self.children = worth, [-1], [[]]

  def add(self, parent):
    self.children[parent].append(len(self.parent))
    self.parent.append(parent)
    self.children.append([])

  def q(self, n):
    below = [self.q(child) for child in self.children[n]]
    return (self.worth[n] + max(below)) / 2 if below else self.worth[n]

  def visits(self, n):
    return 1 + sum(map(self.visits, self.children[n]))

  def uct(self, n, explore, most):
    below = self.children[n]
    if len(below) >= most and max(self.worth[child] for child in below) > self.worth[n]:
      return -math.inf
    above = self.visits(self.parent[n] if n else n)
    return self.q(n) + explore * math.sqrt((math.log(above) + 1) / self.visits(n))


@pytest.mark.long
@pytest.mark.parametrize('explore, children', [(1.4, 2), (0.1, 2), (0.1, 1), (0.0, 3)])
def test_the_solution_of_highest_uct_is_refined(explore, children):
  tree, deep = found(explore=explore, children=children), 0
  for b in range(B):
    worth, ends = zip(*worths(tree, b))
    plain = Plain(worth)
    for n in range(1, N):
      every = [plain.uct(m, explore, children) for m in range(n)]
      origin = int(tree.scores[ORIGIN][b, n * R, 0])
      chosen = ends.index(origin)
      assert every[chosen] >= max(every) - 1e-5
      plain.add(chosen)
    for n, end in enumerate(ends):
      assert tree.q[b, end - 1, 0] == pytest.approx(plain.q(n), abs=1e-5)
      assert tree.visits[b, end - 1, 0] == plain.visits(n)
    deep += max(plain.parent) > 0
  assert deep and tree.visits.sum() > 0


def test_a_solution_that_was_improved_often_enough_is_left():
  once, often = found(explore=0.1, children=1), found(explore=0.1, children=3)
  assert (once.scores[ORIGIN] != often.scores[ORIGIN]).any()


@pytest.mark.long
def test_fewer_units_are_the_beginning_of_more():
  few, many = found(units=5), found()
  for name in ('tokens', 'expanded', 'length'):
    np.testing.assert_array_equal(getattr(few, name)[:, : 5 * R], getattr(many, name)[:, : 5 * R])
  assert (few.expanded[:, 5 * R :] == -1).all()


@functools.cache
def program(units):
  return jit(functools.partial(run, SEARCHES['mctsr'], toys.MODEL, most=5, units=units, **SHAPE))


@functools.cache
def of_model(units=5, only=None):
  rows = slice(None) if only is None else slice(only, only + 1)
  given = jax.tree.map(lambda x: x[rows], (of_problems(jax.random.key(0), B), asked()))
  return jax.device_get(program(units)(toys.params(), *given))


def test_one_solution_is_one_chain():
  plain = jit(functools.partial(best_of_n, toys.MODEL, units=1, **SHAPE))
  plain = plain(toys.params(), of_problems(jax.random.key(0), B), asked())
  tree, steps = of_model(units=1), SHAPE['max_steps']
  for name in ('tokens', 'length', 'expanded', 'terminal', 'logprob'):
    np.testing.assert_array_equal(getattr(tree, name)[:, :steps], getattr(plain, name))
  assert (tree.expanded[:, steps:] == -1).all()


@pytest.mark.long
@pytest.mark.parametrize('only', range(B))
def test_a_problem_does_not_know_its_batch(only):
  together, alone = of_model(), of_model(only=only)
  for name in ('tokens', 'length', 'expanded', 'visits'):
    np.testing.assert_array_equal(getattr(together, name)[only], getattr(alone, name)[0])
  np.testing.assert_array_equal(together.scores[ORIGIN][only], alone.scores[ORIGIN][0])


def test_every_sampled_token_is_billed():
  tree = of_model()
  tokens, flops = search_cost(toys.CONFIG, asked(), tree)
  sampled = np.where((tree.expanded >= 0)[..., None], tree.length, 0).sum((1, 2))
  np.testing.assert_array_equal(tokens, sampled)
  # The prompts of the turns are read.
  bare = tree.replace(scores={k: v for k, v in tree.scores.items() if k != tree_lib.ASKED})
  assert (np.asarray(flops) > np.asarray(search_cost(toys.CONFIG, asked(), bare)[1])).all()
