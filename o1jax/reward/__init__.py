"""Chapter 2, reward design: numbers on nodes.

`SCORES` is the table of scores. Another score is a function, and a row. A reward is a weighted sum
of scores, and of the exact outcome where a verifier may be asked.
"""

from collections.abc import Callable
from typing import NamedTuple

from o1jax.reward import scores
from o1jax.types import Array

OUTCOME = 'outcome'  # the name of a verdict among the parts of a reward


class Score(NamedTuple):
  """A number in [0, 1] on each node.

  score: (params, keys [B], prompt, tree, ids [B, N]) -> [B, N]; words: what people call it.
  """

  score: Callable[..., Array]
  words: str


SCORES: dict[str, Score] = {
  'critic': Score(scores.critic, "the critic's P(correct | prefix)"),
  'confidence': Score(scores.confidence, "the policy's mean confidence in its tokens"),
  'length': Score(scores.length, 'the share of its room that a solution takes'),
}
