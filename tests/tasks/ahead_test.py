"""Laws of work ahead: results in order whatever the processes, no further ahead than said, and
nothing left behind."""

import functools
import importlib
import itertools
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from o1jax.tasks.ahead import AheadError, ahead
from tests.procs import alive, children

ROOT = pathlib.Path(__file__).parents[2]
KILLED = """
import itertools, os, signal
from tests.tasks import ahead_test

results = ahead_test.ahead(ahead_test.slow, itertools.count(), workers=2)
next(results)
print(*ahead_test.children(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def slow(item):
  time.sleep(0.02 * (item % 3))
  return item, os.getpid()


def noted(item, *, file):
  with open(file, 'a') as lines:
    lines.write(f'{item}\n')
  return item


def naughty(item):
  if item == 'hang':
    time.sleep(60)
  if item == 'exit':
    os._exit(3)
  if item == 'kill':
    os.kill(os.getpid(), signal.SIGKILL)
  if item == 'raise':
    raise ZeroDivisionError('of\nall')
  return item


def ends(item, *, seed):
  os._exit(3)


def of_strings(item):
  return (
    hash('a'),
    list({'a', 'b', 'c', 'd', 'e'}),
    'jax' in sys.modules,
    print('dropped'),
    sys.stdin.read(),
  )


def imports(item):
  """Whether a process that has imported one module has another."""
  importlib.import_module(item[0])
  return item[1] in sys.modules


@pytest.mark.parametrize('workers, window', [(1, 1), (3, 2)])
def test_results_are_in_order_and_no_process_stays(workers, window):
  before = children()
  results = list(ahead(slow, range(10), workers=workers, window=window, seconds=60))
  assert [item for item, _ in results] == list(range(10))
  pids = [pid for _, pid in results]
  assert len(set(pids)) == workers and pids == list(
    itertools.islice(itertools.cycle(pids[:workers]), 10)
  )
  assert children() == before and list(ahead(slow, [], workers=1)) == []


def test_work_goes_on_ahead_of_its_use_and_no_further(tmp_path):
  file, before = tmp_path / 'items', children()
  results = ahead(functools.partial(noted, file=file), itertools.count(), workers=2, window=3)
  assert next(results) == 0
  deadline = time.monotonic() + 30
  while len(file.read_text().split()) < 7 and time.monotonic() < deadline:
    time.sleep(0.05)
  time.sleep(0.3)
  assert sorted(map(int, file.read_text().split())) == list(range(7))
  assert len(children() - before) == 2
  results.close()
  assert children() == before


@pytest.mark.parametrize(
  'item, words',
  [
    ('hang', "took over 5 s for item 'hang'"),
    ('exit', "ended with status 3 at item 'exit'"),
    ('kill', "ended with status -9 at item 'kill'"),
    ('raise', "item 'raise' raised ZeroDivisionError: of all"),
  ],
)
def test_what_goes_wrong_is_told_in_a_line(item, words):
  before, found = children(), []
  with pytest.raises(AheadError) as error:
    for result in ahead(naughty, ['a', 'b', item, 'c'], workers=2, seconds=5.0):
      found.append(result)
  assert words in str(error.value) and '\n' not in str(error.value)
  assert found == ['a', 'b'] and children() == before


def test_what_cannot_be_told_leaves_no_process():
  before = children()
  with pytest.raises((AttributeError, TypeError), match='lambda|pickle'):
    next(ahead(lambda item: item, [1], workers=2))
  assert children() == before


def test_processes_hash_alike_and_import_what_they_need():
  first, other = ahead(of_strings, range(2), workers=2, seconds=60)
  assert first == other and first[2:] == (False, None, '')


def test_processes_end_with_the_one_they_work_for():
  job = subprocess.run([sys.executable, '-c', KILLED], stdout=subprocess.PIPE, text=True, cwd=ROOT)
  workers = [int(pid) for pid in job.stdout.split()]
  assert job.returncode == -signal.SIGKILL and len(workers) == 2
  deadline = time.monotonic() + 20
  while any(map(alive, workers)) and time.monotonic() < deadline:
    time.sleep(0.1)
  assert not any(map(alive, workers))
