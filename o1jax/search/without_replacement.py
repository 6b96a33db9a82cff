"""Sampling without replacement (Shi, Bieber and Singh 2020, arXiv:2002.09067), drawn towards what
the guide likes: a tree of chains.

A chain begins at any node with a step that is no child of it yet. So no solution is sampled twice,
and the steps before that node cost nothing.
"""

import jax
import jax.numpy as jnp

from o1jax import keys as streams
from o1jax import tree as tree_lib
from o1jax.decode.grow import Grow
from o1jax.search import unseen
from o1jax.search.finish import finish
from o1jax.search.method import Look, Method
from o1jax.search.room import Room, last_of, steps_of
from o1jax.types import Array, Tree, TreeCache

_LEAST = 1e-6  # a guide of 0 is no more certain than this


def without_replacement(
  grow: Grow,
  tree: Tree,
  cache: TreeCache,
  keys: Array,
  *,
  units: Array | int,
  pull: float = 1.0,
  ahead: int = 1,
  at_once: int = 4,
) -> Tree:
  """Samples steps of which no two are alike.

  Where the next chain begins is drawn by the probability, under the policy, that a solution comes
  to the node and goes on with a step that is no child of it yet, times how likely the guide calls
  it to be right.

  Args:
    grow: the policy.
    tree: empty, [B, X, 1, L] with the slots that `room` asks for.
    cache: its.
    keys: [B] one key a problem.
    units: [] N rounds.
    pull: power of the guide. With 0, chains to their end, one at a time, are samples of the policy
      without replacement.
    ahead: S, the most steps of a chain. 0 = R: chains go to their end. Else one more chain ends an
      unfinished problem.
    at_once: W, the most chains of a round, which begin at nodes that are all unlike. So the first
      round has one.

  Returns:
    The tree. Step s of chain n*W + w is in slot (n*S + s)*W + w.
  """
  depth, slots = tree.path.shape[-1], tree.mask.shape[1]
  steps, filled = steps_of(ahead, depth), slots - last_of(ahead, depth)

  def simulate(n, carry):
    tree, cache, masses = carry
    noise = streams.of_slot(streams.of_noise(keys), n)
    parents = _parents(tree, masses, noise, pull, at_once)
    slot = n * steps * at_once
    how = dict(slot=slot, steps=steps, keep=True, distinct=True)
    tree, cache = grow(tree, cache, streams.of_slot(keys, slot), parents, **how)
    return tree, cache, unseen.with_steps(tree, masses, slot + jnp.arange(steps * at_once))

  # The name tells how often the loop runs at most, which a reader of the program could not see.
  with jax.named_scope(f'rounds/turns_{filled // (steps * at_once)}'):
    carry = tree, cache, unseen.of_root(tree)
    tree, cache, _ = jax.lax.fori_loop(0, units, simulate, carry)
  return finish(grow, tree, cache, streams.of_slot(keys, filled), filled)


def room(units: int, *, max_steps: int, ahead: int, at_once: int, **settings) -> Room:
  """A slot for each step of each chain, and those of the chain that ends an unfinished problem."""
  del settings
  steps, last = steps_of(ahead, max_steps), last_of(ahead, max_steps)
  return Room(slots=units * at_once * steps + last, candidates=1, last=last, width=at_once)


def _parents(tree: Tree, masses: unseen.Masses, keys: Array, pull: float, width: int) -> Array:
  """The nodes from which the next chains start, [B, W], all unlike; -1 where nothing is left."""
  batch, slots, _ = tree.mask.shape
  ids = jnp.broadcast_to(jnp.arange(1 + slots), (batch, 1 + slots))
  weight = jnp.where(tree_lib.expandable(tree, ids), unseen.wider(masses), 0)
  guide = jnp.concatenate([tree_lib.root_guide(tree)[:, None], tree_lib.guide(tree)[..., 0]], 1)
  liked = pull * jnp.log(jnp.clip(guide, _LEAST, 1.0))
  noise = jax.vmap(lambda key: jax.random.gumbel(key, (1 + slots,)))(keys)
  # The largest with Gumbel noise are a draw without replacement.
  log = jnp.where(weight > 0, jnp.log(jnp.where(weight > 0, weight, 1)) + liked + noise, -jnp.inf)
  found, nodes = jax.lax.top_k(log, width)
  return jnp.where(found > -jnp.inf, nodes, tree_lib.NONE)


def _sampled(units, *, max_steps, ahead, at_once, **settings):
  del settings
  each = min(steps_of(ahead, max_steps), max_steps / 2)
  return 1 + (units - 1) * at_once * each + max_steps / 2


METHOD = Method(
  without_replacement,
  room,
  'sampling without replacement',
  Look('blue', 'P'),
  unit='rounds',
  steps=_sampled,
  settings=dict(pull=1.0, ahead=1, at_once=4),
  continues=True,
  distinct=True,
  several=True,
  provides=frozenset({'solutions'}),
)
