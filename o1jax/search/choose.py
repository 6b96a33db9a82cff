"""The final answer of a search: which finished solution to give, without ground truth."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.reward.process import solution_score
from o1jax.search.method import Look
from o1jax.text.steps import ANSWER
from o1jax.types import Array, Tree
from o1jax.verify.answers import answer_keys


def choose(
  tree: Tree,
  *,
  rule: str,
  table: tuple[Array, Array],
  aggregate: str = 'last',
  first: Array | int | None = None,
  marker: str | tuple[str, ...] = ANSWER,
  reads: int | tuple[int, ...] = 128,
  task: Array | None = None,
  renew: Callable[[Tree], Tree] | None = None,
) -> Array:
  """Picks one finished solution a problem.

  Args:
    tree: a finished search.
    rule: a row of `CHOICES`.
    table: bytes of every token, from `Tokenizer.bytes_table`.
    aggregate: how step values make a solution's score, see `reward.process.solution_score`.
    first: [] keeps only solutions of the first so many chains of a best-of-N tree; None = all.
    marker: the text before an answer, see `answer_keys`.
    reads: bytes at the end of a solution in which the answer is looked for.
    renew: writes the guide anew, for one that depends on what else is in the tree; see
      `reward.written.renewed`. A smaller search must not know of the chains that it has not.

  Returns:
    Node ids [B], 0 where no solution was finished.
  """
  if rule not in CHOICES:
    raise ValueError(f'rule {rule!r} is unknown; choose one of {", ".join(CHOICES)}')
  batch, slots, width = tree.mask.shape
  ids = jnp.broadcast_to(tree_lib.node_ids(tree).reshape(-1), (batch, slots * width))
  if first is not None:
    tree = tree.replace(mask=tree.mask & (chain_of(tree) < first)[..., None])
    tree = renew(tree) if renew else tree
  done = tree_lib.finished(tree).reshape(batch, -1)
  score = solution_score(tree, ids, aggregate=aggregate)

  def votes(weight):
    """The summed weight of the solutions that share each one's answer. One that stands for several
    has as many votes."""
    keys = answer_keys(tree, ids, table, marker=marker, reads=reads, task=task)
    same = (keys[:, :, None] == keys[:, None, :]) & done[:, None, :]
    weight = weight * tree_lib.counts(tree).reshape(batch, -1)
    return jnp.sum(jnp.where(same, weight[:, None, :], 0), axis=-1)

  support = CHOICES[rule].support(score, votes)
  best = jnp.argmax(jnp.where(done, support, -jnp.inf), axis=-1)  # a guide may be negative
  return jnp.where(done.any(-1), 1 + best, 0)


def chain_of(tree: Tree) -> Array:
  """The chain, of N, that each slot of a best-of-N tree belongs to, [B, X]: the number of its first
  step."""
  own = tree_lib.node_ids(tree)[:, 0]
  first = (
    jnp.where(tree.path[..., 1] > 0, tree.path[..., 1], own)
    if tree.path.shape[-1] > 1
    else own[None]
  )
  return jnp.broadcast_to(first - 1, tree.expanded.shape)


class Choice(NamedTuple):
  """A rule by which a finished solution is chosen.

  Attributes:
    support: (score [B, N], votes) -> [B, N]: the solution of most support is chosen, and of several
      the first. `votes(weight)` sums a weight over the solutions of one answer.
    words: what people call it.
    look: see `Look`.
    reads_critic: whether it depends on the critic's scores.
  """

  support: Callable[[Array, Callable[[Array], Array]], Array]
  words: str
  look: Look
  reads_critic: bool


CHOICES: dict[str, Choice] = {
  'first': Choice(
    lambda score, votes: jnp.ones_like(score), 'first solution', Look('ink', 'o'), False
  ),
  # arXiv:2203.11171
  'majority': Choice(
    lambda score, votes: votes(jnp.ones_like(score)), 'majority vote', Look('orange', 's'), False
  ),
  'best': Choice(lambda score, votes: score, "critic's best", Look('green', '^'), True),
  # arXiv:2408.03314. Of the solutions that share the chosen answer, the likeliest stands.
  'weighted': Choice(
    lambda score, votes: votes(score) + 1e-4 * score, 'critic-weighted vote', Look('red', 'D'), True
  ),
}
