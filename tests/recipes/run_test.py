"""What a run keeps between its stages: its own alone, whole, or made again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import quickstart
from o1jax.recipes.answers import open_solver
from o1jax.recipes.build import abstract_params, fresh_params
from o1jax.recipes.experiment import tokenizer_digest
from o1jax.recipes.programs import Programs
from o1jax.recipes.run import Run
from o1jax.runtime.checkpoint import Checkpoints
from o1jax.runtime.config import ConfigError
from o1jax.runtime.workdir import (
  load_config,
  mark_stage_done,
  open_workdir,
  stage_done,
)


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  return open_workdir(tmp_path_factory.mktemp('run'), quickstart.get_config('smoke'))


def start(workdir, **changes):
  config = quickstart.get_config('smoke')
  config.update_from_flattened_dict(changes)
  return Run.open(config, workdir)


# At different depths of what is checked: before the data, with them, and with all of it.
MISTAKES = {
  'task.name': 'sudoku',
  'task.numbers': 0,
  'tokenizer.vocab_size': 3,
  'shapes.step_length': 5,
  'shapes.prompt_length': 4,
  'model.variant': 'huge',
  'verifier.where': 'moon',
  'sampling.granularity': 'word',
  'pretrain.optimizer.name': 'sgdm',
  'learn.search.method': 'astar',
  'learn.minibatches': 3,
  'learn.batch': 1000,
  'mesh.data': 3,
  'evaluate.rows': 0,
  'evaluate.splits': ('test', 'validation'),
  'evaluate.searches.gumbel.draws': (2**32,),
  'stages': ('initialise', 'label'),
}


@pytest.mark.parametrize('key', MISTAKES)
def test_a_config_that_fails_its_checks_leaves_nothing_and_its_correction_runs(tmp_path, key):
  with pytest.raises(ConfigError) as error:
    start(tmp_path / 'runs' / 'new', **{key: MISTAKES[key]})
  assert '\n' not in str(error.value)
  assert list(tmp_path.iterdir()) == []


def test_after_a_mistake_the_corrected_config_has_the_folder(tmp_path):
  (tmp_path / 'notes.swp').mkdir()
  workdir = tmp_path / 'run'
  with pytest.raises(ConfigError):
    start(workdir, **{'learn.minibatches': 3})
  first = start(workdir, **{'data.texts': 200})
  digest = tokenizer_digest(first.workdir)
  # It has no result yet, so a config with other data and another tokenizer may replace it.
  with pytest.raises(ConfigError):
    start(workdir, **{'data.texts': 150, 'learn.minibatches': 3})
  assert load_config(workdir).data.texts == 200 and tokenizer_digest(workdir) == digest
  second = start(workdir, **{'data.texts': 150})
  assert load_config(workdir).data.texts == 150 and len(second.experiment.data.texts) == 150
  assert tokenizer_digest(workdir) != digest
  assert not [path.name for path in workdir.iterdir() if path.name.startswith('.')]


@pytest.fixture(scope='module')
def made(workdir):
  """The run with parameters of a stage, and these."""
  run = start(workdir)
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), abstract_params(run.experiment)
  )
  run.finish('reward', params)
  return run, params


def test_parameters_come_back(made):
  run, params = made
  jax.tree.map(np.testing.assert_array_equal, run.params('reward'), params)
  assert run.made('reward') and not run.made('learn')
  assert not (run.workdir / 'checkpoints' / 'learn_params').exists()


def test_settings_that_change_no_result_may_differ(made):
  run = start(
    made[0].workdir,
    **{
      'checkpoint.seconds': 5.0,
      'skip_limit': 3,
      'stages': ('learn',),
      'profile': True,
      'mesh.fsdp': 2,
      'verifier.unjudged': 0.1,
    },
  )
  assert (run.keeping.seconds, run.keeping.updates, run.keeping.skip_limit) == (5.0, 0, 3)
  # As they lie on the new mesh.
  params, split = (
    run.params('reward'),
    {str(x.sharding.spec) for x in jax.tree.leaves(run.params('reward'))},
  )
  jax.tree.map(np.testing.assert_array_equal, params, made[1])
  assert any('fsdp' in spec for spec in split)


@pytest.mark.parametrize(
  'name, there', [('config.learn.updates', 99), ('config.seed', 7), ('tokenizer', 'another')]
)
def test_a_checkpoint_of_another_run_is_refused_before_anything_is_compiled(made, name, there):
  run, _ = made
  foreign = Checkpoints(
    run.workdir / 'checkpoints' / 'learn', identity=run.keeping.identity | {name: there}
  )
  foreign.save(4, {'w': jnp.ones(3)})
  foreign.close()
  try:
    with pytest.raises(
      ConfigError, match=f'checkpoints/learn/4 is of another run: {name} is {there!r} there'
    ) as error:
      start(run.workdir)
    assert '\n' not in str(error.value)
  finally:
    (foreign.directory / '4').rename(run.workdir / f'moved-{name}')


def test_a_checkpoint_says_what_made_it(made):
  identity, notes = made[0].keeping.identity, made[0].keeping.notes
  assert identity['config.seed'] == 0 and len(identity['tokenizer']) == 64
  assert not any(
    name.startswith(('config.stages', 'config.checkpoint', 'config.skip_limit'))
    for name in identity
  )
  assert {'jax', 'flax', 'orbax-checkpoint', 'git_revision'} <= notes.keys()


@pytest.mark.parametrize('stage', ['initialise', 'control'])
def test_damaged_parameters_have_their_stage_done_again_but_for_who_only_looks(made, stage, capsys):
  run, params = made
  run.finish(stage, params)
  mark_stage_done(run.workdir, stage)
  (run.workdir / 'checkpoints' / f'{stage}_params' / '0' / 'state' / 'manifest.ocdbt').write_bytes(
    b''
  )
  before = sorted(run.workdir.rglob('*'))
  with pytest.raises(ConfigError, match='holds no good'):
    Run.look(run.workdir).params(stage)
  assert sorted(run.workdir.rglob('*')) == before
  assert 'is damaged' in capsys.readouterr().err
  words = f'{stage}_params holds no good parameters: run the same command again'
  with pytest.raises(ConfigError, match=words) as error:
    run.params(stage)
  assert 'is damaged' in capsys.readouterr().err and '\n' not in str(error.value)
  assert not run.made(stage) and not stage_done(run.workdir, stage)
  run.finish(stage, params)
  jax.tree.map(np.testing.assert_array_equal, run.params(stage), params)


NO_UPDATES = {f'{name}.updates': 0 for name in ('pretrain', 'instruct', 'reward', 'learn')}


def test_a_stage_without_updates_says_so_and_hands_on_what_it_starts_from(tmp_path, monkeypatch):
  run = start(tmp_path, **NO_UPDATES)
  monkeypatch.setattr(Programs, 'once', lambda *_: pytest.fail('it compiled something'))
  asked = []
  monkeypatch.setattr(Programs, 'ahead', lambda self, stages: asked.extend(stages))
  run.ahead(['reward', 'learn', 'control'])
  assert asked == ['control']
  for stage in ('initialise', 'reward', 'learn'):
    run.do(stage)
    assert run.done(stage)
  jax.tree.map(np.testing.assert_array_equal, run.params('learn'), fresh_params(run.experiment))
  assert run.idle('initialise') == (
    'config.pretrain.updates=0 and config.instruct.updates=0, so it ends with untrained parameters'
  )
  assert run.idle('learn') == 'config.learn.updates=0, so it ends with what reward has'
  assert [run.idle(stage) for stage in ('control', 'evaluate', 'report')] == ['', '', '']


@pytest.mark.parametrize('part', ['pretrain', 'instruct'])
def test_initialise_has_something_to_do_where_one_of_its_parts_has(tmp_path, part):
  assert start(tmp_path, **NO_UPDATES | {f'{part}.updates': 4}).idle('initialise') == ''


def test_damaged_results_stop_a_run_before_it_measures(made):
  path = made[0].workdir / 'problems.csv.gz'
  path.write_bytes(b'')
  try:
    with pytest.raises(ConfigError, match=r'problems.csv.gz has the columns none.* move it away'):
      start(made[0].workdir)
    assert path.exists()
  finally:
    path.unlink()


def test_a_question_is_searched_by_nothing_that_a_job_would_refuse(made, tmp_path):
  c = quickstart.get_config('smoke')
  c.sampling.top_k = 5
  del c.evaluate.searches.tree
  run = Run.open(c, tmp_path / 'run')
  run.finish('reward', made[1])
  assert open_solver(run.workdir, units=2).units == 2
  with pytest.raises(ConfigError, match='top_k=5 .* without_replacement, the method of the search'):
    open_solver(run.workdir, method='without_replacement', units=2)
