"""Every search follows its guide and nothing else: what is written on nodes, and what is backed up."""

import functools

import jax
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.search import SEARCHES, run
from tests.helpers import jit, keys
from tests.toys import MODEL, OUTCOME, SAMPLING, params, problems

PROMPT, REFERENCE = problems(3)


@functools.cache
def searched(method, guide='critic', flips=0.0):
  row = SEARCHES[method]
  told = functools.partial(OUTCOME, REFERENCE) if guide == 'oracle' else None
  search = functools.partial(
    run,
    row,
    MODEL,
    guide=guide,
    flips=flips,
    oracle=told,
    units=3,
    step_length=3,
    max_steps=3,
    sampling=SAMPLING,
    candidates=max(row.least, 2),
    **{name: row.quiet.get(name, value) for name, value in row.settings.items()},
  )
  return jax.device_get(jit(search)(params(), keys(), PROMPT))


@pytest.mark.parametrize('method', SEARCHES)
def test_a_guide_stands_on_every_node_and_finished_ones_return_it(method):
  tree = searched(method, 'critic * critic - 0.25')
  real = tree.mask & (tree.expanded >= 0)[..., None]
  done = real & tree.terminal
  guide = tree_lib.guide(tree)
  assert done.any()
  np.testing.assert_allclose(guide[real], tree.value[real] ** 2 - 0.25, atol=1e-5)
  np.testing.assert_allclose(tree.reward[done], guide[done], atol=1e-6)
  assert not tree.reward[~done].any()


@pytest.mark.parametrize('method', SEARCHES)
def test_the_critic_alone_needs_no_guide(method):
  tree = searched(method)
  assert not tree.scores and tree_lib.guide(tree) is tree.value


@pytest.mark.parametrize('method', ['best_of_n', 'beam', 'dvts'])
def test_the_critic_written_out_is_the_same_search(method):
  """Of those that do not read what the root is worth."""
  tree, same = searched(method), searched(method, '1 * critic')
  np.testing.assert_array_equal(same.tokens, tree.tokens)
  np.testing.assert_array_equal(same.expanded, tree.expanded)


def test_the_root_is_worth_what_its_first_candidates_are():
  tree = searched('gumbel', '1 * critic')
  expected = (tree.prior[:, 0] * tree.value[:, 0]).sum(-1)
  np.testing.assert_allclose(tree_lib.root_guide(tree), expected, atol=1e-6)
  np.testing.assert_array_equal(tree_lib.root_guide(searched('gumbel')), tree.root_value)


def test_an_oracle_is_told_verdicts_and_flips_make_it_wrong():
  tree = searched('best_of_n', 'oracle')
  ids = np.broadcast_to(np.asarray(tree_lib.node_ids(tree)).reshape(-1), (3, tree.mask[0].size))
  verdicts = np.asarray(OUTCOME(REFERENCE, tree, ids)).reshape(tree.mask.shape)
  real = tree.mask & (tree.expanded >= 0)[..., None]
  np.testing.assert_array_equal(tree_lib.guide(tree)[real], verdicts[real])
  wrong = searched('best_of_n', 'oracle', 0.4)
  np.testing.assert_array_equal(wrong.tokens, tree.tokens)
  flipped = tree_lib.guide(wrong)[real] != verdicts[real]
  assert 0 < flipped.sum() < real.sum()
