"""What a config leaves open: a new setting neither orphans an older run nor changes it."""

import json
import pathlib

import pytest

from configs import (
  ablation,
  cipher,
  control,
  countdown,
  critic,
  curriculum,
  gsm8k,
  mbpp,
  quickstart,
  scaling,
)
from o1jax.recipes import settings
from o1jax.recipes.identity import bound, changes, complete_identity
from o1jax.recipes.settings import complete
from o1jax.runtime.config import (
  FREE_KEYS,
  ConfigDict,
  ConfigError,
  config_from_json,
  flatten,
  is_under,
)
from o1jax.runtime.workdir import load_config, open_workdir, opening, write_atomic
from o1jax.search import SEARCHES
from o1jax.search.allocate import DEFAULTS as SHARING
from o1jax.search.prune import DEFAULTS
from o1jax.search.stop import defaults

# The quickstart's config as these commits made it.
OLDER = {
  path.stem: path.read_text() for path in (pathlib.Path(__file__).parent / 'older').iterdir()
}
TODAY = {
  'quickstart': quickstart.get_config,
  'smoke': lambda: quickstart.get_config('smoke'),
  'ablation': ablation.get_config,
  'critic': critic.get_config,
  'curriculum': curriculum.get_config,
  'control': lambda: control.get_config('0.5'),
  **{module.__name__: module.get_config for module in (cipher, countdown, gsm8k, mbpp, scaling)},
}


@pytest.fixture(params=OLDER)
def older(request):
  return config_from_json(OLDER[request.param])


@pytest.mark.parametrize('name', TODAY)
def test_what_a_config_says_stays_and_completing_again_adds_nothing(name):
  config = TODAY[name]()
  full = complete(config)
  assert complete(full) == full and full.is_locked
  found = flatten(full)
  assert {key: found[key] for key in flatten(config)} == flatten(config)


def test_what_an_older_config_said_stays(older):
  before, after = flatten(older), flatten(complete(older))
  gone = {*settings.GONE, 'learn.control', 'stages'}
  # Of tree searches, which these stages are not.
  gone |= {f'{s}.{old}' for s in ('reward', 'learn') for old in settings.LEARNING}
  gone |= {
    f'{s}.search.{k}'
    for s in ('reward', 'learn')
    for k in ('candidates', 'verify_leaves', 'budget')
  }
  # Said in other words, see below.
  gone |= {key for key in before if key.startswith('evaluate.') and key != 'evaluate.rows'}
  assert {key: after.get(key) for key in before if key not in gone} == {
    key: value for key, value in before.items() if key not in gone
  }
  said = {'stages', 'evaluate.aggregate', *(key for key in after if key.endswith('.stages'))}
  assert not gone & after.keys() - said and {*before} & gone
  assert complete(complete(older)) == complete(older)


def test_what_an_older_config_lacks_is_as_it_was_then(older):
  config = complete(older)
  if 'updates_per_call' not in older.learn:
    assert config.reward.updates_per_call == config.learn.updates_per_call == 1
  if 'verifier' not in older:
    assert (config.verifier.where, config.verifier.by) == ('device', 'task')
  assert config.model.pretrained == '' and config.mesh.to_dict() == dict(data=0, fsdp=1, tensor=1)
  if 'kind' in older.get('control', {}):
    return
  # The control had the optimizer of instruction tuning, and the optimizer steps of learn.
  steps = older.learn.updates * older.learn.minibatches
  assert (config.control.updates, config.control.start) == (steps, 'reward')
  assert config.control.optimizer == config.instruct.optimizer
  assert config.stages == ('initialise', 'reward', 'learn', 'control', 'evaluate', 'report')
  assert {n: p.stages for n, p in config.evaluate.policies.items()} == dict(
    initialised=('reward', 'initialise'), learned=('learn',), control=('control',)
  )


def test_an_older_run_goes_on_and_what_really_differs_is_named(older, tmp_path):
  open_workdir(tmp_path, older)
  write_atomic(tmp_path / 'done' / 'reward', '')
  today = complete(older)
  with opening(tmp_path, today, changes=changes) as (workdir, place):
    assert place == workdir
  assert load_config(tmp_path) == older  # as it was written
  today.learn.updates, today.skip_limit = 7, 3
  with pytest.raises(ConfigError) as error, opening(tmp_path, today, changes=changes):
    pass
  was = older.learn.updates
  assert f'another config: learn.updates was {was} and is now 7; pass' in str(error.value)


