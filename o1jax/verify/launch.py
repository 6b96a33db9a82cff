"""The processes of a sandbox, for `verify.sandbox`: how they start, how one listens to them, and
how they end."""

import contextlib
import functools
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import BinaryIO

from o1jax.verify import inside

STARTUP = 30.0  # seconds that a sandbox may take to start, to begin a program, and to end

# The interpreter itself, where this is a virtual environment.
_EXECUTABLE = os.path.realpath(sys._base_executable)
_PYTHON = (_EXECUTABLE, '-S', '-s', '-P', '-B', '-X', 'utf8')
_SYSTEM = ('/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/etc/ld.so.cache')
_DEVICES = ('/dev/null', '/dev/zero', '/dev/urandom')
_FIRST_TO_END = ('/bin/sh', '-c', 'echo 1000 > /proc/self/oom_score_adj; exec "$@"', 'sh')
_NAMESPACES = (
  'import sys; sys.path.insert(0, sys.argv.pop(1)); from o1jax.verify import namespaces; del '
  'sys.path[0]; namespaces.main()'
)


class SandboxError(RuntimeError):
  """There is no sandbox to run a program in. That says nothing of the program. One line: the
  reason, and the way out."""


class Reader:
  """Reads a pipe that others write to. It never waits for long, nor reads much."""

  def __init__(self, pipe: int):
    """Of a file descriptor."""
    self._pipe, self._read, self._poll = pipe, b'', select.poll()
    self._poll.register(pipe, select.POLLIN)

  def until(self, mark: bytes, seconds: float, *, most: int = 1000) -> bytes | None:
    """The bytes before the mark; None if the mark does not come in time, or not within `most`
    bytes."""
    deadline = time.monotonic() + seconds
    while mark not in self._read:
      left = deadline - time.monotonic()
      if left <= 0 or len(self._read) > most:
        return None
      if self._poll.poll(1000 * left):
        read = os.read(self._pipe, 1 << 16)
        if not read:
          return None
        self._read += read
    found, _, self._read = self._read.partition(mark)
    return found if len(found) <= most else None


def memory(data: bytes = b'') -> BinaryIO:
  """A file in memory, about to be read."""
  file = open(os.memfd_create('sandbox'), 'w+b')
  file.write(data)
  file.seek(0)
  return file


@contextlib.contextmanager
def started(
  backend: str, told: BinaryIO, errors: BinaryIO, *, identity: int | None, disk: int
) -> Iterator[Reader]:
  """A process that runs `inside`. It has ended when the context ends. In a sandbox, all that it
  started has ended too.

  Args:
    backend: 'bubblewrap', 'namespaces' or 'unsafe_local'.
    told: its request.
    errors: takes what went wrong before the program began.
    identity: user and group that it becomes. Not used with unsafe_local.
    disk: bytes of its folder.

  Yields:
    Its answers.

  Raises:
    SandboxError: it cannot be started, or does not end.
  """
  local = backend == 'unsafe_local'
  with contextlib.ExitStack() as stack:
    home = (
      stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
      if local
      else '/tmp'
    )
    heard, info = (
      stack.enter_context(open(end, mode)) for end, mode in zip(os.pipe(), ('rb', 'wb'))
    )
    process = subprocess.Popen(
      _command(backend, identity, disk, info.fileno()),
      stdin=told,
      stdout=subprocess.PIPE,
      stderr=errors,
      pass_fds=[info.fileno()],
      cwd=home if local else '/',
      start_new_session=local,
      env=dict(PATH='/usr/bin:/bin', HOME=home, TMPDIR=home, LANG='C.UTF-8', PYTHONHASHSEED='0'),
    )
    info.close()
    answers, leader = stack.enter_context(process.stdout), None
    try:
      leader = None if local else _leader(heard)
      yield Reader(answers.fileno())
    finally:
      _end(process, leader, local)


@functools.cache
def bwrap() -> str:
  """The path of bubblewrap. SandboxError where there is none."""
  found = shutil.which('bwrap')
  if not found:
    raise SandboxError('bwrap is not installed')
  return found


def _leader(heard):
  """A pidfd of a sandbox's first process, without which no other can exist. None where the sandbox
  did not get that far."""
  words = Reader(heard.fileno()).until(b'}', STARTUP)
  try:
    return os.pidfd_open(json.loads(words + b'}')['child-pid']) if words else None
  except ProcessLookupError:
    return None


def _end(process, leader, local):
  """Ends a sandbox by its leader. The process that started the leader waits for all others, and
  ends last."""
  try:
    if local:
      os.killpg(process.pid, signal.SIGKILL)
    elif leader is None:
      process.kill()
    else:
      signal.pidfd_send_signal(leader, signal.SIGKILL)
  except ProcessLookupError:
    pass
  if leader is not None:
    os.close(leader)
  try:
    process.wait(STARTUP)
  except subprocess.TimeoutExpired:
    process.kill()
    raise SandboxError(f'a sandbox does not end within {STARTUP:g} s') from None


def _command(backend, identity, disk, info):
  """The command that starts `inside`."""
  if backend == 'unsafe_local':
    return [*_PYTHON, inside.__file__]
  visible, links = _visible()
  if backend == 'namespaces':
    told = dict(
      parent=os.getpid(), identity=identity, visible=visible, links=links, disk=disk, info=info
    )
    package = str(pathlib.Path(inside.__file__).parents[2])
    return [*_FIRST_TO_END, *_PYTHON, '-c', _NAMESPACES, package, json.dumps(told)]
  command = [
    bwrap(),
    '--unshare-ipc',
    '--unshare-pid',
    '--unshare-net',
    '--unshare-uts',
    '--unshare-cgroup-try',
    '--die-with-parent',
    '--new-session',
    '--hostname',
    'sandbox',
    '--info-fd',
    str(info),
  ]
  if os.geteuid() == 0:  # bubblewrap leaves root every right that is not dropped by name
    command += ['--cap-drop', 'ALL', '--cap-add', 'CAP_SETUID', '--cap-add', 'CAP_SETGID']
  else:
    command += ['--unshare-user', '--uid', str(identity), '--gid', str(identity)]
  for path in visible:  # else bubblewrap makes parent folders that only root may enter
    command += [
      '--dir',
      os.path.dirname(path),
      '--dev-bind' if path in _DEVICES else '--ro-bind',
      path,
      path,
    ]
  for path, target in links.items():
    command += ['--symlink', target, path]
  command += [
    '--ro-bind',
    inside.__file__,
    '/inside.py',
    '--perms',
    '0777',
    '--size',
    str(disk),
    '--tmpfs',
    '/tmp',
    '--remount-ro',
    '/',
    '--chdir',
    '/tmp',
  ]
  return [*_FIRST_TO_END, *command, '--', *_PYTHON, '/inside.py']


@functools.cache
def _visible():
  """What a sandbox sees of the host: paths, and links {path: target}."""
  there = [path for path in (*_SYSTEM, *_DEVICES) if os.path.exists(path)]
  links = {path: os.readlink(path) for path in there if os.path.islink(path)}
  prefix = os.path.realpath(sys.base_prefix)
  python = (
    [] if prefix == '/usr' else sorted({_EXECUTABLE, f'{prefix}/lib', f'{prefix}/{sys.platlibdir}'})
  )
  # /usr/local is visible with /usr. A prefix is not only Python's: it may be a home.
  own = [path for path in python if os.path.exists(path) and not path.startswith('/usr/')]
  return [path for path in there if path not in links] + own, links
