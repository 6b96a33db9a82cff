"""When to move on: cloning warms up the policy, and policy gradient takes over once cloning stops
paying."""

from collections.abc import Sequence


def plateaued(history: Sequence[float], *, patience: int = 2, min_gain: float = 0.01) -> bool:
  """True once the best of the last `patience` validations gains less than `min_gain` over the best
  before them.

  This is the roadmap's guess at o1 (arXiv:2412.14135, section 6): behaviour cloning first, then
  policy gradient when its improvement plateaus.

  Args:
    history: validation accuracies in [0, 1], oldest first.
    patience: validations without enough gain, at least 1.
    min_gain: in accuracy.
  """
  if patience < 1:
    raise ValueError(f'patience={patience} must be at least 1')
  if len(history) <= patience:
    return False
  return max(history[-patience:]) < max(history[:-patience]) + min_gain


def ever_plateaued(history: Sequence[float], *, patience: int = 2, min_gain: float = 0.01) -> bool:
  """True from the first plateau on: a later gain by policy gradient must not bring cloning back."""
  return any(
    plateaued(history[:n], patience=patience, min_gain=min_gain) for n in range(1, len(history) + 1)
  )
