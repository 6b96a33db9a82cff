"""Credit against closed forms, hand-drawn trees, walks in plain Python, and mctx itself."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.learning import advantages
from o1jax.learning import credit as credit_lib
from o1jax.learning import returns as returns_lib
from o1jax.learning.credit import assign_credit
from o1jax.learning.returns import tree_returns
from o1jax.reward import process
from o1jax.search import mcts as mcts_lib
from tests import toys
from tests.worlds import random_world

expert_weight = jax.jit(credit_lib.expert_weight)
improved_policy = jax.jit(credit_lib.improved_policy)
monte_carlo = jax.jit(process.monte_carlo)

# Depth R = 3. Nodes 1, 2 under the root; 3 (right), 4 (wrong) under 1; 5, 6 (wrong) under 2; 7
# (right), 8 (cut off) under 5. Every leaf has ended.
DRAWN = dict(
  expanded=[0, 1, 2, 5],
  width=2,
  max_steps=3,
  terminal=[[0, 0], [1, 1], [0, 1], [1, 0]],
  outcome=[[0, 0], [1, 0], [0, 0], [1, 0]],
  prior=[[0.5, 0.5], [0.75, 0.25], [0.6, 0.4], [0.25, 0.75]],
  value=[[0.9, 0.5], [0.8, 0.7], [0.2, 0.6], [0.4, 0.3]],
)


@functools.partial(jax.jit, static_argnames='normalise')
def group_advantage(tree, *, normalise=True):
  return advantages.group_advantage(tree, tree_returns(tree), None, normalise=normalise)[..., 0]


@jax.jit
def critic_advantage(tree, target, known):
  targets = returns_lib.of_nodes(tree, target, known, tree.root_value, tree.root_value > 0)
  return advantages.critic_advantage(tree, tree_returns(tree), targets)[..., 0]


ENDS, RIGHT = [1, 3, 0, 2, 2, 3], [True, False, False, True, False, True]


def chain_advantages(values):
  """[N] numbers of the chains ENDS as a field of their tree: each on all steps of its chain."""
  return np.array(
    [[values[i] if r < (ENDS[i] or 3) else 0] for r in range(3) for i in range(len(ENDS))]
  )


class TestExpertWeight:
  def test_hand_drawn(self):
    expected = [[0.5, 0.5], [0.5, 0], [0.5, 0], [0.5, 0]]
    np.testing.assert_allclose(expert_weight(toys.hand_tree(**DRAWN))[0], expected)

  @pytest.mark.parametrize('seed', range(4))
  def test_shares_of_the_correct_solutions(self, seed):
    tree = toys.random_tree(seed)
    weight = np.asarray(expert_weight(tree))
    for b in range(3):
      one = toys.problem(tree, b)
      correct = one.outcome.sum()
      np.testing.assert_allclose(weight[b][one.outcome > 0].sum(), correct > 0, rtol=1e-6)
      for _, x, a in toys.nodes(tree.replace(mask=one.mask[None])):
        through = sum(one.outcome[i] for i in toys.below(one, 1 + x * 3 + a))
        np.testing.assert_allclose(weight[b, x, a], through / max(correct, 1), rtol=1e-6)

  def test_none_where_nothing_is_correct(self):
    tree = toys.random_tree(1)
    np.testing.assert_array_equal(
      expert_weight(tree.replace(outcome=jnp.zeros_like(tree.outcome))), 0
    )


def test_a_solution_without_a_verdict_is_as_if_it_had_not_been_sampled():
  """The last chain is unjudged, whatever its outcome says; the others fare as without it."""
  tree, fewer = (toys.chains(ENDS[:n], RIGHT[:n], max_steps=3) for n in (len(ENDS), len(ENDS) - 1))
  chain = jnp.arange(tree.mask.shape[1]) % len(ENDS) == len(ENDS) - 1
  lost = tree.replace(
    unjudged=tree.terminal & chain[:, None],
    outcome=jnp.where(chain[:, None], 0, tree.outcome),
  )
  with_it, without = assign_credit(lost), assign_credit(fewer)
  for name in ('expert', 'advantage', 'value_mask', 'value_target'):
    found, expected = getattr(with_it, name), getattr(without, name)
    np.testing.assert_allclose(found[:, ~chain], expected, rtol=1e-6)
    assert name == 'value_target' or not found[:, chain].any()


class TestGroupAdvantage:
  @pytest.mark.parametrize('normalise', [True, False])
  def test_is_grpo_on_chains(self, normalise):
    tree = toys.chains(ENDS, RIGHT, max_steps=3)
    reward = np.array(RIGHT, float)
    grpo = (reward - reward.mean()) / (reward.std() if normalise else 1)
    found = group_advantage(tree, normalise=normalise)
    np.testing.assert_allclose(found[0], chain_advantages(grpo), rtol=1e-3, atol=1e-6)

  @pytest.mark.parametrize('seed', range(4))
  def test_sums_to_zero_over_a_problems_solutions(self, seed):
    tree = toys.random_tree(seed, slots=12)
    gain, over = np.asarray(group_advantage(tree)), np.asarray(process.ended(tree))
    np.testing.assert_allclose((gain * over).sum((1, 2)), 0, atol=1e-4)
    assert np.abs(gain * over).max() > 0.1

  def test_is_the_mean_below_minus_that_of_all(self):
    tree = toys.hand_tree(**DRAWN)  # 5 solutions, 2 right
    means = np.array([[1 / 2, 1 / 3], [1, 0], [1 / 2, 0], [1, 0]])
    np.testing.assert_allclose(group_advantage(tree, normalise=False)[0], means - 2 / 5, rtol=1e-5)

  @pytest.mark.parametrize('right', [True, False])
  def test_is_zero_where_all_agree(self, right):
    tree = toys.chains([1, 2, 3], [right] * 3, max_steps=3)
    np.testing.assert_array_equal(group_advantage(tree), 0)


class TestCriticAdvantage:
  def test_is_the_target_minus_the_parents_value(self):
    tree = toys.hand_tree(**DRAWN, root_value=0.3)
    target = jnp.arange(8.0).reshape(1, 4, 2)
    expected = np.array(
      [[0 - 0.3, 1 - 0.3], [2 - 0.9, 3 - 0.9], [4 - 0.5, 5 - 0.5], [6 - 0.2, 7 - 0.2]]
    )
    np.testing.assert_allclose(
      critic_advantage(tree, target, jnp.ones_like(tree.mask))[0], expected, rtol=1e-6
    )

  def test_is_zero_where_nothing_is_known(self):
    tree = toys.hand_tree(**DRAWN)
    np.testing.assert_array_equal(critic_advantage(tree, tree.value, jnp.zeros_like(tree.mask)), 0)

  @pytest.mark.parametrize('seed', range(3))
  def test_progress_telescopes_along_every_path(self, seed):
    tree = toys.random_tree(seed)
    gain = np.asarray(critic_advantage(tree, tree.value, tree.mask))
    for b, x, a in toys.nodes(tree):
      line = np.array(toys.ancestors(np.asarray(tree.expanded[b]), 3, 1 + x * 3 + a))
      whole = gain[b].reshape(-1)[line - 1].sum()
      np.testing.assert_allclose(whole, tree.value[b, x, a] - tree.root_value[b], atol=1e-5)


class TestImprovedPolicy:
  def test_is_mctxs_at_the_root_of_its_search(self, monkeypatch):
    seen = []

    def watched(*args, **settings):
      seen.append(mctx.search(*args, **settings))
      return seen[-1]

    mctx = mcts_lib.mctx
    monkeypatch.setattr(
      mcts_lib, 'mctx', types.SimpleNamespace(**{**vars(mctx), 'search': watched})
    )
    world = random_world(8, multiplicity=(1, 1, 1, 1))

    @jax.jit
    def search(keys):
      tree = world.search('gumbel', keys, units=3, max_steps=3)
      searched = seen.pop()
      q = jax.vmap(mctx.qtransform_completed_by_mix_value, (0, None))(searched, searched.ROOT_INDEX)
      return tree, jax.nn.softmax(
        searched.children_prior_logits[:, 0] + q
      )  # `gumbel_muzero_policy`'s action weights

    tree, weights = search(jax.random.split(jax.random.key(1), 8))
    assert np.asarray(weights).max(-1).std() > 0.05
    assert np.asarray(tree.visits[:, 0]).sum() == 8 * 3  # some stay unvisited
    np.testing.assert_allclose(improved_policy(tree)[:, 0], weights, rtol=1e-4, atol=1e-6)

  @pytest.mark.parametrize('seed', range(3))
  def test_is_a_distribution_over_real_siblings_where_it_searched(self, seed):
    tree = toys.random_tree(seed)
    policy = np.asarray(improved_policy(tree))
    searched = np.asarray(tree.visits).sum(-1) > 0
    assert searched.any() and (~searched).any() and (policy >= 0).all()
    np.testing.assert_allclose(policy.sum(-1), searched, rtol=1e-5)
    assert not policy[~np.asarray(tree.mask)].any()

  def test_prefers_the_better_of_equally_likely_siblings(self):
    tree = toys.hand_tree([0], width=3, max_steps=1, visits=[[2, 2, 2]], q=[[0.1, 0.9, 0.5]])
    sigma = 0.1 * (50 + 2) * np.array([0, 1, 0.5])
    np.testing.assert_allclose(
      improved_policy(tree)[0, 0], np.exp(sigma) / np.exp(sigma).sum(), rtol=1e-4
    )

  def test_completes_what_was_not_visited_by_the_mixed_value(self):
    tree = toys.hand_tree(
      [0],
      width=3,
      max_steps=1,
      root_value=0.2,
      prior=[[0.5, 0.3, 0.2]],
      visits=[[3, 1, 0]],
      q=[[0.6, 0.8, 0]],
    )
    mixed = (0.2 + 4 * (0.5 * 0.6 + 0.3 * 0.8) / 0.8) / 5
    q = np.array([0.6, 0.8, mixed])
    weight = np.array([0.5, 0.3, 0.2]) * np.exp(5.3 * (q - q.min()) / (q.max() - q.min()))
    np.testing.assert_allclose(improved_policy(tree)[0, 0], weight / weight.sum(), rtol=1e-4)

  def test_is_the_prior_where_all_values_are_equal(self):
    prior = [0.5, 0.3, 0.2]
    tree = toys.hand_tree(
      [0], width=3, max_steps=1, prior=[prior], visits=[[1, 1, 1]], q=[[0.4] * 3]
    )
    np.testing.assert_allclose(improved_policy(tree)[0, 0], prior, rtol=1e-5)


@jax.jit
def assign(tree):
  """Credit by all kinds of advantage and of value."""
  return (
    assign_credit(tree),
    assign_credit(tree, advantage='critic', value='td', lambda_=0.5),
    assign_credit(tree, advantage='gae', value='gae', lambda_=0.7, gamma=0.9),
  )


class TestAll:
  def test_permuting_candidates_permutes_credit(self):
    tree = toys.random_tree(3)
    order = np.random.default_rng(0).permuted(
      np.broadcast_to(np.arange(3), tree.mask.shape), axis=-1
    )
    moved = jax.tree.map(lambda x: toys.moved_field(x, order) if x.ndim > 1 else x, assign(tree))
    jax.tree.map(
      lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5),
      assign(toys.permute(tree, order)),
      moved,
    )

  def test_larger_arrays_change_nothing(self):
    tree = toys.random_tree(4)
    for small, large in zip(assign(tree), assign(toys.pad(tree, slots=2, candidates=2, tokens=1))):
      for name, x in vars(small).items():
        whole = y = np.asarray(getattr(large, name))
        y = y[:, :8, :3, :4] if y.ndim == 4 else y[:, :8, :3] if y.ndim == 3 else y
        np.testing.assert_allclose(y, x, atol=1e-6)
        if x.ndim > 2 and not name.endswith('_target'):  # read under its mask only
          assert not whole[:, 8:].any() and not whole[:, :, 3:].any()

  def test_credit_is_constant(self):
    tree = toys.random_tree(0)

    def total(value, root_value, outcome):
      given = assign_credit(
        tree.replace(value=value, root_value=root_value, outcome=outcome),
        advantage='critic',
        value='td',
      )
      return sum(jnp.sum(x) for x in jax.tree.leaves(given))

    given = tree.value, tree.root_value, tree.outcome
    total = jax.jit(total)
    for grad in jax.jit(jax.grad(total, argnums=(0, 1, 2)))(*given):
      np.testing.assert_array_equal(grad, 0)
    assert abs(total(given[0] + 0.1, *given[1:]) - total(*given)) > 1e-3

  def test_settings_choose_the_parts(self):
    tree = toys.random_tree(2)
    by_group, by_critic, by_token = assign(tree)
    td = returns_lib.td_lambda(tree, tree_returns(tree), lambda_=0.5)
    target, informed = td.node, td.node_mask
    np.testing.assert_allclose(by_group.value_target, monte_carlo(tree)[0])
    each = np.asarray(by_group.advantage)
    np.testing.assert_array_equal(each, np.broadcast_to(each[..., :1], each.shape))
    np.testing.assert_allclose(each[..., 0], group_advantage(tree), atol=1e-6)
    np.testing.assert_allclose(by_critic.value_target, target, atol=1e-6)
    np.testing.assert_allclose(
      by_critic.advantage[..., 0], critic_advantage(tree, target, informed), atol=1e-6
    )
    np.testing.assert_array_equal(by_critic.value_mask, informed)
    assert np.asarray(by_token.advantage).std(-1).max() > 0.1

  @pytest.mark.parametrize('wrong', [dict(advantage='grpo'), dict(value='mc')])
  def test_unknown_settings_are_refused(self, wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name} '{value}' is unknown; choose one of"):
      assign_credit(toys.random_tree(), **wrong)


def test_larger_toy_trees_spell_the_same_solutions():
  """The helper of these tests and the library agree on what a path is."""
  tree = toys.random_tree(5)
  ids = np.arange(24)
  spell = jax.jit(tree_lib.solution_tokens)
  text, length = spell(tree, jnp.tile(1 + ids, (3, 1)))
  larger = toys.pad(tree, slots=1, candidates=2, tokens=2, depth=1)
  same, same_length = spell(larger, jnp.tile(1 + ids // 3 * 5 + ids % 3, (3, 1)))
  real = np.asarray(tree.mask).reshape(3, -1)
  np.testing.assert_array_equal(same_length[real], length[real])
  np.testing.assert_array_equal(same[..., : text.shape[-1]][real], text[real])
