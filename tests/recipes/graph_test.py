"""The graph of stages: what runs before what, and starts of other runs that are shared."""

import pytest

from configs import quickstart
from o1jax.recipes import graph, settings
from o1jax.recipes.settings import complete
from o1jax.runtime.config import ConfigError
from o1jax.runtime.workdir import load_config, open_workdir


def example(**changes):
  config = complete(quickstart.get_config('smoke'))
  config.update_from_flattened_dict(changes)
  return config


def write(folder, *, ended=(), **changes):
  """A run as it looks from outside."""
  open_workdir(folder, example(**changes))
  (folder / 'tokenizer.model').write_text('pieces')
  for stage in ended:
    (folder / 'checkpoints' / f'{stage}_params' / '0').mkdir(parents=True)
  return folder


def refusal(function, *given):
  with pytest.raises(ConfigError) as error:
    function(*given)
  assert '\n' not in str(error.value)
  return str(error.value)


@pytest.mark.parametrize(
  'text, found',
  [('reward', ('', 'reward')), ('runs/a:learn', ('runs/a', 'learn')), ('/a:b:c', ('/a:b', 'c'))],
)
def test_a_reference_names_a_stage_and_perhaps_a_run(text, found):
  assert graph.reference(text) == found


@pytest.mark.parametrize(
  'listed, order',
  [
    (
      ('report', 'evaluate', 'learn', 'initialise', 'reward'),
      'initialise reward learn evaluate report',
    ),
    (('control', 'learn', 'reward'), 'reward control learn'),
    (('learn', 'initialise'), 'initialise learn'),
    (('evaluate',), 'evaluate'),
    ((), ''),
  ],
)
def test_stages_run_after_what_they_start_from(listed, order):
  assert ' '.join(graph.in_order(example(stages=listed))) == order


def test_a_stage_may_start_from_any_that_makes_parameters():
  config = example(stages=('control', 'learn'), **{'learn.start': 'control'})
  assert graph.in_order(config) == ['control', 'learn']
  config = example(stages=('learn', 'control'), **{'control.start': 'initialise'})
  assert graph.in_order(config) == ['learn', 'control']


@pytest.mark.parametrize(
  'changes, words',
  [
    (dict(stages=('initialize',)), ("config.stages names 'initialize'", 'initialise, reward')),
    ({'learn.start': 'rewrd'}, ("config.learn.start='rewrd'", 'is no stage', 'initialise')),
    ({'learn.start': 'evaluate'}, ("config.learn.start='evaluate'", 'makes no parameters')),
    ({'learn.kind': 'dance'}, ("'learn', which is no stage",)),
    (
      {'learn.start': 'control', 'control.start': 'learn'},
      ('leads in a circle', 'learn -> control -> learn'),
    ),
    ({'reward.start': 'reward'}, ('config.reward.start', 'reward -> reward')),
    ({'evaluate.policies.learned.stages': ()}, ('policies.learned.stages=()', 'at least one')),
    ({'evaluate.policies.learned.stages': (1,)}, ('policies.learned.stages=(1,)', 'at least one')),
    ({'evaluate.policies.learned.stages': ('lern',)}, ("stages names 'lern'", 'is no stage')),
    ({'evaluate.policies.learned.stages': ('report',)}, ('makes no parameters',)),
  ],
)
def test_what_is_no_graph_is_refused(changes, words):
  line = refusal(graph.in_order, example(**changes))
  assert all(word in line for word in words), line


def test_a_run_has_its_own_data_unless_it_starts_from_another_run(tmp_path):
  one, two = write(tmp_path / 'one'), tmp_path / 'two'
  assert graph.home(load_config(one), one) == one
  start = {'learn.start': f'{one}:reward'}
  assert graph.home(example(**start), two) == one
  # It does not depend on which stages a command names.
  assert graph.home(example(stages=('initialise',), **start), two) == one
  # A start of a start leads to the first.
  write(two, **start)
  assert graph.home(example(**{'learn.start': f'{two}:learn'}), tmp_path / 'three') == one


