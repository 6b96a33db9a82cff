"""Sampling without replacement (Shi, Bieber and Singh 2020, arXiv:2002.09067), drawn towards what
the guide likes: a tree of chains that stop where they are worth less.

A chain begins at any node with a step that is no child of it yet. So no solution is sampled twice,
and the steps before that node cost nothing. A chain goes on from a step that is worth as much as
its parent. From a step that is worth less it goes on with the chance that is left of it (Russian
roulette: Kahn and Harris 1951; Grassberger 2002, arXiv:cond-mat/0201313).
"""

import jax
import jax.numpy as jnp

from o1jax import keys as streams
from o1jax import tree as tree_lib
from o1jax.decode.grow import Grow
from o1jax.search import unseen
from o1jax.search.finish import finish
from o1jax.search.method import Look, Method
from o1jax.search.room import Room, check_range, last_of
from o1jax.search.worth import parents, with_root, worth
from o1jax.types import Array, Tree, TreeCache


def without_replacement(
  grow: Grow,
  tree: Tree,
  cache: TreeCache,
  keys: Array,
  *,
  units: Array | int,
  pull: float = 1.0,
  breadth: float = 1.0,
  prior: float = 1.0,
  at_once: int = 1,
) -> Tree:
  """Samples steps of which no two are alike.

  Where a new chain begins is drawn by three numbers: the probability, under the policy, that a
  solution comes to the node; that it goes on from there with a step that is no child of it yet; and
  what the node is worth (see `search.worth`).

  Args:
    grow: the policy.
    tree: empty, [B, X, 1, L] with the slots that `room` asks for.
    cache: its.
    keys: [B] one key a problem.
    units: [] N rounds, in each of which every chain samples a step.
    pull: power of the worth.
    breadth: power of the probability of coming to the node. With 1 a tree stays wide, since deep
      nodes are unlikely ones. With 0 a node is gone on from as often as the root where both are
      worth the same. With 1, no pull and one chain at once, solutions are samples of the policy
      without replacement.
    prior: see `worth`.
    at_once: W, chains side by side, which are at nodes that are all unlike. The first round has
      one.

  Returns:
    The tree. Step w of round n is in slot n*W + w. One more chain ends an unfinished problem.
  """
  slots = tree.mask.shape[1]
  filled = slots - last_of(1, tree.path.shape[-1])

  def simulate(n, carry):
    tree, cache, masses = carry
    noise = streams.of_slot(streams.of_noise(keys), n)
    slot = n * at_once
    liked = dict(pull=pull, breadth=breadth, prior=prior)
    nodes = _next(tree, masses, noise, slot, width=at_once, **liked)
    how = dict(slot=slot, steps=1, keep=True, distinct=True)
    tree, cache = grow(tree, cache, streams.of_slot(keys, slot), nodes, **how)
    return tree, cache, unseen.with_steps(tree, masses, slot + jnp.arange(at_once))

  # The name tells how often the loop runs at most, which a reader of the program could not see.
  with jax.named_scope(f'rounds/turns_{filled // at_once}'):
    carry = tree, cache, unseen.of_root(tree)
    tree, cache, _ = jax.lax.fori_loop(0, units, simulate, carry)
  return finish(grow, tree, cache, streams.of_slot(keys, filled), filled)


def room(
  units: int,
  *,
  candidates: int,
  max_steps: int,
  pull: float,
  breadth: float,
  prior: float,
  at_once: int,
) -> Room:
  """A slot for each step of each chain, and those of the chain that ends an unfinished problem.

  Raises:
    ValueError: a setting is out of range.
  """
  del candidates
  check_range(0, pull=pull, breadth=breadth, prior=prior)
  check_range(1, whole=True, at_once=at_once)
  last = last_of(1, max_steps)
  return Room(slots=units * at_once + last, candidates=1, last=last, width=at_once)


def _next(
  tree: Tree, masses: unseen.Masses, keys: Array, slot: Array, *, pull, breadth, prior, width
) -> Array:
  """The nodes from which the chains go on, [B, W], all unlike; -1 where nothing is left. `slot` is
  the first that is empty."""
  nodes = jnp.arange(1 + tree.mask.shape[1])
  grows = tree_lib.expandable(tree, jnp.broadcast_to(nodes, (tree.mask.shape[0], len(nodes))))
  liked = pull * jnp.log(worth(tree, prior=prior))
  of_begins, of_ends = jax.vmap(jax.random.split, out_axes=1)(keys)
  mass = jnp.where(grows, unseen.wider(masses), 0)
  come = jnp.log(jnp.where(mass > 0, masses.node, 1))
  # The largest with Gumbel noise are a draw without replacement.
  drawn = jax.vmap(lambda key: jax.random.gumbel(key, nodes.shape))(of_begins)
  likely = jnp.log(jnp.where(mass > 0, mass, 1)) - (1 - breadth) * come
  log = jnp.where(mass > 0, likely + liked + drawn, -jnp.inf)
  # Chains that go on come before those that begin.
  last = (nodes > slot - width) & (nodes <= slot) & with_root(tree.mask[..., 0], False) & grows
  spared = jax.vmap(lambda key: jax.random.exponential(key, nodes.shape))(of_ends)
  gain = liked - jnp.take_along_axis(liked, parents(tree), axis=1)
  log = jnp.where(last & (gain + spared >= 0), jnp.inf, log)
  found, chosen = jax.lax.top_k(log, width)
  return jnp.where(found > -jnp.inf, chosen, tree_lib.NONE)


def _sampled(units, *, max_steps, at_once, **settings):
  del settings
  return 1 + (units - 1) * at_once + max_steps / 2


METHOD = Method(
  without_replacement,
  room,
  'sampling without replacement',
  Look('blue', 'P'),
  unit='rounds',
  steps=_sampled,
  settings=dict(pull=1.0, breadth=1.0, prior=1.0, at_once=1),
  continues=True,
  distinct=True,
  several=True,
  provides=frozenset({'solutions'}),
)
