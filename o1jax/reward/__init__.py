"""Chapter 2, reward design: numbers on nodes.

`SCORES` is the table of scores. Another score is a function, and a row. A reward is a weighted sum
of scores, and of the exact outcome where a verifier may be asked.
"""

from collections.abc import Callable
from typing import NamedTuple

from o1jax.reward import scores, tokens
from o1jax.types import Array

OUTCOME = 'outcome'  # the name of a verdict among the parts of a reward


class Score(NamedTuple):
  """A number in [0, 1] on each node.

  Attributes:
    score: (`Known`, tree, ids [B, N]) -> [B, N].
    words: what people call it.
    token: (logits [..., V] at the sampling temperature, token [...]) -> [...], what it reads of the
      distribution that each token was sampled from. The mean over a step's sampled tokens is kept
      on the node, under the name `tree.note` gives. None = nothing.
  """

  score: Callable[..., Array]
  words: str
  token: Callable[[Array, Array], Array] | None = None


SCORES: dict[str, Score] = {
  'critic': Score(scores.critic, "the critic's P(correct | prefix)"),
  'confidence': Score(scores.confidence, "the policy's mean confidence in its tokens"),
  'likelihood': Score(scores.likelihood, "the policy's probability of the tokens"),
  'top5': Score(
    tokens.mean_of('top5'), 'mean confidence among the five likeliest tokens', token=tokens.top5
  ),
  'certainty': Score(
    tokens.mean_of('certainty'), 'mean certainty of the next token', token=tokens.certainty
  ),
  'length': Score(scores.length, 'the share of its room that a solution takes'),
}
