"""Devices: problems are dealt out to them, and parameters lie on all of them."""

import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = 'data'
QUOTA = pathlib.Path('/sys/fs/cgroup/cpu.max')  # of a container
VECTORS = '--xla_cpu_prefer_vector_width=512'


def prepare_cpu() -> None:
  """Makes every core of a CPU a device, and XLA use its widest vectors. Call it before jax makes its first array.

  A search is a long chain of small operations. XLA splits each among the cores and waits for all of them; devices that
  search problems of their own wait for nobody, and are twice as fast on 2 cores. Vectors of 512 bits, where there are
  any, save another 5 to 8 % (docs/PERFORMANCE.md).
  """
  jax.config.update('jax_num_cpu_devices', cores())
  flags = os.environ.get('XLA_FLAGS', '')
  if VECTORS.split('=')[0] not in flags:
    os.environ['XLA_FLAGS'] = f'{flags} {VECTORS}'.strip()


def cores() -> int:
  """Cores that this process may use, a container's quota included."""
  count = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
  try:
    quota, period = QUOTA.read_text().split()
    return max(min(count, int(quota) // int(period)), 1)
  except (OSError, ValueError):  # no quota
    return count


def data_mesh(*batches: int) -> Mesh:
  """As many devices as divide all batches, in a row."""
  devices = jax.devices()
  count = max(n for n in range(1, len(devices) + 1) if not any(batch % n for batch in batches))
  return jax.make_mesh((count,), (AXIS,), axis_types=(AxisType.Auto,), devices=devices[:count])


def everywhere(mesh: Mesh) -> NamedSharding:
  """The whole array on each device."""
  return NamedSharding(mesh, PartitionSpec())


def by_problem(mesh: Mesh) -> NamedSharding:
  """The first axis is split among the devices."""
  return NamedSharding(mesh, PartitionSpec(AXIS))


def placed(shapes: Any, sharding: NamedSharding) -> Any:
  """What to lower a program with for arrays of these shapes that lie so."""
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)


def spread(search: Callable, mesh: Mesh) -> Callable:
  """The same search with each device searching its share of the problems, without a word between them.

  Args:
    search: (params, ...) -> arrays by problem. Arguments after the first are by problem too, but for scalars.
    mesh: its devices must divide the problems.
  """
  if mesh.size == 1:
    return search

  def spread_search(params, *data):
    split = jax.tree.map(lambda x: PartitionSpec(AXIS) if x.ndim else PartitionSpec(), data)
    run = jax.shard_map(
      search, mesh=mesh, in_specs=(PartitionSpec(), *split), out_specs=PartitionSpec(AXIS), check_vma=False
    )
    return run(params, *data)

  return spread_search
