"""Losses: from the log-probs of a tree's tokens and the credit on its nodes to one number each.

Each takes an `Experience` and returns a scalar. Every mean is over what the loss is about (expert
tokens, searched slots, valued nodes), never over padding.
"""

import jax
import jax.numpy as jnp

from o1jax.learning.experience import Experience
from o1jax.types import Array


def masked_mean(x: Array, mask: Array) -> Array:
  """Mean of x where the mask (or weight) is; 0 if that is nowhere."""
  return jnp.sum(jnp.where(mask > 0, x, 0) * mask) / jnp.maximum(jnp.sum(mask), 1e-9)


def behaviour_cloning(e: Experience) -> Array:
  """Negative log-likelihood per token of the expert's nodes (arXiv:2412.14135, section 6)."""
  weight = e.credit.expert
  tokens = jnp.sum(weight * e.length)
  return -jnp.sum(e.of_steps(e.logprob) * weight) / jnp.maximum(tokens, 1e-9)


def sibling_distillation(e: Experience) -> Array:
  """KL(improved || policy) over sampled siblings, mean over searched slots.

  The policy's share of a sampled step is its prior times its change since sampling: p(a) ~ prior(a)
  * pi(a) / mu(a), as in Sampled MuZero (arXiv:2104.06303). At pi = mu it is the prior; the loss is
  least, 0, where p equals the improved policy.
  """
  prior, target = e.tree.prior, e.credit.improved
  keep = e.node & (prior > 0)
  change = e.of_steps(e.logprob) - e.of_steps(e.tree.logprob)
  logits = jnp.where(keep, jnp.log(jnp.where(keep, prior, 1)) + change, -1e30)
  policy = jax.nn.log_softmax(logits, axis=-1)
  some = target > 0
  kl = jnp.sum(jnp.where(some, target * (jnp.log(jnp.where(some, target, 1)) - policy), 0), axis=-1)
  searched = (target.sum(-1) > 0) & (keep.sum(-1) > 1)
  return masked_mean(kl, searched)


def policy_gradient(e: Experience, *, clip: float = 0.2) -> Array:
  """Clipped surrogate per token (PPO, arXiv:1707.06347), mean over tokens. clip: epsilon.

  At the policy that sampled and advantage 1 its gradient is that of behaviour cloning.
  """
  gain = e.credit.advantage
  ratio = jnp.exp(jnp.where(e.token, e.logprob - e.tree.logprob, 0))
  surrogate = jnp.minimum(ratio * gain, jnp.clip(ratio, 1 - clip, 1 + clip) * gain)
  return -masked_mean(surrogate, e.token)


def kl_to_frozen(e: Experience) -> Array:
  """The k3 estimate of KL(policy || frozen policy) per token (arXiv:2402.03300, eq. 4): never
  negative."""
  gap = jnp.where(e.token, e.frozen - e.logprob, 0)
  return masked_mean(jnp.exp(gap) - gap - 1, e.token)


def value_loss(e: Experience) -> Array:
  """Cross-entropy of the critic with its targets, mean over informed nodes, the root among them."""
  nodes = cross_entropy(e.value, e.credit.value_target).reshape(-1)
  root = cross_entropy(e.root_value, e.credit.root_target)
  mask = (e.node & e.credit.value_mask).reshape(-1)
  return masked_mean(jnp.concatenate([nodes, root]), jnp.concatenate([mask, e.credit.root_mask]))


def cross_entropy(logits: Array, target: Array) -> Array:
  """Of probabilities in logits with targets in [0, 1], elementwise."""
  return -(target * jax.nn.log_sigmoid(logits) + (1 - target) * jax.nn.log_sigmoid(-logits))


def negative_entropy(e: Experience) -> Array:
  """Minus the policy's entropy per token, in nats: a positive weight keeps it exploring."""
  return -masked_mean(e.entropy, e.token)
