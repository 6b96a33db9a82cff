"""Chains without replacement: laws of their distribution, by enumeration."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.decode.distinct import children_of
from o1jax.search import SEARCHES, run, unseen
from o1jax.search.worth import worth
from tests.helpers import CHANCES, LINE, Markov, jit, keys, prompts, spell, tables
from tests.marks import some

R, L, START = 2, 2, 3
VALUES = np.linspace(-2, 2, 5)
PARAMS = tables(np.log(CHANCES + 1e-30), VALUES)


def solutions(last=START, steps=(), chance=1.0):
  """All that the policy may say, with its probability."""
  if len(steps) == R or (steps and steps[-1][-1] == 1):
    return {steps: chance}
  found = {}

  def say(step, chance):
    if len(step) == L or (step and step[-1] in (1, 2)):
      found.update(solutions(step[-1], (*steps, step), chance))
      return
    for token in np.flatnonzero(CHANCES[step[-1] if step else last]):
      now = CHANCES[step[-1] if step else last][token]
      say((*step, int(token)), chance * now)

  say((), chance)
  return found


@functools.cache
def program(most, **settings):
  shape = dict(step_length=L, max_steps=R, most=most)

  def search(params, keys, prompt, units):
    how = dict(sampling=LINE, units=units) | shape | settings
    return run(SEARCHES['without_replacement'], Markov(), params, keys, prompt, **how)

  return jit(search)


def search(units, batch=3, seed=0, most=None, params=PARAMS, at_once=1, **settings):
  settings |= dict(at_once=at_once)
  prompt = prompts(batch)
  prompt = prompt.replace(tokens=jnp.full_like(prompt.tokens, START))
  tree = program(most or units, **settings)(params, keys(batch, seed), prompt, units)
  return jax.device_get(tree)


def ends(tree, b):
  """The chains' last nodes, in the order in which they were sampled."""
  above = set(tree.expanded[b].tolist())
  return [1 + x for x in np.flatnonzero(tree.mask[b, :, 0]) if 1 + x not in above]


def said(tree, b):
  return [tuple(tuple(step) for step in spell(tree, b, node)) for node in ends(tree, b)]


def test_the_policy_has_a_few_solutions():
  assert 8 < len(solutions()) < 30 and sum(solutions().values()) == pytest.approx(1)


def test_two_solutions_are_drawn_as_without_replacement():
  chance, batch = solutions(), 6000
  # Without a pull, a chain goes on to its end, which is R steps away at most.
  tree = search(2 * R, batch=batch, pull=0.0)
  pairs = [said(tree, b)[:2] for b in range(batch)]
  assert all(len(pair) == 2 for pair in pairs)
  first = {a: sum(pair[0] == a for pair in pairs) / batch for a in chance}
  for a, p in chance.items():
    assert abs(first[a] - p) < 4.5 * np.sqrt(p * (1 - p) / batch)
  second = {b: sum(pair[1] == b for pair in pairs) / batch for b in chance}
  for b, q in chance.items():
    wanted = sum(p * q / (1 - p) for a, p in chance.items() if a != b)
    assert abs(second[b] - wanted) < 4.5 * np.sqrt(wanted * (1 - wanted) / batch)


@pytest.mark.parametrize('at_once', some([1, 3], 3))
@pytest.mark.parametrize('pull, breadth', [(0.0, 1.0), (2.0, 1.0), (2.0, 0.0)])
def test_all_solutions_are_found_once_and_then_nothing_is_sampled(pull, breadth, at_once):
  tree = search(72, pull=pull, breadth=breadth, at_once=at_once)
  chance = solutions()
  for b in range(3):
    found = said(tree, b)
    assert sorted(found) == sorted(chance)
    logprob = np.asarray(tree.logprob[b, :, 0]).sum(-1)
    for node, solution in zip(ends(tree, b), found):
      path = np.asarray(tree_lib.path_nodes(tree, np.full((3, 1), node)))[b, 0]
      assert np.exp(logprob[path[path > 0] - 1].sum()) == pytest.approx(chance[solution], rel=1e-3)


def test_a_chain_pays_for_nothing_that_the_tree_holds():
  tree = search(6, pull=0.0)
  for b in range(3):
    steps = {tuple(map(tuple, spell(tree, b, 1 + x))) for x in np.flatnonzero(tree.mask[b, :, 0])}
    assert len(steps) == tree.mask[b].sum()  # each step of the tree was said once


def test_what_a_world_said_takes_nothing_from_a_step():
  """It was not sampled, so how likely the policy calls it says nothing of what is left."""
  tree = tree_lib.empty(1, 2, 1, 3, 2)
  tree = tree.replace(
    expanded=jnp.array([[0, 1]]),
    path=jnp.array([[[0, -1], [0, 1]]]),
    tokens=jnp.array([[[[3, 4, 2]], [[4, 2, 0]]]]),
    length=jnp.array([[[3], [2]]]),
    mask=jnp.ones((1, 2, 1), bool),
    logprob=jnp.log(jnp.array([[[[0.5, 0.1, 0.1]], [[0.5, 0.5, 1.0]]]])),
    given=jnp.array([[[[False, True, True]], [[False] * 3]]]),
  )
  children = children_of(tree, jnp.array([[0]]))
  np.testing.assert_allclose(children.mass[0], [[0.5, 0, 0], [0.25, 0.5, 0]], rtol=1e-6)
  assert children.of.tolist() == [[[True, False]]]
  masses = unseen.with_steps(tree, unseen.of_root(tree), jnp.arange(2))
  np.testing.assert_allclose(masses.node, [[1, 0.5, 0.125]], rtol=1e-6)
  np.testing.assert_allclose(unseen.wider(masses), [[0.5, 0.375, 0.125]], rtol=1e-6)


