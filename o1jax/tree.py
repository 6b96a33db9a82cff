"""Pure walks over a `Tree`: ids, paths, what may be expanded, and sums over descendants.

Written for one problem where that reads better and mapped over the batch at the border. Node ids
are arithmetic (see `types.Tree`), so no function here looks anything up.
"""

import functools

import jax
import jax.numpy as jnp

from o1jax.types import Array, Prompt, Tree

ROOT = 0
NONE = -1
# The name in `Tree.scores` of how many tokens the policy has read after a node to score it.
READ = 'read'
# Of how many tokens were sampled at the end of a node's step and taken back.
TAKEN = 'taken'
# Of a node of a later turn (see `dialogue.joined`): how many tokens its turn's prompt has, and the
# node that the prompt was written from. 0 for others.
ASKED, ORIGIN = 'asked', 'origin'
GUIDE = 'guide'  # the name in `Tree.scores` of what a search follows, where it is not the critic
COUNT = 'count'  # of how many solutions a node stands for, where that is not one for each


def note(name: str) -> str:
  """The name in `Tree.scores` of what a score keeps on each node to read it later."""
  return f'{name}.note'


def empty(
  batch: int,
  slots: int,
  candidates: int,
  step_length: int,
  max_steps: int,
  *,
  scores: tuple[str, ...] = (),
) -> Tree:
  """A tree [B, X, A, L] with R = `max_steps` in which nothing is expanded. scores: their names."""
  node = (batch, slots, candidates)
  count = functools.partial(jnp.zeros, node)
  return Tree(
    expanded=jnp.full((batch, slots), NONE, jnp.int32),
    path=jnp.full((batch, slots, max_steps), NONE, jnp.int32),
    tokens=jnp.zeros((*node, step_length), jnp.int32),
    length=count(jnp.int32),
    logprob=jnp.zeros((*node, step_length)),
    terminal=count(bool),
    mask=count(bool),
    prior=count(),
    value=count(),
    reward=count(),
    outcome=count(),
    unjudged=count(bool),
    visits=count(jnp.int32),
    q=count(),
    root_value=jnp.zeros(batch),
    token_value=jnp.zeros((*node, step_length)),
    given=jnp.zeros((*node, step_length), bool),
    scores={name: count() for name in scores},
  )


def candidates(tree: Tree) -> int:
  """A, the number of candidates per expansion."""
  return tree.mask.shape[-1]


def node_ids(tree: Tree) -> Array:
  """Id of every candidate, [X, A]."""
  slots, width = tree.mask.shape[-2:]
  return 1 + jnp.arange(slots * width).reshape(slots, width)


def pick(field: Array, ids: Array, fill=0) -> Array:
  """Reads a node field by id. field [B, X, A, ...], ids [B, ...ids]; ids < 1 (the root, none) read
  `fill`."""
  flat = field.reshape(field.shape[0], -1, *field.shape[3:])
  # Mapped, so that the compiler sees that no problem reads of another, which may be on another
  # device.
  found = jax.vmap(lambda nodes, at: nodes[at])(flat, jnp.maximum(ids - 1, 0))
  there = (ids > 0).reshape(ids.shape + (1,) * (found.ndim - ids.ndim))
  return jnp.where(there, found, jnp.asarray(fill, found.dtype))


def put(field: Array, ids: Array, values: Array) -> Array:
  """Writes a node field by id. field [B, X, A, ...], ids [B, N], values [B, N, ...]; ids < 1 are
  left out."""
  flat = field.reshape(field.shape[0], -1, *field.shape[3:])
  write = jax.vmap(lambda nodes, at, new: nodes.at[at].set(new, mode='drop'))
  return write(flat, jnp.where(ids > 0, ids - 1, flat.shape[1]), values).reshape(field.shape)


def parent_depth(tree: Tree) -> Array:
  """Steps between the root and the node that each slot expanded, [B, X]; candidates lie one
  deeper."""
  return jnp.sum(tree.path > ROOT, axis=-1)


