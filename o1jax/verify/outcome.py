"""Outcome reward: the exact verdict on finished solutions (arXiv:2412.14135, section 4, from the
environment).

A verdict is 1 (right), 0 (wrong) or `UNJUDGED`: the verifier could not tell, which is not the
solution's fault. A verifier that has stopped working says `BROKEN` for every node.
"""

import jax
import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.text.bytes import token_bytes
from o1jax.types import Array, Reference, Tree

# No number, so that a sum which forgets to leave it out shows it.
UNJUDGED = jnp.nan
BROKEN = jnp.inf


def solution_bytes(
  tree: Tree, ids: Array, table: tuple[Array, Array], *, size: int = 128
) -> tuple[Array, Array]:
  """The text up to each node as bytes. ids [B, N] -> uint8 [B, N, size] (the end of a longer text),
  length [B, N]."""
  tokens, length = tree_lib.solution_tokens(tree, ids)
  return token_bytes(tokens, length, table, size=size)


def outcome(
  reference: Reference,
  tree: Tree,
  ids: Array,
  *,
  verify,
  table: tuple[Array, Array],
  size: int = 128,
) -> Array:
  """Verdicts on nodes.

  Args:
    reference: B problems.
    tree: any tree over them.
    ids: [B, N] nodes.
    verify: a task's verifier, (Reference of one problem, uint8 [S], length []) -> bool [].
    table: bytes of every token, from `Tokenizer.bytes_table`.
    size: bytes that the verifier is given, from the end of a solution.

  Returns:
    [B, N] float32: 1 where the node finishes a correct solution, 0 elsewhere.
  """
  text, length = solution_bytes(tree, ids, table, size=size)
  right = jax.vmap(jax.vmap(verify, (None, 0, 0)))(reference, text, length)
  return jnp.where(tree_lib.pick(tree_lib.finished(tree), ids, fill=False), right, False).astype(
    jnp.float32
  )


def oracle(
  reference: Reference,
  tree: Tree,
  ids: Array,
  *,
  outcome,
  reachable,
  table: tuple[Array, Array],
  size: int = 0,
) -> Array:
  """What a perfect critic would say of nodes. It knows the answer, so it is for diagnosis.

  Args:
    reference: B problems.
    tree: any tree over them.
    ids: [B, N] nodes, or the root.
    outcome: the verdict on finished solutions, (reference, tree, ids) -> [B, N].
    reachable: `Task.reachable`, of the text so far where a solution can go on.
    table: bytes of every token, from `Tokenizer.bytes_table`.
    size: most bytes of a text so far. A longer one cannot be judged, since its beginning is lost.
      0 = three for each token that a solution may have.

  Returns:
    [B, N] float32: 1 where a finished solution is right, or one that goes on can still become
    right. 0.5 where there is no verdict. 0 elsewhere, such as at depth R, where nothing follows.
  """
  finished = tree_lib.pick(tree_lib.finished(tree), ids, fill=False)
  verdicts = outcome(reference, tree, ids)
  verdicts = jnp.where(jnp.isfinite(verdicts), verdicts, 0.5)
  size = size or 3 * tree.path.shape[-1] * tree.tokens.shape[-1]
  # One byte more than there may be, to tell a text of just that length from a longer one.
  text, length = solution_bytes(tree, ids, table, size=size + 1)
  can = jax.vmap(jax.vmap(reachable, (None, 0, 0)))(reference, text, length)
  ahead = jnp.where(length > size, 0.5, can)
  return jnp.select([finished, tree_lib.expandable(tree, ids)], [verdicts, ahead], 0.0).astype(
    jnp.float32
  )


def judge(reference: Reference, tree: Tree, outcome_fn) -> Tree:
  """Fills `outcome` and `unjudged` on every node of a tree with `outcome_fn(reference, tree, ids)`.

  The outcome is 0 where it is unjudged, and NaN everywhere where the verifier is broken: a loss of
  it is no number, so the update is skipped.
  """
  batch = tree.mask.shape[0]
  ids = jnp.broadcast_to(tree_lib.node_ids(tree).reshape(-1), (batch, tree.mask[0].size))
  verdicts = outcome_fn(reference, tree, ids).reshape(tree.mask.shape)
  unjudged = jnp.isnan(verdicts)
  outcome = jnp.select([unjudged, jnp.isinf(verdicts)], [0.0, jnp.nan], verdicts)
  return tree.replace(outcome=outcome, unjudged=unjudged)
