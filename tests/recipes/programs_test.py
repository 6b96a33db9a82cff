"""Programs made ahead: on another thread, once, shared by equal settings, and the same as those
made on the spot."""

import contextlib
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest

from configs import curriculum, quickstart
from o1jax.learning.optimizer import build_optimizer, init_state
from o1jax.learning.supervised import supervised_update
from o1jax.recipes import programs as programs_lib
from o1jax.recipes.build import abstract_params, build, fresh_params
from o1jax.recipes.objectives import searching_state
from o1jax.recipes.programs import Programs
from o1jax.recipes.searches import GREEDY_SEARCH, searches_of
from o1jax.recipes.settings import complete


@pytest.fixture(scope='module')
def experiment(tmp_path_factory):
  return build(quickstart.get_config('smoke'), tmp_path_factory.mktemp('programs'))


@pytest.fixture(scope='module')
def ahead(experiment):
  """Programs whose supervised updates were made ahead, and the threads on which that was."""
  threads = []

  def spy(*args, **settings):
    threads.append(threading.current_thread())
    return supervised_update(*args, **settings)

  made = Programs(experiment)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(programs_lib, 'supervised_update', spy)
    made.ahead(['initialise', 'report'])
    made.supervised('instruct')
    yield made, threads
  made.close()


def test_equal_settings_share_a_program_that_another_thread_made(ahead):
  made, threads = ahead
  assert made.supervised('pretrain') is made.supervised('instruct') is made.supervised('control')
  assert len(threads) == 1 and threads[0] is not threading.current_thread()


def test_what_was_made_ahead_is_the_update_itself(ahead, experiment):
  section = experiment.config.instruct
  optimizer = build_optimizer(steps=section.updates, **section.optimizer.to_dict())
  rows = jax.tree.map(lambda x: x[: section.batch], experiment.data.instruction)
  params = jax.device_put(fresh_params(experiment), jax.devices()[0])
  plain, metrics = supervised_update(experiment.model, optimizer)(
    init_state(params, optimizer), rows
  )
  program = ahead[0].supervised('instruct')
  state, again = program.update(program.start(fresh_params(experiment)), rows)
  jax.tree.map(np.testing.assert_array_equal, (plain, metrics), (state, again))


def test_other_settings_have_a_program_of_their_own(ahead, experiment, monkeypatch):
  names = set()
  monkeypatch.setattr(Programs, 'once', lambda self, name, make: names.add(name))
  for updates in (4, 5):
    experiment.config.instruct.updates = updates
    ahead[0].supervised('instruct')
  experiment.config.instruct.updates = 4
  assert len(names) == 2


def test_an_error_reaches_all_who_ask(experiment, monkeypatch):
  def broken(*_, **__):
    raise ValueError('no such update')

  monkeypatch.setattr(programs_lib, 'fused_update', broken)
  made = Programs(experiment)
  made.ahead(['reward'])
  for _ in range(2):
    with pytest.raises(ValueError, match='no such update'):
      made.searching('reward')


BATCHES = """
import numpy as np
from etils import epy
from o1jax.data.pipeline import batches
from o1jax.recipes.programs import Programs

def lazy_imports(**_):
  raise AssertionError('imports of all threads are lazy now')

Programs(None).ahead([])
epy.lazy_imports = lazy_imports
print(batches(np.arange(4), batch_size=4)(0).sum())
"""


def test_no_import_is_lazy_while_other_threads_trace():
  job = subprocess.run([sys.executable, '-c', BATCHES], capture_output=True, text=True)
  assert job.stdout == '6\n', job.stderr


def test_what_is_closed_drops_what_was_not_begun(experiment, monkeypatch):
  go, begun = threading.Event(), []

  def wait(*args, **settings):
    begun.append(args)
    go.wait(20)
    raise ValueError('stopped')

  monkeypatch.setattr(programs_lib, 'cores', lambda: 1)
  monkeypatch.setattr(programs_lib, 'fused_update', wait)
  made = Programs(experiment)
  made.ahead(['reward', 'learn'])
  made.close()
  go.set()
  with pytest.raises(ValueError, match='stopped'):
    made.searching('reward')
  assert len(begun) == 1


