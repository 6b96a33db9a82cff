"""What a sandboxed process gives up, and how it answers."""

import errno
import json
import os
import pathlib
import struct
import subprocess
import sys

import pytest

from o1jax.verify import inside

ROOT = pathlib.Path(__file__).parents[2]
KILL, ALLOW = 0x80000000, 0x7FFF0000
REFUSE, ABSENT = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
# Numbers of calls that programs make all the time, from asm/unistd_64.h and asm-generic/unistd.h.
NEEDED = {
  'read': (0, 63),
  'write': (1, 64),
  'openat': (257, 56),
  'close': (3, 57),
  'mmap': (9, 222),
  'futex': (202, 98),
  'exit_group': (231, 94),
  'execve': (59, 221),
  'wait4': (61, 260),
  'getrandom': (318, 278),
  'kill': (62, 129),
  'statx': (332, 291),
  'prlimit64': (302, 261),
  'socketpair': (53, 199),
  'rseq': (334, 293),
}
CLONE_NEWUSER, CLONE_NEWNS, SIGCHLD, THREAD = 1 << 28, 1 << 17, 17, 0x3D0F00
INET, NETLINK = 2, 16


def verdict(rules, architecture, number, argument=0):
  """What the classic BPF of seccomp makes of a call, see linux/filter.h."""
  data = struct.pack('=iIQ6Q', number, architecture, 0, argument, *[0] * 5)
  program, at, value = list(struct.iter_unpack('=HBBI', rules)), 0, 0
  while True:
    code, over_true, over_false, operand = program[at]
    if code == 0x06:
      return operand
    if code == 0x20:
      (value,) = struct.unpack_from('=I', data, operand)
    else:
      true = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}[code]
      at += over_true if true else over_false
    at += 1


@pytest.mark.parametrize('machine', inside.MACHINES)
class TestFilterOf:
  def test_denied_calls_are_refused_and_needed_ones_are_not(self, machine):
    architecture, column = inside.MACHINES[machine]
    rules = inside.filter_of(machine)
    found = {
      name: verdict(rules, architecture, call[column])
      for name, call in (inside.DENIED | NEEDED).items()
    }
    assert found == {name: REFUSE for name in inside.DENIED} | {name: ALLOW for name in NEEDED}

  def test_new_calls_are_not_there(self, machine):
    architecture, _ = inside.MACHINES[machine]
    rules = inside.filter_of(machine)
    x32 = 1 << 30  # read(2) of that interface to x86-64
    assert {verdict(rules, architecture, number) for number in (424, 425, 435, 442, 600, x32)} == {
      ABSENT
    }
    assert verdict(rules, architecture, 423) == ALLOW

  def test_calls_of_another_architecture_end_the_process(self, machine):
    rules = inside.filter_of(machine)
    assert verdict(rules, 0x40000003, 0) == KILL  # AUDIT_ARCH_I386

  @pytest.mark.parametrize(
    'call, argument, expected',
    [
      (inside.CLONE, SIGCHLD, ALLOW),
      (inside.CLONE, THREAD, ALLOW),
      (inside.CLONE, CLONE_NEWUSER | SIGCHLD, REFUSE),
      (inside.CLONE, CLONE_NEWNS, REFUSE),
      (inside.SOCKET, 1, ALLOW),
      (inside.SOCKET, INET, REFUSE),
      (inside.SOCKET, NETLINK, REFUSE),
      (
        inside.SOCKET,
        1 << 32 | INET,
        REFUSE,
      ),  # of the first argument the kernel reads the low half, too
    ],
  )
  def test_arguments(self, machine, call, argument, expected):
    architecture, column = inside.MACHINES[machine]
    assert verdict(inside.filter_of(machine), architecture, call[column], argument) == expected


def test_an_unknown_machine_is_told_of():
  with pytest.raises(ValueError, match='machine riscv64: a sandbox needs x86_64 or aarch64'):
    inside.filter_of('riscv64')


@pytest.mark.parametrize(
  'value, expected',
  [
    ((1, [2, (3,)]), [1, [2, [3]]]),
    ({3, 1, 2}, [1, 2, 3]),
    ({'a': frozenset({1})}, {'a': [1]}),
    ({1: 2, None: 3, False: 4}, {'1': 2, 'null': 3, 'false': 4}),
    ('é\n', 'é\n'),
    (None, None),
  ],
)
def test_values_as_json(value, expected):
  assert json.loads(inside.encode(value)) == expected


@pytest.mark.parametrize('value', [object(), 1j, b'x', {(1, 2): 3}, {1, 'a'}, range(3)])
def test_other_values_are_no_json(value):
  with pytest.raises(TypeError):
    inside.encode(value)


def test_a_process_whose_leader_has_ended_runs_nothing(tmp_path):
  request = dict(
    limits={},
    identity=None,
    program=f'open({str(tmp_path / "file")!r}, "w")',
    function=None,
    inputs=[''],
    output=9,
  )
  starts = (
    'import os; from o1jax.verify import inside; read, write = os.pipe(); {}; inside.main(read)'
  )
  env = os.environ | dict(PYTHONPATH=str(ROOT))
  for between, code, answer in [('os.close(write)', 1, ''), ('pass', 0, f'{inside.READY}\n[""]\n')]:
    assert not (tmp_path / 'file').exists()
    process = subprocess.run(
      [sys.executable, '-c', starts.format(between)],
      input=json.dumps(request),
      text=True,
      stdout=subprocess.PIPE,
      cwd=tmp_path,
      env=env,
    )
    assert (process.returncode, process.stdout) == (code, answer)
  assert (tmp_path / 'file').exists()
