"""The one way a tree grows. Every search is a rule for which nodes to hand to `Grow`."""

from collections.abc import Callable, Mapping
from typing import Protocol

import jax
import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.decode.chains import cut, keep_chains, write_chains
from o1jax.decode.loop import Statistics, Steps, decode_steps
from o1jax.decode.rules import Sampling
from o1jax.decode.world import Edit, World, append, rewrite
from o1jax.keys import of_slot
from o1jax.model.attention import as_blocks
from o1jax.model.forward import start_cache
from o1jax.model.transformer import each_layer
from o1jax.types import Array, KeyValue, Params, Prompt, Tree, TreeCache

# (tree, ids [B, N]) -> [B, N]: what search backs up on reaching a finished node. NaN = unknown, and
# the critic's value stays.
Reward = Callable[[Tree, Array], Array]
# (tree, cache, ids [B, N]) -> [B, N]: a number that nodes are given, by its name in `Tree.scores`.
# One may read those before it, of the same nodes too.
Scores = Mapping[str, Callable[[Tree, TreeCache, Array], Array]]


class Grow(Protocol):
  """Expands nodes; a search knows the policy by this function alone."""

  def __call__(
    self,
    tree: Tree,
    cache: TreeCache,
    keys: Array,
    parents: Array,
    *,
    slot: Array | int,
    candidates: int | None = None,
    each: Array | None = None,
    steps: int | None = None,
    keep: bool = False,
    depth: int | None = None,
    distinct: bool = False,
  ) -> tuple[Tree, TreeCache]:
    """Samples steps under W nodes of every problem.

    Args:
      tree: grows in the returned copy.
      cache: what the policy remembers of it.
      keys: [B] one key a problem, already specific to this expansion.
      parents: [B, W] node ids. An id that cannot be expanded (finished, masked, at depth R, -1)
        leaves its slot unused.
      slot: [] first slot to write, the same for all problems.
      candidates: sampled under each parent; None = A, the room of a slot.
      each: [B, W] candidates of each parent, from 1 to `candidates`, where they are not all as
        many. Only of a single step.
      steps: None = one, and the candidates of parent w fill slot `slot + w`. With a number, each
        parent is continued by a chain of up to so many steps instead: step s of parent w is the
        only candidate of slot `slot + s*W + w`.
      keep: the nodes of a chain may be expanded later. Else they never are, and need no keys.
      depth: no parent is deeper; None = unknown.
      distinct: the first step of a candidate is sampled without replacement: given that it is none
        of its parent's children so far. `logprob` is the policy's all the same. Needs a temperature
        above 0, and all tokens (`top_k`, `top_p`).
    """


class Sample(Protocol):
  """The source of steps of `growing`: `loop.decode_steps` of a model, or a drawn world."""

  def __call__(
    self,
    keys: Array,
    tree: Tree,
    cache: TreeCache,
    parents: Array,
    path: Array,
    *,
    candidates: int | None,
    each: Array | None,
    steps: int,
    keep: bool,
    depth: int | None,
    distinct: bool,
  ) -> Steps:
    """See `loop.decode_steps`."""


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
  scores: tuple[str, ...] = (),
) -> tuple[Tree, TreeCache]:
  """Reads the prompt and returns an empty tree [B, X, A, L] with its cache. No slot is used yet.

  The content of the `last` slots is never expanded, so their keys are not kept.
  """
  batch = prompt.length.shape[0]
  tree = tree_lib.empty(batch, slots, candidates, step_length, max_steps, scores=scores)
  cache, value = start_cache(model, params, prompt, slots - last, candidates, step_length)
  tree = tree.replace(root_value=jax.nn.sigmoid(value))
  # Without the barrier XLA would turn the first write into empty arrays into a padding, done number
  # by number.
  return jax.lax.optimization_barrier((tree, cache))


