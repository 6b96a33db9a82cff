"""Credit: from the numbers on a searched tree to weights and targets on its nodes."""

import jax
import jax.numpy as jnp
from flax import struct

from o1jax import tree as tree_lib
from o1jax.reward.process import ended, monte_carlo
from o1jax.types import Array, Tree


@struct.dataclass
class Credit:
  """What the losses read. All [B, X, A]; constants with respect to the parameters."""

  # share of the problem's correct solutions that pass through the node; D_expert is where it is > 0
  expert: Array
  advantage: Array  # how much better the node is than its baseline
  # the search's improved policy over siblings, sums to 1 on searched slots and to 0 elsewhere
  improved: Array
  value_target: Array  # P(correct), in [0, 1]
  value_mask: Array  # bool: the target is informative


ADVANTAGES = ('group', 'critic')
VALUES = ('monte_carlo', 'td')


def assign_credit(
  tree: Tree,
  *,
  advantage: str = 'group',
  value: str = 'monte_carlo',
  discount: float = 0.95,
  normalise: bool = True,
) -> Credit:
  """Computes all credit of a judged tree.

  Args:
    tree: with `outcome` filled.
    advantage: 'group' (GRPO, arXiv:2402.03300) or 'critic'.
    value: targets of the critic, 'monte_carlo' or 'td'.
    discount: lambda of TD; 1 trusts outcomes only.
    normalise: divide the group advantage by the problem's standard deviation, as GRPO does.
  """
  check_credit(advantage=advantage, value=value, discount=discount, normalise=normalise)
  mean, count = monte_carlo(tree)
  target, informed = (
    (mean, count > 0) if value == 'monte_carlo' else td_lambda(tree, discount=discount)
  )
  if advantage == 'group':
    gain = group_advantage(tree, normalise=normalise)
  else:
    gain = critic_advantage(tree, target, informed)
  credit = Credit(expert_weight(tree), gain, improved_policy(tree), target, informed)
  return jax.lax.stop_gradient(credit)


def check_credit(*, advantage: str, value: str, discount: float, normalise: bool) -> None:
  """Raises ValueError for settings that `assign_credit` has no meaning for."""
  if advantage not in ADVANTAGES:
    raise ValueError(f'advantage {advantage!r} is unknown; choose one of {", ".join(ADVANTAGES)}')
  if value not in VALUES:
    raise ValueError(f'value {value!r} is unknown; choose one of {", ".join(VALUES)}')
  if not 0 <= discount <= 1:
    raise ValueError(f'discount={discount} is the lambda of TD: give a number in [0, 1]')


def expert_weight(tree: Tree) -> Array:
  """Share of a problem's correct solutions that pass through each node, [B, X, A]; 0 where none was
  found."""
  below, total = tree_lib.sum_below(tree, tree.outcome * tree_lib.finished(tree))
  return below / jnp.maximum(total, 1)[:, None, None]


def group_advantage(tree: Tree, *, normalise: bool = True, epsilon: float = 1e-4) -> Array:
  """Mean outcome below a node minus the mean over all the problem's solutions (arXiv:2402.03300),
  [B, X, A].

  On independent chains this is GRPO's advantage on every step. Nodes below which nothing ended get
  0.
  """
  mean, count = monte_carlo(tree)
  over = ended(tree)
  ends = over.sum(axis=(1, 2))
  group = jnp.sum(tree.outcome * over, axis=(1, 2)) / jnp.maximum(ends, 1)
  gain = jnp.where(count > 0, mean - group[:, None, None], 0)
  # Outcomes are 0 or 1, so their variance follows from their mean.
  deviation = jnp.sqrt(group * (1 - group))[:, None, None]
  return gain / (deviation + epsilon) if normalise else gain


