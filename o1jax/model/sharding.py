"""Where arrays lie: one table from the axes of arrays to those of the devices, read under the mesh
of `jax.set_mesh`.

Devices have three axes. Problems are dealt out along `data` and `fsdp`; parameters at rest, their
gradients and the optimizer's state are split along `fsdp` and `tensor` (arXiv:1910.02054,
arXiv:1909.08053). A search reads parameters that are whole along `fsdp`. Without a mesh nothing
here does anything.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, PartitionSpec

from o1jax.types import Array

AXES = DATA, FSDP, TENSOR = 'data', 'fsdp', 'tensor'

RULES = {
  'batch': (DATA, FSDP),  # problems, or rows of text
  'embed': (FSDP,),  # of parameters alone: what is computed with them is whole
  'heads': (TENSOR,),
  'kv_heads': (TENSOR,),
  'mlp': (TENSOR,),
  'vocab': (TENSOR,),
  'norm': (),  # too short to be worth a message
  'layers': (),
}

# The names of an array's axes: keys of `RULES`, or None for a whole axis.
Names = Sequence[str | None]


def ways(name: str) -> int:
  """Among how many devices the compiler splits an axis called so; 1 inside `each_part`, which has
  split it already."""
  mesh = jax.sharding.get_abstract_mesh()
  return _ways(mesh, [axis for axis in RULES[name] if axis in _free(mesh)])


def spec(names: Names, shape: Sequence[int], mesh, *, without: Iterable[str] = ()) -> PartitionSpec:
  """How an array of this shape lies on a mesh of `AXES`, nothing being split along the axes
  `without`.

  An axis that the devices do not divide stays whole.
  """
  split = zip([_split(name, without) for name in names], shape, strict=True)
  return PartitionSpec(*(axes if size % _ways(mesh, axes) == 0 else () for axes, size in split))


def constrain(x: Array, *names: str | None, without: Iterable[str] = ()) -> Array:
  """Tells the compiler how an array lies that a program computes."""
  mesh = jax.sharding.get_abstract_mesh()
  free = _free(mesh)
  if _ways(mesh, free) == 1:
    return x
  return jax.lax.with_sharding_constraint(
    x, spec(names, x.shape, mesh, without={*AXES} - free | {*without})
  )


def deal(data: Any) -> Any:
  """Deals problems out: `constrain` of all arrays, whose first axis is theirs."""
  return jax.tree.map(lambda x: constrain(x, 'batch', *[None] * (x.ndim - 1)), data)


def each_part(
  function: Callable, out: Names, *given: Names, keep: Iterable[str] = (), alone: bool = False
) -> Callable:
  """The same function, run by each device on its part of the data without a word to the others.

  Args:
    function: of arrays, or of pytrees whose arrays begin with the same axes.
    out: the first axes of its results; those that are split must divide among the devices.
    given: the first axes of each argument.
    keep: axes of the mesh along which the compiler goes on splitting, and sends what is needed.
    alone: say so of axes of one device too, as jax asks of a program that calls the host.
  """
  mesh = jax.sharding.get_abstract_mesh()
  own = _free(mesh) - {*keep}
  if not own or (_ways(mesh, own) == 1 and not alone):
    return function
  specs = lambda names: PartitionSpec(*(_split(name, {*AXES} - own) for name in names))
  return jax.shard_map(
    function,
    in_specs=tuple(map(specs, given)),
    out_specs=specs(out),
    axis_names=own,
    check_vma=False,
  )


def lay(data: Any, lies: Any) -> Any:
  """Arrays of the host, the same in all processes of a job, on devices; each process lays what its
  own devices hold.

  Args:
    data: any pytree; arrays that lie on the devices of all processes already are moved.
    lies: a sharding, or a pytree of them, which may end above the leaves; None = a program makes no
      use of it.
  """
  if jax.process_count() == 1:
    return jax.device_put(data, lies)

  def one(x, sharding):
    if sharding is None:
      return x
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
      return jax.device_put(x, sharding)
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
      return jax.random.wrap_key_data(
        one(jax.random.key_data(x), sharding), impl=jax.random.key_impl(x)
      )
    host = np.asarray(x)
    return jax.make_array_from_callback(host.shape, sharding, lambda part: host[part])

  of_part = lambda sharding, part: jax.tree.map(lambda x: one(x, sharding), part)
  return jax.tree.map(of_part, lies, data, is_leaf=lambda x: x is None)


def fetch(data: Any) -> Any:
  """Arrays on devices, whole on the host of every process."""
  if jax.process_count() == 1:
    return jax.device_get(data)
  gather = lambda x: x if _here(x) else multihost_utils.process_allgather(x, tiled=True)
  return jax.device_get(jax.tree.map(gather, data))


def _here(x) -> bool:
  return not isinstance(x, jax.Array) or x.is_fully_addressable or x.is_fully_replicated


def _split(name, without):
  return tuple(axis for axis in RULES[name] if axis not in without) if name else ()


def _free(mesh) -> set[str]:
  """The axes along which the compiler splits."""
  return {axis for axis, kind in zip(mesh.axis_names, mesh.axis_types) if kind == AxisType.Auto}


def _ways(mesh, axes) -> int:
  return math.prod(mesh.shape[axis] for axis in axes)
