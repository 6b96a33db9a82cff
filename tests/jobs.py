"""Jobs as a user starts them, `python -m MODULE ...`, without the seconds that importing takes.

Each is forked from a process that has imported what jobs import and has made no jax backend. It
then runs the module as Python does for -m, and ends as Python ends. `forked=False` is `python -m`
itself.
"""

import atexit
import contextlib
import functools
import gc
import json
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[1]


class Job(NamedTuple):
  """A job under way, and the files that it prints to."""

  command: list[str]
  pid: int
  output: tuple[pathlib.Path, pathlib.Path]

  def wait(self, timeout: float = 280) -> subprocess.CompletedProcess:
    """How it ended, and what it printed."""
    deadline = time.monotonic() + timeout
    try:
      while (code := _ask(self.pid)) is None:
        if time.monotonic() > deadline:
          raise subprocess.TimeoutExpired(self.command, timeout)
        time.sleep(0.02)
    except BaseException:
      with contextlib.suppress(ProcessLookupError):
        os.kill(self.pid, signal.SIGKILL)
      raise
    return subprocess.CompletedProcess(
      self.command, code, *(path.read_text() for path in self.output)
    )


def start(*command: str, devices: int = 2, forked: bool = True, **env: str) -> Job:
  """Starts a module with its arguments on so many devices. Two are as on a small machine.

  env: beside what the tests have; '' = without it.
  """
  folder = pathlib.Path(tempfile.mkdtemp(dir=_folder()))
  output = folder / 'stdout', folder / 'stderr'
  env = {
    name: x for name, x in {**os.environ, 'JAX_NUM_CPU_DEVICES': str(devices), **env}.items() if x
  }
  told = dict(command=command, env=env, output=[str(path) for path in output], forked=forked)
  return Job(list(command), _ask(told), output)


def run(*command: str, **settings) -> subprocess.CompletedProcess:
  """Starts a job and waits for its end."""
  return start(*command, **settings).wait()


@functools.cache
def _folder():
  folder = tempfile.TemporaryDirectory(prefix='jobs')
  atexit.register(folder.cleanup)
  return folder.name


@functools.cache
def _server():
  server = subprocess.Popen(
    [sys.executable, '-m', 'tests.jobs'],
    cwd=ROOT,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )
  atexit.register(server.communicate)  # which ends its input
  return server


def _ask(question):
  server = _server()
  print(json.dumps(question), file=server.stdin, flush=True)
  return json.loads(server.stdout.readline())


# --- the server ---


def serve():
  """Starts jobs, each told by a line of the input, and answers with its id; given that, with its
  exit code, or null while it runs. Returns at the end of the input, or in a job, with what was
  told."""
  for line in sys.stdin:
    told = json.loads(line)
    if isinstance(told, int):
      found, status = os.waitpid(told, os.WNOHANG)
      answer = os.waitstatus_to_exitcode(status) if found else None
    else:
      answer = os.fork()
      if not answer:
        return told
    print(json.dumps(answer), flush=True)


def become(command, env, output, forked):
  """Makes this process the job."""
  for number, path in enumerate(('/dev/null', *output)):
    os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
  os.environ.clear()
  os.environ.update(env)
  if not forked:
    os.execv(sys.executable, [sys.executable, '-m', *command])
  # Read as jax was imported.
  jax.config.update('jax_num_cpu_devices', int(env['JAX_NUM_CPU_DEVICES']))
  sys.argv = list(command)
  runpy.run_module(command[0], run_name='__main__', alter_sys=True)


if __name__ == '__main__':
  import jax

  # All that the scripts import but themselves: each defines the flag --config.
  import o1jax.recipes.measure
  import o1jax.recipes.stages  # noqa: F401

  gc.freeze()
  if told := serve():
    become(**told)
