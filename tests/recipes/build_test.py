"""The configs of larger machines: their pieces fit each other, checked on little data and without
compiling."""

import dataclasses

import jax
import pytest

from configs import beam, calculator, cipher, countdown, mixture, quickstart, searches
from o1jax.learning.optimizer import init_state
from o1jax.recipes import build
from o1jax.recipes.objectives import weights
from o1jax.runtime.config import ConfigError, check_config
from tests.marks import some


def scored(config):
  """Rewarded by more than the verdict."""
  config.learn.credit.reward.update(length=-0.2, confidence=0.1)
  return config


def little(config, **settings):
  config.data.update(demonstrations=300, texts=400, pool=256, validation=8, test=8, **settings)
  return config


CONFIGS = {
  'countdown': lambda: little(countdown.get_config(), test_targets=8),
  'laptop': lambda: little(countdown.get_config('laptop')),
  'cipher': lambda: little(cipher.get_config()),
  'mixture': lambda: little(mixture.get_config()),
  'calculator': lambda: little(calculator.get_config()),
  'beam': lambda: little(beam.get_config()),
  'searches': lambda: little(searches.get_config('oracle')),
  'scored': lambda: scored(little(quickstart.get_config())),
}


@pytest.mark.parametrize('name', some(CONFIGS, 'laptop', 'calculator', 'scored'))
def test_the_fused_update_of_a_config_traces_on_its_shapes(name, tmp_path):
  config = CONFIGS[name]()
  check_config(config)
  experiment = build.build(config, tmp_path)
  update, optimizer = (
    build.fused_update(experiment, config.learn),
    build.fused_optimizer(config.learn),
  )
  state = jax.eval_shape(
    lambda: init_state(build.fresh_params(experiment), optimizer, learns=tuple(config.learn.learns))
  )
  after, metrics = jax.eval_shape(
    update, state, *experiment.data.pool, experiment.key, weights(config.learn)
  )
  assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
    lambda x: (x.shape, x.dtype), state
  )
  assert metrics['loss'].shape == (config.learn.updates_per_call,)


@pytest.mark.parametrize('setting, size', [('step_length', 6), ('row_length', 20)])
@pytest.mark.parametrize('name', CONFIGS)
def test_a_shape_that_is_too_small_for_the_demonstrations_is_refused(name, setting, size, tmp_path):
  config = CONFIGS[name]()
  config.shapes[setting] = size
  with pytest.raises(ConfigError, match=f'{setting}={size}'):
    build.build(config, tmp_path)


@pytest.mark.parametrize(
  'key, value, least',
  [
    ('pretrain.batch', 0, 'at least 1'),
    ('pretrain.updates', -1, 'at least 0'),
    ('instruct.rehearsal', 1.0, 'a share'),
    ('control.validate_every', -1, 'at least 0'),
    ('learn.updates', -1, 'at least 0'),
    ('learn.batch', -8, 'at least 1'),
    ('learn.validate_every', 0, 'at least 1'),
  ],
)
def test_a_number_that_no_stage_can_use_is_refused_by_its_name(key, value, least, tmp_path):
  config = quickstart.get_config('smoke')
  config.update_from_flattened_dict({key: value})
  with pytest.raises(ConfigError) as error:
    build.build(config, tmp_path)
  assert str(error.value).startswith(f'config.{key}={value}: give {least}')


def test_no_oracle_where_a_task_cannot_tell(tmp_path):
  experiment = build.build(little(searches.get_config('oracle')), tmp_path)
  untold = dataclasses.replace(experiment, oracle=None)
  with pytest.raises(ConfigError, match="guide='oracle': the task 'countdown' cannot tell"):
    build.check_evaluate(untold, 'evaluate', None)
