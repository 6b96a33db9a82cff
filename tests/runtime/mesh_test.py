"""Meshes: what a config asks for is what it gets, or one line that says why not."""

import dataclasses
import functools
import os
import subprocess
import sys

import flax.linen as nn
import jax
import pytest
from jax.sharding import PartitionSpec

from o1jax.learning.optimizer import build_optimizer, init_state
from o1jax.model import forward
from o1jax.model.sharding import spec
from o1jax.model.transformer import LanguageModel
from o1jax.runtime import mesh as mesh_lib
from o1jax.runtime.config import ConfigError
from o1jax.runtime.mesh import (
  VECTORS,
  WAITS,
  build_mesh,
  cores,
  prepare_cpu,
  problem_shards,
  state_sharding,
)
from tests import toys
from tests.jobs import ROOT


@pytest.mark.parametrize(
  'batches, axes, sizes',
  [
    ((4,), dict(), (4, 1, 1)),
    ((12, 18), dict(), (6, 1, 1)),
    ((4, 3), dict(), (1, 1, 1)),
    ((), dict(), (8, 1, 1)),
    ((4,), dict(tensor=2), (4, 1, 2)),
    ((6,), dict(fsdp=2), (3, 2, 1)),
    ((6,), dict(fsdp=2, tensor=4), (1, 2, 4)),
    ((8,), dict(data=-1), (8, 1, 1)),
    ((8,), dict(data=2, fsdp=-1), (2, 4, 1)),
    ((4,), dict(data=2, fsdp=2, tensor=2), (2, 2, 2)),
    ((1,), dict(data=1, tensor=-1), (1, 1, 8)),
  ],
)
def test_a_mesh_has_the_sizes_asked_for(batches, axes, sizes):
  mesh = build_mesh(*batches, **axes)
  assert tuple(mesh.shape.values()) == sizes and tuple(mesh.shape) == ('data', 'fsdp', 'tensor')
  assert problem_shards(mesh) == sizes[0] * sizes[1]


@pytest.mark.parametrize(
  'batches, axes, words',
  [
    ((8,), dict(data=3), ('data=3', '8 devices')),
    ((8,), dict(data=2, fsdp=2), ('fsdp=2', '8 devices')),
    ((8,), dict(tensor=16), ('tensor=16', '8 devices')),
    ((6,), dict(data=4, fsdp=-1), ('6 problems', '= 8 devices')),
    ((3,), dict(fsdp=2), ('3 problems', '= 2 devices')),
    ((8,), dict(data=-1, fsdp=-1), ('data=-1, fsdp=-1', 'at most one')),
    ((8,), dict(fsdp=0), ('fsdp=0', 'at most one')),
    ((8,), dict(data=-2), ('data=-2', 'numbers of devices')),
  ],
)
def test_a_mesh_that_cannot_be_is_one_clear_line(batches, axes, words):
  with pytest.raises(ConfigError) as error:
    build_mesh(*batches, **axes)
  assert all(word in str(error.value) for word in ('config.mesh', *words)) and '\n' not in str(
    error.value
  )


def test_a_state_lies_as_its_parameters_do():
  config = dataclasses.replace(toys.CONFIG, scan_layers=True, layers=2, vocab_size=12)
  model, mesh = LanguageModel(config), build_mesh(data=2, fsdp=2, tensor=2)
  params = jax.eval_shape(lambda: nn.unbox(forward.init(model, jax.random.key(0))))
  split = {}
  for name in ('adamw', 'muon'):
    optimizer = build_optimizer(learning_rate=0.1, steps=5, name=name)
    frozen = dict(reference=params['policy'])
    begin = functools.partial(init_state, optimizer=optimizer)
    state = jax.eval_shape(lambda p, f, begin=begin: begin(p, frozen=f), params, frozen)
    for path, sharding in jax.tree_util.tree_leaves_with_path(state_sharding(model, state, mesh)):
      split[f'{name}.{jax.tree_util.keystr(path, simple=True, separator=".")}'] = sharding.spec
  kept = {  # how each kind of parameter is split, and how many arrays AdamW and Muon keep of it
    'trunk.embedding': ((('tensor',), ('fsdp',)), 4),
    'trunk.blocks.gate.kernel': (((), ('fsdp',), ('tensor',)), 3),
    'trunk.blocks.down.kernel': (((), ('tensor',), ('fsdp',)), 3),
    'trunk.blocks.mlp_norm.scale': (((), ()), 4),
  }
  for name, (axes, count) in kept.items():
    found = [sharding for path, sharding in split.items() if path.endswith(name)]
    assert set(found) == {PartitionSpec(*axes)} and len(found) == 2 * 2 + count, (name, found)
  assert split['adamw.update'] == split['muon.update'] == PartitionSpec()


