import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.decode.grow import merge_duplicates
from tests.helpers import (
  LINE,
  Markov,
  bushy_tree,
  growers,
  jit,
  keys,
  mcts,
  prompts,
  real_nodes,
  spell,
  tables,
  tiny,
)

RANDOM = tables(np.random.default_rng(0).normal(size=(5, 5)), np.linspace(-2, 2, 5))
# 3 4 2, 3 4 2, ... without an end.
SURE = tables(50 * np.eye(5)[[2, 2, 3, 4, 2]], np.linspace(-2, 2, 5))


def _prompt(batch=3):
  prompt = prompts(batch)
  return prompt.replace(tokens=prompt.tokens % 5)


# --- merging ---


def test_merge_closed_form():
  tokens = jnp.array([[3, 4], [5, 0], [3, 4], [3, 4], [5, 0], [5, 1]])
  prior, mask = merge_duplicates(tokens, jnp.full(6, 1 / 6), jnp.ones(6, bool))
  np.testing.assert_array_equal(mask, [1, 1, 0, 0, 0, 1])
  np.testing.assert_allclose(prior * 6, [3, 2, 0, 0, 0, 1], rtol=1e-6)


def test_merge_leaves_unused_slots_empty():
  prior, mask = merge_duplicates(
    jnp.zeros((2, 3, 4), jnp.int32), jnp.zeros((2, 3)), jnp.zeros((2, 3), bool)
  )
  assert not prior.any() and not mask.any()


@pytest.mark.parametrize('seed', range(3))
def test_merge_keeps_the_mass_and_follows_permutations(seed):
  rng = np.random.default_rng(seed)
  tokens = rng.integers(0, 2, (20, 7, 2))
  order = rng.permutation(7)
  uniform, there = np.full((20, 7), 1 / 7), np.ones((20, 7), bool)
  merge = jit(merge_duplicates)
  kept = []
  for rows in (tokens, tokens[:, order]):
    prior, mask = jax.device_get(merge(rows, uniform, there))
    np.testing.assert_allclose(prior.sum(-1), 1, rtol=1e-5)
    assert ((prior > 0) == mask).all()
    kept.append(
      [{tuple(t): float(p) for t, p, m in zip(*row) if m} for row in zip(rows, prior, mask)]
    )
  for one, other, row in zip(*kept, tokens):
    assert one == pytest.approx(other)
    texts = [tuple(t) for t in row]
    assert one == pytest.approx({text: texts.count(text) / 7 for text in texts})


# --- expansion ---


def test_what_an_expansion_writes():
  """On random trees: real candidates are different, priors add up, rewards stand at finished nodes
  only."""
  tree = jax.device_get(bushy_tree(Markov(), RANDOM, _prompt(), seed=1))
  used = tree.expanded >= 0
  assert used.any() and not used.all() and tree.terminal.any()
  np.testing.assert_allclose(tree.prior.sum(-1), used, atol=1e-6)
  assert ((tree.prior > 0) == tree.mask).all() and not tree.mask[~used].any()
  assert (tree.length[used] > 0).all() and not tree.length[~used].any()
  np.testing.assert_array_equal(tree.reward, np.where(tree.terminal & tree.mask, tree.value, 0))
  assert not tree.value[~tree.mask].any() and ((0 <= tree.value) & (tree.value <= 1)).all()
  for b, x in np.argwhere(used):
    texts = [tuple(tree.tokens[b, x, a]) for a in range(3)]
    kept = [text for text, real in zip(texts, tree.mask[b, x]) if real]
    assert len(set(kept)) == len(kept) == len(set(texts))
    np.testing.assert_allclose(
      tree.prior[b, x],
      [texts.count(text) / 3 * real for text, real in zip(texts, tree.mask[b, x])],
      rtol=1e-5,
    )
  # A path names the ancestors of the node, of which each went on.
  for b, x, _, node in real_nodes(tree):
    assert len(spell(tree, b, node)) == 1 + tree_lib.parent_depth(tree)[b, x]
    for above in tree.path[b, x][tree.path[b, x] > 0]:
      assert not tree.terminal[b].reshape(-1)[above - 1] and tree.mask[b].reshape(-1)[above - 1]


