"""Particle filtering over steps: sequential Monte Carlo (arXiv:2502.01618), twisted by the guide
(arXiv:2404.17546)."""

import jax
import jax.numpy as jnp
from flax import struct

from o1jax import keys as streams
from o1jax import tree as tree_lib
from o1jax.decode.grow import Grow
from o1jax.search.blocks import grow_in_blocks, padded
from o1jax.search.method import Look, Method
from o1jax.search.room import Room, check_choice, check_range
from o1jax.types import Array, Tree, TreeCache

WEIGHTS, RESAMPLING = ('ratio', 'guide'), ('systematic', 'multinomial')
_LEAST = 1e-6  # a guide of 0 would leave nothing to divide by


@struct.dataclass
class Particles:
  """K particles of each problem, and what they estimate."""

  node: Array  # [B, K] ids; several may be at one node; -1 = not used
  log_weight: Array  # [B, K], -inf where not used
  # [B] log of the product, over all resamplings and the end, of the mean weight: exp of it is an
  # unbiased estimate of the normalising constant.
  log_evidence: Array


def smc(
  grow: Grow,
  tree: Tree,
  cache: TreeCache,
  keys: Array,
  *,
  units: Array | int,
  weights: str = 'ratio',
  resampling: str = 'systematic',
  threshold: float = 0.5,
) -> Tree:
  """K = `units` particles advance a step at a time, and are resampled by what the guide says.

  A particle that is resampled twice goes on twice from the same node. One that is finished waits.
  In the end they are a weighted sample of the policy's solutions, each times its guide.

  Args:
    grow: the policy.
    tree: empty, [B, K*R, 1, L], with room for the most particles, and the score `tree.COUNT`.
    cache: of all its nodes.
    keys: [B] one key a problem.
    units: [] K.
    weights: 'ratio', guide of a step over that of the step before: the product on a path is the
      guide of its end, so the particles are a sample of policy times guide. 'guide', as in
      arXiv:2502.01618: the product is that of all guides on the path.
    resampling: 'systematic' or 'multinomial'.
    threshold: resample where the effective sample size is below this share of the particles. The
      paper does after every step: 1.

  Returns:
    The tree. Slots `r*K` and on hold the steps of the particles at depth r. The score `tree.COUNT`
    is how many of the particles a node stands for, their weights considered.
  """
  tree, end = particles(
    *(grow, tree, cache, keys),
    **dict(units=units, weights=weights, resampling=resampling, threshold=threshold),
  )
  share = units * jax.nn.softmax(end.log_weight, axis=-1)
  count = tree.scores[tree_lib.COUNT].reshape(share.shape[0], -1)
  at = jnp.where(end.node > 0, end.node - 1, count.shape[-1])
  count = jax.vmap(lambda row, at, x: row.at[at].add(x, mode='drop'))(count, at, share)
  return tree.replace(scores=tree.scores | {tree_lib.COUNT: count.reshape(tree.mask.shape)})


def particles(
  grow: Grow,
  tree: Tree,
  cache: TreeCache,
  keys: Array,
  *,
  units: Array | int,
  weights: str,
  resampling: str,
  threshold: float,
) -> tuple[Tree, Particles]:
  """The tree and the particles of `smc`, whose arguments it has."""
  batch, slots, _ = tree.mask.shape
  steps = tree.path.shape[-1]
  count = slots // steps
  used = jnp.arange(count) < units

  def log_guide(tree, ids):
    guide = jnp.where(ids > 0, tree_lib.pick(tree_lib.guide(tree), ids), root(tree)[:, None])
    return jnp.log(jnp.maximum(guide, _LEAST))

  root = tree_lib.root_guide

  def step(depth, carry):
    tree, cache, now = carry
    slot = depth * count
    alive = tree_lib.expandable(tree, now.node)
    tree, cache = grow_in_blocks(grow, tree, cache, keys, now.node, slot=slot)
    node = jnp.where(alive, 1 + slot + jnp.arange(count), now.node)
    gain = log_guide(tree, node)
    if weights == 'ratio':
      gain -= log_guide(tree, now.node)
    now = now.replace(node=node, log_weight=now.log_weight + jnp.where(alive, gain, 0))
    goes_on = jnp.any(tree_lib.expandable(tree, node), axis=-1)
    few = goes_on & (_effective(now.log_weight) < threshold * units)
    noise = streams.of_slot(streams.of_noise(keys), depth)
    return tree, cache, _resampled(now, few, noise, units, resampling)

  start = Particles(
    node=jnp.broadcast_to(jnp.where(used, tree_lib.ROOT, tree_lib.NONE), (batch, count)),
    log_weight=jnp.broadcast_to(jnp.where(used, 0.0, -jnp.inf), (batch, count)),
    log_evidence=jnp.zeros(batch),
  )
  # The name tells how often the loop runs at most, which a reader of the program could not see.
  with jax.named_scope(f'depths/turns_{steps}'):
    tree, _, end = jax.lax.fori_loop(0, steps, step, (tree, cache, start))
  return tree, end.replace(log_evidence=end.log_evidence + _log_mean(end.log_weight, units))


def _resampled(now: Particles, few: Array, keys: Array, units, resampling: str) -> Particles:
  """The particles, new where `few` [B]: drawn by their weights, which are equal then."""
  count = now.node.shape[-1]
  draw = lambda key: jax.random.uniform(key, (count,))
  place = jax.vmap(draw)(keys)
  if resampling == 'systematic':
    place = (jnp.arange(count) + place[:, :1]) / units
  total = jnp.cumsum(jax.nn.softmax(now.log_weight, axis=-1), axis=-1)
  total /= total[:, -1:]  # rounding apart, it is 1
  which = jnp.sum(total[:, None] <= place[..., None], axis=-1)
  used = now.log_weight > -jnp.inf
  node = jnp.take_along_axis(now.node, jnp.minimum(which, count - 1), axis=1)
  few = few[:, None]
  return Particles(
    node=jnp.where(few & used, node, now.node),
    log_weight=jnp.where(few & used, 0.0, now.log_weight),
    log_evidence=now.log_evidence + jnp.where(few[:, 0], _log_mean(now.log_weight, units), 0),
  )


def _effective(log_weight: Array) -> Array:
  """The effective sample size, [B]."""
  weight = jax.nn.softmax(log_weight, axis=-1)
  return 1 / jnp.sum(weight**2, axis=-1)


def _log_mean(log_weight: Array, units) -> Array:
  return jax.nn.logsumexp(log_weight, axis=-1) - jnp.log(units)


def room(
  units: int, *, candidates: int, max_steps: int, weights: str, resampling: str, threshold: float
) -> Room:
  """A slot for each particle at each depth.

  Raises:
    ValueError: of weights or a resampling that there is not, or a threshold out of range.
  """
  del candidates
  check_range(0, 1, threshold=threshold)
  check_choice(WEIGHTS, weights=weights)
  check_choice(RESAMPLING, resampling=resampling)
  return Room(slots=padded(units) * max_steps, candidates=1, width=padded(units))


def _steps(units, *, candidates, max_steps, **settings):
  del candidates, settings
  return units * max_steps


METHOD = Method(
  smc,
  room,
  'particle filtering',
  Look('red', 'o'),
  unit='particles',
  steps=_steps,
  settings=dict(weights='ratio', resampling='systematic', threshold=0.5),
  several=True,
  provides=frozenset({'solutions'}),
  writes=(tree_lib.COUNT,),
)