def test_a_dimension_that_devices_do_not_divide_stays_whole():
  mesh = build_mesh(data=2, fsdp=2, tensor=2)
  assert spec(('vocab', 'embed'), (11, 16), mesh) == PartitionSpec((), ('fsdp',))
  assert spec(('vocab', 'embed'), (12, 15), mesh) == PartitionSpec(('tensor',), ())


def test_no_core_is_counted_that_a_container_may_not_use(monkeypatch, tmp_path):
  quota = tmp_path / 'cpu.max'
  monkeypatch.setattr(mesh_lib, 'QUOTA', quota)
  monkeypatch.setattr(mesh_lib.os, 'sched_getaffinity', lambda _: set(range(8)), raising=False)
  counted = [cores()]
  for text in ('300000 100000', 'max 100000', '50000 100000', '1600000 100000'):
    quota.write_text(text)
    counted.append(cores())
  assert counted == [8, 3, 8, 1, 8]


@pytest.mark.parametrize(
  'before, after',
  [
    ('', VECTORS),
    ('--xla_a=1', f'--xla_a=1 {VECTORS}'),
    ('--xla_cpu_prefer_vector_width=256', '--xla_cpu_prefer_vector_width=256'),
  ],
)
def test_flags_that_the_user_set_stay(monkeypatch, before, after):
  told = {}
  monkeypatch.delenv('JAX_NUM_CPU_DEVICES')
  monkeypatch.setattr(mesh_lib.jax.config, 'update', told.__setitem__)
  monkeypatch.setenv('XLA_FLAGS', before)
  prepare_cpu()
  assert mesh_lib.os.environ['XLA_FLAGS'] == after
  assert told == {'jax_num_cpu_devices': cores()}
  monkeypatch.setenv('JAX_NUM_CPU_DEVICES', '5')
  told.clear()
  prepare_cpu()
  assert told == {}


def test_more_devices_than_cores_have_threads_to_spare(monkeypatch):
  monkeypatch.setattr(mesh_lib.jax.config, 'update', lambda name, value: None)
  told = []
  for devices in (cores(), cores() + 3):
    monkeypatch.setenv('JAX_NUM_CPU_DEVICES', str(devices))
    monkeypatch.setenv('PJRT_NPROC', '')  # so that it is taken back afterwards
    monkeypatch.delenv('PJRT_NPROC')
    prepare_cpu()
    told.append(mesh_lib.os.environ.get('PJRT_NPROC'))
  assert told == [None, str(2 * cores() + 3)]


def test_devices_wait_longer_where_they_wait_for_the_host(monkeypatch):
  monkeypatch.setenv('JAX_NUM_CPU_DEVICES', '5')
  monkeypatch.setenv('XLA_FLAGS', WAITS[0].replace('86400', '7'))
  told = {}
  monkeypatch.setattr(mesh_lib.jax.config, 'update', told.__setitem__)
  monkeypatch.delenv('PJRT_NPROC', raising=False)
  prepare_cpu(host_calls=True)
  assert told == {'jax_cpu_enable_async_dispatch': False}
  assert mesh_lib.os.environ['PJRT_NPROC'] == str(5 + cores())
  assert mesh_lib.os.environ['XLA_FLAGS'] == ' '.join(
    [WAITS[0].replace('86400', '7'), VECTORS, WAITS[1]]
  )


ASKING = """
import faulthandler
faulthandler.dump_traceback_later(100, exit=True)
import jax, numpy as np
from o1jax.model.sharding import map_shards
from o1jax.runtime.mesh import build_mesh, prepare_cpu
prepare_cpu(host_calls=True)

def told(x):
  return np.asarray(x)[:, 0].astype(np.float32)

def ask(x):
  return jax.pure_callback(told, jax.ShapeDtypeStruct(x.shape[:1], np.float32), x)

with jax.set_mesh(build_mesh(8)):
  found = jax.jit(map_shards(ask, ('batch',), ('batch',), alone=True))(np.full((8, 1_000_000), 3, np.uint8))
print(jax.device_count(), np.asarray(found).sum())
"""


def test_much_can_be_given_to_the_host_by_all_devices_at_once():
  """Devices that wait on all threads of the process left none that could copy what they wait
  for."""
  env = {name: x for name, x in os.environ.items() if name not in ('PJRT_NPROC', 'XLA_FLAGS')}
  done = subprocess.run(
    [sys.executable, '-c', ASKING],
    env=env | dict(JAX_NUM_CPU_DEVICES='2'),
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.stdout.split() == ['2', '24.0'], done.stderr[-2000:]
