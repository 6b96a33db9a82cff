"""The laws of tree search, on worlds where every candidate and every value is known; the policy is
a table."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mctx._src.seq_halving import get_sequence_of_considered_visits

from o1jax import tree as tree_lib
from o1jax.decode import grow
from o1jax.decode.loop import decode_steps
from o1jax.dialogue import Revise
from o1jax.search import SEARCHES, choose, mcts
from o1jax.search.finish import likeliest_leaf
from tests.helpers import climb, jit, keys, real_nodes
from tests.marks import some
from tests.toys import hand_tree
from tests.worlds import World, random_world


def _right(state):
  return state % 2


def _verify(reference, tree, ids):
  """The verdict on a state where there is a reference, else what the critic said."""
  verdict = _right(tree_lib.pick(tree.tokens[..., 0], ids))
  return jnp.where(reference, verdict, tree_lib.pick(tree.value, ids))


@functools.cache
def _compiled(max_steps, method, most):
  """The real search, without a language model, and mctx's own tree beside ours."""

  def run(world, keys, units, noise, reference):
    settings = dict.fromkeys(SEARCHES[method].quiet, noise)
    kept = []
    search = mcts._search

    def spy(*args):
      carry, searched = search(*args)
      kept.append(searched.replace(extra_data=None))
      return carry, searched

    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(mcts, '_search', spy)
      reward = functools.partial(_verify, reference)
      settings |= dict(units=units, most=most, max_steps=max_steps, reward=reward)
      tree = world.search(method, keys, **settings)
    return tree, kept[0]

  return jit(run)


def search_both(
  world,
  *,
  simulations=20,
  max_steps=4,
  algorithm='gumbel',
  noise=0.0,
  verified=False,
  seed=0,
  most=None,
):
  """(our tree, mctx's tree) of a search in a world."""
  run = _compiled(max_steps, algorithm, most or simulations)
  return jax.device_get(run(world, keys(len(world.values), seed), simulations, noise, verified))


def search(world, **settings):
  return search_both(world, **settings)[0]


def _node(tree, name, b, node):
  return getattr(tree, name)[b].reshape(-1)[node - 1]


# The candidates of each state, with the critic's values; * ends a solution. On the right, what six
# simulations of sequential halving over 1 and 2 leave behind, as visits x mean return. They visit 1
# and 2 in turn, three times each. Below 1, candidate 3 is tried first, for equals stand in order;
# it turns out better than the mean, so the third visit goes on below it. Below 2, candidate 5 turns
# out worse than the mean, so the third visit tries its sibling.
#
#            ┌── 1: .2 ──┬── 3: .4 ──┬── 7: .7                         ┌── 3 x .43 ──┬── 2 x .55 ──┬── 1 x .7
#   0: .5 ───┤           │           └── 8: .5                  6 ─────┤             │             └── 0
#            │           └── 4: .1                                     │             └── 0
#            └── 2: .8 ──┬── 5: .6 *                                   └── 3 x .77 ──┬── 1 x .6
#                        └── 6: .9                                                   └── 1 x .9
DRAWN = World(
  children=np.array([[1, 2], [3, 4], [5, 6]] + [[7, 8]] * 10),
  values=np.array([[0.5, 0.2, 0.8, 0.4, 0.1, 0.6, 0.9, 0.7, 0.5, 0.5, 0.5, 0.5, 0.5]] * 2),
  terminal=np.arange(13) == 5,
)
SIX = dict(simulations=6, max_steps=12)


def test_drawn_values_are_backed_up():
  tree = search(DRAWN, **SIX)
  found = {}
  for x, a, node in [place[1:] for place in real_nodes(tree) if place[0] == 0]:
    line = tuple(_node(tree, 'tokens', 0, i).item() for i in climb(tree, 0, node))
    found[line] = tree.visits[0, x, a], tree.q[0, x, a]
  visited = {line: (n, pytest.approx(q, abs=1e-5)) for line, (n, q) in found.items() if n}
  assert visited == {
    (1,): (3, (0.2 + 0.4 + 0.7) / 3),
    (1, 3): (2, (0.4 + 0.7) / 2),
    (1, 3, 7): (1, 0.7),
    (2,): (3, (0.8 + 0.6 + 0.9) / 3),
    (2, 5): (1, 0.6),
    (2, 6): (1, 0.9),
  }


