"""Sandboxes: what a program has in one, what ends it, and that a sandbox which does not work is no
verdict."""

import contextlib
import functools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from o1jax.verify import inside, launch, sandbox
from o1jax.verify.sandbox import Limits, SandboxError

ROOT = pathlib.Path(__file__).parents[2]
PATIENT = Limits(seconds=30.0)
REFUSED = 'import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare(0x7E020000) != 0)'
LAST = ['sleep', '612.75']  # what the last process of a program runs
DAEMON = f"""
import os, signal, time
def daemon():
  if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
      os.execvp('sleep', {LAST})
    os._exit(0)
"""
WAITING = DAEMON + 'daemon()\ntime.sleep(600)'
CALLER = f"""
import sys
from o1jax.verify import sandbox
sandbox.run({WAITING!r}, [''], backend=sys.argv[1], limits=sandbox.Limits(seconds=600.0))
"""


@pytest.fixture(params=sandbox.SANDBOXES)
def backend(request):
  if request.param == 'bubblewrap' and not shutil.which('bwrap'):
    pytest.skip('bubblewrap is not installed')
  if subprocess.run([sys.executable, '-c', REFUSED]).returncode:
    pytest.skip('the system does not permit this user to make namespaces')
  assert sandbox.defect(request.param) == ''
  return request.param


def called(backend, program, *arguments, limits=PATIENT):
  """What the function `f` of a program returns."""
  (answer,) = sandbox.run(program, [repr(arguments)], function='f', backend=backend, limits=limits)
  ((value,),) = json.loads(answer)
  return value


def printed(backend, program, *inputs, limits=PATIENT):
  return sandbox.run(program, list(inputs) or [''], backend=backend, limits=limits)


def last_processes():
  """Of all programs: the process ids of what runs LAST."""
  found = []
  for path in pathlib.Path('/proc').glob('[0-9]*/cmdline'):
    with contextlib.suppress(OSError):
      if path.read_bytes().split(b'\0')[:2] == [word.encode() for word in LAST]:
        found.append(path.parent)
  return found


def wait_for(condition):
  deadline = time.monotonic() + 30
  while not condition() and time.monotonic() < deadline:
    time.sleep(0.02)
  return condition()


class TestAnswers:
  def test_a_script_for_each_input(self, backend):
    program = 'import sys\nif __name__ == "__main__": print(int(input()) ** 2)\nsys.exit(0)'
    assert printed(backend, program, '3\n', '-4', 'x', '5') == ['9\n', '16\n', None, '25\n']

  def test_a_function_for_each_call(self, backend):
    program = 'count = []\ndef f(a, b):\n  count.append(a)\n  print("noise")\n  return a / b, len(count)\nraise_ = 1'
    answers = sandbox.run(
      program, ['(1, 2)', '(1, 0)', '("a", 2)', '(6, 2)'], function='f', backend=backend
    )
    assert json.loads(answers[0]) == [[[0.5, 1]], None, None, [[3.0, 4]]]

  @pytest.mark.parametrize(
    'program', ['f = 1 +', 'def g(): pass', 'import os\nos._exit(0)', 'raise SystemExit']
  )
  def test_a_program_without_the_function_has_none(self, backend, program):
    assert sandbox.run(program, ['()'], function='f', backend=backend) in ([None], [''])

  def test_texts_of_any_kind(self, backend):
    assert printed(
      backend, 'import sys\nprint(sys.stdin.read(), end="")', 'ä€\n\x00"\\', 'x' * 10**6
    ) == ['ä€\n\x00"\\', 'x' * 10**6]
    assert printed(backend, 'import os\nos.write(1, b"\\xff")') == ['\ufffd']

  def test_hashes_are_the_same_each_time(self, backend):
    assert len({tuple(printed(backend, 'print(hash("a"))')) for _ in range(2)}) == 1