def test_the_controls_start_where_search_and_learn_does_and_take_its_steps():
  config = complete(quickstart.get_config())
  control, learn, instruct = config.control, config.learn, config.instruct
  assert control.updates == learn.updates * learn.minibatches
  assert control.updates // control.validate_every == learn.updates // learn.validate_every
  assert control.start == config.control_flops.start == learn.start
  # All but the rates is as in instruction tuning.
  for key in ('learning_rate', 'adam_learning_rate'):
    assert control.optimizer[key] < instruct.optimizer[key]
    control.optimizer[key] = instruct.optimizer[key]
  assert control.optimizer == instruct.optimizer and control.batch == instruct.batch


@pytest.mark.parametrize('kl, warmup_kl', [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5)])
def test_a_frozen_policy_is_kept_where_its_kl_has_weight(experiment, kl, warmup_kl):
  section = experiment.config.learn.copy_and_resolve_references()
  section.weights.kl, section.warmup_weights.kl = kl, warmup_kl
  optimizer = build_optimizer(steps=4, **section.optimizer.to_dict())
  state = jax.eval_shape(
    lambda params: searching_state(params, section, optimizer, problems=9),
    abstract_params(experiment),
  )
  assert ('reference' in state.frozen) == (kl + warmup_kl > 0)


@pytest.mark.parametrize('config, kept', [(quickstart, False), (curriculum, True)])
def test_a_record_of_the_pool_is_kept_where_the_draw_reads_it(experiment, config, kept):
  section = complete(config.get_config('smoke')).learn
  optimizer = build_optimizer(steps=4, **section.optimizer.to_dict())
  state = jax.eval_shape(
    lambda params: searching_state(params, section, optimizer, problems=9),
    abstract_params(experiment),
  )
  assert [x.shape for x in jax.tree.leaves(state.record)] == [(9,), (9,)] * kept


def test_searches_share_a_program_whatever_they_spend(experiment, monkeypatch):
  asked = []
  monkeypatch.setattr(Programs, 'once', lambda self, name, make: asked.append(name))
  programs, config = Programs(experiment), experiment.config
  for tokens, units in (((300,), (4,)), ((100, 200), (1, 5))):
    monkeypatch.setitem(config.evaluate.searches.gumbel, 'tokens', tokens)
    monkeypatch.setitem(config.evaluate.searches.gumbel, 'units', units)
    for policy in ('initialised', 'learned'):
      for search in searches_of(config, policy):
        programs.evaluator(search, experiment.data.test)
  assert len(asked) == 12 and len(set(asked)) == 3
  monkeypatch.setitem(config.evaluate.searches.gumbel, 'most', 9)  # a larger tree
  programs.evaluator(searches_of(config, 'learned')[-1], experiment.data.test)
  assert len(set(asked)) == 4


def test_problems_of_other_shapes_have_a_search_of_their_own(experiment, monkeypatch):
  asked = set()
  monkeypatch.setattr(Programs, 'once', lambda self, name, make: asked.add(name))
  prompt, reference = experiment.data.validation
  wider = reference.replace(text=np.pad(reference.text, ((0, 0), (0, 6))))
  for problems, programs in (
    ((prompt, reference), 1),
    ((prompt, reference), 1),
    ((prompt, wider), 2),
  ):
    Programs(experiment).evaluator(GREEDY_SEARCH, problems)
    assert len(asked) == programs


def test_who_waits_for_a_program_is_told_which(experiment, monkeypatch):
  told = []

  @contextlib.contextmanager
  def waiting(words):
    told.append(words)
    yield

  monkeypatch.setattr(programs_lib, 'waiting', waiting)
  made = Programs(experiment)
  names = [
    name for stage in ('initialise', 'learn', 'evaluate') for name, _ in made._of_stage(stage)
  ]
  for name in (*names, *names):
    made.once(name, lambda: 'made')
  assert list(dict.fromkeys(told)) == [
    'compiling the supervised update',
    'compiling greedy decoding',
    'compiling the update of learn',
    'compiling the search by best-of-N',
    'compiling the search by Gumbel MCTS',
    'compiling the sampling of solutions',
  ]
