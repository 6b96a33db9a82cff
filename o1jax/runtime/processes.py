"""The processes of one job: which one writes what is written once, and how they agree."""

import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from o1jax.runtime.config import ConfigError, require

# Variables that show that a process is one of several: of SLURM, GKE with TPUs, several TPU slices,
# Open MPI. A Cloud TPU VM has no such sign.
CLUSTERS = (
  'SLURM_STEP_NODELIST',
  'TPU_WORKER_HOSTNAMES',
  'MEGASCALE_COORDINATOR_ADDRESS',
  'OMPI_COMM_WORLD_SIZE',
)
AUTO = 'auto'
SIGN = '.job'  # the file by which processes check that they see the same folder


def join(coordinator: str = '', processes: int = 0, process: int = -1) -> None:
  """Makes this process one of a job's. Call it before jax makes its first array.

  Args:
    coordinator: host:port at which process 0 can be reached; 'auto' = as the cluster says; '' =
      'auto' where `CLUSTERS` show that there is a cluster.
    processes: how many; with a coordinator.
    process: which of them this is, from 0; with a coordinator.

  Raises:
    ConfigError: the arguments do not fit each other, or the others were not met.
  """
  named = coordinator not in ('', AUTO)
  if named:
    require(
      0 <= process < processes,
      f'--coordinator={coordinator} with --processes={processes} --process={process}: '
      'give the number of processes, and which of them this is, from 0',
    )
  else:
    require(
      processes == 0 and process == -1,
      f'--processes={processes} --process={process} needs --coordinator=HOST:PORT',
    )
  settings = (
    dict(coordinator_address=coordinator, num_processes=processes, process_id=process)
    if named
    else {}
  )
  if coordinator or any(name in os.environ for name in CLUSTERS):
    try:
      jax.distributed.initialize(**settings)
    except (RuntimeError, ValueError) as error:
      raise ConfigError(
        f'the processes of this job did not meet: {str(error).splitlines()[0]}'
      ) from None


def first() -> bool:
  """Whether this process is the one that writes what is written once."""
  return jax.process_index() == 0


def agree(value: int, how: Callable[[list[int]], int] = max) -> int:
  """Returns `how` of the values that all processes give. Each must call it at the same point, and
  waits for the others.

  Args:
    value: of this process, within int32.
    how: of all values, by process. Of one value alone it must return that value.
  """
  if jax.process_count() == 1:
    return value
  return int(how(multihost_utils.process_allgather(np.int32(value)).tolist()))


def once(action: Callable, *given: Any, failed: type[Exception] = ConfigError) -> Any:
  """Lets the first process call `action(*given)` while all others wait. Returns its result there,
  None on the others.

  Raises:
    Exception: whatever the first process met. The others raise a `failed` that says so.
  """
  result = failure = None
  if first():
    try:
      result = action(*given)
    except Exception as error:
      failure = error
  if agree(int(failure is not None)):
    raise failure or failed('the first process of this job failed: see what it says')
  return result


def in_turn(action: Callable[[], Any]) -> Any:
  """The result of `action`. The first process calls it, and the others when the first is done.
  Raises as `once` does."""
  result = once(action)
  return result if first() else action()


def check_shared(folder: pathlib.Path, *, patience: float = 60.0) -> None:
  """Refuses a folder that is not the same one for all processes.

  Args:
    folder: exists.
    patience: seconds until what the first process writes must be visible to all: network file
      systems take some.

  Raises:
    ConfigError: in all processes, if the folder differs for one of them.
    OSError: the first process cannot write there. For the others that is a ConfigError.
  """
  if jax.process_count() == 1:
    return
  sign = folder / SIGN
  told = str(agree(time.time_ns() % 2**31, lambda values: values[0]))
  once(lambda: sign.write_text(told))
  deadline = time.monotonic() + patience
  while not (seen := _text(sign) == told) and time.monotonic() < deadline:
    time.sleep(0.5)
  if agree(int(not seen)):
    raise ConfigError(
      f'the processes of this job see different folders as {folder}: give a --workdir that all '
      'share'
    )


def _text(path):
  try:
    return path.read_text()
  except OSError:
    return None