def critic_advantage(tree: Tree, target: Array, informed: Array) -> Array:
  """Target of the node minus the critic's value of its parent, [B, X, A]: progress, as in
  arXiv:2410.08146."""
  parent = tree_lib.pick(tree.value, tree.expanded)
  parent = jnp.where(tree.expanded == tree_lib.ROOT, tree.root_value[:, None], parent)
  return jnp.where(informed, target - parent[..., None], 0)


def td_lambda(tree: Tree, *, discount: float = 0.95) -> tuple[Array, Array]:
  """TD(lambda) on a tree: outcomes and critic values backed up by the sampling policy.

  A node's target is the prior-weighted mean over its candidates of (1 - lambda) value + lambda
  target; finished nodes have their outcome, unexpanded ones the critic's value. Candidates are the
  policy's samples, so this estimates the policy's own value, which the mean over a search's
  solutions does not.

  Returns:
    (targets [B, X, A], informed [B, X, A]: a solution ended at or below the node).
  """

  def one(expanded, prior, value, outcome, over, mask):
    slots, width = mask.shape

    def back(carry, slot):
      target, known = carry
      kids, sure = target[slot], known[slot]
      mix = jnp.where(over[slot], kids, (1 - discount) * value[slot] + discount * kids)
      mean = jnp.sum(prior[slot] * mix) / jnp.maximum(prior[slot].sum(), 1e-9)
      node = expanded[slot] - 1
      where = jnp.where((node >= 0) & sure.any(), node, slots * width)
      target = target.reshape(-1).at[where].set(mean, mode='drop').reshape(slots, width)
      known = known.reshape(-1).at[where].set(True, mode='drop').reshape(slots, width)
      return (target, known), None

    start = jnp.where(over, outcome, value), over
    # A slot is always filled after the slot that holds its parent, so children come first in
    # reverse order.
    (target, known), _ = jax.lax.scan(back, start, jnp.arange(slots - 1, -1, -1))
    return target, known & mask

  return jax.vmap(one)(tree.expanded, tree.prior, tree.value, tree.outcome, ended(tree), tree.mask)


def improved_policy(tree: Tree, *, value_scale: float = 0.1, visit_offset: float = 50.0) -> Array:
  """Gumbel MuZero's improved policy over siblings (Danihelka et al. 2022, eq. 11 and appendix D),
  [B, X, A].

  softmax(log prior + sigma(completed Q)); Q of unvisited siblings is completed by the mixed value,
  and rescaled to [0, 1] over the slot's real siblings. (mctx counts masked ones too; where none is
  masked the two agree.) 0 on slots that the search never descended from.
  """
  prior = jnp.where(tree.mask, tree.prior, 0)
  visits = jnp.where(tree.mask, tree.visits, 0)
  raw = tree_lib.pick(tree.value, tree.expanded)
  raw = jnp.where(tree.expanded == tree_lib.ROOT, tree.root_value[:, None], raw)
  seen = visits > 0
  mass = jnp.sum(jnp.where(seen, prior, 0), axis=-1)
  visited = jnp.sum(jnp.where(seen, prior * tree.q, 0), axis=-1) / jnp.maximum(mass, 1e-9)
  total = visits.sum(-1)
  mixed = (raw + total * visited) / (1 + total)
  q = jnp.where(seen, tree.q, mixed[..., None])
  low = jnp.min(jnp.where(tree.mask, q, jnp.inf), axis=-1, keepdims=True)
  high = jnp.max(jnp.where(tree.mask, q, -jnp.inf), axis=-1, keepdims=True)
  scaled = jnp.where(tree.mask, (q - low) / jnp.maximum(high - low, 1e-8), 0)
  sigma = (visit_offset + visits.max(-1, keepdims=True)) * value_scale * scaled
  logits = jnp.where(prior > 0, jnp.log(jnp.maximum(prior, 1e-9)) + sigma, -jnp.inf)
  policy = jax.nn.softmax(jnp.where(total[..., None] > 0, logits, 0.0), axis=-1)
  return jnp.where((total[..., None] > 0) & tree.mask, policy, 0)
