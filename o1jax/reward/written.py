"""Which numbers a search writes on its nodes, and how: the scores that it is asked for, what they
keep for later, and the guide that it follows."""

import functools
from collections.abc import Callable, Sequence

from o1jax import tree as tree_lib
from o1jax.decode.grow import Scores
from o1jax.decode.loop import Statistics
from o1jax.reward import SCORES
from o1jax.reward.guide import CRITIC, ORACLE, follow, names
from o1jax.reward.known import Known
from o1jax.reward.noise import flipped
from o1jax.tree import GUIDE, note
from o1jax.types import Array, Tree


def statistics(asked: Sequence[str]) -> Statistics:
  """What the asked scores read of the distribution of each token, by the names of their notes."""
  rows = {name: SCORES[name] for name in asked if name in SCORES}
  return {note(name): row.token for name, row in rows.items() if row.token}


def asked(scores: Sequence[str], guide: str) -> tuple[str, ...]:
  """The scores that are written on nodes: those that are wanted, and the parts of a guide. The
  critic guides by the values that stand on nodes already."""
  return tuple(dict.fromkeys((*scores, *(name for name in names(guide) if name != CRITIC))))


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

  def of_row(row, tree, cache, ids):
    return row.score(known._replace(cache=cache), tree, ids)

  def followed(tree, cache, ids):
    del cache
    value = guided(tree, ids, guide)
    return flipped(value, known.keys, tree, ids, rate=flips) if flips else value

  found = {}
  for name in asked(scores, guide):
    if name == ORACLE:
      found[name] = lambda tree, cache, ids: oracle(tree, ids)
    else:
      found[name] = functools.partial(of_row, SCORES[name])
  if guide != CRITIC or flips:
    found[GUIDE] = followed
  return found


def guided(tree: Tree, ids: Array, guide: str) -> Array:
  """The guide at nodes on which its parts are written, [B, N]."""
  part = lambda name: tree.value if name == CRITIC else tree.scores[name]
  return follow(guide, lambda name: tree_lib.pick(part(name), ids))