class TestRoom:
  def test_what_there_is(self, backend):
    program = """
import os, socket, sys
def f():
  open('new', 'w').write('x')
  return {'root': os.listdir('/'), 'dev': sorted(os.listdir('/dev')), 'here': os.listdir(), 'cwd': os.getcwd(),
          'fds': [fd for fd in range(64) if is_open(fd)], 'ids': [*os.getresuid(), *os.getresgid()],
          'groups': os.getgroups(), 'session': [os.getsid(0), os.getpgid(0)],
          'name': socket.gethostname(), 'environ': dict(os.environ), 'path': sys.path,
          'python': sys.version, 'zero': open('/dev/zero', 'rb').read(3).hex(), 'random': len(os.urandom(3)),
          'null': open('/dev/null', 'w').write('x'),
          'mounts': {path: os.statvfs(path).f_flag & 7 for path in ('/', '/usr', '/tmp')}}
def is_open(fd):
  try: return bool(os.fstat(fd))
  except OSError: return False
"""
    found = called(backend, program)
    system = {'bin', 'dev', 'etc', 'lib', 'lib32', 'lib64', 'sbin', 'tmp', 'usr', 'inside.py'}
    assert set(found['root']) <= system | {launch._EXECUTABLE.split('/')[1]}
    assert found['dev'] == ['null', 'urandom', 'zero'] and (
      found['zero'],
      found['random'],
      found['null'],
    ) == ('000000', 3, 1)
    # os.ST_NODEV is not there before Python 3.12.
    read_only, no_suid, no_device = (
      os.ST_RDONLY,
      os.ST_NOSUID,
      4,
    )
    assert found['mounts'] == {path: read_only | no_suid | no_device for path in ('/', '/usr')} | {
      '/tmp': no_suid | no_device
    }
    assert found['here'] == ['new'] and found['cwd'] == '/tmp' and found['name'] == 'sandbox'
    assert len(found['fds']) <= 5  # the standard ones, what a call answers to, and its empty input
    assert len(set(found['ids'])) == 1 and found['ids'][0] in sandbox._IDENTITIES
    assert os.getuid() or found['groups'] == []
    assert 0 not in found['session']  # nobody outside would get a signal to the group
    assert found['environ'].keys() <= {
      'PATH',
      'HOME',
      'TMPDIR',
      'LANG',
      'PYTHONHASHSEED',
      'PWD',
      'LC_CTYPE',
    }
    assert str(ROOT) not in found['path'] and found['python'] == sys.version

  def test_no_rights_are_left(self, backend):
    program = """
import ctypes, resource, struct
def f():
  libc, held = ctypes.CDLL(None), ctypes.create_string_buffer(24)
  libc.capget(struct.pack('=Ii', 0x20080522, 0), held)
  limits = {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith('RLIMIT')}
  return held.raw.hex(), [libc.prctl(23, right) for right in range(41)], libc.prctl(39, 0, 0, 0, 0), limits
"""
    limits = Limits(seconds=9.5, memory=1 << 30, processes=7, files=33, disk=1 << 20)
    rights, _, no_new, found = called(backend, program, limits=limits)
    assert (rights, no_new) == ('00' * 24, 1)
    assert found['RLIMIT_AS'] == [1 << 30] * 2 and found['RLIMIT_CPU'] == [11] * 2
    assert found['RLIMIT_NPROC'] == [7] * 2 and found['RLIMIT_NOFILE'] == [33] * 2
    assert found['RLIMIT_FSIZE'] == [1 << 20] * 2 and found['RLIMIT_CORE'] == [1] * 2

  def test_system_calls_are_refused(self, backend):
    program = """
import ctypes
def f(numbers):
  libc, found = ctypes.CDLL(None, use_errno=True), {}
  for name, arguments in numbers.items():
    libc.syscall(*map(ctypes.c_long, arguments))
    found[name] = ctypes.get_errno()
  return found
"""
    _, column = inside.MACHINES[os.uname().machine]
    calls = {name: (number[column], *[-1] * 5) for name, number in inside.DENIED.items()}
    calls |= dict(
      user=(inside.CLONE[column], 0x10000011, 0, 0, 0, 0), inet=(inside.SOCKET[column], 2, 1, 0)
    )
    assert called(backend, program, calls) == dict.fromkeys(calls, 1)  # EPERM
    # ENOSYS.
    assert called(backend, program, {'clone3': (435, 0, 0), 'io_uring_setup': (425, 1, 0)}) == {
      'clone3': 38,
      'io_uring_setup': 38,
    }

  def test_system_calls_are_refused_by_their_names(self, backend):
    """Numbers of another source, the C library. Without a filter these would not fail, or not with
    EPERM."""
    program = """
import ctypes, os
def f():
  libc, found, text = ctypes.CDLL(None, use_errno=True), {}, ctypes.create_string_buffer(b'x')
  for name, *arguments in [('ptrace', 0, 0, 0, 0), ('unshare', 0), ('setns', -1, 0), ('personality', -1),
                           ('memfd_create', text, 0), ('shmget', 0, 4096, 0o1600), ('msgget', 0, 0o1600),
                           ('semget', 0, 1, 0o1600), ('process_vm_readv', os.getpid(), None, 0, None, 0, 0),
                           ('process_vm_writev', os.getpid(), None, 0, None, 0, 0), ('vmsplice', -1, None, 0, 0),
                           ('name_to_handle_at', -1, text, None, None, 0), ('fanotify_init', -1, 0),
                           ('chroot', None), ('umount2', None, 0), ('acct', text), ('swapoff', None),
                           ('quotactl', -1, None, 0, None)]:
    ctypes.set_errno(0)
    found[name] = getattr(libc, name)(*arguments), ctypes.get_errno()
  return found
"""
    found = called(backend, program)
    assert found == dict.fromkeys(found, [-1, 1])

  @pytest.mark.skipif(os.getuid() != 0, reason='needs root, who has groups to give up')
  def test_groups_are_left(self, backend, monkeypatch):
    monkeypatch.setattr(
      launch.subprocess, 'Popen', functools.partial(subprocess.Popen, extra_groups=[0, 12345])
    )
    assert called(backend, 'import os\ndef f(): return os.getgroups()') == []

  def test_nothing_outlives_a_program(self, backend):
    assert printed(backend, DAEMON + 'daemon()\nprint("a")') == ['a\n']
    assert last_processes() == []
    assert printed(backend, WAITING, limits=Limits(seconds=0.5)) is None
    assert last_processes() == []

  def test_programs_share_nothing(self, backend):
    program = 'import os\nprint(os.path.exists("x"))\nopen("x", "w")'
    assert printed(backend, program, '', '') == ['False\n', 'True\n']  # of one answer
    assert printed(backend, program) == ['False\n']


