"""The laws of particle filtering, in worlds where every expectation can be summed."""

import functools

import jax
import numpy as np
import pytest

from o1jax import keys as streams
from o1jax import tree as tree_lib
from o1jax.search import SEARCHES, smc
from tests.helpers import jit, keys
from tests.marks import some
from tests.worlds import World, random_world

ROW = SEARCHES['smc']
#   0 ─┬─ 1 ─┬─ 3 *      a child is drawn with the same chance as any other of its parent
#      │     ├─ 4 *
#      │     └─ 4 *
#      ├─ 2 *
#      └─ 1
CHILDREN = np.array([[1, 2, 1], [3, 4, 4], [5, 5, 5], [5, 5, 5], [5, 5, 5], [5, 5, 5]])
VALUES = np.array([0.5, 0.3, 0.6, 0.9, 0.05, 0.5])
ENDS = {2: 1 / 3, 3: 2 / 9, 4: 4 / 9}  # the chance of each
ROOT = 0.5


@functools.cache
def _compiled(count, most, max_steps, settings):
  def run(world, keys, units):
    room = ROW.room(most, candidates=3, max_steps=max_steps, **ROW.settings | dict(settings))
    tree, cache = world.start(room, max_steps, ROOT, scores=ROW.writes)
    grow, own = world.grow(drawn=True), ROW.settings | dict(settings)
    tree, end = smc.particles(grow, tree, cache, keys, units=units, **own)
    return (
      tree,
      end,
      smc.smc(grow, *world.start(room, max_steps, ROOT, ROW.writes), keys, units=units, **own),
    )

  return jit(run)


def filtered(world, units=3, *, most=None, max_steps=2, seed=0, **settings):
  """The particles, and the tree of the search."""
  count = len(world.values)
  run = _compiled(count, most or units, max_steps, tuple(settings.items()))
  _, end, tree = jax.device_get(run(world, keys(count, seed), units))
  return tree, end


def two_steps(count):
  return World(CHILDREN, np.broadcast_to(VALUES, (count, 6)), np.isin(np.arange(6), list(ENDS)))


def potential(end, weights):
  """What a path to an end weighs."""
  above = 1 if end == 2 or weights == 'ratio' else VALUES[1]
  return above * VALUES[end] / (ROOT if weights == 'ratio' else 1)


@pytest.mark.parametrize('weights', smc.WEIGHTS)
@pytest.mark.parametrize('resampling', some(smc.RESAMPLING, 'systematic'))
@pytest.mark.parametrize('threshold', some([0.0, 0.9, 1.0], 0.9))
def test_the_estimate_is_unbiased(weights, resampling, threshold):
  """The normalising constant, and what each end has of it."""
  count = 4000
  settings = dict(weights=weights, resampling=resampling, threshold=threshold)
  tree, end = filtered(two_steps(count), **settings)
  constant = np.exp(end.log_evidence)
  share = np.exp(end.log_weight - end.log_weight.max(-1, keepdims=True))
  share /= share.sum(-1, keepdims=True)
  at = np.take_along_axis(tree.tokens[:, :, 0, 0], end.node - 1, axis=1)
  for one, chance in ENDS.items():
    part = constant * np.sum(share * (at == one), axis=-1)
    exact = chance * potential(one, weights)
    assert abs(part.mean() - exact) < 4 * part.std() / count**0.5
  exact = sum(chance * potential(one, weights) for one, chance in ENDS.items())
  assert abs(constant.mean() - exact) < 4 * constant.std() / count**0.5
  assert constant.std() / count**0.5 < 0.02 * exact


def test_resampling_moves_particles_to_where_the_guide_is_good():
  world = two_steps(2000)
  few, many = (filtered(world, threshold=x)[0] for x in (0.0, 1.0))
  went_on = [(x.expanded[:, 3:] > 0).sum() for x in (few, many)]
  # State 1 is worse than state 2, which waits.
  assert went_on[1] < 0.9 * went_on[0]


