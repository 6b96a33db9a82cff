"""Outcome reward by a check on the host, which compiled programs wait for (`jax.pure_callback`).

This is for verdicts that jnp cannot give. A check runs in other processes, so none can hold up or
take down the job. One answer costs at most `seconds` and `memory`, and a call at most `patience`.

If the check itself fails, verdicts are NaN, an update with them is skipped, and
`HostVerifier.failure` says why. An error raised in a callback would leave other devices waiting for
this one.
"""

import json
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from o1jax import tree as tree_lib
from o1jax.model.sharding import TENSOR, each_part
from o1jax.types import UNUSED, Array, Problem, Reference, Tree
from o1jax.verify.outcome import solution_bytes
from o1jax.verify.worker import READY

REMEMBERED = 1 << 16  # answers whose verdicts are kept


class VerifierError(RuntimeError):
  """There are no verdicts. The message is one line: the reason, and the way out."""


def check_verdicts(outcomes: np.ndarray, failure: Callable[[], VerifierError | None]) -> None:
  """Where an outcome is NaN, raises the VerifierError that `failure` returns, or one in its
  place."""
  if np.isnan(outcomes).any():
    raise failure() or VerifierError('another process has no verdicts, and says why')


class HostVerifier:
  """Verdicts by a function of the host. Its processes (`verify.worker`) start with the first answer
  and end with this process.

  Attributes:
    failure: a VerifierError once a call has had no verdicts; all later calls then have none. Else
      None.
  """

  def __init__(
    self,
    check: Callable[[Problem, str], bool],
    *,
    seconds: float = 5.0,
    patience: float = 600.0,
    workers: int = 2,
    memory: float | None = 1.0,
    size: int = 128,
  ):
    """Starts nothing yet.

    Args:
      check: of a task: a function that other processes can import. It is given the problem's `text`
        and `numbers`. If it has an attribute `prepare`, each process calls that without arguments
        before the first answer.
      seconds: for one answer. An answer that takes longer, or ends its process, is wrong.
      patience: seconds for all answers of a call.
      workers: processes.
      memory: GiB for one answer, beyond what the process has. If the answer starts other processes,
        each may use as much. An answer that runs out of it is wrong. None sets no limit. There is
        none on systems other than Linux.
      size: bytes of a solution that the check is given: its end, if it is longer.

    Raises:
      ValueError: the check cannot be passed to other processes.
    """
    try:
      self._told = pickle.dumps((seconds, memory, check))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
      raise ValueError(
        f'{check} cannot be told to other processes ({error}): write it as a function of a module, '
        f'or a '
        'functools.partial of one'
      ) from None
    self.failure = None
    self._patience, self._count, self._size = patience, workers, size
    self._asked, self._lock = queue.SimpleQueue(), threading.Lock()
    self._verdicts, self._threads = {}, []

  def outcome(
    self, reference: Reference, tree: Tree, ids: Array, *, table: tuple[Array, Array]
  ) -> Array:
    """Verdicts on nodes: an `OutcomeFn` once it has the `table`. See `verify.outcome.outcome`.

    Returns:
      [B, N] float32: 1 where the node finishes a correct solution, 0 elsewhere, NaN everywhere
      after a failure.
    """
    text, length = solution_bytes(tree, ids, table, size=self._size)
    done = tree_lib.pick(tree_lib.finished(tree), ids, fill=False)
    part = ('batch',)
    return each_part(self._ask, part, *[part] * 4, alone=True)(reference, text, length, done)

  def _ask(self, reference, text, length, done):
    shape = jax.ShapeDtypeStruct(done.shape, jnp.float32)
    verdicts = jax.pure_callback(self._judge, shape, reference, text, length, done)
    mesh = jax.sharding.get_abstract_mesh()
    # Devices of several processes that share a problem may differ in which answers took too long.
    return jax.lax.pmin(verdicts, TENSOR) if mesh.shape.get(TENSOR, 1) > 1 else verdicts

  def _judge(self, reference, text, length, done):
    reference, text, length, done = jax.tree.map(np.asarray, (reference, text, length, done))
    rows = np.argwhere(done)
    problems = {b: _problem(reference, b) for b in set(rows[:, 0].tolist())}
    verdicts = np.zeros(done.shape, np.float32)
    verdicts[done] = self.verdicts(
      [(problems[b], _text(text[b, n], length[b, n])) for b, n in rows]
    )
    return verdicts if self.failure is None else np.full_like(verdicts, np.nan)

  def verdicts(self, answers: list[tuple[Problem, str]]) -> np.ndarray:
    """Waits for the verdicts on (problem, text) pairs: bool [N]. They mean nothing after a
    failure."""
    futures = [] if self.failure else [self._verdict(answer) for answer in answers]
    late = wait(set(futures), timeout=self._patience).not_done
    if late:
      count = f'{len(late)} of {len(set(futures))}'
      told = f'the verifier on the host has not judged {count} answers within '
      self._fail(
        VerifierError(
          f'{told}{self._patience:g} s: raise config.verifier.patience, or mend the check'
        )
      )
    if self.failure:
      return np.zeros(len(answers), bool)
    return np.array([future.result() for future in futures], bool)

  def _verdict(self, answer):
    with self._lock:
      if not self._threads:
        self._threads = [
          threading.Thread(target=self._serve, daemon=True) for _ in range(self._count)
        ]
        for thread in self._threads:
          thread.start()
      if answer not in self._verdicts:
        if len(self._verdicts) >= REMEMBERED:
          del self._verdicts[next(iter(self._verdicts))]
        self._verdicts[answer] = Future()
        self._asked.put((answer, self._verdicts[answer]))
      return self._verdicts[answer]

  def _serve(self):
    """The work of a thread. It owns a process, and starts another when that has ended."""
    process = None
    while True:
      answer, future = self._asked.get()
      verdict = False
      try:
        if not self.failure:
          process, verdict = self._check(process, answer)
      except VerifierError as error:
        self._fail(error)
      except Exception as error:
        self._fail(
          VerifierError(f'the verifier on the host cannot work: {type(error).__name__}: {error}')
        )
      finally:
        future.set_result(verdict)

  def _check(self, process, answer):
    """(the process that judged an answer, its verdict). A process that has ended between answers is
    replaced."""
    told = process and _tell(process, answer)
    if not told:
      process = self._start()
      told = _tell(process, answer)
    if not told:
      raise VerifierError(
        f'a process of the verifier on the host ended with status {process.wait()}'
      )
    verdict, words = told
    shown = repr(answer[1][-80:])
    if verdict is None:
      raise VerifierError(
        f'the verifier on the host raised {" ".join(words.split())} for the answer {shown}'
      )
    if words:
      logging.warning('the verifier %s, so this answer is wrong: %s', words, shown)
    return process, verdict

  def _start(self):
    command = [sys.executable, '-m', 'o1jax.verify.worker']
    # It uses no accelerator, and imports from the same paths as this process.
    env = os.environ | dict(JAX_PLATFORMS='cpu', PYTHONPATH=os.pathsep.join(map(str, sys.path)))
    process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if _tell(process, self._told) != READY:
      raise VerifierError(
        'a process of the verifier on the host did not start: it ended with status '
        f'{process.wait()}, and what it says stands above'
      )
    return process

  def _fail(self, error):
    with self._lock:
      self.failure = self.failure or error


def _tell(process, words):
  """The answer of a process; None if the process has ended."""
  try:
    process.stdin.write(words if isinstance(words, bytes) else pickle.dumps(words))
    process.stdin.flush()
  except BrokenPipeError:
    return None
  return json.loads(process.stdout.readline() or 'null')


def _problem(reference: Reference, b: int) -> Problem:
  """The part of problem b that a check may read."""
  numbers = tuple(int(number) for number in reference.numbers[b] if number != UNUSED)
  return Problem(prompt='', text=_text(reference.text[b], reference.length[b]), numbers=numbers)


def _text(text: np.ndarray, length: int) -> str:
  return text[:length].tobytes().decode('utf-8', 'replace')
