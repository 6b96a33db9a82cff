"""PPO at the level of tokens (arXiv:1707.06347): generalised advantages, and a value loss with
clipping.

Its policy loss is `losses.policy_gradient`.
"""

import jax
import jax.numpy as jnp

from o1jax.learning.advantages import parent_value
from o1jax.learning.experience import Experience
from o1jax.learning.losses import cross_entropy, masked_mean
from o1jax.learning.returns import Returns, Targets, add_below, mean_of, written
from o1jax.reward.process import ended
from o1jax.types import Array, Tree


def token_advantage(
  tree: Tree, returns: Returns, targets: Targets, *, lambda_: float = 0.95
) -> Array:
  """GAE of every token (arXiv:1506.02438), [B, X, A, L], by the values at sampling time."""
  return generalised_advantage(tree, returns, lambda_=lambda_)[0]


def token_targets(tree: Tree, returns: Returns, *, lambda_: float = 0.95) -> Targets:
  """The lambda-returns that belong to `token_advantage`: value plus advantage, token by token."""
  gain, below, known = generalised_advantage(tree, returns, lambda_=lambda_)
  value, shown = _values(tree, returns), written(tree)
  # What comes after a token: the next token of the step, or the steps below.
  last = jnp.arange(shown.shape[-1]) == tree.length[..., None] - 1
  after = jnp.where(last, below[:, 1:].reshape(tree.mask.shape)[..., None], _next(gain))
  # The last token of a step that nobody continued would have its own value as target. That teaches
  # nothing, so the mask leaves it out.
  inner = known[:, 1:].reshape(tree.mask.shape)
  over = ended(tree)
  mask = shown & tree.mask[..., None] & (~last | (inner | over)[..., None])
  token = value + jnp.where(last & over[..., None], 0, after)
  at_end = lambda x: jnp.sum(jnp.where(last, x, 0), axis=-1)
  root = returns.span.to_return(tree.root_value) + below[:, 0]
  return Targets(at_end(token), (inner | over) & tree.mask, token, mask, root, known[:, 0])


def generalised_advantage(
  tree: Tree, returns: Returns, *, lambda_: float
) -> tuple[Array, Array, Array]:
  """GAE on a tree whose actions are tokens.

  gamma discounts steps, not tokens: it applies to the first token of a step. After a node comes the
  prior-weighted mean of its candidates, over all its slots. The last token of a solution returns
  the reward. A node that nobody continued is worth what the critic says.

  Returns:
    (advantage [B, X, A, L]; by id of the node, the mean advantage of what follows it [B, 1 + X*A];
    whether anything follows it [B, 1 + X*A]).
  """
  step = tree.tokens.shape[-1]
  shown, value = written(tree) & tree.mask[..., None], _values(tree, returns)
  first = jnp.arange(step) == 0
  start = returns.span.to_return(parent_value(tree))[..., None, None]
  before = jnp.where(first, start, jnp.roll(value, 1, axis=-1))
  discount = jnp.where(first, returns.gamma, 1.0)
  delta = jnp.where(shown, discount * value - before, 0)
  # What token t gets from the later token u of its step, and from what follows the step.
  later = jnp.arange(step) - jnp.arange(step)[:, None]
  decay = jnp.where(later > 0, discount[:, None] * lambda_ ** jnp.maximum(later, 0), later == 0)
  inner = jnp.einsum('tu,bxau->bxat', decay, delta)
  left = jnp.maximum(tree.length[..., None] - jnp.arange(step), 0)
  reach = jnp.where(shown, discount * lambda_**left, 0)

  def one(expanded, prior, inner, reach, real):
    slots, width = prior.shape

    def back(sums, slot):
      own = 1 + slot * width + jnp.arange(width)
      gain = inner[slot] + reach[slot] * mean_of(sums[:, own])[:, None]
      share = jnp.where(real[slot], prior[slot], 0)
      return add_below(sums, expanded[slot], share, gain[:, 0]), gain

    start = jnp.zeros((2, 1 + slots * width))
    sums, gain = jax.lax.scan(back, start, jnp.arange(slots), reverse=True)
    return gain, mean_of(sums), sums[1] > 0

  real = tree.mask & (tree.length > 0)
  return jax.vmap(one)(tree.expanded, tree.prior, inner, reach, real)


def _values(tree: Tree, returns: Returns) -> Array:
  """Value after each token, [B, X, A, L], in returns: the reward itself at a solution's end."""
  value = returns.span.to_return(tree.token_value)
  last = jnp.arange(value.shape[-1]) == tree.length[..., None] - 1
  return jnp.where(last & ended(tree)[..., None], returns.here[..., None], value)


def _next(x: Array) -> Array:
  return jnp.roll(x, -1, axis=-1).at[..., -1].set(0)


def token_value_loss(e: Experience, *, clip: float = 0.2) -> Array:
  """Cross-entropy of the critic after each token, with value clipping (arXiv:2006.05990, section
  3.2): to move a value more than `clip` away from that at sampling time gains nothing."""
  token = clipped_value_loss(e.token_value, e.tree.token_value, e.credit.token_target, clip)
  root = clipped_value_loss(e.root_value, e.tree.root_value, e.credit.root_target, clip)
  # Every token counts, given ones too: they change what can be expected.
  mask = e.credit.token_mask & e.node[..., None] & written(e.tree)
  flat = lambda tokens, root: jnp.concatenate([tokens.reshape(-1), root])
  return masked_mean(flat(token, root), flat(mask, e.credit.root_mask))


def clipped_value_loss(logits: Array, old: Array, target: Array, clip: float) -> Array:
  """The larger of the losses of a value and of the same value kept within `clip` of the `old` one.

  logits: of the critic; old, target: in [0, 1].
  """
  plain = cross_entropy(logits, target)
  if clip >= 1:  # no value is that far away, so a search need not tell the old one
    return plain
  value = jax.nn.sigmoid(logits)
  kept = jnp.clip(jax.lax.stop_gradient(value), old - clip, old + clip)
  kept = jnp.clip(kept, 1e-6, 1 - 1e-6)
  bound = -(target * jnp.log(kept) + (1 - target) * jnp.log1p(-kept))
  inside = jnp.abs(value - old) <= clip
  return jnp.where(inside, plain, jnp.maximum(plain, bound))
