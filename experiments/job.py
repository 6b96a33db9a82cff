"""How a job is run, whichever script starts it: its stages in order, and one line for what may stop
it."""

import contextlib
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator

import jax
from absl import logging

from experiments.cache import open_cache
from o1jax.recipes import outlook
from o1jax.recipes.graph import in_order
from o1jax.recipes.run import Run
from o1jax.runtime.checkpoint import quiet_orbax
from o1jax.runtime.config import ConfigDict, ConfigError, check_config
from o1jax.runtime.loop import Diverged, Stopped
from o1jax.runtime.memory import keep_freed_memory
from o1jax.runtime.mesh import prepare_cpu
from o1jax.runtime.processes import first, join
from o1jax.runtime.storage import REFUSALS, StorageError
from o1jax.runtime.workdir import alone
from o1jax.verify.host import VerifierError

STOPPED = 3
INTERRUPTED = 'stopped; the same command goes on from the last checkpoint'


def run(config: ConfigDict, workdir: str) -> None:
  """Runs the stages that `config.stages` names and that are not done yet."""
  check_config(config)
  jax.config.update('jax_disable_most_optimizations', config.fast_compile)
  say(outlook.setting(config, workdir))
  job = Run.open(config, workdir)
  with alone(workdir):
    _work(job)


def _work(job):
  """Runs the stages that are not done yet."""
  due = []
  for stage in in_order(job.experiment.config):
    if job.done(stage):
      say(f'{stage}: done before')
      continue
    due.append(stage)
  if first() and any(job.row(stage).needs != 'results' for stage in due):
    say(outlook.outlook(job.experiment, due))
  try:
    for number, stage in enumerate(due):
      # No further ahead: pre-training keeps all cores busy, and searching, which comes later, does
      # not.
      job.ahead(due[number : number + 3])
      began = time.monotonic()
      job.do(stage)
      idle = job.idle(stage)
      took = f'{time.monotonic() - began:.0f} s'
      say(f'{stage}: nothing to do: {idle}' if idle else f'{stage}: {took}')
  finally:
    job.programs.close()


def say(words: str) -> None:
  """What the first process of a job tells of it."""
  if first():
    print(words, file=sys.stderr)


@contextlib.contextmanager
def working(
  workdir: str, *, host_calls: bool, joining: tuple[str, int, int] = ('', 0, -1)
) -> Iterator[None]:
  """A context for the work of a script: the devices are prepared, and what may stop it ends the
  process with one line.

  Args:
    workdir: where it writes.
    host_calls: whether compiled programs wait for the host.
    joining: what `processes.join` takes, where the job has several processes.
  """
  warnings.filterwarnings('ignore', module='orbax')
  logging.set_verbosity(logging.WARNING)  # libraries report every file they touch
  quiet_orbax()
  keep_freed_memory()
  prepare_cpu(host_calls=host_calls)
  signal.signal(
    signal.SIGTERM, signal.default_int_handler
  )  # where no updates are made, which are saved first
  try:
    join(*joining)
    open_cache()
    yield
  except (ConfigError, Diverged, StorageError, VerifierError) as error:
    leave(f'error: {error}', 1)
  except OSError as error:
    if error.errno not in REFUSALS:
      raise
    leave(
      f'error: {error.filename or workdir} cannot be written: {error.strerror}; all before it is '
      'kept',
      1,
    )
  except Stopped as stop:
    if jax.distributed.is_initialized():
      jax.distributed.shutdown()  # the other processes of the job have stopped too
    leave(stop, STOPPED)
  except KeyboardInterrupt:
    leave(INTERRUPTED, STOPPED)
  except jax.errors.JaxRuntimeError as error:
    if 'KeyboardInterrupt' not in str(error):  # in a call of the host
      raise
    leave(INTERRUPTED, STOPPED)


def leave(words, code):
  """Ends the process, at once if it is alone: programs that are being compiled on other threads
  would hold up an exit for long. One of several ends as jax has it, which tells the others."""
  print(words, file=sys.stderr, flush=True)
  sys.stdout.flush()
  if jax.distributed.is_initialized():
    sys.exit(code)
  os._exit(code)
