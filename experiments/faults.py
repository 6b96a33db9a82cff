"""Does a job end as if nothing had happened, however often it is killed? Faults of several kinds
strike at random moments.

  python -m experiments.faults --workdir=runs/faults [--kills=20] [--seed=0]

A process of the (small) job meets SIGKILL, SIGTERM, a disk that takes no more large files, or
SIGKILL with a bit flipped in the newest checkpoint of its stage. Each time the same command
resumes. Prints a table. Exits with 1 if the final parameters, metrics and curves are not, bit for
bit, those of an undisturbed job.
"""

import argparse
import contextlib
import importlib
import json
import os
import pathlib
import random
import resource
import signal
import sys
import time
import traceback
from typing import NamedTuple

import jax
from absl import app

from o1jax.runtime.metrics import read_metrics

STAGES = ('initialise', 'reward', 'learn')
FLAGS = (
  '--config=configs/quickstart.py:smoke',
  '--config.checkpoint.seconds=0',
  '--config.pretrain.updates=12',
  # as many: the two then share a program, which each process has to trace
  '--config.instruct.updates=12',
  '--config.reward.updates=4',
  '--config.learn.updates=8',
  '--config.data.texts=64',
)
OTHERS = ('term', 'full', 'flip')  # besides the kills
# A job that was told to stop ends with o1.STOPPED.
CODES = {'kill': -signal.SIGKILL, 'flip': -signal.SIGKILL, 'term': 3, 'full': 1}
# bytes: a checkpoint's file has more, and no other that is written once the data are there
LARGE = 60_000


class Fault(NamedTuple):
  """What struck a process, and where the process was then."""

  kind: str
  seconds: float  # how long the process had lived
  stage: str  # of the last update that was written down, and its number
  update: int
  saving: bool  # whether a checkpoint was being written
  code: int  # of the exit, negative for a signal