class TestLimits:
  @pytest.mark.parametrize(
    'limits, program',
    [
      (Limits(memory=128 << 20), 'bytearray(1 << 28)'),
      (
        Limits(processes=5),
        'import os, time\nfor _ in range(5):\n  if not os.fork(): time.sleep(9); os._exit(0)',
      ),
      (Limits(files=20), 'files = [open("/dev/null") for _ in range(20)]'),
      (Limits(disk=1 << 20), 'with open("x", "wb") as f: f.write(b"x" * (1 << 20) + b"x")'),
      (
        Limits(disk=1 << 20),
        'for i in "ab":\n  with open(i, "wb") as f: f.write(b"x" * (1 << 19) + b"x")',
      ),
      (Limits(output=1000), 'print("x" * 1000)'),
    ],
  )
  def test_what_a_program_may_take(self, backend, limits, program):
    assert printed(backend, program) != [None]
    assert printed(backend, program, limits=limits) in ([None], None)

  @pytest.mark.parametrize('program', ['while True: pass', 'import os\nos.kill(os.getpid(), 19)'])
  def test_time(self, backend, program):
    began = time.monotonic()
    assert printed(backend, program, limits=Limits(seconds=0.5)) is None
    assert 0.5 <= time.monotonic() - began < launch.STARTUP

  def test_time_is_of_all_inputs_together(self, backend):
    program = 'import time\ntime.sleep(0.3)'
    assert printed(backend, program, '', '', '') == ['', '', '']
    assert printed(backend, program, '', '', '', limits=Limits(seconds=0.8)) is None

  def test_many_files(self, backend):
    """Bubblewrap has no option for it."""
    answer = printed(backend, 'for i in range(5000): open(str(i), "w").close()')
    assert answer == ([None] if backend == 'namespaces' else [''])


class TestEnds:
  @pytest.mark.parametrize('whole', [True, False])
  def test_with_whoever_asked(self, backend, whole):
    """Killed alone, or with the group of processes that `verify.worker` ends."""
    caller = subprocess.Popen(
      [sys.executable, '-c', CALLER, backend],
      cwd=ROOT,
      start_new_session=True,
      env=os.environ | dict(PYTHONPATH=str(ROOT)),
    )
    try:
      assert wait_for(last_processes)
      (process,) = last_processes()
      assert (process / 'oom_score_adj').read_text() == '1000\n'
      assert os.readlink(process / 'ns/net') != os.readlink('/proc/self/ns/net')
    finally:
      os.killpg(caller.pid, signal.SIGKILL) if whole else caller.kill()
      caller.wait()
    assert wait_for(lambda: not last_processes())