def grower(
  model,
  params: Params,
  prompt: Prompt,
  *,
  sampling: Sampling,
  merge: bool = True,
  replacement: bool = True,
  scores: Scores | None = None,
  statistics: Statistics | None = None,
  keep: bool = False,
  reward: Reward | None = None,
  world: World | None = None,
  edit: Edit | None = None,
) -> Grow:
  """The `Grow` of a policy on B problems.

  Args:
    model: the language model.
    params: policy and critic are read.
    prompt: B problems.
    sampling: see `Sampling`.
    merge: siblings with equal tokens become one candidate whose `prior` is their share; the copies
      are masked.
    replacement: siblings are independent samples. Else no two of those that are sampled together
      are alike (`decode.race`), and `prior` is their share of the policy's probability. Those for
      which there is no other text are masked. Needs a temperature above 0.
    scores: what else is written on new nodes; the tree was made with their names.
    statistics: of sampled tokens, whose mean over each step is written on new nodes; the tree was
      made with their names.
    keep: of all chains; a score reads what the model remembers of them.
    reward: of finished nodes; None = the critic's value.
    world: what is said after a step; None = nothing.
    edit: what is written into a step then; None = nothing.
  """
  free = (world.tokens if world else 0) + (edit.spare if edit else 0)

  def sample(keys, tree, cache, parents, path, **settings):
    own = tree.tokens.shape[-1] - free
    settings |= dict(sampling=sampling, own=own, statistics=statistics, replacement=replacement)
    return decode_steps(model, params, keys, tree, cache, parents, path, **settings)

  def answer(tree, cache, ids):
    for write, what in ((append, world), (rewrite, edit)):
      if what:
        how = dict(temperature=sampling.temperature)
        tree, cache = write(model, params, prompt, tree, cache, ids, what, **how)
    return tree, cache

  answer = answer if world or edit else None
  how = dict(merge=merge, replacement=replacement)
  return growing(sample, scores=scores, keep=keep, reward=reward, answer=answer, **how)


def growing(
  sample: Sample,
  *,
  merge: bool = True,
  replacement: bool = True,
  scores: Scores | None = None,
  keep: bool = False,
  reward: Reward | None = None,
  answer: Callable | None = None,
) -> Grow:
  """The `Grow` of any source of steps. What the source gives is written into the tree and rewarded.

  answer: (tree, cache, ids [B, N]) -> the same, with given text after the steps that end at `ids`.
  """

  def grow(
    tree,
    cache,
    keys,
    parents,
    *,
    slot,
    candidates=None,
    each=None,
    steps=None,
    keep=keep,
    depth=None,
    distinct=False,
  ):
    if steps and answer is not None:
      how = dict(slot=slot, steps=steps, distinct=distinct)
      return _step_by_step(grow, tree, cache, keys, parents, **how)
    parents = jnp.where(tree_lib.expandable(tree, parents), parents, tree_lib.NONE)
    path = tree_lib.path_to(tree, parents)
    how = dict(keep=keep, depth=depth, distinct=distinct, each=each, steps=steps or 1)
    how |= dict(candidates=1 if steps else candidates)
    made = sample(keys, tree, cache, parents, path, **how)
    if steps:
      chains = cut(made, tree.tokens.shape[-1])
      tree = write_chains(tree, chains, parents, path, slot)
      if keep:
        cache = keep_chains(cache, made, chains, slot, tree_lib.candidates(tree))
    else:
      prior, real = _candidates_of(made, parents, each, merge, replacement)
      tree, cache = _write(tree, cache, made, parents, path, slot, prior, real)
    width = tree_lib.candidates(tree)
    ids = 1 + slot * width + jnp.arange((steps or 1) * parents.shape[1] * width)
    ids = jnp.broadcast_to(ids, (parents.shape[0], ids.shape[0]))
    if answer is not None:
      tree, cache = answer(tree, cache, ids)
    for name, score in (scores or {}).items():
      named = tree_lib.put(tree.scores[name], ids, score(tree, cache, ids))
      tree = tree.replace(scores=tree.scores | {name: named})
    if reward is not None:
      tree = tree.replace(reward=tree_lib.put(tree.reward, ids, _rewarded(tree, ids, reward)))
    return tree, cache

  return grow


def _rewarded(tree: Tree, ids: Array, reward: Reward) -> Array:
  """Rewards of nodes [B, N]: 0 where nothing is finished. Where the reward is unknown, a node keeps
  its own."""
  found = reward(tree, ids)
  found = jnp.where(jnp.isnan(found), tree_lib.pick(tree.reward, ids), found)
  return jnp.where(tree_lib.pick(tree_lib.finished(tree), ids, fill=False), found, 0)


