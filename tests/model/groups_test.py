import jax.numpy as jnp
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.decode.rules import Sampling
from o1jax.model import groups
from tests.helpers import climb, jit, keys, mcts, prompts, tiny


@pytest.fixture(scope='module')
def tree():
  """Of a search that finds no end, and so goes on in a chain."""
  model, params = tiny()
  endless = Sampling(eos_id=-1, delimiter_id=-1, granularity='tokens')
  search = lambda *data: mcts(
    model, *data, units=3, candidates=3, sampling=endless, step_length=2, max_steps=6
  )
  return jit(search)(params, keys(), prompts())


@pytest.mark.long
def test_a_search_says_how_long_its_chain_is(tree):
  assert tree.chain == 5
  assert np.asarray(tree.length)[:, -tree.chain :, 1:].max() == 0
  assert np.asarray(tree.length)[:, -tree.chain :, 0].max() > 0


def test_lay_and_back(tree):
  made = np.asarray(tree.length) > 0
  laid = groups.to_groups(tree, tree.tokens)
  # Five candidates in two groups of three.
  assert laid.shape[1] == tree.mask.shape[1] - tree.chain + 2
  np.testing.assert_array_equal(groups.from_groups(tree, laid)[made], tree.tokens[made])
  whole = tree.replace(chain=0)
  assert (
    groups.to_groups(whole, tree.tokens) is tree.tokens
    and groups.from_groups(whole, tree.tokens) is tree.tokens
  )


def test_renamed_ids_find_the_same_nodes(tree):
  ids = jnp.asarray(np.broadcast_to(tree_lib.node_ids(tree).reshape(-1), (3, tree.mask[0].size)))
  found = tree_lib.pick(groups.to_groups(tree, tree.tokens), groups.rename(tree, ids))
  made = np.asarray(tree.length).reshape(3, -1) > 0
  np.testing.assert_array_equal(found[made], tree.tokens.reshape(3, -1, 2)[made])
  np.testing.assert_array_equal(groups.rename(tree, jnp.array([-1, 0, 1])), [-1, 0, 1])


def test_every_node_reads_its_own_path(tree):
  ids, above = groups.paths(tree)
  above = jnp.broadcast_to(above, (*ids.shape[:2], tree_lib.candidates(tree)))
  nodes = tree_lib.node_ids(tree)
  chained = 0
  for b, x, a in zip(*np.nonzero(np.asarray(tree.length) > 0)):
    w, i = divmod(int(groups.rename(tree, nodes[x, a])) - 1, tree_lib.candidates(tree))
    expected = [node for node in climb(tree, b, int(nodes[x, a])) if node > 0][:-1]
    np.testing.assert_array_equal(
      ids[b, w, : above[b, w, i]], groups.rename(tree, jnp.array(expected, int))
    )
    chained += x >= tree.mask.shape[1] - tree.chain
  assert chained > 2
