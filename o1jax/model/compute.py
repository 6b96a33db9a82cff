"""What decoding and learning cost: tokens generated and analytic FLOPs, the critic's included.

A multiply-add is two FLOPs. As usual, only matrix products and attention count: norms, rotary
positions and softmax are left out. A backward pass counts as two forward passes.
"""

import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.model.variants import ModelConfig, matmul_parameters
from o1jax.types import Array, LabelledRows, Prompt, Sequences, Tree


def token_flops(config: ModelConfig, context, *, critic: bool = True):
  """Forward FLOPs of one token that reads `context` tokens, itself included."""
  head = config.vocab_size * config.width

  def trunk(config):
    attention = 4 * config.layers * config.heads * config.head_width * context
    return 2 * (matmul_parameters(config) - head) + attention

  own = trunk(config.of_critic) if config.own_critic else 0
  score = 2 * (config.width**2 + config.width) + own
  return trunk(config) + 2 * head + (score if critic else 0)


def search_cost(config: ModelConfig, prompt: Prompt, tree: Tree) -> tuple[Array, Array]:
  """Tokens sampled and FLOPs spent on each problem, ([B], [B]). The FLOPs include the prompt's own
  pass, the reading of given text, and what scores read.

  Every branch counts, pruned and duplicate ones too.
  """
  sampled = tree_lib.generated_tokens(tree).astype(jnp.float32)
  return sampled, _cost(config, *_of_tree(prompt, tree)) + scoring_flops(config, prompt, tree)


def search_bill(config: ModelConfig, prompt: Prompt, tree: Tree) -> tuple[Array, Array, Array]:
  """As `search_cost`, and which of these FLOPs are the critic's, [B] each."""
  part = _of_tree(prompt, tree)
  critic = _cost(config, *part) - _cost(config, *part, critic=False)
  return *search_cost(config, prompt, tree), critic


def _of_tree(prompt, tree):
  """The tokens of a prompt and a tree, and how many tokens those read, [B] each."""
  used = (tree.expanded >= 0)[..., None]
  length = jnp.where(used, tree.length, 0).astype(jnp.float32)
  start, asked = _start(prompt, tree), jnp.where(used, _asked(tree), 0)
  # Each turn reads its prompt once, before its first step.
  asked = jnp.where((tree.expanded == tree_lib.ROOT)[..., None], asked, 0)
  size = prompt.length + asked.sum(axis=(1, 2))
  read = _triangle(prompt.length.astype(jnp.float32)) + _triangle(asked).sum(axis=(1, 2))
  read += jnp.sum(length * start + _triangle(length), axis=(1, 2))
  # What was taken back stood behind what was sampled and stayed.
  taken = jnp.where(used, tree_lib.taken(tree), 0).astype(jnp.float32)
  stayed = length - jnp.sum(tree.given & used[..., None], axis=-1)
  read += jnp.sum(taken * (start + stayed) + _triangle(taken), axis=(1, 2))
  return (length + taken).sum(axis=(1, 2)) + size, read


def _start(prompt, tree):
  """How many tokens stand before each node's step, [B, X, A]: those of its prompt, which in a later
  turn is another one, and those of its path."""
  start, asked = tree_lib.step_start(tree, prompt.length)[..., None], _asked(tree)
  own = asked - prompt.length[:, None, None]
  return (start + jnp.where(asked > 0, own, 0)).astype(jnp.float32)


def _asked(tree):
  return tree.scores.get(tree_lib.ASKED, jnp.zeros(tree.length.shape))


def learning_flops(
  config: ModelConfig, prompt: Prompt, tree: Tree, *, learns: tuple[str, ...], keeps: bool
) -> Array:
  """FLOPs of learning from the tokens of a tree, [B]: a forward and a backward pass of the roles
  that learn, and, where it `keeps` to a frozen policy, that one's forward pass.

  What does not learn is not asked, but for the trunk that a critic shares with the policy.
  """
  # Nothing is learned from what was taken back.
  kept = {name: score for name, score in tree.scores.items() if name != tree_lib.TAKEN}
  part = _of_tree(prompt, tree.replace(scores=kept))
  policy, both = (_cost(config, *part, critic=critic) for critic in (False, True))
  of_role = dict(policy=policy, critic=both - policy)
  learned = 3 * sum(of_role[role] for role in learns) + keeps * policy
  if 'policy' in learns or config.own_critic:
    return learned
  return learned + policy - 2 * part[0] * config.vocab_size * config.width


def scoring_flops(config: ModelConfig, prompt: Prompt, tree: Tree) -> Array:
  """FLOPs of what the policy read after nodes to score them, [B], see `tree.READ`: two lines of
  text after each, of equal length."""
  if tree_lib.READ not in tree.scores:
    return jnp.zeros(prompt.length.shape)
  line = tree.scores[tree_lib.READ] / 2
  # In place of the token that ended the solution.
  start = _start(prompt, tree) + tree.length - 1
  read = 2 * jnp.sum(line * start + _triangle(line), axis=(1, 2))
  return _cost(config, 2 * line.sum((1, 2)), read, critic=False)


def supervised_flops(config: ModelConfig, rows: Sequences) -> Array:
  """FLOPs of a forward and backward pass over supervised rows, padding left out, []."""
  return 3 * _cost(config, *_of_rows(rows), critic=False)


def labelled_flops(config: ModelConfig, rows: LabelledRows, *, keeps: bool) -> Array:
  """FLOPs of a forward and backward pass of the critic over labelled rows, padding left out, [].
  keeps: the policy is held to a frozen one, which is passed forward too."""
  tokens, read = _of_rows(rows)
  policy, both = (_cost(config, tokens, read, critic=critic) for critic in (False, True))
  if keeps:
    return 3 * both + policy
  # Without the policy's logits, and its trunk where the critic has one of its own.
  return 3 * (
    both - (policy if config.own_critic else 2 * tokens * config.vocab_size * config.width)
  )


def _of_rows(rows):
  """The tokens of packed rows, and how many of them those read."""
  own = rows.segment[:, :, None] == rows.segment[:, None, :]  # a token reads its own text only
  read = jnp.sum(jnp.tril(own) & (rows.segment > 0)[:, :, None], dtype=jnp.float32)
  return rows.length.sum().astype(jnp.float32), read


def _triangle(length: Array) -> Array:
  return length * (length + 1) / 2


def _cost(config, tokens, read, *, critic=True):
  fixed, one = (float(token_flops(config, context, critic=critic)) for context in (0, 1))
  return tokens * fixed + read * (one - fixed)
