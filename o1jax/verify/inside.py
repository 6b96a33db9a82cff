"""The part that runs inside a sandbox of `verify.sandbox`: it gives up its rights, then runs a
program on inputs.

Only the standard library is there, so this file imports nothing else. It reads a JSON object from
its standard input, with

    limits     {name in `resource`: value}
    identity   user and group to become, where this process is root's; null: give up only what the
               limits take
    program    Python source
    function   a name that the program defines, or null
    inputs     with a function, the arguments of each call as a Python literal of a tuple; else
               texts for standard inputs
    output     most bytes of an answer

It writes two lines to its standard output. READY says that all rights are given up and the program
comes next. Then comes a JSON list of answers, each a text or null. Without a function, the program
runs as a script once for each input. An answer is what it printed, or null where its exit status is
not 0. With a function, it is loaded once and gives one answer: a JSON list with [value] for each
call, or null where the call raised or its value is not JSON.

Expected values never come here. So whatever a program does to this process, it cannot make a wrong
answer right.
"""

import ctypes
import errno
import gc
import json
import os
import resource
import select
import signal
import struct
import sys
import types

READY = 'ready'

# System calls by their numbers on x86-64 (Linux's asm/unistd_64.h) and arm64
# (asm-generic/unistd.h).
DENIED = {
  # other processes
  'ptrace': (101, 117),
  'process_vm_readv': (310, 270),
  'process_vm_writev': (311, 271),
  'kcmp': (312, 272),
  # what a process can see
  'mount': (165, 40),
  'umount2': (166, 39),
  'pivot_root': (155, 41),
  'chroot': (161, 51),
  'unshare': (272, 97),
  'setns': (308, 268),
  'name_to_handle_at': (303, 264),
  'open_by_handle_at': (304, 265),
  'quotactl': (179, 60),
  # memory that no limit on a process counts
  'memfd_create': (319, 279),
  'shmget': (29, 194),
  'msgget': (68, 186),
  'semget': (64, 190),
  'mq_open': (240, 180),
  # parts of the kernel that had many holes and that programs of this kind do not need
  'bpf': (321, 280),
  'perf_event_open': (298, 241),
  'userfaultfd': (323, 282),
  'keyctl': (250, 219),
  'add_key': (248, 217),
  'request_key': (249, 218),
  'io_setup': (206, 0),
  'fanotify_init': (300, 262),
  'lookup_dcookie': (212, 18),
  'personality': (135, 92),
  'vmsplice': (278, 75),
  # the machine
  'kexec_load': (246, 104),
  'kexec_file_load': (320, 294),
  'init_module': (175, 105),
  'finit_module': (313, 273),
  'delete_module': (176, 106),
  'reboot': (169, 142),
  'swapon': (167, 224),
  'swapoff': (168, 225),
  'acct': (163, 89),
  'syslog': (103, 116),
  'vhangup': (153, 58),
  'sethostname': (170, 161),
  'setdomainname': (171, 162),
  'settimeofday': (164, 170),
  'clock_settime': (227, 112),
  'adjtimex': (159, 171),
  'clock_adjtime': (305, 266),
}
CLONE, SOCKET = (56, 220), (41, 198)
# From here on the calls have the same numbers everywhere. They came with Linux 5.1 or later, so
# libraries do without them: io_uring, pidfds, the new mount calls, and clone3, whose flags a filter
# cannot read.
NEW_CALLS = 424
# AUDIT_ARCH of linux/audit.h, column of the above.
MACHINES = {
  'x86_64': (0xC000003E, 0),
  'aarch64': (0xC00000B7, 1),
}

_CLONE_NEW = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET
_AF_UNIX = 1
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_LIBC = ctypes.CDLL(None, use_errno=True)


def main(leader: int | None = None) -> None:
  """Reads a request, gives up its rights, and answers. It also returns in processes that have run
  the program, which end after it.

  Args:
    leader: a pipe whose other end another process holds. When that end closes, this process ends
      too.
  """
  with open(0, 'rb', closefd=False) as file:
    request = json.load(file)
  confine(request['limits'], request['identity'])
  if leader is not None:
    # The other end was closed before `confine` could ask to be told of that.
    if select.select([leader], [], [], 0)[0]:
      os._exit(1)
    os.close(leader)
  # Children need not go through these objects at their end: it takes longer than most programs.
  gc.freeze()
  function, found = request['function'], []
  for text in [''] if function else request['inputs']:
    given, taken = _file(text), _file('')
    child = os.fork()
    if not child:
      if not found:
        os.write(1, f'{READY}\n'.encode())
      _leave_host()
      if function:
        return _calls(request['program'], function, request['inputs'], taken)
      return _script(request['program'], given, taken)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    printed = os.pread(taken.fileno(), request['output'] + 1, 0)
    found.append(
      printed.decode('utf-8', 'replace')
      if code == 0 and len(printed) <= request['output']
      else None
    )
    given.close()
    taken.close()
  with open(1, 'w', encoding='utf-8') as answers:
    answers.write(json.dumps(found, ensure_ascii=False) + '\n')
  os._exit(0)


