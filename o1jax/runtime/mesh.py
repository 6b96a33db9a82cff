"""Devices: the mesh of a config, how a state is sharded on it, and searches that share it. See
`model.sharding`."""

import math
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from o1jax.model.forward import axis_names, for_search
from o1jax.model.sharding import AXES, RULES, TENSOR, map_shards, spec
from o1jax.runtime.config import require

QUOTA = pathlib.Path('/sys/fs/cgroup/cpu.max')  # of a container
VECTORS = '--xla_cpu_prefer_vector_width=512'
WAITS = tuple(
  f'--xla_cpu_collective_call_{what}_timeout_seconds=86400' for what in ('warn_stuck', 'terminate')
)


def prepare_cpu(*, host_calls: bool = False) -> None:
  """Makes every core of a CPU a device, unless JAX_NUM_CPU_DEVICES says how many, and lets XLA use
  its widest vectors. Call it before jax makes its first array.

  A search is a long chain of small operations. XLA would split each among the cores and wait for
  all of them. Devices that search problems of their own wait for nobody, and are twice as fast on 2
  cores. Vectors of 512 bits, where there are any, save another 5 to 8 % (docs/PERFORMANCE.md).

  Args:
    host_calls: programs will wait for functions of the host. Devices then wait for one another too,
      which would end the process after 40 s, so that limit is raised. And jax copies what a program
      gives the host on the threads that devices wait on, where it would never arrive (jax-ml/jax
      issues 24255 and 25861). So a program runs on the thread that calls it, and there are more
      threads than devices.
  """
  if 'JAX_NUM_CPU_DEVICES' not in os.environ:
    jax.config.update('jax_num_cpu_devices', cores())
  devices = int(os.environ.get('JAX_NUM_CPU_DEVICES', cores()))
  if host_calls:
    jax.config.update('jax_cpu_enable_async_dispatch', False)
  # A checkpoint's copies, too, take threads on which more devices than cores wait for one another.
  if host_calls or devices > cores():
    os.environ.setdefault('PJRT_NPROC', str(cores() + devices))
  flags = os.environ.get('XLA_FLAGS', '')
  wanted = [flag for flag in (VECTORS, *WAITS * host_calls) if flag.split('=')[0] not in flags]
  os.environ['XLA_FLAGS'] = ' '.join([flags, *wanted]).strip()


def cores() -> int:
  """Cores that this process may use, a container's quota included."""
  count = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
  try:
    quota, period = QUOTA.read_text().split()
    return max(min(count, int(quota) // int(period)), 1)
  except (OSError, ValueError):  # no quota
    return count


def build_mesh(
  *batches: int,
  data: int = 0,
  fsdp: int = 1,
  tensor: int = 1,
  devices: Sequence[jax.Device] | None = None,
) -> Mesh:
  """A mesh of devices with the axes `model.sharding.AXES`, for `jax.set_mesh`.

  Args:
    batches: sizes that are sharded along `data` and `fsdp`.
    data: devices along the axis. -1 = all that the other two leave. 0 = as many of these as divide
      all batches; with several processes, each of which must have its part, all of them.
    fsdp: likewise, -1 or more than 0.
    tensor: likewise.
    devices: to take from; None = all.

  Raises:
    ConfigError: the axes do not fit the devices, or a batch does not divide.
  """
  devices = jax.devices() if devices is None else devices
  told, total = f'config.mesh has data={data}, fsdp={fsdp}, tensor={tensor}', len(devices)
  require(
    all(size > 0 or size == -1 for size in (data or 1, fsdp, tensor))
    and sum(n < 1 for n in (data, fsdp, tensor)) < 2,
    f'{told}: give numbers of devices, and at most one -1 for all that are left (or data=0 for as '
    'many as fit)',
  )
  left = total // math.prod(size for size in (data, fsdp, tensor) if size > 0)
  # Several processes must have their part in every program.
  if data == 0 and jax.process_count() == 1:
    fit = [n for n in range(1, left + 1) if not any(batch % (n * fsdp) for batch in batches)]
    sizes = max(fit, default=1), fsdp, tensor
  else:
    sizes = tuple(left if size < 1 else size for size in (data, fsdp, tensor))
  count, share = math.prod(sizes), sizes[0] * sizes[1]
  require(
    count == total or 0 < count < total and data == 0,
    f'{told}, which does not divide the {total} devices: choose other sizes, or -1 for one of them',
  )
  for batch in batches:
    require(
      batch % share == 0,
      f'{told}: {batch} problems cannot be sharded over data * fsdp = {share} devices: choose a '
      'multiple',
    )
  # `jax.make_mesh` would not let two mesh axes share one axis of a TPU.
  grid = mesh_utils.create_device_mesh(sizes, devices[:count], allow_split_physical_axes=True)
  return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * 3)


def problem_shards(mesh: Mesh) -> int:
  """The number of devices, or groups of them, that problems are sharded among."""
  return math.prod(mesh.shape[axis] for axis in RULES['batch'])


def replicated(mesh: Mesh) -> NamedSharding:
  """The whole array on each device."""
  return NamedSharding(mesh, PartitionSpec())


def problem_sharding(mesh: Mesh) -> NamedSharding:
  """The first axis is sharded as problems are."""
  return NamedSharding(mesh, PartitionSpec(RULES['batch']))


def state_sharding(model, state: Any, mesh: Mesh) -> Any:
  """How the arrays of a state are sharded between updates: parameters, and all that the optimizer
  keeps of each.

  Args:
    model: the language model.
    state: `Params`, `TrainState`, or any pytree that repeats the paths of parameters; arrays or
      shapes.
    mesh: from `build_mesh`.

  Returns:
    A pytree of shardings. An array that does not have the path and rank of a parameter is
    replicated.
  """
  names = axis_names(model)

  def of_leaf(path, x):
    path = jax.tree_util.keystr(path, simple=True, separator='.').replace('reference.', 'policy.')
    own = next((path[path.rindex(part) :] for part in ('policy.', 'critic.') if part in path), None)
    of_one = own in names and len(names[own]) == x.ndim
    return NamedSharding(mesh, spec(names[own], x.shape, mesh)) if of_one else replicated(mesh)

  return jax.tree_util.tree_map_with_path(of_leaf, state)


def with_sharding(shapes: Any, sharding: Any) -> Any:
  """Shapes with their sharding, to lower a program with. `sharding` is one for all, or one for each
  array."""
  if isinstance(sharding, jax.sharding.Sharding):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)
  return jax.tree.map(
    lambda x, one: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=one), shapes, sharding
  )


def sharded_search(model, search: Callable) -> Callable:
  """A search on all devices of the mesh that is set. Each group along `tensor` searches problems of
  its own.

  Args:
    model: whose parameters they are.
    search: (params, ...) -> arrays by problem, with `params` as `for_search` makes them. The other
      arguments are by problem too, except scalars.

  Returns:
    The same function of parameters as they are stored. They are gathered once; after that only what
    `tensor` requires is sent.
  """

  def search_all(params, *data):
    names = [('batch',) if jax.tree.leaves(part)[0].ndim else () for part in data]
    return map_shards(search, ('batch',), (), *names, keep=(TENSOR,))(
      for_search(model, params), *data
    )

  return search_all
