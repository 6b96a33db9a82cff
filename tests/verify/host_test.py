"""Verdicts of the host: those of the device, for all that checks may do to the process that runs
them."""

import dataclasses
import functools
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax import fused
from o1jax.keys import of_problems
from o1jax.learning.optimizer import build_optimizer, init_state
from o1jax.model import forward
from o1jax.model.transformer import LanguageModel
from o1jax.runtime.mesh import build_mesh, problem_sharding, sharded_search, state_sharding
from o1jax.tasks import cipher, countdown
from o1jax.types import Problem, Reference
from o1jax.verify.host import HostVerifier, VerifierError
from o1jax.verify.outcome import judge
from tests import toys
from tests.helpers import best_of_n, mcts
from tests.marks import some
from tests.procs import alive, children

ROOT = pathlib.Path(__file__).parents[2]
# One worker is busy and one is not when their master is killed.
KILLED = """
import os, signal, threading, time
from tests.verify import host_test

verifier = host_test.HostVerifier(host_test.naughty, seconds=3.0, workers=2)
threading.Thread(target=host_test.told, args=(verifier, 'spin', 'a', 'b')).start()
time.sleep(2)
print(*host_test.children())
os.sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""
STARTED = ['sleep', '61.25']
PROBLEM = Problem('', numbers=(1, 2))
CAUSE = 'it raised ZeroDivisionError: of all'


def naughty(problem, text):
  """Does what the text says, then finds it right."""
  if text == 'sleep':
    time.sleep(60)
  if text == 'stop':
    os.kill(os.getpid(), signal.SIGSTOP)
  if text == 'exit':
    os._exit(0)
  if text == 'start':  # another process, which outlives this one
    subprocess.run(STARTED)
  if text == 'alarm':  # what it measures its time by
    signal.alarm(0)
    time.sleep(60)
  if text == 'read':
    return sys.stdin.read() == ''
  if text == 'crash':
    os.kill(os.getpid(), signal.SIGSEGV)
  if text == 'memory':
    bytearray(3 << 29)
  if text == 'print':
    print('true')
  if text == 'raise':
    raise ZeroDivisionError('of\nall')
  if text == 'import':
    raise ImportError('no library')
  if text == 'spin':
    sum(range(10**12))  # does not let another thread of the interpreter in
  return text != 'wrong'


def counted(problem, text, *, file):
  with open(file, 'a') as lines:
    lines.write(text + '\n')
  return problem.numbers[0] == 1


def ready(problem, text):
  return ready.loaded


ready.loaded = False
ready.prepare = functools.partial(setattr, ready, 'loaded', True)


def told(verifier, *texts):
  return verifier.verdicts([(PROBLEM, text) for text in texts]).tolist()


@pytest.fixture(scope='module')
def verifier():
  return HostVerifier(naughty, seconds=2.0, workers=2)


ENDS = [
  ('sleep', 'took over 2 s'),
  ('spin', 'took over 2 s'),
  ('stop', 'took over 2 s'),
  ('start', 'took over 2 s'),
  ('alarm', 'took over 2 s'),
  ('exit', 'ended with status 0'),
  ('crash', 'was ended by signal 11'),
  ('memory', 'found no more memory'),
]


@pytest.mark.parametrize('text, words', some(ENDS, ENDS[1], *ENDS[5:]))
def test_an_answer_that_ends_its_process_is_wrong_and_no_other(verifier, text, words, caplog):
  began = time.monotonic()
  texts = ['a', text, 'wrong', 'b', 'print', 'read', f'c {text}']
  assert told(verifier, *texts) == [True, False, False, True, True, True, True]
  assert time.monotonic() - began < 30 and verifier.failure is None
  assert words in caplog.text and repr(text) in caplog.text
  assert told(verifier, f'd {text}', f'e {text}') == [True, True]
  running = [path.read_bytes() for path in pathlib.Path('/proc').glob('[0-9]*/cmdline')]
  assert not any(command.startswith(b'sleep\x0061.25') for command in running)


@pytest.mark.long
def test_memory_without_a_limit_and_what_is_loaded_before_the_first_answer():
  # A busy machine may take seconds to give that much.
  assert told(HostVerifier(naughty, seconds=60.0, memory=None, workers=1), 'memory') == [True]
  assert told(HostVerifier(ready, workers=1), 'a') == [True] and not ready.loaded


def test_an_answer_on_which_the_check_fails_is_unjudged_and_no_other(caplog):
  verifier = HostVerifier(naughty, workers=2)
  for _ in range(2):
    found = verifier.verdicts([(PROBLEM, text) for text in ('a', 'raise', 'wrong', 'raise')])
    np.testing.assert_array_equal(found, [1, np.nan, 0, np.nan])
  # It is asked again by each call, as the next try may succeed, and told of once.
  assert verifier.failure is None and verifier.causes == {CAUSE: 2}
  assert caplog.text.count(f"{CAUSE}, so this answer is not judged: 'raise'") == 1


@pytest.mark.parametrize('share, few, many', [(0.0, 9, 1), (0.5, 20, 20), (1.0, 9, 10)])
def test_a_check_that_fails_too_often_ends_all_verdicts(share, few, many):
  """Of the answers of late, or on all of a call."""
  verifier = HostVerifier(naughty, workers=1, unjudged=share)
  raising = [(Problem('', numbers=(n,)), 'raise') for n in range(few + many)]
  fine = [(Problem('', numbers=(n,)), 'a') for n in range(20)]
  verifier.verdicts(raising[:few] + fine)
  assert verifier.failure is None
  verifier.verdicts(raising[few:])
  assert isinstance(verifier.failure, VerifierError) and '\n' not in str(verifier.failure)
  assert f'most often because {CAUSE}: mend the check' in str(verifier.failure)


def test_a_check_that_cannot_work_ends_all_verdicts():
  verifier = HostVerifier(naughty, workers=1)
  told(verifier, 'import', 'b')
  assert "cannot work: it raised ImportError: no library for the answer 'import'" in str(
    verifier.failure
  )


@pytest.mark.long
def test_an_answer_that_the_machine_held_up_is_unjudged():
  before, verifier = children(), HostVerifier(naughty, seconds=1.0, workers=1)
  assert told(verifier, 'a') == [True]
  (worker,) = children() - before
  held = threading.Timer(0.3, os.kill, (worker, signal.SIGSTOP))
  freed = threading.Timer(4.0, os.kill, (worker, signal.SIGCONT))
  held.start()
  freed.start()
  assert np.isnan(told(verifier, 'sleep')).all() and verifier.failure is None
  assert 'the machine stood still' in next(iter(verifier.causes))


def test_a_wedged_check_costs_no_more_than_its_patience():
  verifier = HostVerifier(naughty, seconds=1000.0, patience=3.0, workers=1)
  began = time.monotonic()
  told(verifier, 'sleep', 'a')
  assert 3 <= time.monotonic() - began < 20
  assert 'has not judged 2 of 2 answers within 3 s: raise config.verifier.patience' in str(
    verifier.failure
  )
  told(verifier, 'b')
  assert time.monotonic() - began < 20


def test_a_process_that_ends_between_answers_is_no_verdict():
  before, verifier = children(), HostVerifier(naughty, workers=1)
  assert told(verifier, 'a') == [True]
  (worker,) = children() - before
  os.kill(worker, signal.SIGKILL)
  assert told(verifier, 'b', 'c') == [True, True] and verifier.failure is None


def test_a_check_that_cannot_be_imported_is_told_of():
  with pytest.raises(ValueError, match='write it as a function of a module'):
    HostVerifier(lambda problem, text: True)
  module = types_module('gone', 'def check(problem, text): return True')
  verifier = HostVerifier(module.check, workers=1)
  told(verifier, 'a')
  assert 'did not start: it ended with status 1' in str(verifier.failure)


def types_module(name, source):
  """A module that only this process has."""
  module = type(sys)(name)
  exec(source, module.__dict__)
  sys.modules[name] = module
  return module


def test_an_answer_is_checked_once_whoever_asks(tmp_path):
  verifier = HostVerifier(functools.partial(counted, file=tmp_path / 'lines'), workers=2)
  asked = [(Problem('', numbers=(n,)), text) for n in (1, 2) for text in 'abab']
  for _ in range(2):
    assert verifier.verdicts(asked).tolist() == [True] * 4 + [False] * 4
  assert sorted((tmp_path / 'lines').read_text().split()) == ['a', 'a', 'b', 'b']


@pytest.mark.long
def test_its_processes_end_with_the_one_they_work_for():
  job = subprocess.run([sys.executable, '-c', KILLED], stdout=subprocess.PIPE, text=True, cwd=ROOT)
  workers = [int(pid) for pid in job.stdout.split()]
  assert job.returncode == -signal.SIGKILL and len(workers) == 2
  deadline = time.monotonic() + 20
  while any(map(alive, workers)) and time.monotonic() < deadline:
    time.sleep(0.1)
  assert not any(map(alive, workers))


# --- in compiled programs ---


def contains(problem, text):
  return problem.text in text


def either(where):
  """The toy task's verifier by the device or the host, and what tells its failure."""
  if where == 'device':
    return toys.OUTCOME, lambda: None
  verifier = HostVerifier(contains, workers=2)
  return functools.partial(verifier.outcome, table=toys.TABLE), lambda: verifier.failure