def path_to(tree: Tree, ids: Array) -> Array:
  """Path of each node as `Tree.path` stores it: the root, then ancestors, then the node. ids [B, W]
  -> [B, W, R].

  A node at depth R has a path one longer than R; its last entry, the node itself, is dropped.
  """
  width = candidates(tree)
  slot = jnp.maximum(ids - 1, 0) // width
  above = jnp.take_along_axis(tree.path, slot[..., None], axis=1)
  above = jnp.where((ids > 0)[..., None], above, NONE)
  column = jnp.arange(tree.path.shape[-1])
  end = jnp.sum(above >= 0, axis=-1, keepdims=True)
  return jnp.where(column == end, ids[..., None], above)


def guide(tree: Tree) -> Array:
  """What a search follows, [B, X, A]: the critic's value, or a guide where one is written."""
  return tree.scores.get(GUIDE, tree.value)


def counts(tree: Tree) -> Array:
  """How many solutions each node stands for in a vote, [B, X, A]; any number of at least 0."""
  return tree.scores.get(COUNT, jnp.ones_like(tree.value))


def root_guide(tree: Tree) -> Array:
  """What a search follows at the root, [B]. A guide that is not the critic says nothing of a
  prompt, so there it is the mean over the first candidates."""
  if GUIDE not in tree.scores:
    return tree.root_value
  return jnp.sum(tree.prior[:, 0] * tree.scores[GUIDE][:, 0], axis=-1)


def expandable(tree: Tree, ids: Array) -> Array:
  """True where a node may be expanded: the root, or a real, unfinished candidate above depth R. ids
  [B, W]."""
  deepest = tree.path.shape[-1]
  depth = 1 + parent_depth(tree)[..., None]
  inner = pick(tree.mask & ~tree.terminal & (depth < deepest), ids, fill=False)
  return inner | (ids == ROOT)


def finished(tree: Tree) -> Array:
  """Real candidates at which a solution is complete, [B, X, A]."""
  return tree.mask & tree.terminal


def judged(tree: Tree) -> Array:
  """Finished candidates on which there is a verdict, [B, X, A]."""
  return finished(tree) & ~tree.unjudged


def sum_below(tree: Tree, values: Array) -> tuple[Array, Array]:
  """Sums a node field over each node and its descendants.

  Args:
    tree: any tree.
    values: [B, X, A]; masked candidates must hold 0.

  Returns:
    ([B, X, A], [B]): the sums, and the sum over the whole tree.
  """

  def one(path, expanded, values):
    slots, width = values.shape
    total = jnp.where(expanded >= 0, values.sum(-1), 0)
    where = jnp.where(path >= 0, path, slots * width + 1)
    above = jnp.zeros(slots * width + 1, values.dtype).at[where].add(total[:, None], mode='drop')
    return values + above[1:].reshape(slots, width), above[0]

  return jax.vmap(one)(tree.path, tree.expanded, values)


def step_start(tree: Tree, prompt_length: Array) -> Array:
  """Position of the first token of each slot's candidates, [B, X]: the prompt and the path come
  before it."""
  return prompt_length[:, None] + jnp.sum(pick(tree.length, tree.path), axis=-1)


def longest(tree: Tree, prompt: Prompt) -> int:
  """Most tokens that the prompt and a solution can have: all positions lie below."""
  return prompt.tokens.shape[1] + tree.path.shape[-1] * tree.tokens.shape[-1]


def path_nodes(tree: Tree, ids: Array) -> Array:
  """The nodes from below the root to each node, [B, N] -> [B, N, R]; -1 behind it."""
  above = path_to(tree, ids)
  nodes = jnp.concatenate([above[..., 1:], jnp.full_like(above[..., :1], NONE)], axis=-1)
  # A node at depth R fell off its own path: it goes behind its ancestors here.
  depth = jnp.sum(above > ROOT, axis=-1, keepdims=True)
  missing = jnp.take_along_axis(above, depth, axis=-1) != ids[..., None]
  return jnp.where(missing & (jnp.arange(nodes.shape[-1]) == depth), ids[..., None], nodes)


def path_steps(tree: Tree, ids: Array) -> tuple[Array, Array]:
  """Tokens and lengths of the steps from below the root to each node. ids [B, N] -> [B, N, R, L],
  [B, N, R]."""
  nodes = path_nodes(tree, ids)
  return pick(tree.tokens, nodes), pick(tree.length, nodes)


