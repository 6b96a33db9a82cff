"""Expansion: the one way a tree grows. Every search algorithm is a rule for which nodes to hand to
it."""

import jax
import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.decode.sampling import Sampling, decode_steps
from o1jax.model.attention import as_blocks
from o1jax.model.forward import start_cache
from o1jax.model.transformer import each_layer
from o1jax.types import Array, Params, Prompt, Tree, TreeCache


def start(
  model,
  params: Params,
  prompt: Prompt,
  *,
  slots: int,
  candidates: int,
  step_length: int,
  max_steps: int,
  last: int = 0,
) -> tuple[Tree, TreeCache]:
  """Reads the prompt and returns an empty tree [B, X, A, L] with its cache. No slot is used yet.

  What the `last` slots will hold is never expanded, so that their keys need not be kept.
  """
  tree = tree_lib.empty(prompt.length.shape[0], slots, candidates, step_length, max_steps)
  cache, value = start_cache(model, params, prompt, slots - last, candidates, step_length)
  return tree.replace(root_value=jax.nn.sigmoid(value)), cache


def expand(
  model,
  params: Params,
  keys: Array,
  tree: Tree,
  cache: TreeCache,
  parents: Array,
  *,
  slot: Array,
  sampling: Sampling,
  merge: bool = True,
  depth: int | None = None,
) -> tuple[Tree, TreeCache]:
  """Samples A candidate steps under W nodes of every problem and writes them into slots `slot ..
  slot+W-1`.

  Args:
    model: the language model.
    params: policy and critic are read.
    keys: [B] one key a problem, already specific to this expansion.
    tree: grows in the returned copy.
    cache: likewise.
    parents: [B, W] node ids. Ids that cannot be expanded (finished, masked, at depth R, -1) leave
      their slot unused.
    slot: [] first slot to write, the same for all problems.
    sampling: see `Sampling`.
    merge: siblings with equal tokens become one candidate whose `prior` is their share; the copies
      are masked.
    depth: no parent is deeper; None = unknown.

  Returns:
    The grown tree (value = P(correct), reward = value at finished nodes, 0 elsewhere) and cache.
  """
  parents = jnp.where(tree_lib.expandable(tree, parents), parents, tree_lib.NONE)
  path = tree_lib.path_to(tree, parents)
  steps = decode_steps(
    model, params, keys, tree, cache, parents, path, sampling=sampling, depth=depth
  )
  made = jnp.broadcast_to((parents >= 0)[..., None], steps.length.shape)
  prior = jnp.where(made, 1 / steps.length.shape[-1], 0)
  if merge:
    prior, made = merge_duplicates(steps.tokens, prior, made)
  last = jnp.maximum(steps.length - 1, 0)[..., None]
  real = jnp.arange(steps.tokens.shape[-1]) < steps.length[..., None]
  value = jax.nn.sigmoid(jnp.take_along_axis(steps.value, last, axis=-1)[..., 0])
  fields = dict(
    expanded=parents,
    path=path,
    tokens=steps.tokens,
    length=steps.length,
    logprob=steps.logprob,
    terminal=steps.terminal,
    mask=made,
    prior=prior,
    value=jnp.where(made, value, 0),
    token_value=jnp.where(real, jax.nn.sigmoid(steps.value), 0),
    reward=jnp.where(made & steps.terminal, value, 0),
  )

  def write(old, new, at=slot, axis=1):
    return jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), at, axis=axis)

  tree = tree.replace(**{name: write(getattr(tree, name), new) for name, new in fields.items()})

  def write_blocks(old, new):
    return jax.tree.map(
      lambda x, y: write(x, y, slot * tree_lib.candidates(tree), axis=2), old, as_blocks(new)
    )

  nodes = each_layer(write_blocks, cache.nodes, steps.cache)
  return tree, cache.replace(nodes=nodes, hidden=write(cache.hidden, steps.hidden))


def merge_duplicates(tokens: Array, prior: Array, mask: Array) -> tuple[Array, Array]:
  """Merges equal siblings into the first of them. tokens [..., A, L]; prior, mask [..., A] ->
  prior, mask.

  The mask keeps the number of distinct candidates visible (`mask.sum(-1)`), so shrinking branching
  is never silent.
  """
  equal = jnp.all(tokens[..., :, None, :] == tokens[..., None, :, :], axis=-1)
  earlier = jnp.tril(equal, k=-1)
  first = mask & ~jnp.any(earlier & mask[..., None, :], axis=-1)
  share = jnp.sum(jnp.where(equal, prior[..., None, :], 0), axis=-1)
  return jnp.where(first, share, 0), first
