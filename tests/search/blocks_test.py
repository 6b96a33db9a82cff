"""The laws of growing many nodes a few at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax import keys as streams
from o1jax.search.blocks import BLOCK, grow_in_blocks, padded, step_ids
from o1jax.search.room import Room
from tests.helpers import climb, keys
from tests.worlds import random_world

R = 5


def grown(width, used, steps, *, watch=None, whole=False):
  """Two problems, whose root has `used` chains, by one call or in blocks; slot 0 stays free."""
  world = random_world(batch=2, ends=0.2, seed=1)
  tree, cache = world.start(Room(1 + width * (steps or 1), 1), R)
  parents = jnp.broadcast_to(jnp.where(jnp.arange(width) < used, 0, -1), (2, width))
  plain = world.grow(drawn=True)

  def grow(*args, **how):
    if watch is not None:
      jax.debug.callback(watch)
    return plain(*args, **how)

  how = dict(slot=1, steps=steps)
  if whole:
    tree, _ = grow(tree, cache, streams.of_slot(keys(2), 1), parents, **how)
  else:
    tree, _ = grow_in_blocks(grow, tree, cache, keys(2), parents, **how)
  return jax.device_get(tree)


@pytest.mark.parametrize('steps', [None, 3])
def test_each_parent_grows_where_its_steps_should_be(steps):
  width = padded(2 * BLOCK + 3)
  assert width == 3 * BLOCK
  tree = grown(width, BLOCK + 3, steps)
  ids = np.asarray(step_ids(1, width, steps or 1))
  assert len(np.unique(ids)) == width * (steps or 1) and ids.min() == 2
  for b in range(2):
    for chain in range(width):
      own = [int(n) for n in ids[:, chain] if tree.length[b, n - 1, 0]]
      assert bool(own) == (chain < BLOCK + 3)
      assert not own or climb(tree, b, own[-1]) == own
  assert len({tuple(tree.tokens[0, ids[:, c] - 1, 0, 0]) for c in range(BLOCK + 3)}) > 1


@pytest.mark.long
@pytest.mark.parametrize('steps', [None, 3])
def test_one_block_is_one_call(steps):
  both = grown(4, 3, steps), grown(4, 3, steps, whole=True)
  jax.tree.map(np.testing.assert_array_equal, *both)
  assert padded(4) == 4


@pytest.mark.parametrize('used, calls', [(0, 0), (1, 1), (BLOCK, 1), (BLOCK + 1, 2)])
def test_blocks_without_a_parent_are_left_out(used, calls):
  seen = []
  grown(3 * BLOCK, used, None, watch=lambda: seen.append(1))
  jax.effects_barrier()
  assert len(seen) == calls


def test_steps_are_those_of_the_first_candidates():
  np.testing.assert_array_equal(step_ids(2, 3, 2, 4), [[9, 13, 17], [21, 25, 29]])
