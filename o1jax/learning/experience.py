"""The nouns of learning: what credit writes on a tree, and what a loss reads."""

import jax.numpy as jnp
from flax import struct

from o1jax.model.forward import TreeOutput
from o1jax.types import Array, Prompt, Tree


@struct.dataclass
class Credit:
  """What the losses read of a searched and judged tree; constants with respect to the parameters.

  Targets of the critic lie in [0, 1]; see `returns.Span`.
  """

  # [B, X, A] share of the problem's correct solutions that pass through the node; D_expert is where
  # it is > 0
  expert: Array
  # [B, X, A] return of the solution that ended at the node, as seen from the root; 0 elsewhere
  returns: Array
  # [B, X, A] mean return of the solutions that ended at or below the node, as seen from the root
  mean: Array
  known: Array  # [B, X, A] bool: a solution ended at or below the node
  advantage: Array  # [B, X, A, L] how much better the token is than its baseline
  # [B, X, A] the search's improved policy over siblings, sums to 1 on searched slots and to 0
  # elsewhere
  improved: Array
  value_target: Array  # [B, X, A] of the critic after the node
  value_mask: Array  # [B, X, A] bool: the target is informative
  token_target: Array  # [B, X, A, L] of the critic after each token
  token_mask: Array  # [B, X, A, L] bool: the target is informative
  root_target: Array  # [B] of the critic after the prompt
  root_mask: Array  # [B] bool: the target is informative


@struct.dataclass
class Experience:
  """What a loss reads: whole trees, with the axes of siblings and of problems intact.

  The tree may have been cropped (see `tree.crop`). `node` and `token` say what is left of it.
  """

  prompt: Prompt
  tree: Tree
  credit: Credit
  logprob: Array  # [B, X, A, L] of the policy that learns, 0 on padding
  entropy: Array  # [B, X, A, L] in nats
  value: Array  # [B, X, A] logits of the critic after each node
  token_value: Array  # [B, X, A, L] logits of the critic after each token
  root_value: Array  # [B] logits of the critic after the prompt
  node: Array  # [B, X, A] bool: a real candidate of a slot that is left
  token: Array  # [B, X, A, L] bool: a token of such a node that the policy sampled
  # [B, X, A, L] log-probs of the frozen policy, where a loss needs them
  frozen: Array | None = None

  @property
  def length(self) -> Array:
    """Sampled tokens of each node, [B, X, A]."""
    return self.token.sum(-1)

  def of_steps(self, logprob: Array) -> Array:
    """Log-probs [B, X, A, L] of tokens as those of steps, [B, X, A]; given tokens are left out."""
    return jnp.sum(jnp.where(self.token, logprob, 0), axis=-1)


def experience(
  out: TreeOutput, prompt: Prompt, tree: Tree, credit: Credit, *, frozen: Array | None = None
) -> Experience:
  """Puts together what one forward pass says of a tree, and what may be learned from. frozen:
  log-probs [B, X, A, L] of the frozen policy."""
  node = tree.mask & (tree.expanded >= 0)[..., None]
  written = jnp.arange(tree.tokens.shape[-1]) < tree.length[..., None]
  token = node[..., None] & written & ~tree.given
  return Experience(
    prompt=prompt, tree=tree, credit=credit, node=node, token=token, frozen=frozen, **out._asdict()
  )
