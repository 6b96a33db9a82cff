"""What is said of a job before it begins is read off its settings, and near what it then bills."""

import jax
import pytest

from configs import quickstart
from o1jax.recipes import outlook
from o1jax.recipes.build import build


@pytest.fixture(scope='module')
def experiment(tmp_path_factory):
  return build(quickstart.get_config('smoke'), tmp_path_factory.mktemp('outlook'))


def changed(experiment, **settings):
  config = experiment.config.copy_and_resolve_references().unlock()
  config.update_from_flattened_dict({key.replace('__', '.'): x for key, x in settings.items()})
  copy = object.__new__(type(experiment))
  object.__setattr__(copy, '__dict__', {**experiment.__dict__, 'config': config})
  return copy


def test_the_setting_names_task_folder_stages_and_devices(experiment):
  told = outlook.setting(experiment.config, 'runs/mine')
  assert told.startswith(
    'countdown in runs/mine: initialise, reward, learn, control, evaluate, report; on '
  )
  assert f'{jax.device_count()} devices (cpu)' in told


def test_the_outlook_counts_parameters_and_data(experiment):
  told = outlook.outlook(experiment, experiment.config.stages)
  data = experiment.data
  assert f'{len(data.texts)} texts, 64 problems to learn from, 16 to be tested on' in told
  assert told.endswith('at the speed of this machine now, and compiling')


@pytest.mark.parametrize('stage, updates', [('initialise', 'pretrain'), ('reward', 'reward')])
def test_work_grows_with_updates_and_batches(experiment, stage, updates):
  one = outlook.flops(experiment, stage)
  other = outlook.flops(changed(experiment, instruct__updates=0), stage)
  twice = changed(experiment, instruct__updates=0, **{f'{updates}__batch': 16})
  assert one >= other > 0 and outlook.flops(twice, stage) == pytest.approx(2 * other)


def test_a_larger_budget_is_more_work_and_a_report_none(experiment):
  assert outlook.flops(experiment, 'report') == 0
  more = changed(experiment, evaluate__searches__gumbel__units=(4, 64))
  assert outlook.flops(more, 'evaluate') > 2 * outlook.flops(experiment, 'evaluate')
  one, two, three = (
    outlook.flops(changed(experiment, evaluate__searches__gumbel__tokens=tokens), 'evaluate')
    for tokens in ((300,), (300, 900), (300, 900, 900))
  )
  assert one < two and two == three  # the same again is measured once
  more = changed(experiment, evaluate__searches__gumbel__tokens=(300, 1500))
  assert outlook.flops(more, 'evaluate') - one == pytest.approx(1500 / 900 * (two - one))
  longer = changed(experiment, control__updates=8)
  assert 0 < 2 * outlook.flops(experiment, 'control') == outlook.flops(longer, 'control')
  assert outlook.flops(longer, 'learn') == outlook.flops(experiment, 'learn') > 0


def test_twice_the_work_takes_twice_the_time(monkeypatch):
  clock = iter(range(1000))
  monkeypatch.setattr(outlook.time, 'perf_counter', lambda: next(clock))
  assert outlook.seconds(2.0 * 1024**3) == pytest.approx(1 / outlook._REACHED)
  assert outlook.seconds(4.0 * 1024**3) == pytest.approx(2 / outlook._REACHED)


def test_what_does_not_learn_is_no_work(experiment):
  learns = lambda *roles: outlook.flops(changed(experiment, reward__learns=roles), 'reward')
  sampled, critic = learns(), learns('critic')
  assert 0 < sampled < critic < learns('policy')  # the smoke's critic is as deep, and has no words
  assert learns('policy', 'critic') == pytest.approx(critic + learns('policy') - sampled)


def test_a_trunk_that_policy_and_critic_share_is_counted_once(tmp_path):
  config = quickstart.get_config('smoke')
  config.model.changes.update(own_critic=False, critic_layers=0)
  shared = build(config, tmp_path)
  learns = lambda *roles: outlook.flops(changed(shared, reward__learns=roles), 'reward')
  assert learns() < learns('critic') < learns('policy') < learns('policy', 'critic')
  assert learns('policy', 'critic') < 1.2 * learns('policy')
