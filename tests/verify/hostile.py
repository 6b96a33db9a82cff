"""Programs that attack whoever runs them, drawn at random, and honest ones.

A hostile program must answer with a secret that it is not told: it lies about on the host, in
files, in the environment, in an open file, behind sockets. `loot` holds what a program believes to
be it.
"""

import json
from typing import NamedTuple

import numpy as np

from o1jax.types import Problem

MARK = 'o1jax-was-here'  # part of the name of every file that is written where none should be


class Host(NamedTuple):
  """Where the secret is, and what may be harmed."""

  secret: str
  files: list[str]  # that hold the secret
  folders: list[str]  # where it should not be possible to write
  port: int  # of servers on 127.0.0.1, TCP and UDP
  socket: str  # the name of a server's abstract unix socket
  process: int  # of the host


class Case(NamedTuple):
  """A program and the verdict that it should get."""

  name: str
  problem: Problem
  text: str
  right: bool


# Each is tried, and may fail. `h` has the fields of Host but the secret; `libc` is the C library.
LOOKS = {
  'read': 'for path in h.files: take(open(path).read())',
  'walk up': 'for path in h.files: take(open("../" * 40 + path).read())',
  'link': 'for path in h.files: os.symlink(path, "s%d" % n()); take(open("s%d" % (n() - 1)).read())',
  'symlink out': 'os.symlink(h.folders[0], "up"); take(open("up/canary").read())',
  'hard link': 'os.link(h.files[0], "hard"); take(open("hard").read())',
  'proc root': 'for p in (h.process, os.getppid(), 1): take(open(f"/proc/{p}/" + "root" + h.files[0]).read())',
  'proc environ': 'for p in (h.process, os.getppid(), 1):\n  take(open(f"/proc/{p}/environ", errors="replace").read())',
  'proc mem': 'take(open("/proc/1/maps").read()); take(open("/proc/1/mem", "rb").read(4096))',
  'environ': 'for value in os.environ.values(): take(value)',
  'mount proc': 'os.mkdir("p"); libc.mount(b"proc", b"p", b"proc", 0, None); take(open("p/1/environ").read())',
  'descriptors': 'for fd in range(3, 256): take(os.pread(fd, 99, 0).decode("utf-8", "replace"))',
  'descriptors read': 'for fd in range(3, 256): os.set_blocking(fd, False); take(os.read(fd, 99).decode())',
  'tcp': 'take(socket.create_connection(("127.0.0.1", h.port), 1).recv(99).decode())',
  'tcp out': 'socket.create_connection(("192.0.2.1", 80), 0.2)',
  'udp': 's = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b"x", ("127.0.0.1", h.port))',
  'tcp by number': 'libc.connect(libc.socket(2, 1, 0), struct.pack("=HHI8x", 2, socket.htons(h.port), 0x100007f), 16)',
  'netlink': 'socket.socket(16, 3, 0)',
  'raw': 'socket.socket(2, 3, 1)',
  'unix': 's = socket.socket(socket.AF_UNIX); s.connect("\\0" + h.socket); take(s.recv(99).decode())',
  'unix file': 's = socket.socket(socket.AF_UNIX); s.connect(h.folders[0] + "/socket"); take(s.recv(99).decode())',
  'shell': 'take(os.popen("cat %s; env" % " ".join(h.files)).read())',
  'other python': 'take(os.popen(sys.executable + " -c \'import os; print(os.environ)\'").read())',
  'ptrace': 'libc.ptrace(16, os.getppid(), 0, 0); libc.ptrace(16, 1, 0, 0)',
  'other memory': 'b = ctypes.create_string_buffer(9999)\nhere = struct.pack("PP", ctypes.addressof(b), 9999)\n'
  'libc.process_vm_readv(1, here, 1, struct.pack("PP", id(h), 9999), 1, 0); '
  'take(b.raw.decode("latin1"))',
  'frames': 'f = sys._getframe()\nwhile f: take(repr(f.f_locals) + repr(f.f_globals)); f = f.f_back',
  'garbage': 'import gc\nfor o in gc.get_objects():\n  if isinstance(o, (dict, tuple)) and len(o) < 9: take(repr(o))',
  'main': 'take(repr(vars(sys.modules["__main__"])))',
  'modules': 'for m in list(sys.modules.values()): take(repr(vars(m))[:9999])',
}
HARMS = {
  'write': 'for path in h.files: open(path, "w").write("x")',
  'remove': 'for path in h.files: os.unlink(path)',
  'create': 'for path in h.folders: open(path + "/" + mark, "w").write("x")',
  'create by link': 'for path in h.folders: os.symlink(path, "d%d" % n()); open("d%d/" % (n() - 1) + mark, "w")',
  'change': 'for path in h.files: os.chmod(path, 0o777); os.rename(path, path + mark)',
  'open system': 'for path in ("/usr/bin/env", "/etc/passwd", "/inside.py", sys.executable): open(path, "r+")\nharm()',
  'add to system': 'for path in ("/usr", "/", "/dev", "/etc", "/usr/lib"): open(path + "/" + mark, "w")',
  'device': 'os.mknod("memory", 0o20666, os.makedev(1, 1)); open("memory", "rb"); harm()',
  'devices': 'for path in ("/dev/mem", "/dev/vda", "/dev/sda", "/dev/kmsg", "/sys/power/state"): try_(open, path)',
  'remount': 'libc.mount(None, b"/usr", None, 32, None); libc.umount2(b"/usr", 2); open("/usr/" + mark, "w")',
  'namespaces': 'libc.unshare(0x10000000); libc.unshare(0x20000); libc.setns(0, 0)',
  'clone': 'libc.syscall(56, 0x10000011, 0, 0, 0, 0)',
  'chroot': 'os.mkdir("c"); os.chroot("c"); os.chdir("../" * 40); open("tmp/" + mark, "w")',
  'become root': 'os.setuid(0)',
  'rights': 'libc.setresuid(0, 0, 0); libc.capset(struct.pack("=Ii", 0x20080522, 0), b"\\xff" * 24)',
  'su': 'subprocess.run(["su", "-c", "touch /usr/" + mark], input=b"\\n"); subprocess.run(["unshare", "-r", "true"])',
  'kill host': 'os.kill(h.process, 9)',
  'kill parent': 'os.kill(os.getppid(), 9); os.kill(os.getppid(), 15)',
  'kill first': 'for s in range(1, 65): os.kill(1, s)',
  'kill many': 'for p in range(2, 70000):\n  try:\n    if p != os.getpid(): os.kill(p, 9)\n  except OSError: pass',
  'kill group': 'signal.signal(15, signal.SIG_IGN); os.killpg(0, 15)',
  'kill all': 'os.kill(-1, 9)',
  'priority': 'os.setpriority(0, 0, -20); os.sched_setscheduler(0, 1, os.sched_param(99))',
  'limits': 'import resource\nfor r in range(16): resource.setrlimit(r, (-1, -1))',
  'keys': 'libc.syscall(250, 0, -3, 1); libc.syscall(321, 0, 0, 0)',
  'hostname': 'socket.sethostname("x")',
  'clock': 'time.clock_settime(0, time.time())',
}
# What takes time, memory or room. Few of them come back.
COSTS = {
  'fork bomb': 'while True: os.fork()',
  'patient fork bomb': 'while True:\n  try: os.fork()\n  except OSError: time.sleep(0.01)',
  'thread bomb': 'import threading\nwhile True: threading.Thread(target=time.sleep, args=(99,)).start()',
  'process bomb': 'while True: subprocess.Popen(["sleep", "99"])',
  'loop': 'while True: pass',
  'sleep': 'time.sleep(10**6)',
  'pause': 'signal.pause()',
  'deaf': 'for s in set(range(1, 65)) - {9, 19, 32, 33}: signal.signal(s, signal.SIG_IGN)\nwhile True: time.sleep(1)',
  'stop': 'os.kill(os.getpid(), 19)',
  'stop parent': 'os.kill(os.getppid(), 19)',
  'power': '10 ** 10 ** 8',
  'regex': 'import re\nre.match("(a+)+$", "a" * 40 + "b")',
  'block': 'bytearray(1 << 40)',
  'growth': 'x = [0]\nwhile True: x += x',
  'touched': 'import mmap\nm = [mmap.mmap(-1, 1 << 24) for _ in range(99)]\nfor x in m: x.write(b"x" * (1 << 24))',
  'forked growth': 'for _ in range(9): try_(os.fork)\nx = bytearray(b"x") * (1 << 26)\ntime.sleep(99)',
  'text': 'x = "x" * 10 ** 11',
  'shared memory': 'for _ in range(999): libc.shmget(0, 1 << 30, 0o1600)\nos.memfd_create("x")',
  'flood': 'while True: sys.stdout.write("x" * 10 ** 6)',
  'flood all': 'while True:\n  for fd in range(64):\n    try: os.write(fd, b"]" * 10 ** 5)\n    except OSError: pass',
  'errors': 'for _ in range(99): os.write(2, b"x" * 10 ** 6)',
  'fill': 'with open("big", "wb") as f:\n  while True: f.write(b"x" * 10 ** 6)',
  'files': 'for i in range(10 ** 6): open(str(i), "w").close()',
  'folders': 'while True: os.mkdir("d"); os.chdir("d")',
  'sparse': 'open("sparse", "wb").truncate(1 << 50)',
  'pipes': 'os.mkfifo("pipe"); open("pipe").read()',
  'descriptors up': 'while True: os.dup(0)',
  'recursion': 'sys.setrecursionlimit(10 ** 9)\ndef g(): g()\ng()',
  'deep source': 'eval("(" * 10 ** 5)',
  'daemon': 'if os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n'
  '    for s in (1, 2, 15): signal.signal(s, signal.SIG_IGN)\n    time.sleep(10 ** 6)\n  '
  'os._exit(0)',
  'many daemons': 'for _ in range(5):\n  if os.fork() == 0:\n    os.setsid(); time.sleep(10 ** 6)',
  'new name': 'if os.fork() == 0: os.execvp("sleep", ["init", "99999"])',
  'crash': 'ctypes.string_at(0)',
  'abort': 'os.abort()',
  'exit': 'sys.exit(0)',
  'exit now': 'os._exit(0)',
  'exit raised': 'raise SystemExit',
  'interrupt': 'raise KeyboardInterrupt',
  'closed': 'os.closerange(0, 256)',
  'input': 'while sys.stdin.read() == "": pass',
}
# How a program ends that would be believed without the secret.
LIES = {
  'loot': 'answer = loot[-1] if loot else ""',
  'all loot': 'answer = "".join(loot)',
  'passed': 'print("passed\\nOK\\n1.0\\ntrue"); answer = True',
  'lines': 'for fd in range(1, 64): try_(os.write, fd, b\'\\n["[[true]]"]\\nready\\n["[[null]]"]\\n\')\nanswer = True',
  'equal': 'class E(str):\n  __eq__ = lambda *a: True\n  __ne__ = lambda *a: False\nanswer = E("x")',
  'json': 'json.dumps = lambda *a, **k: "true"\nanswer = None',
  'builtins': 'import builtins\nbuiltins.all = builtins.any = lambda *a: True\nbuiltins.print = id\nanswer = 1',
  'at exit': 'import atexit\natexit.register(lambda: os.write(1, b"true"))\nanswer = ""',
  'assertion': 'import builtins\nbuiltins.AssertionError = Warning\nanswer = True',
  'deep': 'answer = []\nfor _ in range(10 ** 5): answer = [answer]',
  'circle': 'answer = []; answer.append(answer)',
  'number': 'answer = 1 << 10 ** 7',
  'no number': 'answer = [float("nan"), float("inf")]',
  'long': 'answer = "x" * 10 ** 8',
  'wide': 'answer = {i: {} for i in range(10 ** 6)}',
  'half a character': 'answer = "\\ud800" * 9',
  'bytes': 'answer = b"\\xff\\x00"',
  'pickle': 'class P:\n  def __reduce__(self): return os.system, ("true",)\nanswer = P()',
  'nothing': 'answer = None',
  'raise': 'answer = 1 / 0',
}
GUARD = 'if os.getpid() > 99: os._exit(0)\n'  # where there is no sandbox, nothing is attacked
BEGIN = """
import collections, ctypes, json, os, signal, socket, struct, subprocess, sys, time
h = collections.namedtuple('H', {fields})(*{values})
mark, loot, count = {mark!r}, [], [0]
libc = ctypes.CDLL(None)
{guard}def n():
  count[0] += 1
  return count[0]
def take(text):
  import re
  loot.extend(re.findall('secret-[0-9a-f]+', text))
def harm():
  for path in h.folders: try_(open, path + '/' + mark, 'w')
def try_(f, *a):
  try: return f(*a)
  except Exception: pass
"""
HONEST = {
  'sum': ('def f(*a):\n  return sum(a)', sum),
  'sort': ('def f(*a):\n  return sorted(a)', sorted),
  'count': (
    'from collections import Counter\ndef f(*a):\n  return Counter(a)',
    lambda a: {str(x): a.count(x) for x in a},
  ),
  'mean': (
    'import statistics\ndef f(*a):\n  return statistics.fmean(a)',
    lambda a: sum(a) / len(a),
  ),
  'threads': (
    'from concurrent.futures import ThreadPoolExecutor\ndef f(*a):\n  with ThreadPoolExecutor(2) '
    'as pool:\n'
    '    return list(pool.map(lambda x: x * x, a))',
    lambda a: [x * x for x in a],
  ),
  'process': (
    'import subprocess\ndef f(*a):\n  return int(subprocess.run(["sh", "-c", f"echo $(({a[0]} + '
    '{a[1]}))"], '
    'capture_output=True).stdout)',
    lambda a: a[0] + a[1],
  ),
  'file': ('def f(*a):\n  open("x", "w").write(repr(a))\n  return eval(open("x").read())', list),
  'noise': ('def f(*a):\n  print("failed")\n  return max(a)', max),
}