def as_rows(texts):
  rows = np.zeros((len(texts), max(1, *map(len, texts))), np.uint8)
  for row, text in zip(rows, texts):
    row[: len(text)] = list(text)
  return rows, np.array([len(text) for text in texts], np.int32)


@pytest.mark.parametrize(
  'task', [countdown.task(numbers=3), cipher.task()], ids=lambda task: task.name
)
def test_the_host_finds_what_the_device_finds(task):
  """Answers of other problems too, cut short, and with bytes that are no text."""
  problems = task.problems('train', 6, 0)
  letters, length = as_rows([problem.text.encode() for problem in problems])
  reference = Reference(
    letters, length, np.array([problem.numbers or (-1,) for problem in problems], np.int32)
  )
  rng = np.random.default_rng(0)
  texts = [b'>'.join(step.encode() for step in task.demonstrate(p, rng)) for p in problems]
  texts += [texts[0][:-1], texts[1] + b'\xff', b'\x80' + texts[2], b'']
  rows, length = (np.broadcast_to(x, (len(problems), *x.shape)) for x in as_rows(texts))
  expected = jax.jit(jax.vmap(jax.vmap(task.verify, (None, 0, 0))))(reference, rows, length)
  done = rng.random(length.shape) < 0.8
  done[0, 0], done[1, 1] = True, False  # right answers
  found = HostVerifier(task.check, workers=2)._judge(reference, rows, length, done)
  np.testing.assert_array_equal(found, np.asarray(expected) & done)
  assert found.sum() > 3 and np.asarray(expected)[1, 1]