def _step_by_step(grow, tree, cache, keys, parents, *, slot, steps, distinct):
  """A chain with something said between its steps: one expansion after the other."""
  width, candidates = parents.shape[1], tree_lib.candidates(tree)

  def step(s, carry):
    tree, cache, parents = carry
    here = slot + s * width
    how = dict(slot=here, candidates=1, distinct=distinct)
    tree, cache = grow(tree, cache, of_slot(keys, s), parents, **how)
    made = 1 + (here + jnp.arange(width)) * candidates
    grown = jax.lax.dynamic_slice_in_dim(tree.expanded, here, width, axis=1) >= 0
    return tree, cache, jnp.where(grown, made, tree_lib.NONE)

  tree, cache, _ = jax.lax.fori_loop(0, steps, step, (tree, cache, parents))
  return tree, cache


def _candidates_of(steps: Steps, parents, each, merge, replacement) -> tuple[Array, Array]:
  """Prior and mask of candidates [B, W, A, L] of one step."""
  made = (parents >= 0)[..., None] & (steps.length > 0)
  count = steps.length.shape[-1]
  if each is not None:
    made &= jnp.arange(count) < each[..., None]
    count = each[..., None]
  if not replacement:
    share = jax.nn.softmax(jnp.where(made, steps.logprob.sum(-1), -1e30))
    return jnp.where(made, share, 0), made
  prior = jnp.where(made, 1 / count, 0)
  return merge_duplicates(steps.tokens, prior, made) if merge else (prior, made)


def _write(tree: Tree, cache: TreeCache, steps: Steps, parents, path, slot, prior, made):
  """Writes candidates [B, W, A, L] of one step, of which some are made, into slots
  `slot .. slot+W-1`."""
  width, room = tree_lib.candidates(tree), tree.tokens.shape[-1]
  last = jnp.maximum(steps.length - 1, 0)[..., None]
  real = jnp.arange(steps.tokens.shape[-1]) < steps.length[..., None]
  token_value = jnp.where(real, jax.nn.sigmoid(steps.value), 0)
  value = jnp.take_along_axis(token_value, last, axis=-1)[..., 0]
  fields = dict(
    tokens=steps.tokens,
    length=steps.length,
    logprob=steps.logprob,
    terminal=steps.terminal,
    mask=made,
    prior=prior,
    value=jnp.where(made, value, 0),
    token_value=token_value,
    reward=jnp.where(made & steps.terminal, value, 0),
  )

  def wide(x):
    """With room for all the candidates and tokens that a slot has."""
    more = [(0, 0), (0, 0), (0, width - x.shape[2]), (0, room - x.shape[-1])][: x.ndim]
    return jnp.pad(x, more)

  def write(old, new, at=slot, axis=1):
    return jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), at, axis=axis)

  mean = {name: x.sum(-1) / jnp.maximum(steps.length, 1) for name, x in steps.statistics.items()}
  named = {name: write(tree.scores[name], wide(x)) for name, x in mean.items()}
  tree = tree.replace(
    expanded=write(tree.expanded, parents),
    path=write(tree.path, path),
    scores=tree.scores | named,
    **{name: write(getattr(tree, name), wide(new)) for name, new in fields.items()},
  )

  def write_blocks(old, new):
    new = as_blocks(_wide(new, width, room))
    return jax.tree.map(lambda x, y: write(x, y, slot * width, axis=2), old, new)

  hidden = jnp.pad(steps.hidden, [(0, 0), (0, 0), (0, width - steps.hidden.shape[2]), (0, 0)])
  nodes = each_layer(write_blocks, cache.nodes, steps.cache)
  return tree, cache.replace(nodes=nodes, hidden=write(cache.hidden, hidden))


def _wide(kv: KeyValue, candidates: int, tokens: int) -> KeyValue:
  """Keys [B, K, W, a, E, l] and values [B, K, W, a, l, E] with room for A candidates of L
  tokens."""
  more = (0, candidates - kv.key.shape[3]), (0, tokens - kv.key.shape[5])
  lead = [(0, 0)] * 3 + [more[0]]
  return KeyValue(
    jnp.pad(kv.key, [*lead, (0, 0), more[1]]), jnp.pad(kv.value, [*lead, more[1], (0, 0)])
  )


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
