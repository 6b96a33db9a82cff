"""Which problems of the pool an update learns from.

A draw is (key, update, record, *, count, **settings) -> ids [count] of different problems. Its
chances may depend on the record of what learning has found so far. The same arguments give the same
problems, on any devices.
"""

import jax
import jax.numpy as jnp

from o1jax.reward.process import ended
from o1jax.types import Array, Record, Tree


def empty_record(problems: int) -> Record:
  """Nothing has been tried yet."""
  return Record(tried=jnp.zeros(problems, jnp.int32), right=jnp.zeros(problems, jnp.int32))


def add_to_record(record: Record, ids: Array, tree: Tree) -> Record:
  """Counts the solutions of a judged tree.

  Args:
    record: of N problems.
    ids: [B] different problems, those that the tree searched.
    tree: with `outcome` and `unjudged` filled. A solution that is cut off counts as wrong. One
      without a verdict does not count. Where the verifier is broken nothing does.
  """
  over = ended(tree) & ~jnp.isnan(tree.outcome).any()
  count = lambda nodes: jnp.sum(nodes, axis=(1, 2), dtype=jnp.int32)
  return Record(
    tried=record.tried.at[ids].add(count(over)),
    right=record.right.at[ids].add(count(over & (tree.outcome > 0))),
  )


def uniform(key: Array, update: Array, record: Record, *, count: int) -> Array:
  """All problems have the same chance."""
  del update
  return jax.random.choice(key, record.tried.shape[0], (count,), replace=False)


def by_learnability(
  key: Array,
  update: Array,
  record: Record,
  *,
  count: int,
  prior: float = 1.0,
  floor: float = 0.1,
) -> Array:
  """Problems that are sometimes solved come more often than those that always or never are; see
  `learnability`.

  A problem's chance is that of drawing without replacement in proportion to the weights (Gumbel
  top-k, arXiv:1903.06059).
  """
  del update
  weights = learnability(record, prior=prior, floor=floor)
  noise = jax.random.gumbel(key, weights.shape)
  return jax.lax.top_k(jnp.log(weights) + noise, count)[1]


def learnability(record: Record, *, prior: float, floor: float) -> Array:
  """The variance p(1 - p) of a problem's verdicts, as a weight (arXiv:2502.12272).

  Args:
    record: of N problems. p is the share of right ones among all solutions since the stage began.
    prior: solutions, half of them right, that each problem is given in advance. So a problem that
      was never tried has the greatest weight.
    floor: the least weight. At 1 all problems have the same.

  Returns:
    [N] in [floor, 1]: 1 where half of the solutions are right.
  """
  p = (record.right + prior / 2) / (record.tried + prior)
  return floor + (1 - floor) * 4 * p * (1 - p)
