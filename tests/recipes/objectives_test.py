"""What a section learns by: refused before anything is compiled where its search cannot provide, and
known by its weights."""

import jax
import numpy as np
import optax
import pytest

from configs import quickstart
from o1jax.learning import ADVANTAGES, DRAWS, LOSSES, NEEDS, RENAMED, VALUES
from o1jax.recipes.build import search_provides
from o1jax.recipes.objectives import (
  check_learning,
  searching_state,
  section_defaults,
  weighed,
  weights,
)
from o1jax.runtime.config import ConfigError, flatten


def section(**changes):
  learn = quickstart.get_config().learn
  learn.update(changes)
  return learn


def draw(**changes):
  return quickstart.ConfigDict(dict(name='learnability', prior=1.0, floor=0.1) | changes)


def check(learn):
  check_learning('learn', learn, search_provides(learn.search))


def test_the_quickstart_is_accepted():
  check(section())


@pytest.mark.parametrize(
  'changes, message',
  [
    (dict(weights=dict(distill=0.5)), 'learn.weights.distill needs .* over siblings, which search'),
    (
      dict(search=dict(units=1), warmup_weights=dict(clone=0.0), weights=dict(clone=0.0)),
      'credit.advantage=group needs several whole',
    ),
    (dict(warmup_weights=dict(sibling_dpo=1.0)), 'weights.sibling_dpo needs several candidates'),
    (dict(weights=dict(dpo=1.0), search=dict(units=1)), 'weights.* needs several whole solutions'),
    (dict(losses=dict(dpo=dict(label_smoothing=0.7))), 'label_smoothing=0.7: give a number in'),
    (dict(weights=dict(clone=-1.0)), 'learn.weights.clone=-1.0: give at least 0'),
    (dict(losses=dict(gradient=dict(clip=-0.1))), 'losses.gradient: clip=-0.1: give a number of'),
    (dict(credit=dict(gamma=1.5)), 'learn.credit: gamma=1.5 is the discount'),
    (dict(credit=dict(advantage='grpo')), "learn.credit: advantage 'grpo' is unknown; choose one"),
    (dict(learns=('policy', 'verifier')), r"learns=\('policy', 'verifier'\): choose from policy"),
    (dict(draw=dict(name='newest')), "learn.draw.name is 'newest': choose one of uniform, lear"),
    (dict(draw=draw(taste=1.0)), 'learn.draw has no setting taste'),
    (dict(draw=draw(prior=0.0)), 'learn.draw: prior=0.0: give a number of at least 0.01'),
    (dict(draw=draw(floor=1.5)), r'learn.draw: floor=1.5: give a number in \[0, 1\]'),
    (
      dict(
        weights=dict(gradient=0.0, clone=0.0, value=0.0),
        warmup_weights=dict(clone=0.0, value=0.0),
      ),
      'learn.weights are all 0, so nothing is learned: give one of clone, ',
    ),
    (dict(tokens=-1), 'learn.tokens=-1: give at least 0'),
    (dict(learns=()), r'learns=\(\): choose from policy, critic'),
  ],
)
def test_what_cannot_be_learned_is_one_line(changes, message):
  with pytest.raises(ConfigError, match=message) as error:
    check(section(**changes))
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('method', ['gumbel', 'puct'])
def test_a_tree_search_provides_for_every_loss(method):
  everything = dict.fromkeys(LOSSES, 1.0)
  check(section(weights=everything, search=dict(method=method)))


def test_credit_that_no_loss_reads_needs_nothing():
  learn = section(search=dict(units=1), weights=dict(gradient=0.0, clone=0.0, value=0.0, kl=1.0))
  learn.warmup_weights = learn.weights
  check(learn)  # one chain has no group to compare with
  learn.weights.value = 1.0
  with pytest.raises(ConfigError, match='credit.value=monte_carlo needs several whole solutions'):
    check(learn)


def test_process_labels_need_a_task_that_tells_of_prefixes():
  learn = section()
  learn.credit.value, learn.weights.value = 'reachable', 1.0
  with pytest.raises(ConfigError, match='credit.value=reachable needs exact verdicts on prefixes'):
    check(learn)


def test_labels_from_rollouts_need_a_search_that_makes_some():
  learn = section()
  learn.credit.value, learn.weights.value = 'first_error', 1.0
  with pytest.raises(ConfigError, match='credit.value=first_error needs rollouts from steps'):
    check(learn)
  learn.search.method = 'bisection'
  check(learn)


def test_a_reward_that_nothing_writes_is_refused():
  learn = section()
  learn.credit.reward.unlock()
  learn.credit.reward.taste = 1.0
  with pytest.raises(ConfigError, match='credit.reward names taste, which nothing writes'):
    check(learn)


def test_weights_name_what_has_one_at_any_time():
  learn = section(weights=dict(clone=0.0, kl=0.5, value=0.5), warmup_weights=dict(clone=1.0))
  names = ('clone', 'gradient', 'kl', 'value')
  assert weighed(learn) == names
  now, warm = weights(learn), weights(learn, 'warmup_weights')
  assert tuple(now) == tuple(warm) == names
  np.testing.assert_allclose([now['clone'], warm['clone'], now['kl'], warm['kl']], [0, 1, 0.5, 0])


def test_every_row_is_named_in_words_and_needs_what_there_is():
  for row in [x for table in (LOSSES, ADVANTAGES, VALUES, DRAWS) for x in table.values()]:
    assert row.words and set(row.needs) <= set(NEEDS)


def test_an_older_config_says_all_by_what_settings_are_called_now():
  learn, defaults = flatten(section()), section_defaults()
  known = set(flatten(quickstart.ConfigDict(defaults)))
  assert known <= set(learn)
  assert set(RENAMED.values()) <= known and not set(RENAMED) & set(learn)


def test_only_roles_that_learn_have_an_optimizer_state():
  learn = section(learns=('critic',))
  params = {role: dict(kernel=np.ones((2, 3), np.float32)) for role in ('policy', 'critic')}
  state = searching_state(
    jax.tree.map(jax.numpy.asarray, params), learn, optax.adam(0.1), problems=9
  )
  assert set(state.params) == {'policy', 'critic'}
  assert set(state.optimizer[0].mu) == {'critic'}
