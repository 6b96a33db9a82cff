"""The final answer of a search: which finished solution to give, without ground truth."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from o1jax import tree as tree_lib
from o1jax.reward.process import solution_score
from o1jax.search.method import Look
from o1jax.text.bytes import after_last
from o1jax.text.steps import ANSWER
from o1jax.types import Array, Tree
from o1jax.verify.outcome import solution_bytes

_PRIME = 16777619
_ANSWER_BYTES = 64
_WEIGHTS = np.array([pow(_PRIME, i, 2**32) for i in range(_ANSWER_BYTES)], np.uint32)


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

  Returns:
    Node ids [B], 0 where no solution was finished.
  """
  if rule not in CHOICES:
    raise ValueError(f'rule {rule!r} is unknown; choose one of {", ".join(CHOICES)}')
  batch, slots, width = tree.mask.shape
  ids = jnp.broadcast_to(tree_lib.node_ids(tree).reshape(-1), (batch, slots * width))
  done = tree_lib.finished(tree)
  if first is not None:
    done &= (chain_of(tree) < first)[..., None]
  done = done.reshape(batch, -1)
  score = solution_score(tree, ids, aggregate=aggregate)

  def votes(weight):
    """The summed weight of the solutions that share each one's answer."""
    keys = answer_keys(tree, ids, table, marker=marker, reads=reads, task=task)
    same = (keys[:, :, None] == keys[:, None, :]) & done[:, None, :]
    return jnp.sum(jnp.where(same, weight[:, None, :], 0), axis=-1)

  support = CHOICES[rule].support(score, votes)
  best = jnp.argmax(jnp.where(done, support, -1), axis=-1)
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


def answer_keys(
  tree: Tree,
  ids: Array,
  table: tuple[Array, Array],
  *,
  marker: str | tuple[str, ...] = ANSWER,
  reads: int | tuple[int, ...] = 128,
  task: Array | None = None,
) -> Array:
  """A hash of each solution's answer text, without spaces. ids [B, N] -> uint32 [B, N].

  The answer is the text after the last `marker` in the last `reads` bytes, `_ANSWER_BYTES` at most.
  A solution without an answer agrees with no other: its key is its own. With an empty `marker` that
  holds for all.
  """

  if isinstance(marker, tuple):
    own = list(zip(marker, reads, strict=True))
    keys = {
      place: answer_keys(tree, ids, table, marker=place[0], reads=place[1])
      for place in dict.fromkeys(own)
    }
    if len(keys) == 1:
      return keys[own[0]]
    return jnp.stack([keys[place] for place in own])[task, jnp.arange(ids.shape[0])]

  def one(node, text, length):
    answer, rest = after_last(text, length, marker.encode(), size=_ANSWER_BYTES)
    kept = (jnp.arange(_ANSWER_BYTES) < rest) & (answer != ord(' '))
    place = jnp.cumsum(kept) - kept
    key = jnp.sum(
      jnp.where(kept, jnp.asarray(_WEIGHTS)[place] * (answer + jnp.uint32(1)), 0), dtype=jnp.uint32
    )
    return jnp.where(kept.any(), key, jnp.uint32(2**31) + node.astype(jnp.uint32))

  return jax.vmap(jax.vmap(one))(ids, *solution_bytes(tree, ids, table, size=reads))


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
