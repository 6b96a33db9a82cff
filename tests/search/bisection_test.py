"""The binary search for the first wrong step, in worlds where it is known, and with a model."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.model.forward import forward_tree
from o1jax.reward import OUTCOME
from o1jax.search import SEARCHES, run
from tests import toys
from tests.helpers import climb, jit, keys
from tests.worlds import random_world

R, MOST, MANY = 8, 6, 64


def verdicts(tree, ids):
  """Of finished nodes: right above 3/4, wrong below 1/2, unjudged between."""
  value = tree_lib.pick(tree.value, ids)
  return jnp.select([value > 0.75, value < 0.5], [1.0, 0.0], jnp.nan)


@functools.cache
def program(rollouts, max_steps=R):
  def search(world, keys, units):
    settings = dict(units=units, most=MOST, max_steps=max_steps, rollouts=rollouts)
    return world.search('bisection', keys, reward=verdicts, drawn=True, **settings)

  return jit(search)


def search(world, rollouts=4, *, units=MOST, seed=0, max_steps=R):
  found = program(rollouts, max_steps)(world, keys(len(world.values), seed), units)
  return jax.device_get(found)


@functools.cache
def world(right=0.35, unjudged=0.0, ends=0.3, seed=0):
  """With verdicts on states: so many are right, and so many unjudged. From the last five no
  way leads out, and there nothing is right."""
  rng = np.random.default_rng(seed)
  one = random_world(8, states=30, multiplicity=(1, 1, 1), ends=ends, seed=seed)
  draw = rng.random(one.values.shape)
  trap = (np.arange(30) >= 25) & (right < 1)
  values = np.select([draw < right, draw < right + unjudged], [0.95, 0.6], 0.05)
  values = np.where(trap & (values > 0.9), 0.05, values)
  inside = 25 + one.children % 5
  return one._replace(values=values, children=np.where(trap[:, None], inside, one.children))


def solutions(tree, b, max_steps=R):
  """(nodes of its steps, verdict) of each chain; 0 where it was cut off, None where unjudged."""
  found = []
  for i in range(MOST):
    own = [1 + r * MOST + i for r in range(max_steps) if tree.length[b, r * MOST + i, 0]]
    if own:
      found.append((own, told(tree, b, own[-1], max_steps)))
  return found


def told(tree, b, node, max_steps=R):
  x = node - 1
  if not tree.terminal[b, x, 0]:
    assert len(climb(tree, b, node)) == max_steps
    return 0
  return {1.0: 1, 0.0: 0}.get(float(tree.reward[b, x, 0]))


def rollouts_of(tree, b, node, max_steps=R):
  """The verdicts on the rollouts that began at a node."""
  found, filled = [], MOST * max_steps
  for x in np.flatnonzero(tree.expanded[b, filled:] == node) + filled:
    own = x + 1
    while len(below := np.flatnonzero(tree.expanded[b, filled:] == own)):
      (own,) = 1 + below + filled
    found.append(told(tree, b, own, max_steps))
  return found


def chances(world, b, max_steps=R):
  """[R, S] the chance that a state becomes right in so many steps at most."""
  right, found = world.values[b] > 0.75, np.zeros((max_steps, len(world.terminal)))
  for left in range(1, max_steps):
    each = np.where(world.terminal, right, found[left - 1])
    found[left] = each[world.children].mean(-1)
  return found


def first_error(tree, b, own):
  """The number of the first wrong step, from 0, as the tree says."""
  cannot = [i for i, node in enumerate(own) if tree.visits[b, node - 1, 0]]
  cannot = [i for i in cannot if tree.q[b, own[i] - 1, 0] == 0]
  return min(cannot, default=len(own) - 1)


def test_with_enough_rollouts_the_first_wrong_step_is_found():
  """It is the first from which no way leads to a right end."""
  steps = []
  for seed in range(4):
    one = world(seed=seed)
    tree = search(one, MANY, seed=seed)
    for b in range(len(tree.mask)):
      chance = chances(one, b)
      for own, verdict in solutions(tree, b):
        states = [int(tree.tokens[b, node - 1, 0, 0]) for node in own]
        ahead = [chance[R - 1 - i, state] for i, state in enumerate(states[:-1])] + [0.0]
        # A prefix that seldom becomes right may be missed.
        if verdict == 0 and min([x for x in ahead if x], default=1) > 0.1:
          assert first_error(tree, b, own) == ahead.index(0)
          steps.append((ahead.index(0), len(own)))
  # At the beginning, in the middle and at the end.
  assert len(steps) > 30 and {0, 1, 2, 3} <= {at for at, _ in steps}
  assert any(0 < at < long - 1 for at, long in steps)


@pytest.mark.parametrize('rollouts', [1, 4])
@pytest.mark.parametrize('unjudged', [0.0, 0.3])
def test_rollouts_halve_what_is_left_of_a_wrong_solution(rollouts, unjudged):
  """The tree is that of a binary search in plain Python, told the same verdicts. So a solution has
  at most k*log2(R) rollouts, and one that is not wrong has none."""
  one, undecided, wrong = world(unjudged=unjudged, right=0.1, ends=0.2, seed=3), 0, 0
  tree = search(one, rollouts)
  for b in range(len(tree.mask)):
    known = {}
    for own, verdict in solutions(tree, b):
      low, high, spent = 0, len(own), 0
      while verdict == 0 and high - low > 1:
        node = own[(low + high) // 2 - 1]
        found = rollouts_of(tree, b, node)
        assert len(found) == rollouts
        spent += rollouts
        judged = [x for x in found if x is not None]
        if not any(judged) and len(judged) < rollouts:
          undecided += 1
          break
        known[node] = len(judged), np.mean(judged)
        low, high = ((low + high) // 2, high) if any(judged) else (low, (low + high) // 2)
      wrong += verdict == 0
      assert spent <= rollouts * math.ceil(math.log2(len(own)))
      assert sum(len(rollouts_of(tree, b, node)) for node in own) == spent
    for node in range(1, 1 + tree.mask.shape[1]):
      visits, q = known.get(node, (0, 0.0))
      assert tree.visits[b, node - 1, 0] == visits
      np.testing.assert_allclose(tree.q[b, node - 1, 0], q, atol=1e-6)
  assert wrong > 10 and (undecided > 0) == (unjudged > 0)


@pytest.mark.long
def test_without_a_wrong_solution_there_are_no_rollouts():
  one = world(right=1.0, ends=0.6)
  tree = search(one, max_steps=16)
  ends = [verdict for b in range(8) for _, verdict in solutions(tree, b, 16)]
  assert ends == [1] * (8 * MOST)
  assert (tree.expanded[:, 16 * MOST :] == -1).all() and not tree.visits.any()


def test_fewer_chains_are_the_first_of_more():
  few, many = search(world(), units=2), search(world())
  rows = few.expanded >= 0
  for name in ('expanded', 'tokens', 'visits', 'q', 'terminal'):
    np.testing.assert_array_equal(getattr(few, name)[rows], getattr(many, name)[rows])
  first = np.arange(R * MOST) % MOST < 2
  np.testing.assert_array_equal(rows[:, : R * MOST], (many.expanded[:, : R * MOST] >= 0) & first)


def test_a_single_step_needs_no_rollouts():
  tree = search(world(right=0.0), max_steps=1)
  assert tree.mask.shape[1] == MOST and not tree.visits.any()


@pytest.mark.long
def test_learning_reads_rollouts_as_decoding_did():
  """They begin at inner nodes of the chains. Verdicts are told by name, as in training."""
  prompt, reference = toys.problems(4)
  outcome = functools.partial(toys.OUTCOME, reference)

  def search(params, keys):
    sizes = dict(units=3, rollouts=2, step_length=3, max_steps=5, sampling=toys.SAMPLING)
    told = dict(outcome=outcome, reward={OUTCOME: 1.0})
    tree = run(SEARCHES['bisection'], toys.MODEL, params, keys, prompt, **sizes, **told)
    return tree, forward_tree(toys.MODEL, params, prompt, tree).logprob

  tree, logprob = jax.device_get(jit(search)(toys.params(), keys(4)))
  real = (tree.expanded >= 0)[..., None, None] & (np.arange(3) < tree.length[..., None])
  assert real[:, 15:].any() and set(tree.reward[tree.mask & tree.terminal]) == {0.0, 1.0}
  assert (tree.expanded[:, 15:] > 3).any()  # they begin below the first step, too
  np.testing.assert_allclose(*(np.where(real, x, 0) for x in (logprob, tree.logprob)), atol=2e-4)