def encode(value) -> str:
  """The JSON in which values are compared: tuples are lists, sets are sorted lists, keys are texts.
  TypeError for other types."""
  return json.dumps(value, default=_as_list)


def call(name: str, *arguments: int | bytes | None) -> int:
  """Calls the C library. OSError where the function returns -1."""
  result = getattr(_LIBC, name)(*(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
  if result == -1:
    raise OSError(ctypes.get_errno(), f'{name}: {os.strerror(ctypes.get_errno())}')
  return result


def confine(limits: dict[str, int], identity: int | None) -> None:
  """Gives up all rights of this process and its children for ever. Without an identity it gives up
  only what the limits take."""
  if identity is not None and os.getuid() == 0:
    os.setgroups([])
    os.setresgid(identity, identity, identity)
    os.setresuid(identity, identity, identity)
  for name, value in limits.items():
    number = getattr(resource, name)
    hard = resource.getrlimit(number)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(number, (value, value))
  call('prctl', _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
  if identity is not None:
    # _LINUX_CAPABILITY_VERSION_3: two words each of effective, permitted and inheritable ones
    version = 0x20080522
    call('capset', struct.pack('=Ii', version, 0), bytes(24))
    call('prctl', _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    rules = filter_of(os.uname().machine)
    held = ctypes.create_string_buffer(rules)
    call(
      'prctl', _PR_SET_SECCOMP, 2, struct.pack('@HP', len(rules) // 8, ctypes.addressof(held)), 0, 0
    )


def filter_of(machine: str) -> bytes:
  """The seccomp filter: classic BPF over `struct seccomp_data` (linux/seccomp.h,
  linux/filter.h)."""
  if machine not in MACHINES:
    raise ValueError(
      f'no system calls are known of the machine {machine}: a sandbox needs {" or ".join(MACHINES)}'
    )
  architecture, column = MACHINES[machine]
  kill, allow, refuse, absent = (
    (0x06, 0, 0, code)
    for code in (0x80000000, 0x7FFF0000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS)
  )
  # Loads; the low half of the first argument.
  number, abi, argument = ((0x20, 0, 0, offset) for offset in (0, 4, 16))
  # (jump, steps over if true, steps over if false, value).
  equal, at_least, any_bit = (
    0x15,
    0x35,
    0x45,
  )
  rules = [abi, (equal, 1, 0, architecture), kill, number, (at_least, 0, 1, NEW_CALLS), absent]
  for numbers in DENIED.values():
    rules += [(equal, 0, 1, numbers[column]), refuse]
  rules += [(equal, 0, 4, CLONE[column]), argument, (any_bit, 0, 1, _CLONE_NEW), refuse, allow]
  rules += [(equal, 0, 4, SOCKET[column]), argument, (equal, 1, 0, _AF_UNIX), refuse, allow]
  return b''.join(struct.pack('=HBBI', *rule) for rule in [*rules, allow])


def _leave_host():
  """Closes the standard files, which are the host's."""
  null = os.open(os.devnull, os.O_RDWR)
  for number in range(3):
    os.dup2(null, number)
  os.close(null)


def _file(text):
  """A file without a name, about to be read. Unlike a pipe its size is limited, and it never waits
  for a process that stays."""
  file = open('.text', 'x+b')
  os.unlink('.text')
  file.write(text.encode())
  file.seek(0)
  return file


def _script(program, given, taken):
  for number, file in enumerate((given, taken)):
    os.dup2(file.fileno(), number)
    file.close()
  _load(program, '__main__')


def _calls(program, function, inputs, taken):
  arguments = [eval(text, {}) for text in inputs]
  defined = _load(program, 'solution')[function]
  values = []
  for given in arguments:
    try:
      values.append(f'[{encode(defined(*given))}]')
    except Exception:
      values.append('null')
  taken.write(f'[{", ".join(values)}]'.encode())
  taken.flush()
  os._exit(0)


def _load(program, name):
  """Runs a program as the module of that name, and returns what it defines."""
  sys.argv[:], sys.modules[name] = ['solution.py'], types.ModuleType(name)
  exec(compile(program, 'solution.py', 'exec'), sys.modules[name].__dict__)
  return sys.modules[name].__dict__


def _as_list(value):
  if isinstance(value, set | frozenset):
    return sorted(value)
  raise TypeError(f'{type(value).__name__} is no JSON')


if __name__ == '__main__':
  main()
