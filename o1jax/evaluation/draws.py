"""Several draws of a search over the same problems, as one larger search."""

from collections.abc import Sequence

from o1jax.evaluation.accuracy import Verdicts

_SUMMED = ('tokens', 'flops', 'scoring', 'seconds', 'samples', 'right', 'unjudged')


def together(draws: Sequence[Verdicts]) -> Verdicts:
  """The first draw, with the solutions, the bill and the mean score of all of them. Its answers,
  states and trees stay its own."""
  summed = {name: sum(getattr(one, name) for one in draws) for name in _SUMMED}
  score = sum(one.score for one in draws) / len(draws)
  return draws[0]._replace(**summed, score=score)
