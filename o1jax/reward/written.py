"""Which numbers a search writes on its nodes, and how: the scores that it is asked for, what they
keep for later, and the guide that it follows."""

import functools
from collections.abc import Callable, Sequence

import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.decode.grow import Scores
from o1jax.decode.loop import Statistics
from o1jax.reward import SCORES, Score
from o1jax.reward.guide import CRITIC, ORACLE, follow, names
from o1jax.reward.known import Known
from o1jax.reward.noise import flipped
from o1jax.tree import GUIDE, READ, note
from o1jax.types import Array, Tree


def asked(scores: Sequence[str], guide: str) -> tuple[str, ...]:
  """The scores that are written on nodes: those that are wanted, and the parts of a guide. The
  critic guides by the values that stand on nodes already."""
  return tuple(dict.fromkeys((*scores, *(name for name in names(guide) if name != CRITIC))))


def rows_of(asked: Sequence[str]) -> dict[str, Score]:
  """The rows of scores, without the oracle, which is in no table."""
  return {name: SCORES[name] for name in asked if name != ORACLE}


def statistics(asked: Sequence[str]) -> Statistics:
  """What scores read of the distribution of each token, by the names of their notes."""
  return {note(name): row.token for name, row in rows_of(asked).items() if row.token}


def reads(asked: Sequence[str]) -> bool:
  """Whether the policy reads more to give these scores, and so needs the keys of all nodes."""
  return any(row.read for row in rows_of(asked).values())


def reads_critic(guide: str) -> bool:
  """Whether a guide depends on what the critic says."""
  return any(row.critic for row in rows_of(names(guide)).values())


def changing(asked: Sequence[str]) -> tuple[str, ...]:
  """Those of the scores that depend on the whole tree."""
  return tuple(name for name, row in rows_of(asked).items() if row.whole)


def writers(
  known: Known,
  scores: Sequence[str],
  *,
  guide: str = CRITIC,
  flips: float = 0.0,
  oracle: Callable[[Tree, Array], Array] | None = None,
) -> Scores:
  """What writes each number on new nodes, by its name in `Tree.scores`, in order.

  Args:
    known: see `Known`; the cache comes with the tree.
    scores: rows of `SCORES` to write, whatever guides the search.
    guide: what a search follows; it is written too, where it is not the critic alone.
    flips: chance that the guide is flipped on a node.
    oracle: (tree, ids [B, N]) -> [B, N], the score of that name.
  """

  def told(function, tree, cache, ids):
    return function(known._replace(cache=cache), tree, ids)

  def followed(tree, cache, ids):
    del cache
    value = guided(tree, ids, guide)
    return flipped(value, known.keys, tree, ids, rate=flips) if flips else value

  found, rows = {}, rows_of(asked(scores, guide))
  for name, row in rows.items():
    if row.note:
      found[note(name)] = functools.partial(told, row.note)
    found[name] = functools.partial(told, row.score)
  if ORACLE in names(guide):
    found[ORACLE] = lambda tree, cache, ids: oracle(tree, ids)
  reads = [functools.partial(told, row.read) for row in rows.values() if row.read]
  if reads:
    found[READ] = lambda *nodes: sum(read(*nodes) for read in reads)
  if guide != CRITIC or flips:
    found[GUIDE] = followed
  return found


def weighed(tree: Tree, guide: str) -> Tree:
  """The tree with another guide on all of its nodes, on which its parts are written."""
  ids = jnp.broadcast_to(tree_lib.node_ids(tree).reshape(-1), (len(tree.mask), tree.mask[0].size))
  value = guided(tree, ids, guide).reshape(tree.mask.shape)
  return tree.replace(scores=tree.scores | {GUIDE: value})


def guided(tree: Tree, ids: Array, guide: str) -> Array:
  """The guide at nodes on which its parts are written, [B, N]."""
  part = lambda name: tree.value if name == CRITIC else tree.scores[name]
  return follow(guide, lambda name: tree_lib.pick(part(name), ids))


def renewed(
  tree: Tree,
  known: Known,
  scores: Sequence[str] = (),
  *,
  guide: str = CRITIC,
  flips: float = 0.0,
) -> Tree:
  """A tree on which those scores are written anew that depend on all of it, and the guide if it
  reads one of them. See `writers`; nothing else of a node changes."""
  names_of = changing(asked(scores, guide))
  ids = jnp.broadcast_to(tree_lib.node_ids(tree).reshape(-1), (len(tree.mask), tree.mask[0].size))
  for name in names_of:
    value = SCORES[name].score(known, tree, ids).reshape(tree.mask.shape)
    tree = tree.replace(scores=tree.scores | {name: value})
  if not set(names_of) & set(names(guide)):
    return tree
  value = guided(tree, ids, guide)
  value = flipped(value, known.keys, tree, ids, rate=flips) if flips else value
  return tree.replace(scores=tree.scores | {GUIDE: value.reshape(tree.mask.shape)})
