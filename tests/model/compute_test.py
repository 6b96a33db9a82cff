import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax.model.compute import (
  learning_flops,
  search_bill,
  search_cost,
  supervised_flops,
  token_flops,
)
from o1jax.model.forward import forward_rows, logits_of
from o1jax.model.transformer import LanguageModel
from o1jax.model.variants import matmul_parameters
from o1jax.types import Prompt, Sequences
from tests.helpers import CONFIG, climb, random_params, real_nodes, tiny
from tests.toys import hand_tree, random_tree


@pytest.mark.parametrize('tied', [True, False])
def test_matmul_parameters_are_the_kernels(tied):
  _, params = tiny(tied_head=tied)
  config = dataclasses.replace(CONFIG, tied_head=tied)
  leaves = jax.tree_util.tree_leaves_with_path(params['policy'])
  kernels = sum(x.size for path, x in leaves if path[-1].key == 'kernel')
  embedding = CONFIG.vocab_size * CONFIG.width
  assert matmul_parameters(config) == kernels + (embedding if tied else 0)


@pytest.mark.parametrize(
  'critic', [dict(), dict(own_critic=True), dict(own_critic=True, critic_layers=1)]
)
def test_flops_are_what_the_compiler_counts(critic):
  """A dense pass over T tokens is T tokens that read T each; norms, rotations and softmax are the
  few per cent over."""
  shape = dict(width=256, heads=8, kv_heads=4, head_width=32, mlp_width=512, vocab_size=300)
  config = dataclasses.replace(CONFIG, **critic, **shape)
  model = LanguageModel(config)
  params = jax.eval_shape(functools.partial(random_params, model))

  def run(params, tokens, length):
    out = forward_rows(model, params, tokens, length)
    return logits_of(model, params, out.hidden), out.value

  def counted(size):
    rows = jax.ShapeDtypeStruct((2, size), jnp.int32), jax.ShapeDtypeStruct((2,), jnp.int32)
    return jax.jit(run).lower(params, *rows).cost_analysis()['flops'] / (2 * size)

  short, long = counted(100), counted(500)
  assert token_flops(config, 100) < short < 1.05 * token_flops(config, 100)
  read = token_flops(config, 500) - token_flops(config, 100)
  assert read < long - short < 1.1 * read


def test_critic_is_billed():
  shared, own = token_flops(CONFIG, 7), token_flops(dataclasses.replace(CONFIG, own_critic=True), 7)
  without = token_flops(CONFIG, 7, critic=False)
  trunk = without - 2 * CONFIG.vocab_size * CONFIG.width
  assert own - shared == trunk
  assert shared - without == 2 * (CONFIG.width**2 + CONFIG.width)


def test_a_bill_tells_the_critics_part_apart():
  prompt, tree = Prompt(jnp.zeros((3, 5), jnp.int32), jnp.array([3, 5, 4])), random_tree(0)
  config = dataclasses.replace(CONFIG, own_critic=True, critic_layers=1)
  tokens, flops, critic = search_bill(config, prompt, tree)
  np.testing.assert_array_equal([tokens, flops], search_cost(config, prompt, tree))
  without = dataclasses.replace(CONFIG, own_critic=False)
  head = 2 * (CONFIG.width**2 + CONFIG.width) * (tokens + prompt.length)
  np.testing.assert_allclose(
    flops - critic, search_cost(without, prompt, tree)[1] - head, rtol=1e-5
  )


@pytest.mark.parametrize('keeps', [False, True])
def test_learning_costs_three_passes_of_what_learns(keeps):
  """One forward, and two back. Tokens of a tree are those that search read."""
  prompt, tree = Prompt(jnp.zeros((3, 5), jnp.int32), jnp.array([3, 5, 4])), random_tree(1)
  config = dataclasses.replace(CONFIG, own_critic=True)
  _, both, critic = search_bill(config, prompt, tree)
  cost = lambda *learns: learning_flops(config, prompt, tree, learns=learns, keeps=keeps)
  kept = keeps * (both - critic)
  np.testing.assert_allclose(cost('policy', 'critic'), 3 * both + kept, rtol=1e-5)
  np.testing.assert_allclose(cost('critic'), 3 * critic + kept, rtol=1e-5)
  np.testing.assert_allclose(cost('policy'), 3 * (both - critic) + kept, rtol=1e-5)


def test_a_critic_on_the_policys_trunk_reads_that_trunk():
  prompt, tree = Prompt(jnp.zeros((3, 5), jnp.int32), jnp.array([3, 5, 4])), random_tree(1)
  tokens, both, critic = search_bill(CONFIG, prompt, tree)
  cost = learning_flops(CONFIG, prompt, tree, learns=('critic',), keeps=False)
  words = 2 * CONFIG.vocab_size * CONFIG.width * (tokens + prompt.length)
  np.testing.assert_allclose(cost, both - words + 2 * critic, rtol=1e-5)


@pytest.mark.parametrize('seed', range(2))
def test_search_cost_is_the_sum_over_its_tokens(seed):
  """Token by token: each generated one of every branch, merged twins too, and each one of the
  prompt."""
  tree = random_tree(seed)
  length = jnp.array([3, 5, 4])
  tokens, flops = search_cost(CONFIG, Prompt(jnp.zeros((3, 5), jnp.int32), length), tree)
  tree, width = jax.device_get(tree), tree.mask.shape[-1]
  expected, count = np.zeros(3), np.zeros(3)
  for b, size in enumerate(np.asarray(length)):
    expected[b] = sum(token_flops(CONFIG, read) for read in range(1, size + 1))
  for b, x, a, node in real_nodes(tree):
    above = climb(tree, b, node)[:-1]
    start = length[b] + sum(tree.length[b, (i - 1) // width, (i - 1) % width] for i in above)
    expected[b] += sum(
      token_flops(CONFIG, int(start) + t) for t in range(1, tree.length[b, x, a] + 1)
    )
    count[b] += tree.length[b, x, a]
  np.testing.assert_array_equal(tokens, count)
  np.testing.assert_allclose(flops, expected, rtol=1e-5)


def test_a_pruned_branch_is_paid_for():
  prompt = Prompt(jnp.zeros((1, 2), jnp.int32), jnp.array([2]))
  tree = hand_tree([0, 1], width=2, max_steps=3, step=4, length=[[3, 4], [2, 2]])
  pruned = tree.replace(mask=tree.mask.at[0, 0, 1].set(False))
  for cost, whole in zip(search_cost(CONFIG, prompt, pruned), search_cost(CONFIG, prompt, tree)):
    assert cost == whole
  without = tree.replace(length=tree.length.at[0, 0, 1].set(0))
  saved = [
    x - y for x, y in zip(search_cost(CONFIG, prompt, tree), search_cost(CONFIG, prompt, without))
  ]
  assert saved[0] == 4
  np.testing.assert_allclose(
    saved[1], sum(token_flops(CONFIG, 2 + t) for t in range(1, 5)), rtol=1e-4
  )


def test_supervised_flops_are_three_forward_passes_over_each_text():
  segment = jnp.array([[1, 1, 1, 0, 0, 0, 0, 0], [1, 1, 2, 2, 2, 2, 0, 0]])
  length = (segment > 0).sum(1)
  rows = Sequences(tokens=jnp.zeros_like(segment), length=length, mask=segment > 0, segment=segment)
  forward = sum(
    token_flops(CONFIG, read, critic=False) for size in (3, 2, 4) for read in range(1, size + 1)
  )
  np.testing.assert_allclose(supervised_flops(CONFIG, rows), 3 * forward, rtol=1e-5)
