"""Pruning: nothing is sampled under wrong nodes, and one candidate under right ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.decode.grow import grower, start
from o1jax.search import SEARCHES
from o1jax.search.prune import DEFAULTS, check_prune, pruned
from tests.helpers import LINE, jit, keys, prompts, real_nodes, tiny
from tests.marks import some
from tests.toys import hand_tree
from tests.worlds import random_world

R, MOST = 5, 6
METHODS = [name for name, row in SEARCHES.items() if row.prunes]
# Their slots do not tell which nodes a search chose: chains lie side by side in them.
BESIDE = ('rejection', 'lookahead')


@functools.cache
def search(method, **prune):
  row = SEARCHES[method]
  world = random_world(8, multiplicity=(1, 1, 1) if row.branches else (2, 1, 1), ends=0.3, seed=3)
  own = dict(max_steps=R, drawn=not row.branches, **row.settings | row.quiet)
  run = lambda keys: world.search(method, keys, units=MOST, prune=prune, **own)
  return jax.device_get(jit(run)(keys(8)))


def chosen(tree):
  """(b, slot, guide) of each node below the root that a search chose to expand. Within a chain the
  steps follow each other."""
  slots, width = tree.mask.shape[1:]
  for b, x in np.argwhere(tree.expanded > 0):
    inside = x % R > 0 if width == 1 else x > slots - tree.chain
    if not inside:
      yield b, x, tree.value[b].reshape(-1)[tree.expanded[b, x] - 1]


@pytest.mark.long
@pytest.mark.parametrize('method', some(METHODS, 'gumbel', 'beam', 'without_replacement'))
def test_nothing_grows_under_a_wrong_node_once_a_solution_is_finished(method):
  tree, free = search(method, below=0.5), search(method)
  spent = [tree_lib.generated_tokens(one).sum() for one in (tree, free)]
  assert spent[0] < spent[1]
  if method in BESIDE:
    return
  for b, x, guide in chosen(tree):
    # As many nodes are expanded at once, at most.
    assert guide >= 0.5 or not tree_lib.finished(tree)[b, : max(x - MOST, 0)].any()
  assert min(guide for *_, guide in chosen(free)) < 0.5


@pytest.mark.parametrize('method', some(METHODS, 'gumbel', 'beam', 'without_replacement'))
def test_a_problem_gets_an_answer_however_much_is_pruned(method):
  free, tree = search(method), search(method, below=1.0)
  found, kept = (tree_lib.finished(one).any((1, 2)).sum() for one in (free, tree))
  assert 2 * kept >= found > 0


@pytest.mark.long
@pytest.mark.parametrize(
  'method', [name for name in METHODS if SEARCHES[name].branches and name not in BESIDE]
)
def test_a_right_node_has_one_candidate_and_an_uncertain_one_all(method):
  tree, width = search(method, sure=0.5), 3
  seen = set()
  for b, x, guide in chosen(tree):
    made = int(tree.mask[b, x].sum())
    if x >= tree.mask.shape[1] - tree.chain:
      continue  # the chain at the end has one anyway
    assert made == (1 if guide >= 0.5 else width)
    np.testing.assert_allclose(tree.prior[b, x][tree.mask[b, x]], 1 / made)
    seen.add(made)
  assert seen == {1, width}
  assert all(tree.mask[b, 0].all() for b in range(8))  # the root


def wrong(tree, ids, **settings):
  """Which of some nodes of a hand-made tree a search is not let expand."""
  asked = []
  grow = lambda tree, cache, keys, parents, **how: asked.append(np.asarray(parents))
  pruned(grow, **settings)(tree, None, None, jnp.asarray([ids]), slot=0)
  return [int(a) != b for a, b in zip(asked[0][0], ids, strict=True)]


def test_wrong_is_below_a_number_or_a_share_of_the_best():
  value = [[0.8, 0.3, 0.5], [0.2, 0.6, 0.9]]
  tree = hand_tree([0, 1], width=3, max_steps=3, value=value, terminal=[[0, 0, 1], [0] * 3])
  assert wrong(tree, [2, 4, 5, 0, -1], below=0.4) == [True, True, False, False, False]
  # Node 1 is expanded, so the best that can grow is node 6.
  assert wrong(tree, [2, 5, 6], of_best=0.7) == [True, True, False]
  assert wrong(tree, [2, 5, 6], of_best=0.65) == [True, False, False]
  # Without a finished solution the best goes on.
  unsolved = tree.replace(terminal=np.zeros_like(tree.terminal))
  assert wrong(unsolved, [2, 5, 6], below=0.95) == [True, True, False]
  assert wrong(tree, [2, 5, 6], below=0.95) == [True, True, True]


def test_without_thresholds_it_is_the_same_function():
  grow = object()
  assert pruned(grow) is grow and pruned(grow, **DEFAULTS) is grow


@pytest.mark.long
def test_a_model_decodes_no_more_than_each_may():
  """What it decodes for a parent of one candidate is the first that it would decode."""
  model, params = tiny(layers=1)
  shape = dict(slots=3, candidates=3, step_length=3, max_steps=3)

  def run(each):
    tree, cache = start(model, params, prompts(), **shape)
    grow = grower(model, params, prompts(), sampling=LINE, merge=False)
    tree, cache = grow(tree, cache, keys(), jnp.zeros((3, 1), jnp.int32), slot=0)
    nodes = jnp.broadcast_to(jnp.array([1, 2]), (3, 2))
    return grow(tree, cache, keys(seed=1), nodes, slot=1, each=each)[0]

  some = jnp.array([[1, 3], [3, 2], [3, 3]])
  whole, part = (jax.device_get(jit(run)(each)) for each in (jnp.full((3, 2), 3), some))
  free = jax.device_get(jit(lambda: run(None))())
  jax.tree.map(np.testing.assert_array_equal, whole, free)
  real = {(b, x, a) for b, x, a, _ in real_nodes(part)}
  for b, x, a in {(b, x, a) for b, x, a, _ in real_nodes(whole)}:
    made = x == 0 or a < some[b, x - 1]
    assert ((b, x, a) in real) == made
    if made:
      np.testing.assert_array_equal(part.tokens[b, x, a], whole.tokens[b, x, a])
  grown = np.asarray(part.expanded)[:, 1:] >= 0
  np.testing.assert_allclose(part.prior[:, 1:].sum(-1)[grown], 1)


@pytest.mark.parametrize(
  'settings, words',
  [
    (dict(below=1.5), 'below=1.5: give a number in'),
    (dict(of_best=-0.5), 'of_best=-0.5: give'),
    (dict(below=0.5, sure=0.5), 'sure=0.5: nodes are wrong below=0.5'),
  ],
)
def test_what_cannot_prune_is_refused(settings, words):
  check_prune(DEFAULTS)
  with pytest.raises(ValueError) as error:
    check_prune(DEFAULTS | settings)
  assert str(error.value).startswith(words)