def test_the_checkpoint_of_an_older_run_is_its_own(older):
  leaves = {k: v for k, v in flatten(older).items() if not is_under(k, FREE_KEYS)}
  written = {f'config.{key}': value for key, value in leaves.items()} | dict(tokenizer='abc')
  as_read = json.loads(json.dumps(written))
  assert complete_identity(as_read) == bound(complete(older)) | dict(tokenizer='abc')
  other = as_read | {'config.seed': 9}
  assert complete_identity(other) != bound(complete(older)) | dict(tokenizer='abc')


@pytest.mark.parametrize('slots, fine', [(0, True), (56, False)])
def test_a_setting_that_is_gone_is_dropped_only_where_it_had_no_effect(slots, fine):
  config = quickstart.get_config()
  config.reward.slots = slots
  config.save_every = 100
  if fine:
    assert complete(config) == complete(quickstart.get_config())
    return
  with pytest.raises(ConfigError, match='config.reward.slots=56 is no setting any more') as error:
    complete(config)
  assert '\n' not in str(error.value)


def test_a_renamed_setting_keeps_its_value(monkeypatch):
  config = quickstart.get_config()
  config.learn.lines = 7
  monkeypatch.setitem(settings.RENAMED, 'learn.lines', 'learn.rows.most')
  full = complete(config)
  assert full.learn.rows.most == 7 and 'lines' not in full.learn
  assert complete(full) == full


@pytest.mark.parametrize('name', [name for name, text in OLDER.items() if '"discount"' in text])
def test_what_learning_renamed_keeps_its_value(name):
  older = config_from_json(OLDER[name])
  config = complete(older)
  assert config.learn.losses.gradient.clip == older.learn.clip
  assert config.learn.credit.lambda_ == older.learn.credit.discount


@pytest.mark.parametrize(
  'method, given, expected',
  [
    ('best_of_n', dict(candidates=3, exploration=9.0), {}),
    ('puct', dict(candidates=3), dict(candidates=3, verify_leaves=True, exploration=1.25)),
    ('gumbel', dict(gumbel_scale=0.5, exploration=9.0), dict(candidates=4, gumbel_scale=0.5)),
    ('unknown', dict(candidates=3), dict(candidates=3)),
  ],
)
def test_a_search_has_the_settings_of_its_method_and_no_others(method, given, expected):
  config = quickstart.get_config()
  config.learn.search = ConfigDict(dict(method=method, budget=1) | given)  # its older name
  search = complete(config).learn.search.to_dict()
  assert search.items() >= dict(method=method, units=1, **expected).items()
  known = {'method', 'units', *given} if method == 'unknown' else {'method', 'units'}
  if method in SEARCHES and not SEARCHES[method].independent:
    siblings = {'candidates', 'replacement'} if SEARCHES[method].branches else set()
    known |= {'verify_leaves', *siblings, *SEARCHES[method].settings}
  assert search.keys() == known


@pytest.mark.parametrize(
  'given, expected',
  [
    (dict(name='uniform', floor=0.5, prior=1.0), {}),
    (dict(name='learnability', floor=0.5), dict(floor=0.5, prior=1.0)),
    (dict(name='unknown', floor=0.5), dict(floor=0.5)),
  ],
)
def test_a_draw_has_the_settings_of_its_row_and_no_others(given, expected):
  config = quickstart.get_config()
  config.learn.draw = ConfigDict(given)
  assert complete(config).learn.draw.to_dict() == dict(name=given['name'], **expected)


def test_older_runs_drew_all_problems_alike(older):
  assert complete(older).learn.draw.to_dict() == dict(name='uniform')


def test_a_search_with_a_setting_by_both_its_names_is_refused():
  config = quickstart.get_config()
  config.learn.search.budget = config.learn.search.units
  assert complete(config) == complete(quickstart.get_config())
  config.learn.search.budget += 1
  with pytest.raises(ConfigError, match='budget=5, the older name of units, and units=4: give'):
    complete(config)


def test_a_test_time_search_has_no_noise_and_no_verifier():
  config = quickstart.get_config()
  config.evaluate.searches.puct = ConfigDict(dict(method='puct', exploration=2.0))
  config.evaluate.searches.gumbel.update(exploration=9.0, verify_leaves=True)
  found = complete(config).evaluate.searches
  assert found.puct.to_dict() == dict(
    **dict(method='puct', tokens=(), units=(), most=16, choices=('weighted',)),
    **dict(
      candidates=4,
      replacement=True,
      exploration=2.0,
      guide='critic',
      flips=0.0,
      weigh='',
      draws=(0,),
      stop=defaults(),
      prune=DEFAULTS,
      allocate=SHARING,
    ),
  )
  own = quickstart.get_config().evaluate.searches.gumbel.keys()
  assert set(found.gumbel.keys()) == {
    *(*own, 'replacement', 'guide', 'flips', 'weigh', 'draws', 'stop', 'prune', 'allocate')
  }


