"""Chapter 2, reward design: numbers on nodes.

`SCORES` is the table of scores. Another score is a function, and a row. A reward is a weighted sum
of scores, and of the exact outcome where a verifier may be asked.
"""

from collections.abc import Callable
from typing import NamedTuple

from o1jax.reward import agreement, probe, reading, scores, tokens
from o1jax.types import Array, Task

CRITIQUE = probe.NAME  # the score that says in words what it thinks of a solution
OUTCOME = 'outcome'  # the name of a verdict among the parts of a reward
ANSWERS = agreement.NAME  # the score whose note on a solution is a number for its answer


def nothing(task: Task) -> str:
  """What most scores need of a task."""
  del task
  return ''


class Score(NamedTuple):
  """A number in [0, 1] on each node.

  Attributes:
    score: (`Known`, tree, ids [B, N]) -> [B, N].
    words: what people call it.
    token: (logits [..., V] at the sampling temperature, token [...]) -> [...], what it reads of the
      distribution that each token was sampled from. The mean over a step's sampled tokens is kept
      on the node, under the name that `tree.note` gives. None = nothing.
    note: as `score`, what it keeps on a new node under that name to read later. None = nothing.
    whole: it depends on the whole tree. So it is computed anew when the search is over, and where
      fewer chains of a tree count.
    read: as `score`, the tokens that the policy reads after each node to give it. They are billed,
      and the keys of all nodes are kept. None = none.
    lacks: Task -> what it lacks for this score, in words; '' where it has it.
    critique: (`Known`, tree, ids [B, N]) -> tokens [B, N, G] and length [B, N]: what stands on
      nodes as a line of text, 0 where that says nothing. None = it is a mere number.
    longest: (texts) -> G.
    critic: it reads what the critic says.
  """

  score: Callable[..., Array]
  words: str
  token: Callable[[Array, Array], Array] | None = None
  note: Callable[..., Array] | None = None
  whole: bool = False
  read: Callable[..., Array] | None = None
  lacks: Callable[[Task], str] = nothing
  critique: Callable[..., tuple[Array, Array]] | None = None
  longest: Callable[..., int] | None = None
  critic: bool = False


SCORES: dict[str, Score] = {
  'critic': Score(scores.critic, "the critic's P(correct | prefix)", critic=True),
  'prm': Score(
    reading.prm,
    "the product of the critic's P over the steps since the last return",
    note=reading.returns,
    critic=True,
  ),
  'confidence': Score(scores.confidence, "the policy's mean confidence in its tokens"),
  'likelihood': Score(scores.likelihood, "the policy's probability of the tokens"),
  'top5': Score(
    tokens.mean_of('top5'), 'mean confidence among the five likeliest tokens', token=tokens.top5
  ),
  'certainty': Score(
    tokens.mean_of('certainty'), 'mean certainty of the next token', token=tokens.certainty
  ),
  'agreement': Score(
    agreement.agreement,
    'the share of the other solutions that agree',
    note=agreement.note,
    whole=True,
    lacks=agreement.lacks,
  ),
  'probe': Score(
    probe.probe,
    "the policy's own judgement of its solution",
    read=probe.tokens_read,
    lacks=probe.lacks,
    critique=probe.critique,
    longest=probe.longest,
  ),
  'heuristic': Score(reading.heuristic, "the task's rule of thumb", lacks=reading.lacks_heuristic),
  'feedback': Score(reading.feedback, 'the world told of no error', lacks=reading.lacks_feedback),
  'length': Score(scores.length, 'the share of its room that a solution takes'),
}
