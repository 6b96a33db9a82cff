"""A noisy score is wrong as often as it is told, and always on the same texts."""

import jax.numpy as jnp
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.reward.noise import flipped
from tests.helpers import jit, keys
from tests.toys import hand_tree

SLOTS = 200


def _tree(seed=0, batch=3):
  """Steps of two random tokens below the root, all different, in each problem the same."""
  one = hand_tree([0] * SLOTS, width=2, max_steps=2, step=2, length=[[2, 2]] * SLOTS)
  tokens = np.random.default_rng(seed).permutation(SLOTS * 2)[:, None] + np.array([3, 5])
  one = one.replace(tokens=jnp.asarray(tokens.reshape(1, SLOTS, 2, 2), jnp.int32))
  return one.replace(**{'tokens': jnp.repeat(one.tokens, batch, 0)}, **_repeated(one, batch))


def _repeated(tree, batch):
  names = ('expanded', 'path', 'length', 'mask', 'value')
  return {name: jnp.repeat(getattr(tree, name), batch, 0) for name in names}


def _flips(tree, rate, seed=0):
  ids = jnp.broadcast_to(tree_lib.node_ids(tree).reshape(-1), (3, 2 * SLOTS))
  run = jit(lambda score, keys, tree: flipped(score, keys, tree, ids, rate=rate))
  found = np.asarray(run(jnp.full(ids.shape, 0.75), keys(seed=seed), tree))
  assert set(np.unique(found)) <= {0.25, 0.75}
  return found == 0.25


@pytest.mark.parametrize('rate', [0.0, 0.1, 0.5])
def test_as_often_as_it_is_told(rate):
  flips = _flips(_tree(), rate)
  assert abs(flips.mean() - rate) < 4 * (rate * (1 - rate) / flips.size) ** 0.5 + 1e-9


def test_a_text_is_judged_the_same_wherever_it_stands():
  one, other = _tree(0), _tree(1)
  first, second = _flips(one, 0.3), _flips(other, 0.3)
  for b in range(3):
    known = {tuple(t): f for t, f in zip(np.asarray(one.tokens[b]).reshape(-1, 2), first[b])}
    again = [known[tuple(t)] for t in np.asarray(other.tokens[b]).reshape(-1, 2)]
    np.testing.assert_array_equal(again, second[b])
  assert (first[0] != first[1]).any() and (first != _flips(one, 0.3, seed=1)).any()