@pytest.mark.parametrize('resampling', smc.RESAMPLING)
def test_particles_stand_in_the_tree_with_their_number(resampling):
  """A node stands for its particles by their weights. Several may go on from one node."""
  world = random_world(batch=8, ends=0.2, seed=3)
  tree, end = filtered(world, 6, max_steps=5, resampling=resampling, threshold=0.9)
  count, several, waiting = tree.scores[tree_lib.COUNT], 0, 0
  np.testing.assert_allclose(count.sum((1, 2)), 6, rtol=1e-5)
  for b in range(8):
    share = np.exp(end.log_weight[b]) / np.exp(end.log_weight[b]).sum()
    for node in set(end.node[b]):
      own = share[end.node[b] == node].sum()
      np.testing.assert_allclose(count[b, node - 1, 0], 6 * own, rtol=1e-4)
      waiting += (end.node[b] == node).sum() > 1
    parents = [p for p in tree.expanded[b, 6:] if p > 0]
    several += len(parents) - len(set(parents))
  assert several > 0 and waiting > 0


def test_without_resampling_particles_are_chains_with_weights():
  world = random_world(batch=8, ends=0.2, seed=3)
  tree, end = filtered(world, 4, max_steps=5, threshold=0.0)
  assert all(len(set(nodes)) == 4 for nodes in end.node)
  value = np.take_along_axis(tree.value[:, :, 0], end.node - 1, axis=1)
  np.testing.assert_allclose(np.exp(end.log_weight), value / ROOT, rtol=1e-4)
  assert [len({p for p in row[4:] if p > 0}) for row in tree.expanded] == [
    int((row[4:] > 0).sum()) for row in tree.expanded
  ]


def test_resampling_happens_where_few_particles_count():
  """Where all weigh the same, none moves; the estimate is exact there."""
  world = random_world(batch=4, ends=0.2, seed=3)
  flat = world._replace(values=np.full_like(world.values, 0.5))
  tree, end = filtered(flat, 5, max_steps=4, threshold=1.0)
  assert all(len(set(nodes)) == 5 for nodes in end.node)
  np.testing.assert_allclose(end.log_evidence, 0, atol=1e-5)
  np.testing.assert_allclose(tree.scores[tree_lib.COUNT].sum((1, 2)), 5, rtol=1e-5)


def test_systematic_resampling_is_even():
  """A particle of weight w has floor(K w) or ceil(K w) copies."""
  weight = np.random.default_rng(0).dirichlet(np.ones(6), 200)
  now = smc.Particles(
    node=np.tile(np.arange(1, 8), (200, 1)),
    log_weight=np.concatenate([np.log(weight), np.full((200, 1), -np.inf)], axis=1),
    log_evidence=np.zeros(200),
  )
  noise = streams.of_noise(keys(200))
  new = smc._resampled(now, np.ones(200, bool), noise, 6, 'systematic')
  copies = (np.asarray(new.node)[:, :6, None] == np.arange(1, 7)).sum(1)
  assert (np.abs(copies - 6 * weight) < 1 + 1e-4).all() and (copies.sum(-1) == 6).all()
  assert (np.asarray(new.node)[:, 6] == 7).all()


def test_particles_beyond_the_units_are_not_there():
  world = random_world(batch=4, ends=0.2, seed=3)
  tree, end = filtered(world, 3, most=5, max_steps=4, threshold=0.9)
  assert (end.node[:, 3:] == -1).all() and (end.node[:, :3] > 0).all()
  used = (tree.expanded >= 0).reshape(4, -1, 5)
  assert not used[..., 3:].any() and used[..., :3].any()


@pytest.mark.parametrize('setting', [dict(weights='product'), dict(resampling='residual')])
def test_what_is_unknown_is_refused(setting):
  with pytest.raises(ValueError, match='is unknown: choose .* or '):
    ROW.room(3, candidates=1, max_steps=2, **ROW.settings | setting)