def test_what_a_config_does_not_say_of_its_searches_has_a_default():
  config = quickstart.get_config()
  del config.evaluate.answer, config.evaluate.policies.learned.searches
  config.evaluate.searches = ConfigDict(
    dict(b=dict(method='gumbel', units=(40,)), a=dict(method='puct'))
  )
  found = complete(config).evaluate
  assert (found.searches.b.most, found.searches.a.most) == (40, 16)
  assert found.answer.to_dict() == dict(search='a', tokens=0, units=16)
  assert found.policies.learned.searches == () and complete(complete(config)) == complete(config)


def test_what_an_older_config_measured_is_measured_in_units(older):
  was, now = older.evaluate, complete(older).evaluate
  assert now.answer.to_dict() == dict(search='gumbel', tokens=0, units=was.search.budget)
  most = max(n for policy in was.policies.values() for n in policy.simulations)
  for name, policy in was.policies.items():
    rows = [now.searches[row] for row in now.policies[name].searches]
    found = {row.method: row for row in rows}
    assert len(rows) == bool(policy.samples) + bool(policy.simulations) == len(found)
    if policy.samples:
      chains = found['best_of_n']
      assert (chains.units, chains.most) == (policy.samples, max(policy.samples))
      assert chains.choices == ('majority', 'best', 'weighted')
    if policy.simulations:
      trees = found['gumbel']
      assert (trees.units, trees.most, trees.choices) == (policy.simulations, most, (was.rule,))
      assert trees.candidates == was.search.candidates
    assert not any(row.tokens for row in rows)


def test_older_searches_of_several_methods_have_a_row_each():
  config = config_from_json(OLDER['eb43707']).copy_and_resolve_references().unlock()
  evaluate = config.evaluate
  evaluate.tree_methods, evaluate.rule = ('puct', 'beam'), 'best'
  evaluate.search.update(exploration=2.0, method='best_of_n', budget=99)
  evaluate.policies.learned.simulations = (8,)
  found = complete(config).evaluate
  assert found.policies.initialised.searches == ('chains', 'puct', 'beam')
  assert found.policies.learned.searches == ('puct_2', 'beam_2')
  assert found.searches.puct.choices == found.searches.beam_2.choices == ('best',)
  assert found.searches.puct.exploration == 2.0 and found.searches.beam.aggregate == 'last'
  assert {found.searches[name].most for name in ('puct', 'puct_2', 'beam', 'beam_2')} == {64}
  # Answers by chains are chosen as they were.
  answer = found.searches[found.answer.search]
  assert (answer.method, answer.units, answer.most, answer.choices) == (
    *('best_of_n', (), 99),
    ('best',),
  )
  assert complete(complete(config)) == complete(config)


@pytest.mark.parametrize('name', ['token', 'solution', 'tokens'])
def test_names_of_one_granularity_are_one(name):
  config = quickstart.get_config()
  config.sampling.granularity = name
  assert complete(config).sampling.granularity == 'tokens'
  assert complete(quickstart.get_config()).sampling.granularity == 'line'


def test_sections_that_are_one_in_a_config_file_come_apart():
  config = quickstart.get_config()
  config.control.optimizer = config.instruct.optimizer
  full = complete(config)
  full.control.optimizer.learning_rate = 9.0
  assert full.instruct.optimizer.learning_rate == config.instruct.optimizer.learning_rate != 9.0


def test_the_optimizer_without_a_use_for_adams_rate_has_none():
  config = complete(scaling.get_config())
  assert 'adam_learning_rate' not in config.learn.optimizer
  assert config.learn.optimizer.beta2 == 0.98


def test_a_setting_without_effect_is_no_part_of_what_a_run_is():
  before, after = complete(quickstart.get_config()), complete(quickstart.get_config())
  after.learn.losses.dpo.beta = 9.0
  assert changes(before, after) == {} and bound(before) == bound(after)
  after.learn.weights.dpo = 1.0
  assert set(changes(before, after)) == {'learn.weights.dpo', 'learn.losses.dpo.beta'}
  assert bound(after)['config.learn.losses.dpo.beta'] == 9.0
