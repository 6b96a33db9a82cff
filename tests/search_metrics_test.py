"""What an update tells of its search, on trees drawn by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from o1jax import fused
from tests import toys


def hand_tree():
  return toys.hand_tree(
    [0, 1, -1],
    width=3,
    max_steps=2,
    mask=[[1, 1, 0], [1, 1, 1], [0, 0, 0]],
    length=[[4, 2, 4], [1, 1, 3], [0] * 3],
    terminal=[[0, 1, 0], [1, 1, 0], [0] * 3],
    outcome=[[0, 0, 0], [1, 0, 0], [0] * 3],
  )


def test_search_metrics_are_what_a_hand_drawn_tree_says():
  tree = hand_tree()
  found = fused.search_metrics(
    jax.tree.map(lambda x: jnp.concatenate([x, x * (x.dtype != jnp.float32)]), tree)
  )
  # Of each problem, three solutions are finished and a fourth is cut off at the last step.
  expected = dict(
    right=1 / 8,
    right_of_finished=1 / 6,
    unjudged=0.0,
    solved=0.5,
    finished=1.0,
    distinct=10 / 12,
    tokens=30,
    expansions=2,
  )
  assert found.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_allclose(found[name], value, rtol=1e-6)


def test_what_is_not_judged_is_neither_right_nor_wrong():
  tree = hand_tree()
  lost = tree.replace(unjudged=tree.unjudged.at[0, 0, 1].set(True))
  found = fused.search_metrics(lost)
  for name, expected in dict(right=1 / 3, right_of_finished=1 / 2, unjudged=1 / 3).items():
    np.testing.assert_allclose(found[name], expected, rtol=1e-6)
  assert found['solved'] == 1
