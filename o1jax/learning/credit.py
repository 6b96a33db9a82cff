"""Credit: from the numbers on a searched tree to weights and targets on its nodes."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.learning import ADVANTAGES, VALUES, check_setting
from o1jax.learning.experience import Credit
from o1jax.learning.returns import reward_span, tree_returns
from o1jax.types import Array, Tree


def assign_credit(
  tree: Tree,
  *,
  advantage: str = 'group',
  value: str = 'monte_carlo',
  reward: Mapping[str, float] | None = None,
  gamma: float = 1.0,
  **settings: float,
) -> Credit:
  """Computes all credit of a judged tree.

  Args:
    tree: with `outcome` filled.
    advantage: a row of `learning.ADVANTAGES`.
    value: targets of the critic, a row of `learning.VALUES`.
    reward: weights of the outcome and of named scores, see `tree_returns`.
    gamma: discount of a step, in (0, 1].
    settings: of the two rows, where they differ from the rows' defaults. Settings of other rows
      are not read.
  """
  check_credit(advantage=advantage, value=value, reward=reward, gamma=gamma, **settings)
  returns = tree_returns(tree, reward=reward, gamma=gamma)
  targets = VALUES[value](tree, returns, settings=settings)
  gain = ADVANTAGES[advantage](tree, returns, targets, settings=settings)
  scaled = returns.span.to_value
  credit = Credit(
    expert=expert_weight(tree),
    returns=returns.ended,
    mean=returns.below,
    known=returns.known,
    advantage=jnp.broadcast_to(gain, tree.tokens.shape),
    improved=improved_policy(tree),
    value_target=scaled(targets.node),
    value_mask=targets.node_mask,
    token_target=scaled(targets.token),
    token_mask=targets.token_mask,
    root_target=scaled(targets.root),
    root_mask=targets.root_mask,
  )
  return jax.lax.stop_gradient(credit)


def check_credit(
  *,
  advantage: str = 'group',
  value: str = 'monte_carlo',
  reward: Mapping[str, float] | None = None,
  gamma: float = 1.0,
  **settings: float,
) -> None:
  """Raises ValueError for settings that `assign_credit` cannot use."""
  for name, kind, table in (('advantage', advantage, ADVANTAGES), ('value', value, VALUES)):
    if kind not in table:
      raise ValueError(f'{name} {kind!r} is unknown; choose one of {", ".join(table)}')
  if reward is not None:
    reward_span(reward)
  if not 0 < gamma <= 1:
    raise ValueError(f'gamma={gamma} is the discount of a step: give a number in (0, 1]')
  rows = [*ADVANTAGES.values(), *VALUES.values()]
  unknown = sorted(settings.keys() - {name for row in rows for name in row.defaults})
  if unknown:
    raise ValueError(f'credit has no setting {", ".join(unknown)}')
  for name, given in settings.items():
    check_setting(name, given)


def expert_weight(tree: Tree) -> Array:
  """Share of a problem's correct solutions that pass through each node, [B, X, A]; 0 where none was
  found."""
  below, total = tree_lib.sum_below(tree, tree.outcome * tree_lib.finished(tree))
  return below / jnp.maximum(total, 1)[:, None, None]


def improved_policy(tree: Tree, *, value_scale: float = 0.1, visit_offset: float = 50.0) -> Array:
  """Gumbel MuZero's improved policy over siblings (Danihelka et al. 2022, eq. 11 and appendix D),
  [B, X, A].

  softmax(log prior + sigma(completed Q)). An unvisited sibling has the mixed value as its Q. All Q
  of a slot are rescaled to [0, 1] over its real siblings. (mctx rescales over masked ones too;
  where none is masked the two agree.) Slots that the search never descended from get 0.
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
