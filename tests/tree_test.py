import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax import tree as tree_lib
from tests.helpers import climb, real_nodes, spell
from tests.toys import hand_tree, random_tree

# Two candidates a slot, at most three steps; 5 6 are tokens, * ends a solution, ~ is a merged twin,
# slot 2 is unused.
#
#         ┌── 1 "5 6" ──┬── 3 "7" ──┬── 7 "1" *
#   0 ────┤             │           └── 8 "1" ~
#         │             └── 4 "8 1" *
#         └── 2 "9"   ──┬── 9 "3"
#                       └── 10 "4 4 4"
SLOTS = [0, 1, -1, 3, 2]
STEPS = [[[5, 6], [9]], [[7], [8, 1]], [[], []], [[1], [1]], [[3], [4, 4, 4]]]
TERMINAL = [[0, 0], [0, 1], [0, 0], [1, 1], [0, 0]]
MASK = [[1, 1], [1, 1], [0, 0], [1, 0], [1, 1]]
IDS = jnp.arange(11)[None]


@pytest.fixture(scope='module')
def drawn():
  tokens = np.zeros((1, 5, 2, 3), np.int32)
  for x, a in np.ndindex(5, 2):
    tokens[0, x, a, : len(STEPS[x][a])] = STEPS[x][a]
  length = [[len(step) for step in slot] for slot in STEPS]
  tree = hand_tree(SLOTS, width=2, max_steps=3, step=3, terminal=TERMINAL, mask=MASK, length=length)
  return tree.replace(tokens=jnp.asarray(tokens))


def _walk(name):
  """The walk, compiled as a whole: op by op takes longer."""
  return jax.jit(getattr(tree_lib, name))


def test_ids_are_arithmetic(drawn):
  assert tree_lib.candidates(drawn) == 2
  np.testing.assert_array_equal(tree_lib.node_ids(drawn), [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]])


def test_depths(drawn):
  np.testing.assert_array_equal(_walk('parent_depth')(drawn), [[0, 1, 0, 2, 1]])


def test_paths(drawn):
  paths = {
    -1: [-1, -1, -1],
    0: [0, -1, -1],
    1: [0, 1, -1],
    2: [0, 2, -1],
    3: [0, 1, 3],
    4: [0, 1, 4],
    9: [0, 2, 9],
    10: [0, 2, 10],
    7: [0, 1, 3],  # at depth R a node falls off its own path
  }
  got = _walk('path_to')(drawn, jnp.array([list(paths)]))
  np.testing.assert_array_equal(got[0], list(paths.values()))
  # The path of a slot is the path to what it expanded.
  np.testing.assert_array_equal(_walk('path_to')(drawn, drawn.expanded), drawn.path)


def test_expandable(drawn):
  # Not: the finished 4, the unused 5 and 6, and 7 and 8, which lie at depth R.
  np.testing.assert_array_equal(
    np.flatnonzero(_walk('expandable')(drawn, IDS)[0]), [0, 1, 2, 3, 9, 10]
  )
  assert not _walk('expandable')(drawn, jnp.array([[-1]]))
  twin = drawn.replace(mask=drawn.mask.at[0, 4, 0].set(False))
  assert not _walk('expandable')(twin, jnp.array([[9]]))


def test_finished(drawn):
  np.testing.assert_array_equal(
    np.asarray(tree_lib.node_ids(drawn))[tree_lib.finished(drawn)[0]], [4, 7]
  )


def test_sum_below(drawn):
  values = jnp.array([[[1.0, 2], [4, 8], [0, 0], [16, 0], [32, 64]]])
  sums, total = _walk('sum_below')(drawn, values)
  np.testing.assert_array_equal(
    sums[0], [[1 + 4 + 8 + 16, 2 + 32 + 64], [4 + 16, 8], [0, 0], [16, 0], [32, 64]]
  )
  np.testing.assert_array_equal(total, [127])


def test_step_start(drawn):
  start = _walk('step_start')(drawn, jnp.array([10]))[0]
  np.testing.assert_array_equal(start[jnp.array([0, 1, 3, 4])], [10, 12, 13, 11])


def test_solutions(drawn):
  ids = jnp.array([[7, 4, 10, 2, 0]])
  tokens, length = _walk('solution_tokens')(drawn, ids)
  assert tokens.shape == (1, 5, 9)
  expected = [[5, 6, 7, 1], [5, 6, 8, 1], [9, 4, 4, 4], [9], []]
  np.testing.assert_array_equal(length[0], [len(row) for row in expected])
  np.testing.assert_array_equal(tokens[0], [row + [0] * (9 - len(row)) for row in expected])
  steps, lengths = _walk('path_steps')(drawn, ids)
  np.testing.assert_array_equal(lengths[0, :2], [[2, 1, 1], [2, 2, 0]])
  np.testing.assert_array_equal(steps[0, 0], [[5, 6, 0], [7, 0, 0], [1, 0, 0]])


