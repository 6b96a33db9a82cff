"""A process that judges solutions for `verify.host`, one at a time:
`python -m o1jax.verify.worker`.

It reads pickles from its standard input: first (seconds, memory, check), then one (problem, text)
after the other. It writes lines of JSON to its standard output: READY, then
[verdict, words, broken] for each answer.

A check runs in a child that is made for one answer. When its seconds are over, the child and all
that it started are ended. The verdict is False if the child ends so, or by itself, or runs out of
memory, and the words say how. The verdict is null, since nothing is known of the answer, if the
check raises anything else or if the machine held this process up meanwhile. Broken is true for
errors that say that the check can judge no answer at all. A function `check.prepare` runs before
the first child, and loads what each child would load anew.
"""

import json
import os
import pathlib
import pickle
import resource
import select
import signal
import sys
import time
from collections.abc import Callable

from o1jax.verify.launch import SandboxError

READY = 'ready'
_BROKEN = (SandboxError, ImportError)
_MOST = 1000  # most characters of an error, so that a pipe takes it at once


def main() -> None:
  """Judges until the standard input ends."""
  # The signals reach the whole job, whose first process decides.
  for number in (
    signal.SIGINT,
    signal.SIGTERM,
  ):
    signal.signal(number, signal.SIG_IGN)
  asked, answers = os.fdopen(os.dup(0), 'rb'), os.fdopen(os.dup(1), 'w')
  # A check must not read our questions, and what it prints must not be an answer.
  os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
  os.dup2(2, 1)
  try:
    seconds, memory, check = pickle.load(asked)
    getattr(check, 'prepare', lambda: None)()
    _say(answers, READY)
    while True:
      _say(answers, judged(check, *pickle.load(asked), seconds=seconds, memory=memory))
  except (EOFError, BrokenPipeError):  # nobody is left
    os._exit(0)


def judged(
  check: Callable, problem, text: str, *, seconds: float, memory: float | None = None
) -> tuple[bool | None, str, bool]:
  """(verdict, words, broken) of a check. See the module docstring, and `HostVerifier` for the
  limits."""
  receive, send = os.pipe()
  began = time.monotonic()
  child = os.fork()
  if not child:
    _check(check, problem, text, send, seconds, memory)
  os.close(send)
  ready, _, _ = select.select([receive], [], [], seconds)
  told = os.read(receive, 4 * _MOST) if ready else b''
  os.close(receive)
  late, took = not ready, time.monotonic() - began
  if late or told:
    _end(child)
  _, status = os.waitpid(child, 0)
  if told:
    return tuple(json.loads(told))
  if late and took > 1.5 * seconds + 1:  # the child may have stood still as long
    return None, f'the machine stood still for {took - seconds:.0f} s', False
  if late:
    return False, f'took over {seconds:g} s', False
  code = os.waitstatus_to_exitcode(status)
  return False, f'ended with status {code}' if code >= 0 else f'was ended by signal {-code}', False


def _check(check, problem, text, send, seconds, memory):
  """The work of the child. It leads a process group of its own, with all that the check may
  start."""
  os.setsid()
  limit = int(seconds) + 2
  resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))  # in case nobody is left to end it
  if memory is not None and sys.platform.startswith('linux'):
    _limit_memory(memory)
  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_DFL)
  try:
    told = [bool(check(problem, text)), '', False]
  except MemoryError:
    told = [False, 'found no more memory', False]
  except Exception as error:
    told = [None, f'it raised {type(error).__name__}: {error}'[:_MOST], isinstance(error, _BROKEN)]
  os.write(send, json.dumps(told).encode())
  os._exit(0)


def _limit_memory(memory):
  """Limits each process by itself, beyond what it has mapped already. With JAX loaded that is some
  GiB, hardly used."""
  mapped = int(pathlib.Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
  _, most = resource.getrlimit(resource.RLIMIT_AS)
  limit = mapped + int(memory * 2**30)
  limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
  resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _end(child):
  try:
    os.killpg(child, signal.SIGKILL)
  except ProcessLookupError:  # it does not lead its group yet
    os.kill(child, signal.SIGKILL)


def _say(answers, words):
  answers.write(json.dumps(words) + '\n')
  answers.flush()


if __name__ == '__main__':
  main()
