"""Runs programs that nobody has read, each in a sandbox of its own. Nothing of it is left
afterwards.

A program gets its input, Python's standard library, everything in /usr, read-only, and an empty
folder of limited size. It has no rights, no network, no devices except null, zero and urandom, and
no /proc. It sees none of the host's files, processes, environment or open files. The backends, all
of them for Linux, are

- bubblewrap: the installed program `bwrap`, 0.7 or later;
- namespaces: the same with Python alone, see `verify.namespaces`;
- unsafe_local: no sandbox. A process of this user, under limits, and what it starts may outlive it.
  For programs that one would run oneself.

Where this process is root's, a program in a sandbox is a user that nobody else is. It may not make
the system calls that `verify.inside` lists. Limits are per process: together the processes of a
program may use `Limits.memory` times their number. Empty files, which bubblewrap cannot count, cost
memory of the system. If the machine runs out of memory, the system ends these processes first.
"""

import dataclasses
import functools
import json
import math
import platform
import secrets
import subprocess
import sys
import tempfile

from o1jax.verify import inside, launch
from o1jax.verify.launch import STARTUP, SandboxError

SANDBOXES = ('bubblewrap', 'namespaces')
BACKENDS = ('off', 'auto', *SANDBOXES, 'unsafe_local')
_IDENTITIES = range(61184, 65520)  # systemd's for services that need a user of their own

# It returns what it is able to do and should not be.
_PROBE = """
import os, socket
def able(path):
  rights = {
    'be root': os.getuid() == 0,
    'read files of the host': os.path.exists(path),
    'write where the host reads': os.access('/', os.W_OK) or os.access('/usr', os.W_OK),
    'see processes of the host': os.getpid() > 99 or os.path.exists('/proc/self'),
  }
  try:
    socket.socket().close()
    rights['open a socket'] = True
  except OSError:
    pass
  return [name for name, right in rights.items() if right]
"""


@dataclasses.dataclass(frozen=True)
class Limits:
  """What a program may use.

  Attributes:
    seconds: by the clock, for all its inputs together, from its beginning.
    memory: bytes of address space of a process.
    processes: of the program at one time, threads included. Not in force with unsafe_local.
    files: open at one time in a process.
    disk: bytes of its folder, which are memory. With unsafe_local, of one file. An input must fit
      in it.
    output: bytes of all its answers, as JSON.
  """

  seconds: float = 2.0
  memory: int = 512 << 20
  processes: int = 16
  files: int = 64
  disk: int = 16 << 20
  output: int = 1 << 20


LIMITS = Limits()


def choose(backend: str) -> str:
  """The backend to run programs with.

  Args:
    backend: one of BACKENDS; 'auto' is the first of bubblewrap and namespaces that works here.

  Raises:
    SandboxError: for 'off', and for a sandbox that does not work here.
    ValueError: no such backend.
  """
  if backend not in BACKENDS:
    raise ValueError(f'sandbox backend {backend!r} is unknown: choose one of {", ".join(BACKENDS)}')
  if backend == 'off':
    raise SandboxError(
      "programs that a model wrote are run in a sandbox only, and none is named: backend='auto' "
      'takes '
      "one that works here, and 'unsafe_local' runs them without any"
    )
  if backend == 'unsafe_local':
    return backend
  named = SANDBOXES if backend == 'auto' else (backend,)
  for name in named:
    if not defect(name):
      return name
  reasons = '; '.join(f'{name}: {defect(name)}' for name in named)
  raise SandboxError(
    f'no sandbox works here ({reasons}): install bubblewrap or permit user namespaces, or name '
    "backend='unsafe_local' to run programs without a sandbox"
  )


def working() -> str | None:
  """The sandbox that works here: 'bubblewrap', else 'namespaces', else None."""
  return next((name for name in SANDBOXES if not defect(name)), None)


@functools.cache
def defect(backend: str) -> str:
  """Why a sandbox does not work here; '' if it does. A program in it tries to do what it must not
  be able to."""
  if sys.platform != 'linux':
    return 'it needs Linux'
  with tempfile.NamedTemporaryFile() as file:
    try:
      answers = run(
        _PROBE,
        [repr((file.name,))],
        function='able',
        backend=backend,
        limits=Limits(seconds=STARTUP),
      )
    except (SandboxError, OSError) as error:
      return str(error)
  if not answers or not answers[0]:
    return 'a program in it gave no answer'
  ((able,),) = json.loads(answers[0])
  return f'a program in it can {", ".join(able)}' if able else ''


def describe(backend: str) -> str:
  """A backend that works here, and its version, for the record of a run."""
  if backend == 'bubblewrap':
    return subprocess.run(
      [launch.bwrap(), '--version'], capture_output=True, text=True, check=True
    ).stdout.strip()
  return f'namespaces of Linux {platform.release()}' if backend == 'namespaces' else backend


def run(
  program: str,
  inputs: list[str],
  *,
  function: str | None = None,
  backend: str,
  limits: Limits = LIMITS,
) -> list[str | None] | None:
  """Runs a program and returns its answers. They may be anything: do not trust them.

  Args:
    program: Python source.
    inputs: texts for its standard input; it runs as a script once for each. With a function, the
      arguments of its calls, each a Python literal of a tuple.
    function: a name that the program defines. The program is loaded once, and the function called
      once for each input.
    backend: 'bubblewrap', 'namespaces' or 'unsafe_local'; see `choose`.
    limits: what it may use.

  Returns:
    What it printed for each input; None where its exit status was not 0 or it printed too much.
    With a function, one text. That should be a JSON list with [value] for each call, or null where
    the call raised (see `verify.inside`). None altogether if the program ended its sandbox, took
    too long, or answered too much.

  Raises:
    SandboxError: the sandbox did not work, so nothing is known of the program.
  """
  identity = None if backend == 'unsafe_local' else secrets.choice(_IDENTITIES)
  request = dict(
    program=program,
    inputs=inputs,
    function=function,
    identity=identity,
    output=limits.output,
    limits=_resources(backend, limits),
  )
  with launch.memory(json.dumps(request).encode()) as told, launch.memory() as errors:
    with launch.started(backend, told, errors, identity=identity, disk=limits.disk) as answers:
      begun = answers.until(b'\n', STARTUP) == inside.READY.encode()
      line = answers.until(b'\n', limits.seconds, most=limits.output) if begun else None
    if not begun:
      errors.seek(0)
      words = errors.read().decode('utf-8', 'replace').strip().rpartition('\n')[2]
      raise SandboxError(f'{backend} began no program: {words or "it does not say why"}')
  try:
    found = json.loads(line or b'null')
  except (ValueError, RecursionError):
    return None
  texts = isinstance(found, list) and all(isinstance(text, str | None) for text in found)
  return found if texts and len(found) == (1 if function else len(inputs)) else None


def _resources(backend, limits):
  """Limits by their names in `resource`."""
  found = dict(
    RLIMIT_AS=limits.memory,
    RLIMIT_CPU=math.ceil(limits.seconds) + 1,
    RLIMIT_FSIZE=limits.disk,
    RLIMIT_NOFILE=limits.files,
    RLIMIT_CORE=1,  # with 0 a program of the host may still be called to take it, see core(5)
  )
  # Without a sandbox, this would count everything else that the user runs.
  return found if backend == 'unsafe_local' else found | dict(RLIMIT_NPROC=limits.processes)