class TestDefects:
  def test_a_sandbox_that_breaks_is_no_verdict(self, backend, monkeypatch):
    assert printed(backend, 'print(1)') == ['1\n']
    monkeypatch.setattr(launch, '_visible', lambda: (['/nowhere'], {}))
    with pytest.raises(SandboxError, match=f'{backend} began no program: .*/nowhere') as raised:
      printed(backend, 'print(1)')
    assert '\n' not in str(raised.value)

  def test_a_program_that_is_gone(self, monkeypatch):
    monkeypatch.setattr(launch, 'bwrap', lambda: '/nowhere/bwrap')
    with pytest.raises(SandboxError, match='bubblewrap began no program: .*not found'):
      printed('bubblewrap', 'print(1)')

  def test_a_sandbox_that_does_not_come(self, monkeypatch):
    monkeypatch.setattr(launch, '_command', lambda *_: ['sleep', '99'])
    monkeypatch.setattr(launch, 'STARTUP', 0.2)
    monkeypatch.setattr(sandbox, 'STARTUP', 0.2)
    with pytest.raises(SandboxError, match='namespaces began no program: it does not say why'):
      printed('namespaces', 'print(1)')

  def test_an_input_that_finds_no_room(self, backend):
    with pytest.raises(
      SandboxError, match='began no program: OSError: .* (No space left|File too large)'
    ):
      printed(backend, 'print(1)', 'x' * 10000, limits=Limits(disk=4096))

  def test_a_sandbox_that_isolates_nothing_does_not_work(self, monkeypatch):
    run = sandbox.run
    monkeypatch.setattr(
      sandbox,
      'run',
      lambda *args, **settings: run(*args, **settings | dict(backend='unsafe_local')),
    )
    found = sandbox.defect.__wrapped__('namespaces')
    for right in ('read files of the host', 'see processes of the host', 'open a socket'):
      assert right in found
    assert os.getuid() or 'be root' in found and 'write where the host reads' in found

  def test_why_there_is_none(self, monkeypatch):
    monkeypatch.setattr(sandbox, 'defect', lambda name: f'no {name} here')
    assert sandbox.working() is None
    with pytest.raises(
      SandboxError, match=r'\(bubblewrap: no bubblewrap here; namespaces: no namespaces here\)'
    ):
      sandbox.choose('auto')
    with pytest.raises(SandboxError, match=r'\(namespaces: no namespaces here\): .*unsafe_local'):
      sandbox.choose('namespaces')


class TestChoose:
  def test_off_tells_how_to_turn_it_on(self):
    with pytest.raises(SandboxError, match="backend='auto'.*unsafe_local") as raised:
      sandbox.choose('off')
    assert '\n' not in str(raised.value)

  def test_the_one_that_works(self, backend):
    assert sandbox.choose(backend) == backend
    assert sandbox.choose('auto') == sandbox.working() in sandbox.SANDBOXES
    assert backend in sandbox.describe(backend) and any(map(str.isdigit, sandbox.describe(backend)))

  def test_bubblewrap_first(self, monkeypatch):
    monkeypatch.setattr(sandbox, 'defect', lambda name: '')
    assert sandbox.working() == 'bubblewrap'
    monkeypatch.setattr(sandbox, 'defect', lambda name: 'x' * (name == 'bubblewrap'))
    assert sandbox.working() == sandbox.choose('auto') == 'namespaces'

  def test_an_unknown_one(self):
    with pytest.raises(
      ValueError, match="'docker' is unknown: choose one of off, auto, bubblewrap"
    ):
      sandbox.choose('docker')


class TestUnsafeLocal:
  def test_has_to_be_named_and_works_under_limits(self):
    assert sandbox.choose('unsafe_local') == sandbox.describe('unsafe_local') == 'unsafe_local'
    program = (
      'import os\nprint(os.environ.get("O1JAX"), os.getcwd() != "/", os.listdir())\nopen("x", "w")'
    )
    assert printed('unsafe_local', program) == ['None True []\n']
    assert printed('unsafe_local', 'bytearray(1 << 28)', limits=Limits(memory=128 << 20)) == [None]
    assert (
      printed('unsafe_local', 'import os\nos.fork()\nwhile True: pass', limits=Limits(seconds=0.5))
      is None
    )

  def test_what_it_started_ends_with_it(self):
    program = (
      f'import os, time\nif not os.fork(): os.execvp("sleep", {LAST})\ntime.sleep(0.5)\nprint(1)'
    )
    assert printed('unsafe_local', program) == ['1\n']
    assert wait_for(lambda: not last_processes())
