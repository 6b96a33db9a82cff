"""Labels from rollouts: right before the first wrong step, wrong from there, silent where nobody
knows."""

import functools

import jax
import numpy as np
import pytest

from o1jax.learning.credit import assign_credit
from tests import toys
from tests.helpers import climb
from tests.search import bisection_test as worlds

PLAIN = (('outcome', 1.0),)


@functools.partial(jax.jit, static_argnames=('soft', 'reward'))
def assign(tree, soft=False, reward=PLAIN):
  return assign_credit(tree, value='first_error', soft=soft, reward=dict(reward))


# One problem, R = 4. Chains of nodes 1-4-7-10 (cut off), 2-5-8 (right) and 3-6 (unjudged). Rollouts
# from 4: 11-12 (right) and 13 (wrong); from 7: 14 and 15 (wrong).
DRAWN = dict(
  expanded=[0, 0, 0, 1, 2, 3, 4, 5, -1, 7, 4, 11, 4, 7, 7],
  width=1,
  max_steps=4,
  terminal=[[x] for x in (0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 1, 1, 1)],
  outcome=[[x] for x in (0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0)],
  unjudged=[[x] for x in (0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)],
  visits=[[x] for x in (0, 0, 0, 2, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0)],
  q=[[x] for x in (0, 0, 0, 0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)],
)
HARD = {1: 1, 4: 1, 7: 0, 10: 0, 2: 1, 5: 1, 8: 1, 11: 1, 12: 1, 13: 0, 14: 0, 15: 0}


@pytest.mark.parametrize('soft', [False, True])
def test_a_drawn_tree(soft):
  credit = jax.device_get(assign(toys.hand_tree(**DRAWN), soft))
  expected = HARD | ({1: 0.5, 4: 0.5} if soft else {})
  known = {int(x): credit.value_target[0, x - 1, 0] for x in 1 + np.flatnonzero(credit.value_mask)}
  assert known == expected
  assert not credit.root_mask.any()
  np.testing.assert_array_equal(credit.token_mask[..., 0], credit.value_mask)
  np.testing.assert_array_equal(credit.token_target[..., 0], credit.value_target)


def test_labels_are_the_least_and_the_most_that_a_solution_returns():
  wide = assign(toys.hand_tree(**DRAWN), reward=(('outcome', 2.0),))
  np.testing.assert_array_equal(wide.value_target, assign(toys.hand_tree(**DRAWN)).value_target)


def test_a_rollout_that_went_wrong_teaches_nothing_but_its_end():
  """Others from the same node went right, so nobody knows which of its steps was wrong."""
  drawn = DRAWN | dict(terminal=[*DRAWN['terminal'][:12], [0], *DRAWN['terminal'][13:]])
  drawn['expanded'] = [*drawn['expanded'][:13], 13, 7]
  credit = jax.device_get(assign(toys.hand_tree(**drawn)))
  mask, target = credit.value_mask[0, :, 0], credit.value_target[0, :, 0]
  assert not mask[12] and mask[13] and target[13] == 0  # node 13 goes on to node 14, which ends


def judged(tree):
  """As a verifier with a word for each ending leaves it."""
  done = tree.terminal & tree.mask
  unjudged = done & ~np.isin(tree.reward, (0.0, 1.0))
  return tree.replace(outcome=np.where(done & ~unjudged, tree.reward, 0), unjudged=unjudged)


def test_with_enough_rollouts_labels_are_exact():
  """A step has label 1 just where it can still become right, in worlds where that is known."""
  world, seen = worlds.world(), set()
  tree = judged(worlds.search(world, worlds.MANY))
  credit = jax.device_get(assign(tree))
  for b in range(len(tree.mask)):
    chance = worlds.chances(world, b)
    for own, verdict in worlds.solutions(tree, b):
      states = [int(tree.tokens[b, node - 1, 0, 0]) for node in own]
      ahead = [chance[worlds.R - 1 - i, state] for i, state in enumerate(states[:-1])]
      ahead.append(float(verdict))
      if min([x for x in ahead if x], default=1) > 0.15:
        at = np.array(own) - 1
        assert credit.value_mask[b, at, 0].all()
        np.testing.assert_array_equal(credit.value_target[b, at, 0], np.array(ahead) > 0)
        seen |= {(verdict, label) for label in credit.value_target[b, at, 0]}
  assert seen == {(0, 0.0), (0, 1.0), (1, 1.0)}


@pytest.mark.parametrize('soft', [False, True])
def test_what_is_undecided_is_masked(soft):
  """Of a wrong solution whose search ended at an unjudged rollout, the steps between."""
  tree = judged(worlds.search(worlds.world(unjudged=0.3, right=0.1, ends=0.2, seed=5)))
  credit, undecided = jax.device_get(assign(tree, soft)), 0
  for b in range(len(tree.mask)):
    for own, verdict in worlds.solutions(tree, b):
      at = np.array(own) - 1
      tried, share = tree.visits[b, at, 0] > 0, tree.q[b, at, 0]
      if verdict is None:
        assert not credit.value_mask[b, at, 0].any()
        continue
      if verdict == 1:
        assert credit.value_mask[b, at, 0].all() and (credit.value_target[b, at, 0] == 1).all()
        continue
      low = max((i + 1 for i in np.flatnonzero(tried & (share > 0))), default=0)
      high = min(np.flatnonzero(tried & (share == 0)), default=len(own) - 1)
      mask = (np.arange(len(own)) < low) | (np.arange(len(own)) >= high)
      np.testing.assert_array_equal(credit.value_mask[b, at, 0], mask)
      undecided += low < high
      for i in range(len(own)):
        following = share[i + np.argmax(tried[i:])] if soft else 1
        expected = following if i < low else 0
        np.testing.assert_allclose(credit.value_target[b, at[i], 0], expected, atol=1e-6)
  assert undecided > 3


def test_steps_of_right_rollouts_are_right_and_below_a_wrong_step_nothing_is():
  tree = judged(worlds.search(worlds.world(ends=0.2, seed=5)))
  credit, right, wrong = jax.device_get(assign(tree)), 0, 0
  for b in range(len(tree.mask)):
    for x in np.flatnonzero(tree.mask[b, worlds.R * worlds.MOST :, 0]) + worlds.R * worlds.MOST:
      line = climb(tree, b, x + 1)
      if tree.outcome[b, x, 0]:
        assert (credit.value_target[b, np.array(line) - 1, 0] == 1).all()
        right += 1
      elif any(tree.visits[b, n - 1, 0] and not tree.q[b, n - 1, 0] for n in line):
        assert credit.value_mask[b, x, 0] and credit.value_target[b, x, 0] == 0
        wrong += 1
  assert right > 10 and wrong > 10
