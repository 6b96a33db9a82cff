"""How arrays are sharded: one table from the names of an array's axes to the axes of the mesh, read
under the mesh of `jax.set_mesh`.

A mesh has three axes. Problems are sharded along `data` and `fsdp`. Stored parameters, their
gradients and the optimizer's state are sharded along `fsdp` and `tensor` (arXiv:1910.02054,
arXiv:1909.08053). A search reads parameters that are gathered along `fsdp`. Without a mesh nothing
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
  'embed': (FSDP,),  # of parameters only; activations are whole along it
  'heads': (TENSOR,),
  'kv_heads': (TENSOR,),
  'mlp': (TENSOR,),
  'vocab': (TENSOR,),
  'norm': (),  # too short to be worth sharding
  'layers': (),
}

# The names of an array's axes: keys of `RULES`, or None for one that is replicated.
Names = Sequence[str | None]


def shard_count(name: str) -> int:
  """The number of shards that the compiler makes of an axis of this name; 1 inside `map_shards`,
  where it is sharded already."""
  mesh = jax.sharding.get_abstract_mesh()
  return _count(mesh, [axis for axis in RULES[name] if axis in _free(mesh)])


def spec(names: Names, shape: Sequence[int], mesh, *, without: Iterable[str] = ()) -> PartitionSpec:
  """The sharding of an array of this shape on a mesh of `AXES`. Nothing is sharded along the mesh
  axes `without`.

  An axis that the devices do not divide is replicated.
  """
  sharded = zip([_sharded(name, without) for name in names], shape, strict=True)
  return PartitionSpec(*(axes if size % _count(mesh, axes) == 0 else () for axes, size in sharded))


def constrain(x: Array, *names: str | None, without: Iterable[str] = ()) -> Array:
  """Tells the compiler how to shard an array inside a program."""
  mesh = jax.sharding.get_abstract_mesh()
  free = _free(mesh)
  if _count(mesh, free) == 1:
    return x
  return jax.lax.with_sharding_constraint(
    x, spec(names, x.shape, mesh, without={*AXES} - free | {*without})
  )


def shard_problems(data: Any) -> Any:
  """Shards problems: `constrain` of all arrays by their first axis."""
  return jax.tree.map(lambda x: constrain(x, 'batch', *[None] * (x.ndim - 1)), data)


def map_shards(
  function: Callable, out: Names, *given: Names, keep: Iterable[str] = (), alone: bool = False
) -> Callable:
  """The same function, run by each device on its own shards, without messages (`jax.shard_map`).

  Args:
    function: of arrays, or of pytrees whose arrays begin with the same axes.
    out: the first axes of its results. Those that are sharded must divide among the devices.
    given: the first axes of each argument.
    keep: axes of the mesh along which the compiler goes on sharding, and sends what is needed.
    alone: map even where each axis has one device, as jax requires of a program that calls the
      host.
  """
  mesh = jax.sharding.get_abstract_mesh()
  own = _free(mesh) - {*keep}
  if not own or (_count(mesh, own) == 1 and not alone):
    return function
  specs = lambda names: PartitionSpec(*(_sharded(name, {*AXES} - own) for name in names))
  return jax.shard_map(
    function,
    in_specs=tuple(map(specs, given)),
    out_specs=specs(out),
    axis_names=own,
    check_vma=False,
  )


def put_global(data: Any, sharding: Any) -> Any:
  """Puts arrays of the host, the same in all processes of a job, on devices. Each process puts the
  shards of its own devices.

  Args:
    data: any pytree. Arrays that span processes already are resharded.
    sharding: a sharding, or a pytree of them, which may end above the leaves. None = the program
      does not use it.
  """
  if jax.process_count() == 1:
    return jax.device_put(data, sharding)

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
  return jax.tree.map(of_part, sharding, data, is_leaf=lambda x: x is None)


def gather_to_host(data: Any) -> Any:
  """Gathers arrays from devices, whole, to the host of every process."""
  if jax.process_count() == 1:
    return jax.device_get(data)
  gather = lambda x: x if _here(x) else multihost_utils.process_allgather(x, tiled=True)
  return jax.device_get(jax.tree.map(gather, data))


def _here(x) -> bool:
  return not isinstance(x, jax.Array) or x.is_fully_addressable or x.is_fully_replicated


def _sharded(name, without):
  return tuple(axis for axis in RULES[name] if axis not in without) if name else ()


def _free(mesh) -> set[str]:
  """The mesh axes along which the compiler shards."""
  return {axis for axis, kind in zip(mesh.axis_names, mesh.axis_types) if kind == AxisType.Auto}


def _count(mesh, axes) -> int:
  return math.prod(mesh.shape[axis] for axis in axes)
