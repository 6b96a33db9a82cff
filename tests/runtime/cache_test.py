"""Programs kept between jobs: the second job compiles none, computes the same bits, and survives
whatever happened to the folder."""

import os
import pathlib
import subprocess
import sys
import zlib

import pytest

from o1jax.runtime import cache
from o1jax.runtime.storage import StorageError

ROOT = pathlib.Path(__file__).parents[2]
# What programs here have: donated arrays, random keys, arrays and keys from outside as constants,
# and loops.
JOB = """
import collections, hashlib, sys
import jax, jax.numpy as jnp, numpy as np
from o1jax.runtime import cache

if sys.argv[1] != 'off':
  cache.keep_programs(sys.argv[1])
jax.config.update('jax_disable_most_optimizations', len(sys.argv) > 2)
seen = collections.Counter()
jax.monitoring.register_event_listener(lambda name, **_: seen.update([name.rpartition('/')[2]]))
table, fixed = np.arange(512, dtype=np.uint8).reshape(2, 256), jax.random.key(3)

def update(state, key):
  noise = jax.random.normal(key, state.shape) + jax.random.normal(fixed, state.shape)
  state = jax.lax.fori_loop(0, 9, lambda i, s: jnp.tanh(s @ s.T / 7 + noise), state)
  return state, jnp.asarray(table)[0, jnp.argmax(state, 1)], jax.nn.logsumexp(state)

key = jax.random.key(0)
run = jax.jit(update, donate_argnums=0).lower(jnp.zeros((64, 64)), key).compile()
state, found = jnp.linspace(-1, 1, 64 * 64).reshape(64, 64), []
for _ in range(3):
  state, *rest = run(state, key)
  found += [np.asarray(x).tobytes() for x in (state, *rest)]
print(hashlib.sha256(b''.join(found)).hexdigest(), seen['cache_hits'], seen['cache_misses'])
"""


def job(folder, *more, **env):
  command = [sys.executable, '-c', JOB, str(folder), *more]
  env = {**os.environ, 'JAX_NUM_CPU_DEVICES': '1', **env}
  done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
  assert done.returncode == 0 and not done.stderr, done.stderr
  digest, hits, misses = done.stdout.split()
  return digest, int(hits), int(misses)


def entries(folder):
  return sorted(pathlib.Path(folder).glob('*/*-cache'))


def test_the_second_job_compiles_nothing_and_computes_the_same_bits(tmp_path):
  for quick in ((), ('quick',)):
    plain, first, second = (job(folder, *quick) for folder in ('off', tmp_path, tmp_path))
    assert first[2] > 3 and second[1:] == (first[1] + first[2], 0)
    assert plain[0] == first[0] == second[0]


def cut(data):
  return data[: len(data) // 2]


def flip(data):
  return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


DAMAGES = cut, flip, lambda data: b'', lambda data: os.urandom(len(data))


@pytest.mark.long
def test_damaged_entries_are_compiled_again_and_replaced(tmp_path):
  whole = job(tmp_path)
  # New entries are unpacked before they are used; older ones are known by their size and time.
  for turn in range(2):
    assert len(entries(tmp_path)) >= len(DAMAGES)
    for number, entry in enumerate(entries(tmp_path)):
      entry.write_bytes(DAMAGES[(number + turn) % len(DAMAGES)](entry.read_bytes()))
    assert job(tmp_path) == whole
    assert job(tmp_path) == (whole[0], whole[2], 0)


def test_a_damaged_list_of_what_is_whole_does_no_harm(tmp_path):
  entry, broken = tmp_path / 'jit_f-1-cache', tmp_path / 'jit_f-2-cache'
  for text in ('', '[]', '{"jit_f-3-cache": [1, 2]}', '{"jit_f-1-cache": 7}', '\0'):
    entry.write_bytes(zlib.compress(b'program'))
    broken.write_bytes(zlib.compress(b'program')[:-1])
    (tmp_path / 'checked.json').write_text(text)
    cache._drop_damaged(tmp_path)
    assert not broken.exists()
    assert entry.exists() or '7' in text  # a note that differs is taken for damage


def test_programs_of_another_machine_are_not_looked_at(tmp_path, monkeypatch):
  first = job(tmp_path)
  flags = os.environ['XLA_FLAGS'] + ' --xla_cpu_prefer_vector_width=128'
  assert job(tmp_path, XLA_FLAGS=flags)[1:] == first[1:]
  assert len(list(tmp_path.iterdir())) == 2
  here = cache.machine()
  monkeypatch.setattr(cache, '_processor', lambda: ('flags : sse2',))
  assert cache.machine() != here
  monkeypatch.setattr(cache.jaxlib, '__version__', '0.0.1')
  assert len({here, cache.machine()}) == 2


def test_a_processor_is_known_by_what_it_can_do_and_not_by_the_moment(monkeypatch):
  told = 'processor : {}\nmodel name : One\ncpu MHz : {}\nflags : sse2 {}\n\n'

  def processor(text):
    monkeypatch.setattr(pathlib.Path, 'read_text', lambda self: text)
    return cache._processor.__wrapped__()

  first = processor(told.format(0, 800, 'avx2') + told.format(1, 900, 'avx2'))
  assert first == processor(told.format(0, 2000, 'avx2'))
  assert first != processor(told.format(0, 800, 'avx2 avx512f'))


def test_beyond_the_limit_the_oldest_go_first(tmp_path):
  for age in range(6):
    entry = tmp_path / f'machine{age % 2}' / f'jit_f-{age}-cache'
    entry.parent.mkdir(exist_ok=True)
    entry.write_bytes(bytes(100))
    os.utime(entry, ns=(10**9 * age, 10**9 * age))
  cache._drop_oldest(tmp_path, 350)
  assert [entry.name for entry in entries(tmp_path)] == [
    'jit_f-4-cache',
    'jit_f-3-cache',
    'jit_f-5-cache',
  ]
  cache._drop_oldest(tmp_path, 300)
  assert len(entries(tmp_path)) == 3


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(StorageError, match='file.* cannot be written'):
    cache.keep_programs(tmp_path / 'file')


def test_the_folder_of_a_user(monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', '/elsewhere')
  assert cache.default_folder() == pathlib.Path('/elsewhere/o1jax/programs')
  monkeypatch.delenv('XDG_CACHE_HOME')
  monkeypatch.setenv('HOME', '/mine')
  assert cache.default_folder() == pathlib.Path('/mine/.cache/o1jax/programs')
