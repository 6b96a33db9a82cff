"""AB-MCTS, adaptive branching (arXiv:2503.04412): at every node a search decides by Thompson
sampling whether to go wider, with another chain from there, or deeper, into one of its children.

A simulation samples one chain from a node, to its end or some steps far. To the end, each gives a
value and a solution, and its tokens are those behind the node alone. Some steps far, the guide
tells whether it is worth going on.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from o1jax import keys as streams
from o1jax import tree as tree_lib
from o1jax.decode.grow import Grow
from o1jax.search.finish import finish
from o1jax.search.method import Look, Method
from o1jax.search.room import Room, check_range, last_of, steps_of
from o1jax.types import Array, Tree, TreeCache

_PRIME, _STEP = 16777619, 2654435761  # of hashes


@struct.dataclass
class Counts:
  """What the chains through each of X nodes returned, [B, X] each. Nodes of equal text are one:
  what they returned stands at the first of them."""

  same: Array  # id of the first node of equal text, 0 where the slot is unused
  text: Array  # uint32, a hash of the text up to the node
  chains: Array  # chains that run through the node
  total: Array  # what they returned
  first: Array  # what the chain returned that made the node, twins apart
  times: Array  # how often the node was sampled
  begin: Array  # of a chain's last node, the node at which it began; -1 for all others


def ab_mcts(
  grow: Grow,
  tree: Tree,
  cache: TreeCache,
  keys: Array,
  *,
  units: Array | int,
  prior: float = 1.0,
  ahead: int = 0,
  at_once: int = 1,
  novelty: bool = True,
  credit: float = 1.0,
) -> Tree:
  """Adaptive branching over reasoning steps.

  An arm's returns have a Beta posterior, of which a normal number with its mean and variance is
  drawn. The arm of a child counts the chains through the child. The arm 'wider' counts the chains
  that made the children, as AB-MCTS-A does.

  Args:
    grow: the policy.
    tree: empty, [B, X, 1, L] with the slots that `room` asks for.
    cache: its.
    keys: [B] one key a problem.
    units: [] N chains.
    prior: weight of the guide at a node, in chains, in the posteriors of its two arms.
    ahead: S, the most steps of a chain. One that is not finished then returns the guide at its last
      node. 0 = R: chains go to their end. Else one more chain ends an unfinished problem.
    at_once: W, chains that are sampled at once, in less time than one after the other. Where the
      next of them begins is drawn as if those before it had returned 0 (virtual loss, Chaslot et
      al. 2008), since they are not known yet.
    novelty: the arm 'wider' is worth less where the policy repeats itself: what is drawn of it is
      multiplied by the probability that the next chain ends in a new node (Good 1953, from the
      share of ends that were sampled once).
    credit: what a finished solution returns, as a share of its reward. With 0, where it was found
      counts as if it were wrong: it is there to be chosen, and what else is worth the tokens is
      another one.

  Returns:
    The tree, with `visits` and `q` of the chains through each node. Step s of chain `n*W + w` is
    in slot `(n*S + s)*W + w`.
  """
  depth, slots = tree.path.shape[-1], tree.mask.shape[1]
  steps, filled = steps_of(ahead, depth), slots - last_of(ahead, depth)

  def simulate(n, carry):
    tree, cache, counts = carry
    noise = streams.of_slot(streams.of_noise(keys), n)
    parents = _descend(tree, counts, noise, prior, novelty, at_once)
    parents = jnp.where(n * at_once + jnp.arange(at_once) < units, parents, tree_lib.NONE)
    slot = n * steps * at_once
    tree, cache = grow(
      tree, cache, streams.of_slot(keys, slot), parents, slot=slot, steps=steps, keep=True
    )
    for w in range(at_once):
      counts = _add(tree, counts, parents[:, w], slot, w, steps, at_once, credit)
    return tree, cache, counts

  empty = jnp.zeros((tree.mask.shape[0], slots))
  none = empty.astype(jnp.int32), empty.astype(jnp.uint32)
  carry = tree, cache, Counts(*none, *[empty] * 4, begin=none[0] - 1)
  # The name tells how often the loop runs at most, which a reader of the program could not see.
  with jax.named_scope(f'chains/turns_{filled // (steps * at_once)}'):
    rounds = (units + at_once - 1) // at_once
    tree, cache, counts = jax.lax.fori_loop(0, rounds, simulate, carry)
  own = counts.same == tree_lib.node_ids(tree)[:, 0]
  mean = jnp.where(own, counts.total / jnp.maximum(counts.chains, 1), 0)
  visits = jnp.where(own, counts.chains, 0).astype(jnp.int32)
  tree = tree.replace(visits=visits[..., None], q=mean[..., None])
  return finish(grow, tree, cache, streams.of_slot(keys, filled), filled)


def room(
  units: int,
  *,
  candidates: int,
  max_steps: int,
  prior: float,
  ahead: int,
  at_once: int,
  novelty: bool,
  credit: float,
) -> Room:
  """A slot for each step of each chain, and those of the chain that finishes an unfinished problem.

  Raises:
    ValueError: a setting is out of range.
  """
  del candidates, novelty
  check_range(0, prior=prior)
  check_range(0, 1, credit=credit)
  check_range(0, whole=True, ahead=ahead)
  check_range(1, whole=True, at_once=at_once)
  last, chains = last_of(ahead, max_steps), -(-units // at_once) * at_once
  return Room(slots=chains * steps_of(ahead, max_steps) + last, candidates=1, last=last)


def _descend(
  tree: Tree, counts: Counts, keys: Array, prior: float, novelty: bool, at_once: int
) -> Array:
  """The nodes from which the next chains start, [B, W]."""
  batch, slots, _ = tree.mask.shape
  noise = jax.vmap(lambda key: jax.random.normal(key, (at_once, 2, 1 + slots)))(keys)
  found, pending = [], jnp.zeros((batch, 1 + slots))
  for w in range(at_once):
    node = _down(tree, counts, pending, prior, novelty, noise[:, w])
    found.append(node)
    if w + 1 < at_once:
      pending = _add_at(pending, 1 + node[:, None], 1.0)
      above = _first(counts, tree_lib.path_nodes(tree, node[:, None])[:, 0])
      counts = counts.replace(chains=_add_at(counts.chains, above, 1.0))
  return jnp.stack(found, axis=1)


def _down(
  tree: Tree, counts: Counts, pending: Array, prior: float, novelty: bool, noise: Array
) -> Array:
  """The nodes that a draw of all arms leads to, [B].

  Args:
    tree, counts: what is known.
    pending: [B, 1 + X] chains that begin at each node and have not returned.
    prior, novelty: see `ab_mcts`.
    noise: [B, 2, 1 + X], of 'deeper' by node and of 'wider'.
  """
  batch, slots, _ = tree.mask.shape
  deeper, wider = jnp.moveaxis(noise, 1, 0)
  guide = tree_lib.guide(tree)
  ids = jnp.broadcast_to(tree_lib.node_ids(tree)[:, 0], (batch, slots))
  arm = _drawn(counts.total, counts.chains, guide[..., 0], prior, deeper[:, 1:])
  own = counts.same == ids
  arm = jnp.where(own & tree_lib.expandable(tree, ids), arm, -jnp.inf)
  above = _first(counts, tree.expanded)
  once = tree_lib.pick(counts.times[..., None], counts.same) == 1

  def step(_, carry):
    node, goes_on = carry
    child = (counts.same > 0) & (above == node[:, None])
    wait = jnp.take_along_axis(pending, node[:, None], axis=1)[:, 0]
    made = jnp.sum(jnp.where(child, counts.first, 0), axis=-1), child.sum(-1) + wait
    at_root = node == tree_lib.ROOT
    here = jnp.where(at_root, tree_lib.root_guide(tree), tree_lib.pick(guide, node))
    noise = jnp.take_along_axis(wider, node[:, None], axis=1)[:, 0]
    arms = jnp.where(child, arm, -jnp.inf)
    wide = _drawn(*made, here, prior, noise)
    if novelty:
      ends = counts.begin == node[:, None]
      wide *= (1 + jnp.sum(ends & once, axis=-1)) / (1 + ends.sum(-1) + wait)
    goes_on &= arms.max(-1) > wide
    return jnp.where(goes_on, 1 + jnp.argmax(arms, axis=-1), node), goes_on

  start = jnp.full(batch, tree_lib.ROOT), jnp.ones(batch, bool)
  return jax.lax.fori_loop(0, tree.path.shape[-1] - 1, step, start)[0]


def _drawn(total, chains, guide, prior, noise):
  """A normal number with the mean and the variance of the Beta posterior of an arm."""
  guide = jnp.clip(guide, 0.0, 1.0)
  # Half of one more each: an arm without chains is still uncertain.
  right = 0.5 + prior * guide + total
  wrong = 0.5 + prior * (1 - guide) + chains - total
  mean = right / (right + wrong)
  return mean + noise * jnp.sqrt(mean * (1 - mean) / (right + wrong + 1))


def _add(
  tree: Tree,
  counts: Counts,
  parent: Array,
  slot,
  number: int,
  steps: int,
  at_once: int,
  credit: float,
) -> Counts:
  """Counts with chain `number` of those in slots `slot` and on, which began at `parent` [B]."""
  ids = 1 + slot + jnp.arange(steps) * at_once + number
  part = lambda x: x[:, ids - 1]
  put = lambda old, new: old.at[:, ids - 1].set(new)
  made = part(tree.length)[..., 0] > 0
  # Of its steps only the last can be finished. A chain that is cut off at depth R returns 0.
  score = credit * jnp.sum(jnp.where(made, part(tree.reward)[..., 0], 0), axis=-1)
  # The id of its last node, where there is one.
  last = 1 + slot + (made.sum(-1, keepdims=True) - 1) * at_once + number
  goes_on = made.any(-1) & tree_lib.expandable(tree, last)[:, 0]
  score = jnp.where(goes_on, tree_lib.pick(tree_lib.guide(tree), last)[:, 0], score)
  text = put(counts.text, _texts(tree, counts, parent, ids - 1))
  equal = (part(text)[:, :, None] == counts.text[:, None]) & (counts.same > 0)[:, None]
  known = jnp.take_along_axis(counts.same, jnp.argmax(equal, axis=-1), axis=1)
  # A hash of the same text at another depth is another one, so the first is no ancestor.
  own = jnp.where(made, jnp.where(equal.any(-1), known, ids), 0)
  above = _first(counts, tree_lib.path_nodes(tree, parent[:, None])[:, 0])
  through = jnp.concatenate([above, own], axis=1)
  return Counts(
    same=put(counts.same, own),
    text=text,
    chains=_add_at(counts.chains, through, made.any(-1).astype(score.dtype)),
    total=_add_at(counts.total, through, score),
    first=put(counts.first, jnp.where(made, score[:, None], 0)),
    times=_add_at(counts.times, own, 1.0),
    begin=put(counts.begin, jnp.where(made & (ids == last), parent[:, None], -1)),
  )


def _first(counts: Counts, ids: Array) -> Array:
  """The first node of equal text of each, [B, N]."""
  return tree_lib.pick(counts.same[..., None], ids)


def _add_at(field: Array, nodes: Array, value) -> Array:
  """A field [B, X] with a number of each problem added at nodes [B, N]; 0 and less are none."""
  one = lambda row, at, x: row.at[jnp.where(at > 0, at - 1, row.shape[0])].add(x, mode='drop')
  return jax.vmap(one)(field, nodes, jnp.broadcast_to(value, field.shape[:1]))


def _texts(tree: Tree, counts: Counts, parent: Array, slots: Array) -> Array:
  """Hashes of the texts up to the steps of a chain in S slots, [B, S] uint32."""
  size = tree.tokens.shape[-1]
  tokens, length = tree.tokens[:, slots, 0], tree.length[:, slots]
  weights = np.array([pow(_PRIME, i + 1, 2**32) for i in range(size)], np.uint32)
  tokens = jnp.where(jnp.arange(size) < length, tokens + 1, 0).astype(jnp.uint32)
  step = jnp.sum(tokens * weights, axis=-1, dtype=jnp.uint32) * jnp.uint32(_STEP)
  before = tree_lib.pick(counts.text[..., None], parent)

  def mix(above, step):
    here = (above ^ step) * jnp.uint32(_PRIME) + jnp.uint32(1)
    return here, here

  return jnp.moveaxis(jax.lax.scan(mix, before, jnp.moveaxis(step, 1, 0))[1], 0, 1)


METHOD = Method(
  ab_mcts,
  room,
  'AB-MCTS',
  Look('blue', 'D'),
  unit='chains',
  # A chain begins at any depth.
  steps=lambda units, *, max_steps, ahead, **settings: (
    (1 + units) * min(ahead or max_steps, max_steps / 2)
  ),
  settings=dict(prior=1.0, ahead=0, at_once=1, novelty=True, credit=1.0),
  several=True,
  continues=True,
  provides=frozenset({'solutions'}),
)
