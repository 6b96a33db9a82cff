"""Every search follows its guide and nothing else: what is written on nodes, and what is backed up."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.search import SEARCHES, run
from o1jax.tree import ORIGIN
from tests.helpers import jit, keys
from tests.marks import some
from tests.toys import MODEL, OUTCOME, SAMPLING, params, problems
from tests.worlds import random_world

PROMPT, REFERENCE = problems(3)
# They follow nothing: a guide tells only which of their solutions to choose.
CHAINS = 'best_of_n', 'sequential', 'bisection', 'budget_forcing', 'revision'


@functools.cache
def searched(guide='critic', flips=0.0, method='gumbel', weigh=''):
  told = functools.partial(OUTCOME, REFERENCE) if guide == 'oracle' else None
  own = dict(gumbel_scale=0.0) if method == 'gumbel' else {}
  search = functools.partial(
    run,
    SEARCHES[method],
    MODEL,
    guide=guide,
    flips=flips,
    weigh=weigh,
    oracle=told,
    units=3,
    step_length=3,
    max_steps=3,
    sampling=SAMPLING,
    candidates=3,
    **own,
  )
  return jax.device_get(jit(search)(params(), keys(), PROMPT))


@pytest.mark.parametrize('method', some(SEARCHES, 'gumbel', 'without_replacement'))
def test_a_search_follows_the_guide_in_place_of_the_critic(method):
  """A guide that turns values upside down, and a world that is upside down, are one search."""
  row = SEARCHES[method]
  world = random_world(multiplicity=(1, 1, 1) if row.branches else (2, 1, 1), seed=5)

  settings = dict(units=4, max_steps=4, drawn=not row.branches, **row.settings | row.quiet)
  settings |= dict(units=9, explore=0.0) if 'explore' in settings else {}

  @jit
  def program(world, keys, turn):
    # So sharp that searches that weigh notice it, too.
    sharp = lambda value: 0.05 + 0.88 * (value > 0.5) + 0.02 * value
    guide = lambda value: sharp(jnp.where(turn, 1 - value, value))
    return world.search(method, keys, guide=guide, **settings)

  search = lambda world, turn: jax.device_get(program(world, keys(4), turn))
  turned = search(world, True)
  same = search(world._replace(values=1 - world.values), False)
  for name in ('expanded', 'tokens', 'visits', 'terminal'):
    np.testing.assert_array_equal(getattr(turned, name), getattr(same, name))
  np.testing.assert_allclose(turned.reward, same.reward, atol=1e-5)
  if method not in CHAINS:
    straight = search(world, False)
    where = lambda tree: tree.scores[ORIGIN] if row.turns else tree.expanded
    assert (where(straight) != where(turned)).any()


@pytest.mark.long
def test_a_guide_stands_on_every_node_and_finished_ones_return_it():
  tree = searched('critic * critic - 0.25')
  real = tree.mask & (tree.expanded >= 0)[..., None]
  done = real & tree.terminal
  guide = tree_lib.guide(tree)
  assert done.any()
  np.testing.assert_allclose(guide[real], tree.value[real] ** 2 - 0.25, atol=1e-5)
  np.testing.assert_allclose(tree.reward[done], guide[done], atol=1e-6)
  assert not tree.reward[~done].any()


@pytest.mark.long
def test_the_critic_alone_needs_no_guide():
  tree = searched()
  assert not tree.scores and tree_lib.guide(tree) is tree.value


@pytest.mark.long
def test_answers_are_weighed_by_another_guide_and_the_search_does_not_know():
  plain, other = searched('confidence'), searched('confidence', weigh='critic * length')
  for name in ('tokens', 'expanded', 'visits', 'reward', 'value'):
    np.testing.assert_array_equal(getattr(other, name), getattr(plain, name))
  real = other.length > 0
  product = (other.value * other.scores['length'])[real]
  np.testing.assert_allclose(tree_lib.guide(other)[real], product)
  assert np.abs(tree_lib.guide(plain)[real] - product).max() > 0.01


@pytest.mark.long
def test_the_root_is_worth_what_its_first_candidates_are():
  tree = searched('1 * critic')
  expected = (tree.prior[:, 0] * tree.value[:, 0]).sum(-1)
  np.testing.assert_allclose(tree_lib.root_guide(tree), expected, atol=1e-6)
  np.testing.assert_array_equal(tree_lib.root_guide(searched()), searched().root_value)


def test_an_oracle_is_told_verdicts_and_flips_make_it_wrong():
  tree = searched('oracle', method='best_of_n')
  ids = np.broadcast_to(np.asarray(tree_lib.node_ids(tree)).reshape(-1), (3, tree.mask[0].size))
  verdicts = np.asarray(OUTCOME(REFERENCE, tree, ids)).reshape(tree.mask.shape)
  real = tree.mask & (tree.expanded >= 0)[..., None]
  np.testing.assert_array_equal(tree_lib.guide(tree)[real], verdicts[real])
  wrong = searched('oracle', 0.4, method='best_of_n')
  np.testing.assert_array_equal(wrong.tokens, tree.tokens)
  flipped = tree_lib.guide(wrong)[real] != verdicts[real]
  assert 0 < flipped.sum() < real.sum()