def solution_tokens(tree: Tree, ids: Array) -> tuple[Array, Array]:
  """The solution up to each node as one row. ids [B, N] -> tokens [B, N, R*L] left-packed, length
  [B, N]."""
  tokens, lengths = path_steps(tree, ids)
  rows = tokens.reshape(*ids.shape, -1)
  ends = jnp.cumsum(lengths, axis=-1)
  column = jnp.arange(rows.shape[-1])
  step = jnp.sum(
    column[:, None] >= ends[..., None, :], axis=-1
  )  # [B, N, R*L]: the step that holds each column
  inside = step < lengths.shape[-1]
  step = jnp.where(inside, step, 0)
  offset = column - jnp.take_along_axis(ends - lengths, step, axis=-1)
  packed = jnp.take_along_axis(
    rows, jnp.where(inside, step * tokens.shape[-1] + offset, 0), axis=-1
  )
  return jnp.where(inside, packed, 0), ends[..., -1]


def crop(tree: Tree, tokens: int) -> Tree:
  """The tree up to its first so many tokens: slots that hold later ones become unused.

  Of a tree that is nothing but chains, each chain has so many. A slot is filled after the one that
  holds its parent, so what falls off is never missed by what stays.
  """
  made = jnp.sum(jnp.where(tree.expanded[..., None] >= 0, tree.length, 0), axis=-1)
  rows = made.reshape(made.shape[0], -1, max(tree.chains, 1))
  fits = (jnp.cumsum(rows, axis=1) <= tokens).reshape(made.shape)
  keep = (tree.expanded >= 0) & fits
  return tree.replace(
    expanded=jnp.where(keep, tree.expanded, NONE),
    path=jnp.where(keep[..., None], tree.path, NONE),
    length=jnp.where(keep[..., None], tree.length, 0),
    mask=tree.mask & keep[..., None],
  )


def chains_apart(prompt: Prompt, tree: Tree) -> tuple[Prompt, Tree]:
  """N independent chains a problem (see `Tree.chains`) as B*N trees of one chain each; any other
  tree as it is.

  Chains have nothing but the prompt in common: apart, no attention is computed between them.
  """
  count = tree.chains
  if not count:
    return prompt, tree

  def part(x):
    x = jnp.moveaxis(x.reshape(x.shape[0], -1, count, *x.shape[2:]), 2, 1)
    return x.reshape(-1, *x.shape[2:])

  rename = lambda ids: jnp.where(ids > 0, 1 + (ids - 1) // count, ids)
  named = tree.replace(
    expanded=rename(tree.expanded), path=rename(tree.path), root_value=None, chains=0
  )
  repeat = lambda x: jnp.repeat(x, count, axis=0)
  apart = jax.tree.map(part, named).replace(root_value=repeat(tree.root_value))
  return jax.tree.map(repeat, prompt), apart


def chains_together(field: Array, count: int) -> Array:
  """Undoes `chains_apart` for a node field: [B*N, R, 1, ...] -> [B, R*N, 1, ...], N = `count`."""
  field = jnp.swapaxes(field.reshape(-1, count, *field.shape[1:]), 1, 2)
  return field.reshape(field.shape[0], -1, *field.shape[3:])


def generated_tokens(tree: Tree) -> Array:
  """Tokens sampled for each problem, [B]: every branch counts, pruned and duplicate ones too, and
  what was taken back."""
  length = tree.length + taken(tree)
  length = jnp.sum(jnp.where(tree.expanded[..., None] >= 0, length, 0), axis=(1, 2))
  return length - given_tokens(tree)


def taken(tree: Tree) -> Array:
  """Tokens that were sampled at the end of each node's step and taken back, [B, X, A]."""
  return tree.scores.get(TAKEN, jnp.zeros(tree.length.shape)).astype(tree.length.dtype)


def tokens_after(tree: Tree, found: Array) -> Array:
  """Tokens sampled after the first slot that holds one of some nodes, [B], in the order of the
  slots; 0 where none does. found [B, X, A] bool."""
  before = jnp.cumsum(jnp.any(found, axis=-1), axis=-1) > 0
  after = jnp.pad(before[:, :-1], ((0, 0), (1, 0)))
  return generated_tokens(tree.replace(expanded=jnp.where(after, tree.expanded, NONE)))


def given_tokens(tree: Tree) -> Array:
  """Tokens that were written for each problem and not sampled, [B]."""
  used = (tree.expanded >= 0)[..., None, None]
  return jnp.sum(tree.given & used, axis=(1, 2, 3), dtype=jnp.int32)
