"""Preferences within a problem: DPO (arXiv:2305.18290) over whole solutions and over siblings.

There is no reward model. Of two texts, the one with the higher return is preferred. The policy's
implicit reward of a text is beta * log(pi / pi_frozen).
"""

import jax

from o1jax import tree as tree_lib
from o1jax.learning.experience import Experience
from o1jax.learning.losses import masked_mean
from o1jax.reward.process import ended
from o1jax.types import Array

DEFAULTS = dict(beta=0.1, label_smoothing=0.0)


def solution_dpo(e: Experience, *, beta: float = 0.1, label_smoothing: float = 0.0) -> Array:
  """DPO over all pairs of a problem's solutions whose returns differ.

  The log-prob of a solution is the sum over all its steps. A prefix that two solutions share
  cancels, so the trees of any search will do. A solution that was cropped is in no pair.
  """
  flat = lambda x: x.reshape(x.shape[0], -1)
  whole = flat(_along_paths(e, e.of_steps(e.logprob - e.frozen)))
  over = flat(ended(e.tree) & e.node)
  return pairs(whole, flat(e.credit.returns), over, beta=beta, label_smoothing=label_smoothing)


def sibling_dpo(e: Experience, *, beta: float = 0.1, label_smoothing: float = 0.0) -> Array:
  """DPO over all pairs of siblings below which the mean returns differ: preferences between steps,
  as in Chain of Preference Optimization (arXiv:2406.09136).

  Siblings share all that comes before them, so nothing but their own tokens is trained.
  """
  change = e.of_steps(e.logprob - e.frozen)
  known = e.credit.known & e.node
  return pairs(change, e.credit.mean, known, beta=beta, label_smoothing=label_smoothing)


def pairs(
  change: Array, returns: Array, mask: Array, *, beta: float, label_smoothing: float
) -> Array:
  """Mean DPO loss over all pairs (w, l) of the last axis, both in the mask, where w returns more.

  Args:
    change: [..., N] log pi - log pi_frozen of each text.
    returns: [..., N], constant.
    mask: [..., N] bool.
    beta: weight of the KL to the frozen policy. The larger it is, the less the policy changes.
    label_smoothing: the chance that a preference is the wrong way round (cDPO); below 0.5.
  """
  margin = beta * (change[..., :, None] - change[..., None, :])
  loss = -(1 - label_smoothing) * jax.nn.log_sigmoid(margin)
  if label_smoothing:
    loss -= label_smoothing * jax.nn.log_sigmoid(-margin)
  # Means that are equal may differ by rounding.
  better = returns[..., :, None] > returns[..., None, :] + 1e-5
  return masked_mean(loss, better & mask[..., :, None] & mask[..., None, :])


def _along_paths(e: Experience, steps: Array) -> Array:
  """Sum of a node field [B, X, A] over each node and its ancestors."""
  return steps + tree_lib.pick(steps, e.tree.path).sum(-1)[..., None]
