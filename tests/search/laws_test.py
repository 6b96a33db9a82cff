"""The laws that every search keeps, in worlds where every candidate and every value is known."""

import functools

import jax
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.model.forward import forward_tree
from o1jax.reward.known import Texts
from o1jax.search import SEARCHES, run
from tests.helpers import LINE, climb, jit, keys, prompts, real_nodes, tiny
from tests.marks import some
from tests.worlds import random_world

R, MOST = 5, 6
# Other values of settings, where half of the number will not do.
OTHERS = dict(
  aggregate='min',
  ahead=3,
  at_once=3,
  critique='',
  alpha=0.25,
  answer='',
  depth_weight=2.0,
  every=1,
  novelty=False,
  prior=9.0,
  resampling='multinomial',
  rollouts=3,
  rounds=0,
  text='Wait',
  threshold=1.0,
  times=0,
  uncertainty_weight=2.0,
  weights='guide',
  width=3,
)
# What matters in larger trees alone, and is tested beside its search.
LATE = {'children'}
SETTINGS = [
  (name, key) for name, row in SEARCHES.items() for key in row.settings if key not in LATE
]
SEVERAL = [name for name, row in SEARCHES.items() if row.several]
# By README's command. The long trials try all.
TRIED = ('gumbel', 'without_replacement', 'beam')


@functools.cache
def program(method, **changes):
  """One for all budgets, and its world."""
  row = SEARCHES[method]
  world = random_world(multiplicity=(1, 1, 1) if row.branches else (2, 1, 1), ends=0.2, seed=5)
  settings = dict(max_steps=R, drawn=not row.branches, **row.settings | row.quiet | changes)
  return world, jit(
    lambda world, keys, units: world.search(method, keys, units=units, most=MOST, **settings)
  )


@functools.cache
def search(method, units, **changes):
  world, run = program(method, **changes)
  return jax.device_get(run(world, keys(len(world.values)), units))


@pytest.mark.parametrize('method', some(SEVERAL, *TRIED))
def test_a_problem_does_not_know_its_batch(method):
  world, run = program(method)
  together = search(method, MOST)
  for b in range(len(world.values)):
    own = keys(len(world.values))[np.full(len(world.values), b)]
    alone = run(world._replace(values=world.values[[b] * len(world.values)]), own, MOST)
    jax.tree.map(lambda x, y, b=b: np.testing.assert_array_equal(x[b], y[0]), together, alone)


@pytest.mark.parametrize('method', some(SEVERAL, *TRIED))
def test_a_tree_grows_from_nodes_that_can(method):
  """A parent is there before its children, real, unfinished, and above the deepest step."""
  tree = search(method, MOST)
  for b, x, _, node in real_nodes(tree):
    *above, own = climb(tree, b, node)
    assert own == node and len(above) < R
    assert list(tree.path[b, x]) == [0, *above] + [-1] * (R - 1 - len(above))
    for parent in above:
      slot, a = divmod(parent - 1, tree.mask.shape[-1])
      assert tree.mask[b, slot, a] and not tree.terminal[b, slot, a] and slot < x


@pytest.mark.long
@pytest.mark.parametrize('method, setting', SETTINGS)
def test_every_setting_changes_the_tree(method, setting):
  row = SEARCHES[method]
  value = (row.settings | row.quiet)[setting]
  # Resampled at every step, so that it matters how.
  often = dict(threshold=1.0) if setting == 'resampling' else {}
  other = OTHERS[setting] if setting in OTHERS else value / 2 or 1.0
  assert other != value
  trees = search(method, MOST, **often), search(method, MOST, **often, **{setting: other})
  same = [np.array_equal(*both) for both in zip(*map(jax.tree.leaves, trees), strict=True)]
  assert not all(same)


@pytest.mark.parametrize('method', some(SEVERAL, *TRIED))
def test_more_units_spend_more_and_all_that_is_sampled_is_billed(method):
  spent = []
  for units in (1, 2, 4, MOST):
    tree = search(method, units)
    billed = tree_lib.generated_tokens(tree)
    # A step of these worlds is one token.
    made = [sum(node[0] == b for node in real_nodes(tree)) for b in range(len(tree.mask))]
    np.testing.assert_array_equal(billed, made)
    spent.append(billed.mean())
  assert spent == sorted(spent) and spent[0] < spent[-1]


@pytest.mark.parametrize('method', some(SEVERAL, *TRIED))
def test_a_search_of_one_unit_may_find_an_answer(method):
  world, run = program(method)
  assert any(tree_lib.finished(run(world, keys(4, seed), 1)).any() for seed in range(12))


@pytest.mark.parametrize('method', some(SEVERAL, *TRIED))
def test_what_it_should_cost_is_of_the_right_size(method):
  """A first guess of what a search spends, where all solutions have the same length."""
  row = SEARCHES[method]
  world, run = program(method)
  world = world._replace(terminal=np.zeros_like(world.terminal))
  for units in (1, MOST):
    spent = tree_lib.generated_tokens(run(world, keys(4), units)).mean()
    guess = row.steps(units, candidates=3, max_steps=R, **row.settings)
    assert 0.5 < guess / spent < 2


@pytest.mark.parametrize(
  'method',
  some([name for name, row in SEARCHES.items() if not row.turns], 'gumbel', 'without_replacement'),
)
def test_learning_reads_a_tree_as_decoding_did(method):
  """What a search tells the policy of depths, and of nodes that it will expand, is true."""
  model, params = tiny(layers=1)
  texts = Texts(None, None, lambda text: [3, 4][: len(text)])
  how = dict(sampling=LINE, candidates=2, units=3, texts=texts)
  search = functools.partial(run, SEARCHES[method], model, **how)
  prompt = prompts()
  tree = jit(functools.partial(search, step_length=3, max_steps=5))(params, keys(), prompt)
  read = functools.partial(forward_tree, model, tokens=90 if tree.chains else 0)
  whole = jit(read)(params, prompt, tree)
  used = (tree.expanded >= 0)[..., None, None]
  real = used & (np.arange(3) < np.asarray(tree.length)[..., None])
  assert (np.asarray(tree.path) > 0).any((0, 1))[1:4].all()  # at all depths
  np.testing.assert_allclose(*(np.where(real, x.logprob, 0) for x in (whole, tree)), atol=2e-4)