# Two first steps are as likely, "2" and "0 4", and one more step ends each.
FORK = np.zeros((5, 5))
FORK[3, [2, 0]] = 0.5
FORK[0, 4] = 1
FORK[2, [4, 3]] = 0.5
FORK[4, [1, 2, 3]] = 1 / 3
FORK[1, 1] = 1


def fork(of_2, of_4):
  """With what the critic says, as a logit, of a step that ends with 2 or 4."""
  return tables(np.log(FORK + 1e-30), np.array([0.0, 0.0, of_2, 0.0, of_4]))


def test_pull_goes_where_the_guide_is_high():
  share = []
  for pull in (0.0, 4.0):
    tree = search(8, batch=400, pull=pull, params=fork(-3.0, 3.0))
    first = [said(tree, b) for b in range(400)]
    share.append(np.mean([[solution[0] == (0, 4) for solution in row[:2]] for row in first]))
  assert abs(share[0] - 0.5) < 0.05 and share[1] > 0.7


@pytest.mark.parametrize('pull', some([0.0, 1.0, 2.0], 1.0))
def test_a_chain_stops_where_it_is_worth_less(pull):
  """A first step is worth a quarter of the root. The chain goes on by that chance, or else a new one
  begins there or at the root, by what is unseen."""
  batch, left = 4000, 0.25**pull
  logit = np.log(0.25 / 0.75)
  # So sure that the mean does not change with depth, the worth is the guide.
  tree = search(2, batch=batch, pull=pull, prior=1e9, params=fork(logit, logit))
  went_on = np.mean(tree.expanded[:, 1] == 1)
  wanted = left + (1 - left) * left / (1 + left)
  assert went_on == pytest.approx(wanted, abs=4.5 * np.sqrt(wanted * (1 - wanted) / batch) + 1e-9)


@pytest.mark.parametrize('breadth', some([0.0, 0.5, 1.0], 0.5))
def test_the_next_chain_begins_where_breadth_says(breadth):
  """After a chain of two steps, of which the first had half of the probability."""
  batch = 4000
  tree = search(3, batch=batch, pull=0.0, breadth=breadth, params=fork(0.0, 0.0))
  assert (tree.expanded[:, :2] == [0, 1]).all()
  below = 0.5**breadth * (1 - np.exp(np.asarray(tree.logprob[:, 1, 0]).sum(-1)))
  wanted = float(np.mean(below / (0.5 + below)))
  again = np.mean(tree.expanded[:, 2] == 1)
  assert again == pytest.approx(wanted, abs=4.5 * np.sqrt(wanted * (1 - wanted) / batch))


def guided(tree, guide):
  return tree.replace(scores=tree.scores | {tree_lib.GUIDE: jnp.asarray(guide)})


def drawn_guide(tree, seed=0):
  return np.random.default_rng(seed).uniform(0.05, 0.95, tree.value.shape).astype(np.float32)


def by_depth(tree):
  """Whether each slot was filled, its depth, and its parent."""
  return tree.mask[..., 0], 1 + np.sum(tree.path > 0, axis=-1), np.maximum(tree.expanded, 0)


def test_children_are_worth_what_their_parents_are_on_average():
  tree = search(8, pull=0.0, at_once=3)
  tree = guided(tree, drawn_guide(tree))
  found = np.asarray(worth(tree, prior=0.0))
  made, depth, above = by_depth(tree)
  of_parent = np.take_along_axis(found, above, axis=1)
  assert {1, 2} <= set(depth[made]) and (found[:, 0] == 1).all()
  for at in (1, 2):
    here = made & (depth == at)
    own = np.where(here, found[:, 1:], 0).sum(1)
    np.testing.assert_allclose(own, np.where(here, of_parent, 0).sum(1), rtol=1e-5)


def test_a_guide_that_falls_with_depth_is_worth_the_same():
  tree = search(8, pull=0.0, at_once=3)
  guide = drawn_guide(tree)
  falls = guide * 0.1 ** by_depth(tree)[1][..., None]
  one, other = (np.asarray(worth(guided(tree, x), prior=0.0)) for x in (guide, falls))
  there = np.concatenate([np.ones((3, 1), bool), tree.mask[..., 0]], 1)
  np.testing.assert_allclose(one[there], other[there], rtol=1e-4)
  # Of a mean that surely does not change, the guide is left.
  sure = np.asarray(worth(guided(tree, guide), prior=1e9))
  np.testing.assert_allclose(sure[:, 1:][tree.mask[..., 0]], guide[..., 0][tree.mask[..., 0]], 1e-4)