def _check_backup(tree, simulations, verdict=None):
  """N(n) = 1 + sum N(children) and N q = value + sum N q of children, where a search went on; a
  finished node's q is its reward, a node cut off at depth R is worth 0, and the root's children
  share the simulations."""
  deepest = tree.path.shape[-1]
  batch, _, width = tree.mask.shape
  np.testing.assert_array_equal(tree.visits[:, 0].sum(-1), simulations)
  assert not tree.visits[~tree.mask].any() and not tree.q[tree.visits == 0].any()
  seen = set()
  for b, x, a, node in real_nodes(tree):
    visits, q = tree.visits[b, x, a], tree.q[b, x, a]
    if not visits:
      continue
    slot = np.flatnonzero(tree.expanded[b, : simulations + 1] == node)
    if tree.terminal[b, x, a]:
      assert not len(slot) and q == pytest.approx(tree.reward[b, x, a])
      assert tree.reward[b, x, a] == pytest.approx(
        tree.value[b, x, a] if verdict is None else verdict(b, node)
      )
      seen.add('finished twice' if visits > 1 else 'finished')
    elif len(climb(tree, b, node)) == deepest:
      assert not len(slot) and q == 0
      seen.add('too deep')
    else:
      below = tree.visits[b, slot[0]]
      assert visits == 1 + below.sum()
      assert visits * q == pytest.approx(
        tree.value[b, x, a] + (below * tree.q[b, slot[0]]).sum(), abs=1e-4
      )
      seen.add('inner' if below.any() else 'leaf')
  return seen