def test_a_relative_folder_is_looked_for_from_here_and_from_above_the_run(tmp_path, monkeypatch):
  one = write(tmp_path / 'runs' / 'one')
  monkeypatch.chdir(tmp_path)
  assert graph.find('runs/one', tmp_path / 'elsewhere') == one
  monkeypatch.chdir('/')
  assert graph.find('runs/one', tmp_path / 'runs' / 'two') == one
  assert 'runs/three holds no run' in refusal(graph.find, 'runs/three', tmp_path / 'runs' / 'two')


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'shapes.max_steps': 7}, ('shapes.max_steps is 6 there and 7 here',)),
    ({'task.max_number': 9, 'data.pool': 65}, ('data.pool is 64', 'task.max_number is 12 there')),
    ({'model.changes.layers': 2}, ('model.changes.layers is 1 there and 2 here',)),
  ],
)
def test_a_start_of_other_settings_is_refused_by_their_names(tmp_path, changes, words):
  one = write(tmp_path / 'one')
  config = example(**changes, **{'learn.start': f'{one}:reward'})
  line = refusal(graph.home, config, tmp_path / 'two')
  assert all(word in line for word in (f"config.learn.start='{one}:reward'", *words)), line
  same = example(**{'learn.updates': 4, 'learn.start': f'{one}:reward'}, seed=5)
  assert graph.home(same, tmp_path / 'two') == one


def test_starts_that_lead_nowhere_are_refused(tmp_path):
  one, two = tmp_path / 'one', tmp_path / 'two'
  assert 'holds no run' in refusal(graph.home, example(**{'learn.start': f'{one}:reward'}), two)
  write(one)
  write(two)
  both = example(**{'learn.start': f'{one}:reward', 'control.start': f'{two}:reward'})
  assert 'several other runs' in refusal(graph.home, both, tmp_path / 'three')
  for stage in ('evaluate', 'rewrd'):
    line = refusal(graph.home, example(**{'learn.start': f'{one}:{stage}'}), two)
    assert f"config.learn.start='{one}:{stage}' names '{stage}'" in line


def test_runs_that_start_from_each_other_are_refused(tmp_path):
  one, two = tmp_path / 'one', tmp_path / 'two'
  write(one, **{'learn.start': f'{two}:reward'})
  write(two, **{'learn.start': f'{one}:reward'})
  for run in (one, two):
    assert 'leads in a circle' in refusal(graph.home, load_config(run), run)


def test_a_start_has_to_have_ended_or_to_run_before(tmp_path):
  one = write(tmp_path / 'one', ended=('reward',))
  two = tmp_path / 'two'
  graph.require_starts(example(), two)  # all stages
  line = refusal(graph.require_starts, example(stages=('learn',)), two)
  assert "config.learn.start='reward' has not ended: add reward to config.stages" in line
  graph.require_starts(example(stages=('learn',)), one)
  lost = example(**{'evaluate.policies.learned.stages': (f'{tmp_path}/none:learn',)})
  assert f'{tmp_path}/none holds no run' in refusal(graph.home, lost, two)
  for stage, fine in (('reward', True), ('initialise', False)):
    config = example(stages=('learn',), **{'learn.start': f'{one}:{stage}'})
    if fine:
      graph.require_starts(config, two)
    else:
      assert f'let {one} reach it first' in refusal(graph.require_starts, config, two)


def test_checkpoints_belong_to_the_start_as_well(tmp_path):
  found = []
  for name, updates in (('one', 2), ('two', 2), ('three', 4)):
    start = write(tmp_path / name, **{'reward.updates': updates})
    config = example(**{'learn.start': f'{start}:reward'})
    found.append(graph.identity(config, tmp_path / 'run') | {'config.learn.start': ''})
  assert found[0] == found[1] != found[2]
  assert 'start' not in graph.identity(example(), start)


def test_a_start_stays_the_same_run_when_a_later_version_has_more_settings(tmp_path, monkeypatch):
  start = write(tmp_path / 'one')
  config = example(**{'learn.start': f'{start}:reward'})
  before = graph.identity(config, tmp_path / 'run')['start']
  monkeypatch.setitem(settings.JOB, 'later', 1)
  assert graph.identity(config, tmp_path / 'run')['start'] == before


def test_a_policy_of_another_run_is_measured_on_the_data_of_that_run(tmp_path):
  start = write(tmp_path / 'one', ended=['reward'])
  key = 'evaluate.policies.initialised.stages'
  config = example(**{key: (f'{start}:reward',), 'stages': ('evaluate',)})
  assert graph.home(config, tmp_path / 'run') == start
  assert 'start' in graph.identity(config, tmp_path / 'run')
  words = f"config.{key}='{start}:report' names 'report', which makes no parameters"
  assert words in refusal(graph.home, example(**{key: (f'{start}:report',)}), tmp_path / 'run')
  other = example(**{key: (f'{start}:reward',), 'data.pool': 32})
  assert f'config.{key}=' in refusal(graph.home, other, tmp_path / 'run')