MODEL = LanguageModel(dataclasses.replace(toys.CONFIG, heads=4, kv_heads=2))
MESH = dict(data=2, fsdp=2, tensor=2)


def searched(where):
  """A tree that the verifier rewarded at each simulation, judged by it at the end."""
  verify, failure = either(where)
  prompt, reference = toys.problems(8)
  mesh = build_mesh(8, **MESH, devices=jax.devices())
  params = jax.jit(lambda: nn.unbox(forward.init(MODEL, jax.random.key(0))))()

  def run(params, keys, prompt, reference):
    tree = sharded_search(MODEL, search)(params, keys, prompt, reference)
    return judge(reference, tree, verify)

  def search(params, keys, prompt, reference):
    return mcts(
      forward.decoder(MODEL),
      params,
      keys,
      prompt,
      units=3,
      candidates=2,
      sampling=toys.SAMPLING,
      step_length=3,
      max_steps=3,
      gumbel_scale=0.0,
      reward=dict(outcome=1.0),
      outcome=functools.partial(verify, reference),
    )

  data = jax.device_put(
    (of_problems(jax.random.key(3), 8), prompt, reference), problem_sharding(mesh)
  )
  with jax.set_mesh(mesh):
    tree = jax.jit(run)(jax.device_put(params, state_sharding(MODEL, params, mesh)), *data)
  assert failure() is None
  return jax.tree.map(np.asarray, tree)


@pytest.mark.long
def test_a_search_can_be_rewarded_by_the_host():
  device, host = (searched(where) for where in ('device', 'host'))
  assert 0 < host.outcome.sum() < host.terminal.sum() and (host.reward == 1).any()
  jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), device, host)


@pytest.mark.long
@pytest.mark.parametrize(
  'name', some(['clone', 'distill', 'gradient', 'value', 'entropy'], 'clone', 'value')
)
def test_an_update_without_verdicts_is_skipped(name, without_verdicts):
  """Whatever is learned: wrong answers would be believed otherwise."""
  state, update = without_verdicts
  weights = {name: jnp.float32(1.0)}
  kept = jax.tree.map(np.array, state)
  with jax.set_mesh(build_mesh(8, data=1, devices=jax.devices()[:1])):
    after, metrics = update(
      jax.tree.map(jnp.array, state), *toys.problems(8), jax.random.key(0), weights
    )
  assert metrics['skipped'] == 2
  jax.tree.map(np.testing.assert_array_equal, after.replace(update=0), kept)


@pytest.fixture(scope='module')
def without_verdicts():
  """A state, and an update whose verifier fails."""
  verifier = HostVerifier(naughty, patience=1e-6, workers=1)
  optimizer = build_optimizer(learning_rate=0.01, steps=10, name='adamw', warmup=1)

  def search(params, keys, prompt, reference):
    return best_of_n(
      forward.decoder(toys.MODEL),
      params,
      keys,
      prompt,
      units=4,
      sampling=toys.SAMPLING,
      step_length=3,
      max_steps=2,
    )

  update = fused.search_and_learn(
    toys.MODEL,
    search=search,
    outcome=functools.partial(verifier.outcome, table=toys.TABLE),
    optimizer=optimizer,
    batch=8,
    minibatches=2,
  )
  return init_state(toys.params(), optimizer), update
