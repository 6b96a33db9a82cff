"""Closed forms of the scores that are read off a tree."""

import jax
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.reward import SCORES
from o1jax.reward.known import Known
from tests import toys


@pytest.fixture(scope='module')
def tree():
  tree = toys.random_tree(3)
  given = np.zeros(tree.tokens.shape, bool)
  last = np.maximum(np.asarray(tree.length) - 1, 0)[..., None]
  np.put_along_axis(given, last, np.asarray(tree.length)[..., None] > 2, -1)
  return tree.replace(given=given)


@pytest.mark.parametrize('name', ['critic', 'confidence', 'likelihood', 'length'])
def test_a_score_is_what_its_definition_says(tree, name):
  batch, slots, width = tree.mask.shape
  ids = np.broadcast_to(np.arange(slots * width + 1), (batch, slots * width + 1))
  found = np.asarray(jax.jit(SCORES[name].score)(Known(), tree, ids))
  room = tree.path.shape[-1] * tree.tokens.shape[-1]
  seen = 0
  for b, x, a in toys.nodes(tree):
    node = 1 + x * width + a
    line = toys.ancestors(np.asarray(tree.expanded[b]), width, node)
    places = [divmod(i - 1, width) for i in line]
    lengths = [int(tree.length[b, i, j]) for i, j in places]
    logprobs = [
      float(tree.logprob[b, i, j, t])
      for (i, j), count in zip(places, lengths)
      for t in range(count)
      if not tree.given[b, i, j, t]
    ]
    expected = {
      'critic': float(tree.value[b, x, a]),
      'confidence': np.exp(np.mean(logprobs)) if logprobs else 1.0,
      'likelihood': np.exp(np.sum(logprobs)),
      'length': sum(lengths) / room,
    }[name]
    assert found[b, node] == pytest.approx(expected, rel=1e-5)
    assert 0 <= found[b, node] <= 1
    seen += len(line) > 1
  assert seen > 10


def test_path_nodes_are_the_ancestors(tree):
  batch, slots, width = tree.mask.shape
  ids = np.broadcast_to(np.arange(slots * width + 1), (batch, slots * width + 1))
  found = np.asarray(tree_lib.path_nodes(tree, ids))
  for b, x, a in toys.nodes(tree):
    node = 1 + x * width + a
    line = toys.ancestors(np.asarray(tree.expanded[b]), width, node)[::-1]
    assert found[b, node].tolist() == line + [-1] * (found.shape[-1] - len(line))