@pytest.mark.parametrize('algorithm', ['gumbel', 'puct'])
@pytest.mark.parametrize('noise', [0.0, 0.5])
def test_backup_in_random_worlds(algorithm, noise):
  tree = search(random_world(), algorithm=algorithm, noise=noise)
  assert _check_backup(tree, 20) >= {'finished', 'finished twice', 'inner', 'leaf'}
  # Slots are filled in the order of simulations, after the slot of the node that they expand.
  used = tree.expanded >= 0
  assert (np.where(used, tree.expanded - 1, -1) // 4 < np.arange(tree.expanded.shape[1])).all()
  # A node is expanded once.
  for row in tree.expanded:
    assert len(set(row[row >= 0])) == (row >= 0).sum()
  # Duplicates share one candidate.
  np.testing.assert_allclose(tree.prior.sum(-1), used, atol=1e-6)
  assert set(tree.mask.sum(-1)[used]) == {3}


def test_the_deepest_step_is_the_last():
  world = random_world(ends=0.0)._replace(terminal=np.arange(40) == 0)
  tree = search(world)
  assert 'too deep' in _check_backup(tree, 20)
  assert (np.sum(tree.path > 0, -1) + 1).max() == 4


def test_our_nodes_are_those_of_mctx():
  """What simulation i visits is mctx's node i + 1 and our slot i + 1, and the statistics map by
  reshape."""
  tree, other = search_both(random_world(ends=0.4))
  used = tree.expanded[:, 1:21] >= 0
  node = 1 + other.parents * 4 + other.action_from_parent
  assert used.any() and not used.all()
  np.testing.assert_array_equal(tree.expanded[:, 1:21][used], node[:, 1:][used])
  real = tree.mask[:, :21]
  np.testing.assert_array_equal(tree.visits[:, :21][real], other.children_visits[real])
  visited = real & (other.children_visits > 0)
  q = other.children_rewards + other.children_discounts * other.children_values
  np.testing.assert_allclose(tree.q[:, :21][visited], q[visited], atol=1e-6)
  # A finished or too deep node's reward is all, and nothing is discounted into it.
  dead = visited & (tree.terminal | (tree_lib.parent_depth(tree)[..., None] == 3))[:, :21]
  assert dead.any() and not other.children_discounts[dead].any()
  assert (other.children_discounts[visited & ~dead] == 1).all()


def test_one_simulation_follows_the_prior():
  """The multiplicity of a candidate is its prior, and with nothing else known the largest wins."""
  tree = search(random_world(multiplicity=(1, 2, 1)), simulations=1)
  np.testing.assert_allclose(tree.prior[:, 0], [[0.25, 0.5, 0, 0.25]] * 4)
  np.testing.assert_array_equal(tree.visits[:, 0], [[0, 1, 0, 0]] * 4)


@pytest.mark.parametrize('simulations, floor', [(1, -0.15), (5, 0.5), (20, 0.85)])
def test_gumbel_improves_a_bandit_at_every_budget(simulations, floor):
  """Bandits of four arms of known values: the chosen arm is on average better than the prior's, and
  from some visits an arm on nearly the best (Danihelka et al. 2022). One simulation draws from the
  prior."""
  arms = np.arange(1, 5)
  gain, best, drawn = [], [], set()
  for seed in range(25):
    values = np.random.default_rng(seed).uniform(0.05, 0.95, (4, 40))
    world = World(np.tile(arms, (40, 1)), values, np.ones(40, bool))
    tree = search(world, simulations=simulations, noise=1.0, seed=seed)
    chosen = np.lexsort((tree.q[:, 0], tree.visits[:, 0]), axis=-1)[:, -1]
    mean = values[:, arms].mean(1)
    gain += (values[np.arange(4), arms[chosen]] - mean).tolist()
    best += (values[:, arms].max(1) - mean).tolist()
    drawn |= set(chosen)
  assert np.mean(gain) > floor * np.mean(best)
  assert len(drawn) == 4


@pytest.mark.parametrize('algorithm', ['gumbel', 'puct'])
@pytest.mark.parametrize('budget', some([1, 7, 20], 7))
def test_a_budget_among_several_is_a_search_with_that_budget(algorithm, budget):
  settings = dict(algorithm=algorithm, noise=0.5, seed=2)
  world = random_world(ends=0.1)
  alone = search(world, simulations=budget, **settings)
  among = search(world, simulations=budget, most=20, **settings)
  # Slots of the root and the simulations; those of going on stand behind the room for 20.
  used = budget + 1
  jax.tree.map(
    lambda x, y: np.testing.assert_array_equal(x[:, :used], y[:, :used]),
    *map(_slots, (alone, among)),
  )
  assert not (among.expanded[:, used:21] >= 0).any()
  went_on = [tree.expanded[:, start:] >= 0 for tree, start in ((alone, used), (among, 21))]
  np.testing.assert_array_equal(*went_on)
  for name in ('tokens', 'terminal', 'value', 'outcome'):
    np.testing.assert_array_equal(getattr(alone, name)[:, used:], getattr(among, name)[:, 21:])
  assert (budget > 1) or went_on[0].any()


def _slots(tree):
  return tree.replace(root_value=tree.root_value[:, None])


@pytest.mark.parametrize('algorithm', ['gumbel', 'puct'])
def test_permuting_candidates_permutes_statistics(algorithm):
  # The candidate with a twin is the favourite; values tell the others apart once they are visited.
  world = random_world(multiplicity=(3, 1), ends=0.2)
  found = []
  for children in (world.children, world.children[:, [3, 0, 2, 1]]):
    tree = search(world._replace(children=children), algorithm=algorithm)
    # Those of simulations.
    slots = [node for node in real_nodes(tree) if node[1] <= 20 and tree.mask[node[:3]]]
    lines = [
      (b, *(_node(tree, 'tokens', b, i).item() for i in climb(tree, b, node)))
      for b, _, _, node in slots
    ]
    found.append({line: (tree.visits[at[:3]], tree.q[at[:3]]) for line, at in zip(lines, slots)})
  assert found[0].keys() == found[1].keys() and len(found[0]) > 50
  for line, (visits, q) in found[0].items():
    assert visits == found[1][line][0]
    assert q == pytest.approx(found[1][line][1], abs=1e-4)


def test_the_verifier_replaces_the_score_of_finished_nodes():
  world = random_world(ends=0.5)
  tree = search(world, verified=True)
  seen = _check_backup(tree, 20, verdict=lambda b, node: _right(_node(tree, 'tokens', b, node)))
  assert {'finished', 'inner'} <= seen
  # The critic's own word is left alone, and only finished nodes are rewarded.
  real = np.array([(b, x, a) for b, x, a, _ in real_nodes(tree) if tree.mask[b, x, a]]).T
  b, x, a = real
  np.testing.assert_allclose(
    tree.value[b, x, a], world.values[b, tree.tokens[b, x, a, 0]], atol=1e-6
  )
  assert not tree.reward[~tree.terminal].any()
  assert set(tree.reward[tree.terminal & tree.mask]) == {0.0, 1.0}


def test_ground_truth_is_out_of_reach():
  """No search has an argument through which a reference, parameters or a model could come."""
  for row in SEARCHES.values():
    assert list(inspect.signature(row.search).parameters)[:4] == ['grow', 'tree', 'cache', 'keys']
    own = set(inspect.signature(row.search).parameters) - {'grow', 'tree', 'cache', 'keys', 'units'}
    # One that takes turns is told how to take them, by a function that knows as little as `Grow`.
    assert own == {*row.settings, *['revise'] * row.turns}
  revised = inspect.signature(Revise.__call__).parameters
  assert list(revised) == ['self', 'tree', 'keys', 'origin', 'slot']
  for function in (choose.choose, grow.grower, grow.start, decode_steps):
    assert not {'reference', 'verify', 'outcome'} & set(inspect.signature(function).parameters)


@pytest.mark.parametrize('actions', range(18))
def test_halving_is_planned_as_by_mctx(actions):
  for units in (1, 2, 3, 7, 16, 33, 64):
    plan = jax.vmap(lambda i, units=units: mcts.considered_visit(actions, units, i))
    np.testing.assert_array_equal(
      plan(jnp.arange(units)), get_sequence_of_considered_visits(actions, units)
    )


# --- after the simulations: going on until something is finished ---


def _corridor(length):
  """State s leads to s + 1 alone, and only the last one ends."""
  children = np.minimum(np.arange(13) + 1, length)[:, None].repeat(2, 1)
  return World(np.minimum(children, 12), np.full((2, 13), 0.5), np.arange(13) == length)


def test_a_search_goes_on_until_something_is_finished():
  tree = search(_corridor(9), **SIX)
  np.testing.assert_array_equal(tree.expanded, [[0, 1, 3, 5, 7, 9, 11, 13, 15] + [-1] * 9] * 2)
  np.testing.assert_array_equal(np.argwhere(tree_lib.finished(tree)), [[0, 8, 0], [1, 8, 0]])
  np.testing.assert_array_equal(tree_lib.generated_tokens(tree), [7 * 2 + 2] * 2)
  # Only simulations count in the statistics.
  np.testing.assert_array_equal(tree.visits[0, :, 0], [6, 5, 4, 3, 2, 1] + [0] * 12)


def test_a_search_stops_at_the_deepest_step():
  tree = search(_corridor(99), **SIX)
  assert not tree_lib.finished(tree).any()
  np.testing.assert_array_equal(tree.expanded, [[0, *range(1, 23, 2)] + [-1] * 6] * 2)


def test_going_on_follows_the_best_leaf():
  #         ┌── 1 ── 3 ── 5 ── 7: best for the first problem ──── 9 *
  #   0 ────┤
  #         └── 2 ── 4 ── 6 ── 8: best for the second ──── 10: worse than 7 was, but begun ──── 11 *
  children = np.array([[1, 2], *([s, s] for s in (3, 4, 5, 6, 7, 8, 9, 10, 9, 11, 11, 11))])
  values = np.full((2, 13), 0.5)
  values[:, 7], values[0, 8], values[1, 8], values[:, 10] = 0.8, 0.7, 0.9, 0.1
  tree = search(World(children, values, np.isin(np.arange(13), [9, 11])), **SIX)
  np.testing.assert_array_equal(
    tree.expanded[:, :10],
    [
      [0, 1, 2, 3, 5, 7, 9, 11, -1, -1],
      [0, 1, 2, 3, 5, 7, 9, 13, 15, -1],
    ],
  )
  np.testing.assert_array_equal(tree_lib.finished(tree).sum((1, 2)), [1, 1])


def test_likeliest_leaf():
  #   0 ─┬─ 1 ─┬─ 3 .9 (finished)
  #      │     └─ 4 .3
  #      └─ 2 .8
  tree = hand_tree(
    [0, 1], width=2, max_steps=3, terminal=[[0, 0], [1, 0]], value=[[0.5, 0.8], [0.9, 0.3]]
  )
  assert likeliest_leaf(tree)[0] == 2
  assert likeliest_leaf(tree.replace(mask=tree.mask.at[0, 0, 1].set(False)))[0] == 4
  assert likeliest_leaf(tree.replace(terminal=jnp.ones_like(tree.terminal)))[0] == 0


def test_a_repeated_seed_repeats_the_search():
  one, two, other = (search(random_world(), seed=seed, noise=1.0) for seed in (3, 3, 4))
  jax.tree.map(np.testing.assert_array_equal, one, two)
  assert (one.visits != other.visits).any()


def test_a_problem_does_not_know_its_batch():
  world = random_world()
  together = search(world)
  for b in range(4):
    alone = search(world._replace(values=world.values[[b] * 4]))
    jax.tree.map(lambda x, y, b=b: np.testing.assert_array_equal(x[b], y[0]), together, alone)