def test_every_branch_costs_tokens(drawn):
  # The merged twin 8 and the dead branch under 2 count; an unused slot does not, whatever its
  # arrays hold.
  assert _walk('generated_tokens')(drawn)[0] == 3 + 3 + 2 + 4
  junk = drawn.replace(length=drawn.length.at[0, 2].set(3))
  assert _walk('generated_tokens')(junk)[0] == 12


def test_pick_reads_by_id(drawn):
  np.testing.assert_array_equal(
    _walk('pick')(drawn.length, IDS)[0], [0, 2, 1, 1, 2, 0, 0, 1, 1, 1, 3]
  )
  got = _walk('pick')(drawn.tokens, jnp.array([[[10, 0], [-1, 1]]]), fill=-7)
  np.testing.assert_array_equal(got[0], [[[4, 4, 4], [-7] * 3], [[-7] * 3, [5, 6, 0]]])


def test_put_writes_by_id(drawn):
  field = jnp.zeros((1, 5, 2))
  got = _walk('put')(field, jnp.array([[10, 0, 3, -1]]), jnp.array([[1.0, 2, 3, 4]]))
  np.testing.assert_array_equal(got.reshape(-1), [0, 0, 3, 0, 0, 0, 0, 0, 0, 1])


def test_empty_tree():
  tree = tree_lib.empty(2, 3, 4, 5, 6)
  assert tree.tokens.shape == tree.logprob.shape == (2, 3, 4, 5) and tree.path.shape == (2, 3, 6)
  assert not tree.mask.any() and (tree.expanded == -1).all() and (tree.path == -1).all()
  assert _walk('expandable')(tree, jnp.zeros((2, 1), jnp.int32)).all()
  assert not _walk('expandable')(tree, jnp.arange(1, 13)[None].repeat(2, 0)).any()


@jax.jit
def _walks(tree, ids, values):
  return (
    tree_lib.path_to(tree, ids),
    tree_lib.expandable(tree, ids),
    tree_lib.step_start(tree, jnp.zeros(ids.shape[0], jnp.int32)),
    tree_lib.solution_tokens(tree, ids),
    tree_lib.sum_below(tree, values),
    tree_lib.generated_tokens(tree),
  )


@pytest.mark.parametrize('seed', range(3))
def test_walks_agree_with_climbing(seed):
  """Every walk, on random batches, against a climb through `expanded` in plain Python."""
  tree = random_tree(seed)
  batch, slots, width, step = tree.tokens.shape
  deepest = tree.path.shape[-1]
  ids = jnp.broadcast_to(jnp.arange(slots * width + 1), (batch, slots * width + 1))
  values = jnp.where(
    tree.mask, jnp.asarray(np.random.default_rng(seed).normal(size=tree.mask.shape)), 0
  )
  tree, values = jax.device_get((tree, values))
  paths, expandable, start, (tokens, length), (sums, total), generated = jax.device_get(
    _walks(tree, ids, values)
  )
  expected = np.zeros(tree.mask.shape)
  for b, x, a, node in real_nodes(tree):
    line = climb(tree, b, node)
    np.testing.assert_array_equal(paths[b, node], ([0, *line] + [-1] * deepest)[:deepest])
    words = spell(tree, b, node)
    np.testing.assert_array_equal(tokens[b, node, : length[b, node]], np.concatenate(words))
    assert not tokens[b, node, length[b, node] :].any()
    assert start[b, x] == sum(map(len, words[:-1]))
    open_ = tree.mask[b, x, a] and not tree.terminal[b, x, a] and len(line) < deepest
    assert bool(expandable[b, node]) == open_
    for above in line:
      expected[b, (above - 1) // width, (above - 1) % width] += values[b, x, a]
  np.testing.assert_allclose(sums, expected, atol=1e-5)
  np.testing.assert_allclose(total, values.sum((1, 2)), atol=1e-5)
  np.testing.assert_array_equal(
    generated,
    [
      sum(len(spell(tree, b, n)[-1]) for c, _, _, n in real_nodes(tree) if c == b)
      for b in range(batch)
    ],
  )


def test_tokens_come_after_the_first_slot_that_holds_a_node():
  def tree():
    length = [[2, 3], [4, 1], [9, 9], [5, 6]]
    ends = dict(terminal=[[1, 1]] * 4, length=length)
    return hand_tree([0, 0, -1, 0], width=2, max_steps=2, **ends)

  def after(tree, *slots):
    found = np.zeros((1, 4, 2), bool)
    found[0, list(slots), 0] = True
    return tree_lib.tokens_after(tree, found).tolist()

  held = [(0,), (1,), (3,), (), (1, 0)]
  assert [after(tree(), *slots) for slots in held] == [[5 + 11], [11], [0], [0], [5 + 11]]
  given = np.zeros(tree().given.shape, bool)
  given[0, 3, 0, 0] = True
  assert after(tree().replace(given=given), 0) == [15]
