"""Devices: a mesh of them by config, where a state lies on it, and searches that share it. See
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
from o1jax.model.sharding import AXES, RULES, TENSOR, each_part, spec
from o1jax.runtime.config import require

QUOTA = pathlib.Path('/sys/fs/cgroup/cpu.max')  # of a container
VECTORS = '--xla_cpu_prefer_vector_width=512'
WAITS = tuple(
  f'--xla_cpu_collective_call_{what}_timeout_seconds=86400' for what in ('warn_stuck', 'terminate')
)


def prepare_cpu(*, host_calls: bool = False) -> None:
  """Makes every core of a CPU a device, unless JAX_NUM_CPU_DEVICES says how many, and XLA use its
  widest vectors. Call it before jax makes its first array.

  A search is a long chain of small operations. XLA splits each among the cores and waits for all of
  them; devices that search problems of their own wait for nobody, and are twice as fast on 2 cores.
  Vectors of 512 bits, where there are any, save another 5 to 8 % (docs/PERFORMANCE.md).

  Args:
    host_calls: programs will wait for functions of the host. So will devices for one another, who
      would else end the process after 40 s; and what a program gives the host, which jax copies on
      the threads that devices wait on, would else never arrive there (jax-ml/jax issues 24255 and
      25861): a program runs on the thread that calls it, and there are more threads than devices.
  """
  if 'JAX_NUM_CPU_DEVICES' not in os.environ:
    jax.config.update('jax_num_cpu_devices', cores())
  if host_calls:
    jax.config.update('jax_cpu_enable_async_dispatch', False)
    os.environ.setdefault(
      'PJRT_NPROC', str(cores() + int(os.environ.get('JAX_NUM_CPU_DEVICES', cores())))
    )
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
  """Devices in a grid of `model.sharding.AXES`, to be entered by `jax.set_mesh`.

  Args:
    batches: what is dealt out along `data` and `fsdp`.
    data: devices along the axis; -1 = all that the other two leave; 0 = as many of these as divide
      all batches, or, with several processes, of which each must have its part, all.
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
      f'{told}: {batch} problems cannot be dealt out to data * fsdp = {share} devices: choose a '
      'multiple',
    )
  # `jax.make_mesh` would not let two of the axes share one of a TPU's.
  grid = mesh_utils.create_device_mesh(sizes, devices[:count], allow_split_physical_axes=True)
  return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * 3)


def shares(mesh: Mesh) -> int:
  """Among how many devices, or groups of them, problems are dealt out."""
  return math.prod(mesh.shape[axis] for axis in RULES['batch'])


def everywhere(mesh: Mesh) -> NamedSharding:
  """The whole array on each device."""
  return NamedSharding(mesh, PartitionSpec())


def by_problem(mesh: Mesh) -> NamedSharding:
  """The first axis is split among the devices."""
  return NamedSharding(mesh, PartitionSpec(RULES['batch']))


def at_rest(model, state: Any, mesh: Mesh) -> Any:
  """Where the arrays of a state lie between updates, parameters and all that the optimizer keeps of
  each.

  Args:
    model: the language model.
    state: `Params`, `TrainState`, or any pytree that repeats the paths of parameters; arrays or
      shapes.
    mesh: from `build_mesh`.

  Returns:
    A pytree of shardings. What is not of a parameter's path and rank is whole.
  """
  names = axis_names(model)

  def lies(path, x):
    path = jax.tree_util.keystr(path, simple=True, separator='.').replace('reference.', 'policy.')
    own = next((path[path.rindex(part) :] for part in ('policy.', 'critic.') if part in path), None)
    of_one = own in names and len(names[own]) == x.ndim
    return NamedSharding(mesh, spec(names[own], x.shape, mesh)) if of_one else everywhere(mesh)

  return jax.tree_util.tree_map_with_path(lies, state)


def placed(shapes: Any, sharding: Any) -> Any:
  """What to lower a program with for arrays of these shapes that lie so; a sharding, or one for
  each array."""
  if isinstance(sharding, jax.sharding.Sharding):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)
  return jax.tree.map(
    lambda x, lies: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=lies), shapes, sharding
  )


def spread(model, search: Callable) -> Callable:
  """A search by all devices of the mesh that is set, each group along `tensor` searching problems
  of its own.

  Args:
    model: whose parameters they are.
    search: (params, ...) -> arrays by problem, with `params` as `for_search` makes them. Arguments
      after the first are by problem too, but for scalars.

  Returns:
    The same for parameters as they lie at rest: they are sent round once, and then nothing is but
      what `tensor` asks.
  """

  def spread_search(params, *data):
    names = [('batch',) if jax.tree.leaves(part)[0].ndim else () for part in data]
    return each_part(search, ('batch',), (), *names, keep=(TENSOR,))(
      for_search(model, params), *data
    )

  return spread_search
