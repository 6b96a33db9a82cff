"""A process of a small job, alone or with others, on any number of devices: python -m ... WORKDIR
[PROCESS COUNT PORT].

Told by the environment: STOP_AT, the update during which this process asks itself to stop, it then
exits with 3; and SPOIL_AT, the one from which it can write no file of any size, it then exits with
1.
"""

import atexit
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from o1jax.runtime import checkpoint
from o1jax.runtime.loop import Keeping, Stopped, run_updates
from o1jax.runtime.metrics import MetricsWriter
from o1jax.runtime.storage import StorageError
from o1jax.types import TrainState

UPDATES, SHAPE = 8, (16, 24)
EACH, RARELY = Keeping(seconds=0), Keeping(seconds=1e6, updates=4)  # saved


def fresh() -> TrainState:
  params = dict(policy={'w': jnp.zeros(SHAPE), 'b': jnp.ones(SHAPE[1], jnp.bfloat16)}, critic={})
  return TrainState(update=jnp.int32(0), params=params, optimizer={'count': jnp.int32(0)})


def layout(mesh) -> TrainState:
  """The matrix split along both axes, the vector along one, the rest whole."""
  place = lambda *axes: NamedSharding(mesh, PartitionSpec(*axes))
  params = dict(policy={'w': place('data', 'tensor'), 'b': place('data')}, critic={})
  return TrainState(update=place(), params=params, optimizer=place())


def mesh_of(count: int):
  shape = (max(count // 2, 1), min(count, 2))
  return jax.make_mesh(
    shape, ('data', 'tensor'), axis_types=(AxisType.Auto,) * 2, devices=jax.devices()[:count]
  )


def walk(state):
  w, b = state.params['policy']['w'], state.params['policy']['b']
  w = w + jax.random.normal(jax.random.fold_in(jax.random.key(3), state.update), SHAPE)
  params = state.params | dict(policy={'w': w, 'b': b * 1.125})
  state = state.replace(
    update=state.update + 1, params=params, optimizer={'count': state.optimizer['count'] + 2}
  )
  # The same number however w is split, which a sum is not.
  return state, {
    'loss': w.max(),
    'skipped': 0,
  }


def speak_through_a_pipe():
  """So that a limit on the size of files does not cut off what this process says into one."""
  cat = subprocess.Popen('cat', stdin=subprocess.PIPE, stdout=2)
  os.dup2(cat.stdin.fileno(), 2)
  cat.stdin.close()
  atexit.register(lambda: (os.close(2), cat.wait()))


def run(
  workdir: pathlib.Path,
  *,
  devices: int,
  stop_at: int = 0,
  spoil_at: int = 0,
  keeping: Keeping = EACH,
) -> TrainState:
  mesh = mesh_of(devices)
  step = jax.jit(
    walk, donate_argnums=0, out_shardings=(layout(mesh), NamedSharding(mesh, PartitionSpec()))
  )

  def update(state, done):
    if done + 1 == stop_at:
      os.kill(os.getpid(), signal.SIGTERM)
    if done + 1 == spoil_at:
      speak_through_a_pipe()
      resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    if keeping.updates:
      time.sleep(0.3)  # longer than a save of this size takes
    return step(state)

  return run_updates(
    fresh(),
    update,
    stage='toy',
    updates=UPDATES,
    workdir=workdir,
    writer=MetricsWriter(workdir),
    keeping=keeping,
    sharding=layout(mesh),
  )


if __name__ == '__main__':
  folder, *rest = sys.argv[1:]
  if rest:
    process, count, port = map(int, rest)
    jax.distributed.initialize(f'localhost:{port}', count, process)
  told = {name.lower(): int(os.environ.get(name, 0)) for name in ('STOP_AT', 'SPOIL_AT')}
  keeping = EACH
  if 'SPOIL_AT' in os.environ:
    keeping, checkpoint.SAVING = RARELY, 5
  try:
    run(pathlib.Path(folder), devices=jax.device_count(), keeping=keeping, **told)
  except Stopped as stop:
    print(stop, file=sys.stderr)
    sys.exit(3)
  except StorageError as error:
    sys.exit(f'error: {error}')