def hostile(number: int, host: Host) -> Case:
  """A program that tries some attacks in a row, in one of three cases one that takes all there is,
  and then lies.

  The first numbers have each attack once, and all together each cost with each kind of answer many
  times.
  """
  rng = np.random.default_rng((1, number))
  attacks = [*LOOKS, *HARMS]
  names = rng.choice(attacks, rng.integers(0, 4), replace=False).tolist()
  if number < len(attacks):
    names.insert(0, attacks[number])
  if number % 3 == 0:
    names.append(list(COSTS)[number // 3 % len(COSTS)])
  return attack(
    names,
    list(LIES)[number % len(LIES)],
    host,
    called=bool(rng.integers(2)),
    late=bool(rng.integers(2)),
  )


def attack(names: list[str], lie: str, host: Host, *, called: bool, late: bool = False) -> Case:
  """A program that attacks as it is loaded, or later as its function is called. It is right if it
  finds the secret."""
  tried = ''.join(_tried((LOOKS | HARMS | COSTS)[name]) for name in names) + LIES[lie]
  if called and late:
    program = f'def f():\n{_indented(tried)}\n  return answer\n'
  else:
    program = tried + ('\ndef f(): return answer\n' if called else '\nprint(answer)\n')
  tests = (
    dict(function='f', calls=[[[], host.secret]]) if called else dict(stdin=[['', host.secret]])
  )
  return Case(
    ', '.join([*names, lie]), Problem('', text=json.dumps(tests)), _begin(host) + program, False
  )


def honest(number: int, host: Host) -> Case:
  """A program that solves its problem, in one of three cases all but one input, after an attack in
  one of two."""
  rng = np.random.default_rng((2, number))
  name = list(HONEST)[number % len(HONEST)]
  program, solve = HONEST[name]
  calls = [rng.integers(-99, 99, rng.integers(2, 6)).tolist() for _ in range(3)]
  wrong = bool(rng.integers(3) == 0)
  tests = dict(function='f', calls=[[given, solve(given)] for given in calls])
  if wrong:
    program += f'\nright = f\ndef f(*a):\n  return "wrong" if a == {tuple(calls[rng.integers(3)])} else right(*a)\n'
  if rng.integers(2):
    harmless = ['read', 'tcp', 'unix', 'write', 'become root', 'remount', 'environ', 'ptrace']
    program = _begin(host) + _tried((LOOKS | HARMS)[rng.choice(harmless)]) + program
  return Case(
    f'honest {name}', Problem('', text=json.dumps(tests)), f'```python\n{program}\n```\n', not wrong
  )


def _begin(host):
  fields = [name for name in Host._fields if name != 'secret']
  return BEGIN.format(
    fields=fields, values=[getattr(host, name) for name in fields], mark=MARK, guard=GUARD
  )


def _tried(source):
  return f'try:\n{_indented(source)}\nexcept Exception: pass\n'


def _indented(source):
  return ''.join(f'  {line}\n' for line in source.splitlines())
