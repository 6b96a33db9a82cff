"""Programs that attack whoever runs them, among honest ones: nothing of the host is read, reached,
changed or left."""

import contextlib
import os
import pathlib
import secrets
import socket
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from o1jax.verify import code, sandbox
from tests.verify import hostile

# The attacks count as one test, the first.
pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
HOSTILE, HONEST = 500, 80
SHORT = sandbox.Limits(seconds=0.4, memory=256 << 20, processes=8, output=1 << 18)
LONG = sandbox.Limits(seconds=20.0)
OUTSIDE = (
  '/tmp',
  '/var/tmp',
  '/dev/shm',
  '/',
  '/usr',
  '/usr/bin',
  '/usr/lib',
  '/etc',
  '/dev',
  '/run',
)


class Found(NamedTuple):
  """What came of a case."""

  case: hostile.Case
  backend: str
  verdict: bool
  seconds: float


class Watched(NamedTuple):
  """What a host can see of an attack."""

  host: hostile.Host
  servers: dict[str, socket.socket]
  process: subprocess.Popen

  def harms(self) -> list[str]:
    """What has happened to it."""
    found = [
      f'{path} is changed'
      for path in self.host.files
      if not os.path.exists(path) or pathlib.Path(path).read_text() != self.host.secret
    ]
    found += [
      f'{path} is open to all'
      for path in map(pathlib.Path, self.host.files)
      if path.exists() and path.stat().st_mode & 0o77
    ]
    found += [
      f'{path} is new'
      for folder in self.host.folders
      for path in os.listdir(folder)
      if path not in ('canary', 'socket')
    ]
    found += [
      f'{folder} holds a mark'
      for folder in (*OUTSIDE, pathlib.Path.home(), os.getcwd())
      if os.path.isdir(folder) and hostile.MARK in ' '.join(os.listdir(folder))
    ]
    for name, server in self.servers.items():
      with contextlib.suppress(BlockingIOError):
        server.recv(1) if server.type == socket.SOCK_DGRAM else server.accept()
        found.append(f'the {name} socket was reached')
    return found + ['a process of the host has ended'] * (self.process.poll() is not None)


@contextlib.contextmanager
def watching():
  """A secret wherever a host may have some."""
  secret = f'secret-{secrets.token_hex(16)}'
  with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
    places = [
      tempfile.gettempdir(),
      *filter(lambda place: os.access(place, os.W_OK), [pathlib.Path.home()]),
    ]
    folders = [stack.enter_context(tempfile.TemporaryDirectory(dir=place)) for place in places]
    files = [f'{folder}/canary' for folder in folders]
    for file in files:
      pathlib.Path(file).write_text(secret)
      os.chmod(file, 0o600)
      opened = os.open(file, os.O_RDWR)
      os.set_inheritable(opened, True)
      stack.callback(os.close, opened)
    patch.setenv('O1JAX_SECRET', secret)
    kinds = [(socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM)]
    kinds += [(socket.AF_UNIX, socket.SOCK_STREAM)] * 2
    tcp, udp, abstract, named = servers = [
      stack.enter_context(socket.socket(*kind)) for kind in kinds
    ]
    tcp.bind(('127.0.0.1', 0))
    port, name = tcp.getsockname()[1], f'o1jax-{secrets.token_hex(8)}'
    udp.bind(('127.0.0.1', port))
    abstract.bind(f'\0{name}')
    named.bind(f'{folders[0]}/socket')
    for server in servers:
      server.setblocking(False)
      if server is not udp:
        server.listen(100)
    sleeping = stack.enter_context(subprocess.Popen(['sleep', '1000']))
    stack.callback(sleeping.kill)
    yield Watched(
      hostile.Host(secret, files, folders, port, name, sleeping.pid),
      dict(tcp=tcp, udp=udp, abstract=abstract, named=named),
      sleeping,
    )


@pytest.fixture(scope='module')
def watched():
  with watching() as host:
    yield host


@pytest.fixture(scope='module')
def attacked(watched):
  """All cases, dealt out to the sandboxes that work here, some at a time: many sleep until their
  time is over."""
  backends = [name for name in sandbox.SANDBOXES if not sandbox.defect(name)]
  assert backends, [sandbox.defect(name) for name in sandbox.SANDBOXES]
  cases = [hostile.hostile(number, watched.host) for number in range(HOSTILE)]
  for number in range(HONEST):
    cases.insert(number * HOSTILE // HONEST, hostile.honest(number, watched.host))

  def judged(number):
    case, backend = cases[number], backends[number % len(backends)]
    began = time.monotonic()
    limits = LONG if case.name.startswith('honest') else SHORT
    verdict = code.check(case.problem, case.text, backend=backend, limits=limits)
    return Found(case, backend, verdict, time.monotonic() - began)

  before = pid_namespaces()
  with ThreadPoolExecutor(4) as pool:
    found = list(pool.map(judged, range(len(cases))))
  return found, pid_namespaces() - before


def pid_namespaces():
  """Those of all processes that this one may look at."""
  found = set()
  for path in pathlib.Path('/proc').glob('[0-9]*/ns/pid'):
    with contextlib.suppress(OSError):
      found.add(os.readlink(path))
  return found


def test_no_verdict_is_wrong(attacked):
  found, _ = attacked
  assert [
    (one.backend, one.case.name, one.case.text) for one in found if one.verdict != one.case.right
  ] == []
  right = sum(one.case.right for one in found)
  assert len(found) == HOSTILE + HONEST and HONEST / 2 < right < 0.9 * HONEST


def test_none_takes_longer_than_it_may(attacked):
  found, _ = attacked
  slowest = max((one for one in found if not one.case.right), key=lambda one: one.seconds)
  assert slowest.seconds < sandbox.STARTUP, slowest


def test_nothing_of_the_host_is_changed_or_reached(attacked, watched):
  assert watched.harms() == []


def test_no_process_is_left(attacked):
  """All sandboxes have namespaces of their own, which are there as long as a process of theirs
  is."""
  _, seen = attacked
  deadline = time.monotonic() + 30  # for those of other tests at that time
  while seen & pid_namespaces() and time.monotonic() < deadline:
    time.sleep(0.1)
  assert not seen & pid_namespaces()


@pytest.mark.parametrize(
  'name', ['read', 'walk up', 'link', 'symlink out', 'hard link', 'proc environ', 'shell']
)
def test_without_a_sandbox_such_programs_succeed(name):
  with watching() as watched:
    case = hostile.attack([name], 'loot', watched.host, called=True)
    unguarded = case.text.replace(hostile.GUARD, '')
    assert not code.check(case.problem, case.text, backend='unsafe_local', limits=LONG)
    assert code.check(case.problem, unguarded, backend='unsafe_local', limits=LONG)
    assert watched.harms() == []


@pytest.mark.parametrize(
  'name, harm',
  [
    ('tcp', 'tcp socket was reached'),
    ('udp', 'udp socket was reached'),
    ('unix', 'abstract socket was reached'),
    ('unix file', 'named socket was reached'),
    ('tcp by number', 'tcp socket was reached'),
    ('write', 'is changed'),
    ('change', 'is new'),
    ('create', 'is new'),
    ('create by link', 'is new'),
    ('kill host', 'has ended'),
  ],
)
def test_without_a_sandbox_harm_is_seen(name, harm):
  with watching() as watched:
    case = hostile.attack([name], 'nothing', watched.host, called=False)
    code.check(
      case.problem, case.text.replace(hostile.GUARD, ''), backend='unsafe_local', limits=SHORT
    )
    assert harm in ' '.join(watched.harms())
