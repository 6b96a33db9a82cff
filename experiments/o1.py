"""The main job: the stages of a config, such as initialise, reward, learn, evaluate, report.

  python -m experiments.o1 --config=configs/quickstart.py --workdir=runs/quickstart
  [--config.a.b=value]

The same command again goes on where it stopped. Stages that are done are not done again.
"""

import os
import signal
import sys
import time
import warnings

import jax
from absl import app, flags, logging

from experiments.cache import open_cache
from experiments.door import ConfigFlag
from o1jax.recipes import outlook
from o1jax.recipes.graph import in_order
from o1jax.recipes.run import Run
from o1jax.recipes.settings import complete
from o1jax.runtime.checkpoint import quiet_orbax
from o1jax.runtime.config import ConfigError, check_config
from o1jax.runtime.loop import Diverged, Stopped
from o1jax.runtime.memory import keep_freed_memory
from o1jax.runtime.mesh import prepare_cpu
from o1jax.runtime.processes import first, join
from o1jax.runtime.storage import REFUSALS, StorageError
from o1jax.runtime.workdir import alone
from o1jax.verify.host import VerifierError

STOPPED = 3
INTERRUPTED = 'stopped; the same command goes on from the last checkpoint'

_CONFIG = ConfigFlag('what to run', complete)
_WORKDIR = flags.DEFINE_string('workdir', None, 'folder of the run; made if need be')
_COORDINATOR = flags.DEFINE_string(
  'coordinator',
  '',
  'of several processes: host:port of the first, or auto on Cloud '
  'TPU VMs; SLURM and GKE tell it themselves',
)
_PROCESSES = flags.DEFINE_integer('processes', 0, 'how many, with --coordinator')
_PROCESS = flags.DEFINE_integer('process', -1, 'which of them this is, from 0, with --coordinator')
flags.mark_flags_as_required(['config', 'workdir'])
parse_flags = _CONFIG.parse


def run(config, workdir: str) -> None:
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


def main(argv):
  if len(argv) > 1:
    app.usage(
      shorthelp=True, detailed_error=f'unexpected arguments: {" ".join(argv[1:])}', exitcode=2
    )
  warnings.filterwarnings('ignore', module='orbax')
  logging.set_verbosity(logging.WARNING)  # libraries report every file they touch
  quiet_orbax()
  keep_freed_memory()
  prepare_cpu(host_calls=_CONFIG.value.verifier.where == 'host')
  signal.signal(
    signal.SIGTERM, signal.default_int_handler
  )  # where no updates are made, which are saved first
  try:
    join(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
    open_cache()
    run(_CONFIG.value, _WORKDIR.value)
  except (ConfigError, Diverged, StorageError, VerifierError) as error:
    leave(f'error: {error}', 1)
  except OSError as error:
    if error.errno not in REFUSALS:
      raise
    leave(
      f'error: {error.filename or _WORKDIR.value} cannot be written: {error.strerror}; all before '
      f'it is kept',
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


if __name__ == '__main__':
  app.run(main, flags_parser=parse_flags)