def test_without_merging_twins_stand():
  tree = bushy_tree(Markov(), SURE, _prompt(), merge=False)
  used = np.asarray(tree.expanded) >= 0
  assert np.asarray(tree.mask)[used].all()
  np.testing.assert_allclose(np.asarray(tree.prior)[used], 1 / 3, rtol=1e-6)
  merged = bushy_tree(Markov(), SURE, _prompt())
  assert set(np.asarray(merged.mask.sum(-1))[np.asarray(merged.expanded) >= 0]) == {1}


def test_what_cannot_be_expanded_leaves_its_slot_unused():
  """The merged twin, the finished, the node at depth R, and the id of an unused slot."""
  prompt = _prompt()
  begin, grow = growers(Markov())
  tree, cache = begin(SURE, prompt)

  def at(tree, cache, slot, parents):
    return grow(SURE, keys(), prompt, tree, cache, np.array([parents] * 3), slot)

  # Candidates 1 to 3 and 4 to 6; the last two of each are twins.
  tree, cache = at(tree, cache, 0, [0, 0])
  tree, cache = at(tree, cache, 2, [1, 2])  # 7 to 9 under 1; nothing under the twin
  tree = tree.replace(terminal=tree.terminal.at[:, 1, 0].set(True))
  tree, cache = at(tree, cache, 4, [4, 7])  # nothing under the finished 4; 16 to 18 under 7
  np.testing.assert_array_equal(tree.expanded, [[0, 0, 1, -1, -1, 7]] * 3)
  assert not tree.length[:, 3:5].any()
  after, _ = at(tree, cache, 3, [16, 10])  # 16 is at depth R, slot 3 holds no 10
  jax.tree.map(np.testing.assert_array_equal, tree, after)


def of_slots(tree):
  return [x for x in jax.tree.leaves(tree) if x.ndim > 1]


def test_an_expansion_touches_its_own_slots_only():
  prompt = _prompt()
  begin, grow = growers(Markov())
  tree, cache = begin(RANDOM, prompt)
  after, _ = grow(RANDOM, keys(), prompt, tree, cache, np.zeros((3, 2), int), 1)
  assert (after.expanded == jnp.array([-1, 0, 0, -1, -1, -1])).all()
  moved, _ = grow(RANDOM, keys(), prompt, tree, cache, np.zeros((3, 2), int), 2)
  for old, late in zip(of_slots(after), of_slots(moved)):
    # What is sampled depends on the key, not on the slot.
    np.testing.assert_array_equal(old[:, 1:3], late[:, 2:4])
    np.testing.assert_array_equal(old[:, 3:], late[:, [0, 4, 5]])
  # Two expansions of one node in one call are two samples.
  assert (after.tokens[:, 1] != after.tokens[:, 2]).any()


def test_scores_and_rewards_are_written_as_a_tree_grows():
  """On all nodes the scores that are asked for; on finished ones the weighted sum that is backed
  up, where the verdict is known."""
  model, params = tiny()

  def outcome(tree, ids):
    """Right where the first token is even, and unknown where the step has one token."""
    right = 1 - tree_lib.pick(tree.tokens[..., 0], ids) % 2
    return jnp.where(tree_lib.pick(tree.length, ids) == 1, jnp.nan, right)

  search = functools.partial(
    mcts,
    model,
    units=6,
    candidates=3,
    sampling=LINE,
    step_length=4,
    max_steps=3,
    scores=('confidence', 'length'),
    reward=dict(outcome=2.0, length=-0.5, critic=0.25),
    outcome=outcome,
  )
  tree = jax.device_get(jit(search)(params, keys(), prompts()))
  # What is rewarded stands on the nodes, too.
  assert tree.scores.keys() == {'confidence', 'length', 'critic'}
  known = unknown = 0
  for b, x, a, node in real_nodes(tree):
    if not tree.mask[b, x, a]:
      continue
    lengths = [len(step) for step in spell(tree, b, node)]
    assert tree.scores['length'][b, x, a] == pytest.approx(sum(lengths) / 12)
    assert 0 < tree.scores['confidence'][b, x, a] < 1
    expected = 0
    if tree.terminal[b, x, a]:
      right = 1 - tree.tokens[b, x, a, 0] % 2
      expected = 2 * right - 0.5 * sum(lengths) / 12 + 0.25 * tree.value[b, x, a]
      expected = tree.value[b, x, a] if tree.length[b, x, a] == 1 else expected
      known, unknown = known + (lengths[-1] > 1), unknown + (lengths[-1] == 1)
    assert tree.reward[b, x, a] == pytest.approx(expected, abs=1e-5)
  assert known and unknown
