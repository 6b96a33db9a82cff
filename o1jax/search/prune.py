"""Which nodes are worth their tokens: by the guide a node is wrong, right or uncertain."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.decode.grow import Grow
from o1jax.search.finish import still_open
from o1jax.search.room import check_range
from o1jax.types import Array, Tree

# Of all that a config may say of pruning.
DEFAULTS = dict(below=0.0, of_best=0.0, sure=0.0)


def pruned(grow: Grow, *, below: float = 0.0, of_best: float = 0.0, sure: float = 0.0) -> Grow:
  """A `Grow` that samples nothing under wrong nodes, and one candidate under right ones.

  So the tokens that a search does not spend there go to the uncertain ones, for whoever asks for
  tokens. The best node of a problem without a finished solution is never wrong, so that each gets
  an answer; nor is the root.

  Args:
    grow: any.
    below: a node is wrong if its guide is below this; 0 = none is.
    of_best: or below this share of the best guide among the nodes that can grow; 0 = none is.
    sure: it is right if its guide is at least this; 0 = none is.
  """
  if not (below or of_best or sure):
    return grow

  def wrapped(tree, cache, keys, parents, *, steps=None, **how):
    guide = tree_lib.pick(tree_lib.guide(tree), parents)
    if below or of_best:
      parents = jnp.where(_wrong(tree, parents, guide, below, of_best), tree_lib.NONE, parents)
    if sure and not steps:
      room = how.get('candidates') or tree_lib.candidates(tree)
      how['each'] = jnp.where((parents > 0) & (guide >= sure), 1, room)
    return grow(tree, cache, keys, parents, steps=steps, **how)

  return wrapped


def _wrong(tree: Tree, parents: Array, guide: Array, below: float, of_best: float) -> Array:
  """[B, W] bool."""
  inner = (parents > 0) & tree_lib.expandable(tree, parents)
  own = jnp.max(jnp.where(inner, guide, -jnp.inf), axis=-1)
  free = jnp.where(still_open(tree), tree_lib.guide(tree), -jnp.inf)
  best = jnp.maximum(own, jnp.max(free, axis=(1, 2)))[:, None]
  unsolved = ~jnp.any(tree_lib.finished(tree), axis=(1, 2))[:, None]
  wrong = jnp.zeros_like(inner)
  if below:
    wrong |= guide < below
  if of_best:
    wrong |= guide < of_best * best
  return inner & wrong & ~(unsolved & (guide >= best))


def check_prune(settings: Mapping[str, Any]) -> None:
  """Raises ValueError for settings, of `DEFAULTS`, that cannot work."""
  check_range(0, 1, **settings)
  if 0 < settings['sure'] <= settings['below']:
    raise ValueError(
      f'sure={settings["sure"]}: nodes are wrong below={settings["below"]}, so give more, or 0'
    )
