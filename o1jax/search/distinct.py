"""Distinct solutions: a tree of chains without replacement (Shi, Bieber and Singh 2020,
arXiv:2002.09067), drawn towards what the guide likes.

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
from o1jax.search.room import Room
from o1jax.types import Array, Tree, TreeCache

_LEAST = 1e-6  # a guide of 0 is no more certain than this


def distinct(
  grow: Grow,
  tree: Tree,
  cache: TreeCache,
  keys: Array,
  *,
  units: Array | int,
  pull: float = 1.0,
  ahead: int = 1,
  at_once: int = 1,
) -> Tree:
  """Samples solutions without replacement.

  Where the next chain begins is drawn by the probability, under the policy, that a solution comes
  to the node and goes on with a step that is no child of it yet, times how likely the guide calls
  it to be right.

  Args:
    grow: the policy.
    tree: empty, [B, X, 1, L] with the slots that `room` asks for.
    cache: its.
    keys: [B] one key a problem.
    units: [] N chains.
    pull: power of the guide. With 0 the chains are samples of the policy without replacement.
    ahead: S, the most steps of a chain. 0 = R: chains go to their end. Else one more chain ends an
      unfinished problem.
    at_once: W, chains that are sampled at once, from nodes that are all unlike.

  Returns:
    The tree. Step s of chain n*W + w is in slot (n*S + s)*W + w.
  """
  depth, slots = tree.path.shape[-1], tree.mask.shape[1]
  steps, filled = _steps(ahead, depth), slots - _last(ahead, depth)

  def simulate(n, carry):
    tree, cache, masses = carry
    noise = streams.of_slot(streams.of_noise(keys), n)
    parents = _parents(tree, masses, noise, pull, at_once)
    parents = jnp.where(n * at_once + jnp.arange(at_once) < units, parents, tree_lib.NONE)
    slot = n * steps * at_once
    how = dict(slot=slot, steps=steps, keep=True, distinct=True)
    tree, cache = grow(tree, cache, streams.of_slot(keys, slot), parents, **how)
    return tree, cache, unseen.with_steps(tree, masses, slot + jnp.arange(steps * at_once))

  # The name tells how often the loop runs at most, which a reader of the program could not see.
  with jax.named_scope(f'chains/turns_{filled // (steps * at_once)}'):
    rounds = (units + at_once - 1) // at_once
    carry = tree, cache, unseen.of_root(tree)
    tree, cache, _ = jax.lax.fori_loop(0, rounds, simulate, carry)
  return finish(grow, tree, cache, streams.of_slot(keys, filled), filled)


def room(units: int, *, max_steps: int, ahead: int, at_once: int, **settings) -> Room:
  """A slot for each step of each chain, and those of the chain that finishes an unfinished
  problem."""
  del settings
  last, chains = _last(ahead, max_steps), -(-units // at_once) * at_once
  return Room(slots=chains * _steps(ahead, max_steps) + last, candidates=1, last=last)


def _steps(ahead: int, max_steps: int) -> int:
  """S, the most steps of a chain."""
  return min(ahead or max_steps, max_steps)


def _last(ahead: int, max_steps: int) -> int:
  """Steps of the chain that ends a search whose chains did not go to their end."""
  return max_steps - 1 if _steps(ahead, max_steps) < max_steps else 0


def _parents(tree: Tree, masses: unseen.Masses, keys: Array, pull: float, width: int) -> Array:
  """The nodes from which the next chains start, [B, W], all unlike; -1 where nothing is left."""
  batch, slots, _ = tree.mask.shape
  ids = jnp.broadcast_to(jnp.arange(1 + slots), (batch, 1 + slots))
  weight = masses.node * unseen.wider(masses)
  weight = jnp.where(tree_lib.expandable(tree, ids), weight, 0)
  guide = jnp.concatenate([tree_lib.root_guide(tree)[:, None], tree_lib.guide(tree)[..., 0]], 1)
  liked = pull * jnp.log(jnp.clip(guide, _LEAST, 1.0))
  noise = jax.vmap(lambda key: jax.random.gumbel(key, (1 + slots,)))(keys)
  # The largest with Gumbel noise are a draw without replacement.
  log = jnp.where(weight > 0, jnp.log(jnp.where(weight > 0, weight, 1)) + liked + noise, -jnp.inf)
  found, nodes = jax.lax.top_k(log, width)
  return jnp.where(found > -jnp.inf, nodes, tree_lib.NONE)


METHOD = Method(
  distinct,
  room,
  'distinct solutions',
  Look('red', 'D'),
  unit='chains',
  # A chain begins at any depth.
  steps=lambda units, *, max_steps, ahead, **settings: (
    (1 + units) * min(ahead or max_steps, max_steps / 2)
  ),
  settings=dict(pull=1.0, ahead=1, at_once=1),
  distinct=True,
  several=True,
  continues=True,
  provides=frozenset({'solutions'}),
)
