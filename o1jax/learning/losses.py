"""Losses: from log-probs of a tree's tokens and credit on its nodes to one number each.

All take per-node or per-token arrays of a whole tree and return a scalar; every mean is over what
the loss is about (expert tokens, searched slots, valued nodes), never over padding.
"""

import jax
import jax.numpy as jnp

from o1jax.types import Array


def masked_mean(x: Array, mask: Array) -> Array:
  """Mean of x where the mask (or weight) is; 0 if that is nowhere."""
  return jnp.sum(jnp.where(mask > 0, x, 0) * mask) / jnp.maximum(jnp.sum(mask), 1e-9)


def behaviour_cloning(logprob: Array, weight: Array, length: Array) -> Array:
  """Negative log-likelihood per token of the expert's nodes (arXiv:2412.14135, section 6).

  logprob [B, X, A, L] (0 on padding), weight [B, X, A] >= 0, length [B, X, A].
  """
  return -jnp.sum(logprob.sum(-1) * weight) / jnp.maximum(jnp.sum(weight * length), 1e-9)


def sibling_distillation(
  logprob: Array, sampled: Array, prior: Array, target: Array, mask: Array
) -> Array:
  """KL(target || policy) over sampled siblings, mean over searched slots.

  The policy's share of a sampled step is its prior times its change since sampling: p(a) ~ prior(a)
  * pi(a) / mu(a), as in Sampled MuZero (arXiv:2104.06303). At pi = mu it is the prior; it is least,
  0, where p equals the target.

  Args:
    logprob: [B, X, A] log pi of each step.
    sampled: [B, X, A] log mu, of the policy that sampled it.
    prior: [B, X, A] share of the samples that fell on the candidate.
    target: [B, X, A] improved policy, 0 on slots that were not searched.
    mask: [B, X, A] real candidates.
  """
  keep = mask & (prior > 0)
  logits = jnp.where(keep, jnp.log(jnp.where(keep, prior, 1)) + logprob - sampled, -1e30)
  policy = jax.nn.log_softmax(logits, axis=-1)
  some = target > 0
  kl = jnp.sum(jnp.where(some, target * (jnp.log(jnp.where(some, target, 1)) - policy), 0), axis=-1)
  searched = (target.sum(-1) > 0) & (keep.sum(-1) > 1)
  return masked_mean(kl, searched)


def policy_gradient(
  logprob: Array, sampled: Array, advantage: Array, mask: Array, *, clip: float = 0.2
) -> Array:
  """Clipped surrogate per token (PPO, arXiv:1707.06347), mean over tokens.

  At logprob == sampled and advantage 1 its gradient is that of behaviour cloning.

  Args:
    logprob: [B, X, A, L].
    sampled: [B, X, A, L] from the tree, constant.
    advantage: [B, X, A], the same for all tokens of a step.
    mask: [B, X, A, L] real tokens.
    clip: epsilon.
  """
  ratio = jnp.exp(jnp.where(mask, logprob - sampled, 0))
  gain = advantage[..., None]
  surrogate = jnp.minimum(ratio * gain, jnp.clip(ratio, 1 - clip, 1 + clip) * gain)
  return -masked_mean(surrogate, mask)


def kl_to_reference(logprob: Array, reference: Array, mask: Array) -> Array:
  """The k3 estimate of KL(policy || reference) per token (arXiv:2402.03300, eq. 4): never
  negative."""
  gap = jnp.where(mask, reference - logprob, 0)
  return masked_mean(jnp.exp(gap) - gap - 1, mask)


def value_loss(value: Array, target: Array, mask: Array) -> Array:
  """Cross-entropy of P(correct) with targets in [0, 1]. value [B, X, A] in logits."""
  loss = -(target * jax.nn.log_sigmoid(value) + (1 - target) * jax.nn.log_sigmoid(-value))
  return masked_mean(loss, mask)
