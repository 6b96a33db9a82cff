"""Configs: round trip through JSON, comparison, and refusal in one line."""

import pytest
from ml_collections import ConfigDict

from o1jax.runtime.config import (
  ConfigError,
  check_config,
  config_from_json,
  config_to_json,
  differences,
  flatten,
  unflatten,
  within,
)


def example(**changes):
  config = ConfigDict(
    {
      'seed': 0,
      'name': 'tiny "quoted" ü',
      'stages': ('pretrain', 'search'),
      'search': {
        'method': 'gumbel',
        'candidates': 4,
        'budgets': (1, 2, 4),
        'noise': None,
        'extra': {},
      },
      'optimizer': {'rate': 1e-3, 'share': 0.1 + 0.2, 'clip': True},
    }
  )
  config.update_from_flattened_dict(changes)
  return config


def test_json_round_trip_is_exact_and_locked():
  config = example()
  again = config_from_json(config_to_json(config))
  assert again == config.lock()
  assert flatten(again) == flatten(config)
  assert differences(config, again) == {}
  with pytest.raises(AttributeError):
    again.sead = 1


def test_flatten_names_leaves_by_dotted_key():
  assert flatten(ConfigDict({'b': {'c': [1, (2, 3)]}, 'a': 1.5})) == {'a': 1.5, 'b.c': (1, (2, 3))}


def test_unflatten_is_the_inverse_of_flatten():
  config = example()
  del config.search.extra  # which would come back as ()
  assert unflatten(flatten(config)) == config.lock()
  assert unflatten({'a.b': [1, [2]], 'a.c': None}).to_dict() == {'a': {'b': (1, (2,)), 'c': None}}


def test_an_error_within_a_section_names_it_once():
  for words, told in (
    ('batch=3', 'config.learn: batch=3'),
    ('config.learn.x=1', 'config.learn.x=1'),
    ('config.instruct.x=1', 'config.instruct.x=1'),
  ):
    with pytest.raises(ConfigError) as error, within('learn'):
      raise ValueError(words)
    assert str(error.value) == told


def test_differences_lists_each_changed_added_and_removed_key_and_nothing_else():
  old, new = example(), example(**{'search.candidates': 8, 'optimizer.rate': 2e-3})
  new.search.beam = 3
  del new.optimizer.clip
  assert differences(old, new) == {
    'optimizer.clip': ('True', 'absent'),
    'optimizer.rate': ('0.001', '0.002'),
    'search.beam': ('absent', '3'),
    'search.candidates': ('4', '8'),
  }


def test_free_keys_may_differ():
  assert differences(example(), example(stages=('search',))) == {}
  assert differences(example(), example(stages=('search',)), free=()) != {}
  # A key is free with what lies below it, not with what begins alike.
  old, new = (
    ConfigDict({'stages_more': 1, 'free': {'a': 1}}),
    ConfigDict({'stages_more': 2, 'free': {'a': 2}}),
  )
  assert differences(old, new, free=('stages', 'free')) == {'stages_more': ('1', '2')}


def test_true_is_not_one():
  assert differences(ConfigDict({'a': 1}), ConfigDict({'a': True})) == {'a': ('1', 'True')}


@pytest.mark.parametrize(
  'changes, parts',
  [
    ({'optimizer.rate': float('nan')}, ('config.optimizer.rate', 'nan')),
    ({'optimizer.rate': float('inf')}, ('config.optimizer.rate', 'inf')),
    (
      {'checkpoint': ConfigDict({'seconds': -1.0})},
      ('config.checkpoint.seconds', '-1.0', 'at least 0'),
    ),
    ({'skip_limit': 0}, ('config.skip_limit', '0', 'at least 1')),
    ({'seed': -1}, ('config.seed is -1', 'at least 0')),
    ({'seed': 2**32}, ('config.seed is 4294967296', 'less than 2**32')),
    ({'data': ConfigDict({'demonstrations': 0})}, ('config.data.demonstrations', 'at least 1')),
    (
      {'data': ConfigDict({'test': 0, 'test_targets': 0})},
      ('config.data.test and config.data.test_targets are 0', 'at least 1'),
    ),
    ({'verifier': ConfigDict({'memory': 0.0})}, ('config.verifier.memory is 0.0', 'more than 0')),
    ({'stages': ()}, ('config.stages=()', 'at least one')),
    ({'stages': (1,)}, ('config.stages=(1,)', 'at least one')),
  ],
)
def test_what_cannot_work_is_refused_in_one_line(changes, parts):
  with pytest.raises(ConfigError) as error:
    check_config(example(**changes))
  message = str(error.value)
  assert '\n' not in message and '  ' not in message
  for part in parts:
    assert part in message


def test_what_works_is_let_through():
  check_config(example())


def test_leaves_that_json_cannot_give_back_are_refused_by_name():
  with pytest.raises(ConfigError, match=r'config\.search\.rule is a function'):
    config_to_json(ConfigDict({'search': {'rule': lambda: 0}}))
  with pytest.raises(ConfigError, match='not finite'):
    config_to_json(example(**{'optimizer.rate': float('nan')}))


@pytest.mark.parametrize('text', ['', '{"a": 1', '[1, 2]', '3'])
def test_text_that_is_no_config_is_refused(text):
  with pytest.raises(ConfigError, match='not the config of a run'):
    config_from_json(text)
