"""What a search over some problems is read as, and what it answered."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from o1jax.search import Budget
from o1jax.types import Array, Prompt, Tree, Verifier
from o1jax.verify.host import VerifierError

# Numbers of `Verdicts` that each problem has.
BY_PROBLEM = (
  *('tokens', 'flops', 'scoring', 'seconds', 'samples', 'right', 'unjudged'),
  *('score', 'late', 'ease'),
)


class Readout(NamedTuple):
  """One row of a results table that a search can be read as.

  method: what the row is called. rule: a row of `search.CHOICES`. budget: what was asked, and the
  units that are spent. chains: how many chains of a best-of-N tree count; 0 = all of the tree.
  critic: whether what it answers depends on the critic, which is then billed.
  """

  method: str
  rule: str
  budget: Budget
  chains: int = 0
  critic: bool = True


class Reading(NamedTuple):
  """How a searched tree becomes rows of a table.

  Attributes:
    rules: rows of `search.CHOICES`, one a readout.
    ease: (tree) -> [B], how easy each problem looks by its tree, which is not judged; None = nobody
      asks.
    chains: of a best-of-N tree, each readout counts as many chains as a call says.
    verifier: judges, afterwards.
    choose: (tree, rule=, first=, task=) -> node ids [B], see `search.choose.choose`.
    spell: (tree, ids [B, N]) -> bytes [B, N, S] of each solution's end, and how many [B, N].
    cost: (prompt, tree) -> tokens [B], FLOPs [B], and of these the critic's [B].
  """

  rules: tuple[str, ...]
  verifier: Verifier
  choose: Callable[..., Array]
  spell: Callable[[Tree, Array], tuple[Array, Array]]
  cost: Callable[[Prompt, Tree], tuple[Array, Array, Array]]
  ease: Callable[[Tree], Array] | None = None
  chains: bool = False


class Answers(NamedTuple):
  """What one readout answers to N problems, on the host."""

  chosen: np.ndarray  # [N] node id, 0 = no solution was finished
  verdict: np.ndarray  # [N] 1 = right, 0 = wrong, nan = the verifier had no verdict
  text: list[str]  # the end of each chosen solution, '' = none

  @property
  def correct(self) -> np.ndarray:
    """[N] bool."""
    return self.verdict > 0

  @property
  def known(self) -> np.ndarray:
    """[N] bool: there is a verdict. A problem without an answer is known to be wrong."""
    return ~np.isnan(self.verdict)


class States(NamedTuple):
  """What the critic said of each of M states below which a solution ended, and what came of it."""

  value: np.ndarray  # [M] P(correct | prefix)
  right: np.ndarray  # [M] share right of the solutions that ended at or below it
  depth: np.ndarray  # [M] steps from the prompt, from 1
  finished: np.ndarray  # [M] bool: a finished solution; else a prefix


class Verdicts(NamedTuple):
  """One search over N problems, on the host."""

  answers: dict[Readout, Answers]
  tokens: np.ndarray  # [N]
  flops: np.ndarray  # [N]
  scoring: np.ndarray  # [N] of these FLOPs the critic's
  seconds: np.ndarray  # [N] of the problem's batch, shared evenly; without compilation
  samples: np.ndarray  # [N] slots that expand the root: the chains of a best-of-N tree
  right: np.ndarray  # [N] finished solutions that are correct
  unjudged: np.ndarray  # [N] finished solutions without a verdict, which count as neither
  score: np.ndarray  # [N] mean value of the finished solutions, 0 where there is none
  late: np.ndarray  # [N] tokens spent after the first right solution was finished
  ease: np.ndarray  # [N] how easy a problem looks, see `Reading`; 0 where nobody asks
  states: States
  trees: Tree  # judged, of the first batch of problems

  @property
  def chosen(self) -> np.ndarray:
    """[N] node id that the first readout answers with, 0 = none."""
    return next(iter(self.answers.values())).chosen

  def of(self, rows: np.ndarray) -> 'Verdicts':
    """The same search on some of its problems, `rows` [N] bool. States and trees stay those of
    all."""
    some = {name: getattr(self, name)[rows] for name in BY_PROBLEM}
    answers = {
      readout: Answers(a.chosen[rows], a.verdict[rows], [a.text[i] for i in np.flatnonzero(rows)])
      for readout, a in self.answers.items()
    }
    return self._replace(answers=answers, **some)

  def judged(self, readout: Readout) -> np.ndarray:
    """Whether the answer is right, bool, for the problems whose answer has a verdict.

    Raises:
      VerifierError: no answer has one.
    """
    answers = self.answers[readout]
    if not answers.known.any():
      raise VerifierError(
        f'none of {len(answers.known)} answers of {readout.method} has a verdict: mend the check '
        'of the verifier'
      )
    return answers.correct[answers.known]


def joined(parts: Sequence[tuple[np.ndarray, Verdicts]]) -> Verdicts:
  """One search of the problems of several, in the order of the problems.

  Args:
    parts: numbers of problems, and what was found of them. Each problem is in one. States and trees
      are those of the first part.
  """
  order = np.argsort(np.concatenate([numbers for numbers, _ in parts]))
  found = [verdicts for _, verdicts in parts]

  def whole(columns):
    return np.concatenate([*columns])[order]

  answers = {}
  for readout in found[0].answers:
    each = [one.answers[readout] for one in found]
    text = whole(np.array(one.text, object) for one in each).tolist()
    verdict = whole(one.verdict for one in each)
    answers[readout] = Answers(whole(one.chosen for one in each), verdict, text)
  numbers = {name: whole([getattr(one, name) for one in found]) for name in BY_PROBLEM}
  return found[0]._replace(answers=answers, **numbers)