def start(workdir: pathlib.Path, stage: str, *, limit: int = 0) -> int:
  """Resumes a stage of the job in a process of its own, which need not import anything. Returns its
  id.

  limit: the most bytes that a file may have; 0 = any.
  """
  pid = os.fork()
  if pid:
    return pid
  code = 70
  try:
    log = os.open(workdir.with_suffix('.log'), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if limit:
      resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    # One stage at a time: a process that knew the next ones would begin by compiling them.
    sys.argv = ['o1', *FLAGS, f'--workdir={workdir}', f'--config.stages=("{stage}",)']
    # Not above: who imports this file may import another script, which has flags of these names.
    from experiments import o1

    app.run(o1.main, flags_parser=o1.parse_flags)
    code = 0
  except SystemExit as end:  # as Python itself would handle it
    code = end.code if isinstance(end.code, int | None) else 1
    print(end.code, file=sys.stderr)
  except BaseException:
    traceback.print_exc()
  finally:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def ended(pid: int, *, wait: bool = False) -> int | None:
  """The exit code of a process, negative for a signal; None while it lives."""
  found, status = os.waitpid(pid, 0 if wait else os.WNOHANG)
  return os.waitstatus_to_exitcode(status) if found else None


def saves(workdir: pathlib.Path) -> set[tuple[pathlib.Path, int]]:
  """The folders of saves that have not ended, each with the time of its last file. A killed save
  leaves its folder."""
  found = set()
  for folder in workdir.glob('checkpoints/*/*.orbax-checkpoint-tmp'):
    with contextlib.suppress(FileNotFoundError):  # it has just ended
      found.add((folder, folder.stat().st_mtime_ns))
  return found


def befall(kind: str, workdir: pathlib.Path, stage: str, rng: random.Random) -> Fault | None:
  """Resumes a stage until a fault strikes it. None if the stage ended well before."""
  began, seen, before = time.monotonic(), len(read_metrics(workdir)), saves(workdir)
  # A process takes seconds to start, and milliseconds for an update and its checkpoint. So a third
  # of the moments is drawn from its first seconds, and the others lie after some update.
  early = rng.uniform(0, 3) if rng.random() < 1 / 3 else None
  wanted, pause = seen + rng.randint(1, 3), rng.uniform(0, 0.1)
  pid = start(workdir, stage, limit=LARGE if kind == 'full' else 0)
  while (code := ended(pid)) is None:
    if kind != 'full' and (
      time.monotonic() > began + early if early else len(read_metrics(workdir)) >= wanted
    ):
      time.sleep(0 if early else pause)
      os.kill(pid, signal.SIGTERM if kind == 'term' else signal.SIGKILL)
      code = ended(pid, wait=True)
      break
    time.sleep(0.005)
  if code == 0:
    return None
  last = (read_metrics(workdir) or [{'stage': '-', 'update': 0}])[-1]
  saving = bool(saves(workdir) - before)
  if kind == 'flip':
    flip(workdir / 'checkpoints' / last['stage'], rng)
  return Fault(kind, time.monotonic() - began, last['stage'], last['update'], saving, code)


def flip(folder: pathlib.Path, rng: random.Random) -> None:
  """Changes a bit of the largest file of the newest checkpoint in a folder, if there is one."""
  newest = max((int(step.name) for step in folder.glob('*') if step.name.isdecimal()), default=None)
  if newest is not None:
    path = largest(folder / str(newest))
    flip_bit(path, rng.randrange(8 * path.stat().st_size))


def largest(folder: pathlib.Path) -> pathlib.Path:
  """The largest file below a folder."""
  return max(
    (path for path in folder.rglob('*') if path.is_file()), key=lambda path: path.stat().st_size
  )


def flip_bit(path: pathlib.Path, bit: int) -> None:
  """Changes one bit of a file."""
  data = bytearray(path.read_bytes())
  data[bit // 8] ^= 1 << bit % 8
  path.write_bytes(data)


def outcome(workdir: pathlib.Path) -> dict:
  """What must be the same: the metrics of each update, each once, the curves, and the checksums of
  the parameters."""
  records = sorted(workdir.glob('checkpoints/*_params/0/record/metadata'))
  return {
    'metrics': sorted(
      json.dumps(row | {'seconds': 0}, sort_keys=True) for row in read_metrics(workdir)
    ),
    'curves': json.loads((workdir / 'report' / 'data' / 'train_curve.json').read_text()),
    'parameters': {
      record.parts[-4]: json.loads(record.read_text())['leaves'] for record in records
    },
  }


def suffer(workdir: pathlib.Path, kinds: list[str], rng: random.Random) -> list[str]:
  """Takes a job to its end while faults strike it, which are taken from the end of `kinds`. Returns
  what was wrong."""
  wrong = []
  for stage in STAGES:
    while kinds:
      fault = befall(kinds[-1], workdir, stage, rng)
      if fault is None:
        break
      kinds.pop()
      print(
        f'{workdir.name:>8} {fault.kind:>6} {fault.seconds:8.1f} {fault.stage:>10} '
        f'{fault.update:>6} '
        f'{"yes" if fault.saving else "no":>6} {fault.code:>5}',
        flush=True,
      )
      # Before it has set its handler, the signal ends a process.
      if fault.code != CODES[fault.kind] and not (
        fault.code == -signal.SIGTERM and fault.seconds < 1
      ):
        wrong.append(f'{workdir.name}: after {fault.kind} it exited with {fault.code}')
    else:
      finish(workdir, stage)
  if 'Traceback' in workdir.with_suffix('.log').read_text():
    wrong.append(f'{workdir.name}: a traceback in {workdir.with_suffix(".log")}')
  return wrong


def finish(workdir: pathlib.Path, stage: str) -> None:
  """Takes a stage to its end undisturbed, if it is not there yet."""
  code = ended(start(workdir, stage), wait=True)
  if code:
    sys.exit(f'error: {workdir} ended with {code}: see {workdir.with_suffix(".log")}')


def main() -> None:
  """See above."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--workdir', type=pathlib.Path, required=True, help='an empty or new folder')
  parser.add_argument('--kills', type=int, default=20)
  parser.add_argument('--seed', type=int, default=0)
  given = parser.parse_args()
  importlib.import_module('experiments.o1')  # once, for all the processes that are forked
  workdir = given.workdir.resolve()
  workdir.mkdir(parents=True, exist_ok=True)
  if any(workdir.iterdir()):
    parser.error(f'--workdir={workdir} is not empty')
  rng = random.Random(given.seed)
  jax.config.update('jax_compilation_cache_dir', str(workdir / 'compiled'))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  for stage in STAGES:
    finish(workdir / 'peace', stage)
  expected, wrong, number = outcome(workdir / 'peace'), [], 0
  kinds = [*OTHERS, *['kill'] * (given.kills - 2)]
  rng.shuffle(kinds)
  kinds += ['kill'] * 2  # at first, when there is nothing to lose
  print(
    f'{"run":>8} {"fault":>6} {"seconds":>8} {"stage":>10} {"update":>6} {"saving":>6} {"exit":>5}'
  )
  while kinds:
    number += 1
    run = workdir / f'faults{number}'
    wrong += suffer(run, kinds, rng)
    wrong += [
      f'{run.name}: other {part}' for part, found in outcome(run).items() if found != expected[part]
    ]
  same = f'{number} ended as the one in peace: metrics, curves and parameters are the same'
  print(*wrong or [same], sep='\n')
  sys.exit(1 if wrong else 0)


if __name__ == '__main__':
  main()
