"""Outcome reward by a check on the host, which compiled programs wait for (`jax.pure_callback`).

This is for verdicts that jnp cannot give. A check runs in other processes, so none can hold up or
take down the job. One answer costs at most `seconds` and `memory`, and a call at most `patience`.

If the check raises an error for an answer, that answer is unjudged. Counted as wrong it would teach
a policy the verifier's faults (github.com/NVIDIA-NeMo/RL/issues/431). If the verifier itself cannot
work, or leaves too many answers unjudged, all verdicts are `outcome.BROKEN`. An update with them is
skipped, and `HostVerifier.failure` says why. An error raised in a callback would leave other
devices waiting for this one.
"""

import collections
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
from o1jax.model.sharding import TENSOR, map_shards
from o1jax.types import UNUSED, Array, Problem, Reference, Tree
from o1jax.verify.outcome import BROKEN, UNJUDGED, solution_bytes
from o1jax.verify.worker import READY

REMEMBERED = 1 << 16  # answers whose verdicts are kept
RECENT = 1000  # answers of which a share may be unjudged
_FEW = 10  # with fewer of them unjudged than that, nothing is said of the verifier
_CAUSES = 20  # different ones that are told
# Verdicts on their way from the host: of several the least is the one to believe.
_UNJUDGED, _BROKEN = -1.0, -2.0


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
    causes: why answers are unjudged, in words, and how many are for each cause.
  """

  def __init__(
    self,
    check: Callable[[Problem, str], bool],
    *,
    seconds: float = 5.0,
    patience: float = 600.0,
    workers: int = 2,
    memory: float | None = 1.0,
    size: int | tuple[int, ...] = 128,
    unjudged: float = 0.1,
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
      size: bytes of a solution that the check is given: its end, if it is longer. Several numbers
        are those of the parts of a mixture.
      unjudged: share of the last `RECENT` answers that may be unjudged. If more are, or all of a
        call, the verifier is broken. Fewer than `_FEW` never break it.

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
    self.failure, self.causes = None, collections.Counter()
    self._patience, self._count = patience, workers
    self._sizes = size if isinstance(size, tuple) else (size,)
    self._share, self._recent = unjudged, collections.deque(maxlen=RECENT)
    self._asked, self._lock = queue.SimpleQueue(), threading.Lock()
    self._verdicts, self._threads = {}, []

  def outcome(
    self, reference: Reference, tree: Tree, ids: Array, *, table: tuple[Array, Array]
  ) -> Array:
    """Verdicts on nodes: an `OutcomeFn` once it has the `table`. See `verify.outcome.outcome`.

    Returns:
      [B, N] float32: 1 where the node finishes a correct solution, `UNJUDGED` where the check has
        no verdict, 0 elsewhere; `BROKEN` everywhere after a failure.
    """
    text, length = solution_bytes(tree, ids, table, size=max(self._sizes))
    done = tree_lib.pick(tree_lib.finished(tree), ids, fill=False)
    part = ('batch',)
    return map_shards(self._ask, part, *[part] * 4, alone=True)(reference, text, length, done)

  def _ask(self, reference, text, length, done):
    shape = jax.ShapeDtypeStruct(done.shape, jnp.float32)
    verdicts = jax.pure_callback(self._judge, shape, reference, text, length, done)
    mesh = jax.sharding.get_abstract_mesh()
    # Devices of several processes that share a problem may differ in which answers took too long.
    if mesh.shape.get(TENSOR, 1) > 1:
      verdicts = jax.lax.pmin(verdicts, TENSOR)
    verdicts = jnp.where(verdicts == _UNJUDGED, UNJUDGED, verdicts)
    return jnp.where(verdicts == _BROKEN, BROKEN, verdicts)

  def _judge(self, reference, text, length, done):
    reference, text, length, done = jax.tree.map(np.asarray, (reference, text, length, done))
    rows = np.argwhere(done)
    problems = {b: _problem(reference, b) for b in set(rows[:, 0].tolist())}
    verdicts = np.zeros(done.shape, np.float32)
    found = self.verdicts([self._answer(problems[b], text[b, n], length[b, n]) for b, n in rows])
    verdicts[done] = np.where(np.isnan(found), _UNJUDGED, found)
    return verdicts if self.failure is None else np.full_like(verdicts, _BROKEN)

  def _answer(self, problem, text, length):
    """A problem, and as much of the end of its answer as its own task reads."""
    start = max(length - self._sizes[problem.task], 0)
    return problem, _text(text[start:], length - start)

  def verdicts(self, answers: list[tuple[Problem, str]]) -> np.ndarray:
    """Waits for the verdicts on (problem, text)s: float32 [N], 1, 0 or `UNJUDGED`. After a failure
    they mean nothing."""
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
      return np.zeros(len(answers), np.float32)
    self._count_unjudged(dict(zip(answers, futures)))
    return np.array([future.result() for future in futures], np.float32)

  def _count_unjudged(self, futures):
    """Forgets the answers of a call that are unjudged, so that they are asked again, and fails
    where they are too many."""
    bad = {answer: future for answer, future in futures.items() if np.isnan(future.result())}
    with self._lock:
      for answer, future in bad.items():
        if self._verdicts.get(answer) is future:
          del self._verdicts[answer]
      self._recent.extend(np.isnan(future.result()) for future in futures.values())
      count, asked = sum(self._recent), len(self._recent)
    if len(bad) == len(futures) >= _FEW:
      count, asked = len(bad), len(futures)
    elif count < _FEW or count <= self._share * asked:
      return
    cause, _ = self.causes.most_common(1)[0]
    self._fail(
      VerifierError(
        f'the verifier on the host has no verdict on {count} of the last {asked} answers, most '
        f'often because {cause}: mend the check, or raise config.verifier.unjudged={self._share:g}'
      )
    )

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
      verdict = UNJUDGED
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
    verdict, words, broken = told
    words, shown = ' '.join(words.split()), repr(answer[1][-80:])
    if broken:
      raise VerifierError(f'the verifier on the host cannot work: {words} for the answer {shown}')
    if verdict is None:
      self._note(words, shown)
    elif words:
      logging.warning('the verifier %s, so this answer is wrong: %s', words, shown)
    return process, UNJUDGED if verdict is None else float(verdict)

  def _note(self, cause, shown):
    """Counts a cause of an answer without verdict, and tells of it the first time."""
    with self._lock:
      new = cause not in self.causes
      if new and len(self.causes) >= _CAUSES:
        cause, new = 'of other causes', False
      self.causes[cause] += 1
    if new:
      logging.warning('%s, so this answer is not judged: %s', cause, shown)

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
  text = _text(reference.text[b], reference.length[b])
  task = 0 if reference.task is None else int(reference.task[b])
  return Problem(prompt='', text=text, numbers=numbers, task=task)


def _text(text: np.ndarray, length: int) -> str:
  return text[:length].tobytes().decode('utf-8', 'replace')
