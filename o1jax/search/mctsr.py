"""Monte Carlo tree self-refine (MCTSr, arXiv:2406.07394): a tree whose nodes are whole solutions,
and whose edges are refinements."""

import jax
import jax.numpy as jnp
from flax import struct

from o1jax import keys as streams
from o1jax import tree as tree_lib
from o1jax.decode.grow import Grow
from o1jax.dialogue import SCORES, Revise
from o1jax.search import turns
from o1jax.search.method import Look, Method
from o1jax.search.room import Room, check_range
from o1jax.types import Array, Tree, TreeCache

_SMALL = 1e-6  # epsilon of the paper's UCT


@struct.dataclass
class Solutions:
  """What is known of N solutions, [B, N] each."""

  made: Array  # bool
  parent: Array  # the number of the solution that it refines, -1 for the first
  worth: Array  # (min + mean)/2 of its rewards


def mctsr(
  grow: Grow,
  tree: Tree,
  cache: TreeCache,
  keys: Array,
  *,
  units: Array | int,
  revise: Revise,
  explore: float = 1.4,
  children: int = 2,
  text: str = '',
  critique: str = turns.CRITIQUE,
) -> Tree:
  """Samples one solution, and then refines N - 1 times the solution of highest UCT.

  A solution is worth Q = (min + mean)/2 of its rewards. The paper samples the reward of a solution
  several times, from a language model. Here its rewards are what the guide says of each of its
  steps, so Q is low where one step is. A solution that was cut off at depth R is worth 0. Each
  refinement backs up: Q of what it refines becomes the mean of its own and of its best child's.

  Args:
    grow: the policy, on the questions.
    tree: empty, [B, N*R, 1, L], with room for the most solutions.
    cache: its.
    keys: [B] one key a problem.
    units: [] N.
    revise: takes a turn, which is a refinement.
    explore: c, weight of the exploration in UCT.
    children: a solution with so many refinements, of which one is worth more than itself, is not
      refined again.
    text, critique: what a turn's prompt says behind the solution, see `turns`.

  Returns:
    The tree. Slots `n*R` and on hold solution n. Its last node has `visits`, how many solutions
    are below it or are itself, and `q`, its Q after all back-ups.
  """
  del text, critique
  steps, batch = tree.path.shape[-1], keys.shape[0]
  most = tree.mask.shape[1] // steps
  root = jnp.full((batch, 1), tree_lib.ROOT)
  tree, _ = grow(tree, cache, keys, root, slot=0, steps=steps, depth=0)
  none = jnp.zeros((batch, most))
  known = Solutions(none.astype(bool), none.astype(jnp.int32) - 1, none)
  known = _with(tree, known, 0, jnp.full(batch, -1))

  def refine(n, carry):
    tree, known = carry
    chosen = jnp.argmax(_uct(known, explore, children), axis=-1)
    origin = jax.vmap(lambda ids, at: ids[at])(_ends(tree), chosen)
    tree = revise(tree, streams.of_slot(keys, n * steps), origin, slot=n * steps)
    return tree, _with(tree, known, n, chosen)

  # The name tells how often the loop runs at most, which a reader of the program could not see.
  with jax.named_scope(f'turns/turns_{most}'):
    tree, known = jax.lax.fori_loop(1, units, refine, (tree, known))
  ends, (q, visits) = _ends(tree), _backed_up(known)
  return tree.replace(
    visits=tree_lib.put(tree.visits, ends, visits.astype(jnp.int32)),
    q=tree_lib.put(tree.q, ends, q),
  )


def _ends(tree: Tree) -> Array:
  """The last node of each solution, [B, N], -1 where there is none."""
  steps = tree.path.shape[-1]
  made = (tree.expanded >= 0).reshape(tree.expanded.shape[0], -1, steps).sum(-1)
  ends = jnp.arange(made.shape[1]) * steps + made
  return jnp.where(made > 0, ends, tree_lib.NONE)


def _with(tree: Tree, known: Solutions, n: Array | int, parent: Array) -> Solutions:
  """What is known with solution n, where it was made: a refinement of `parent` [B]."""
  steps = tree.path.shape[-1]
  part = lambda x: jax.lax.dynamic_slice_in_dim(x, n * steps, steps, axis=1)
  there, guide = part(tree.expanded) >= 0, part(tree_lib.guide(tree))[..., 0]
  low = jnp.min(jnp.where(there, guide, jnp.inf), axis=-1)
  mean = jnp.sum(jnp.where(there, guide, 0), axis=-1) / jnp.maximum(there.sum(-1), 1)
  ended = jnp.any(part(tree_lib.finished(tree)), axis=(1, 2))
  made = there.any(-1)
  put = lambda old, new: old.at[:, n].set(jnp.where(made, new, old[:, n]))
  return Solutions(
    made=put(known.made, made),
    parent=put(known.parent, parent),
    worth=put(known.worth, jnp.where(ended, (low + mean) / 2, 0)),
  )


def _backed_up(known: Solutions) -> tuple[Array, Array]:
  """Q of each solution after all back-ups, and its visits, [B, N] each."""
  count = known.made.shape[1]

  def one(made, parent, worth):
    """Of one problem. A refinement comes after what it refines, so the last goes up first."""

    def up(i, carry):
      q, best, visits = carry
      n = count - 1 - i
      q = q.at[n].set(jnp.where(best[n] > -jnp.inf, (q[n] + best[n]) / 2, q[n]))
      at = jnp.where(made[n] & (parent[n] >= 0), parent[n], count)
      best = best.at[at].max(q[n], mode='drop')
      return q, best, visits.at[at].add(visits[n], mode='drop')

    start = worth, jnp.full(count, -jnp.inf), made.astype(worth.dtype)
    q, _, visits = jax.lax.fori_loop(0, count, up, start)
    return q, visits

  return jax.vmap(one)(known.made, known.parent, known.worth)


def _uct(known: Solutions, explore: float, children: int) -> Array:
  """UCT of each solution that may be refined, -inf for others, [B, N]."""
  q, visits = _backed_up(known)
  pick = lambda x: jnp.take_along_axis(x, jnp.maximum(known.parent, 0), axis=1)
  # The first solution has none above it: its own visits stand there.
  above = jnp.where(known.parent >= 0, pick(visits), visits)
  bonus = jnp.sqrt((jnp.log(jnp.maximum(above, 1)) + 1) / (visits + _SMALL))
  count = known.made.shape[1]
  child = (known.parent[:, :, None] == jnp.arange(count)) & known.made[:, :, None]
  better = child & (known.worth[:, :, None] > known.worth[:, None])
  full = (child.sum(1) >= children) & better.any(1)
  return jnp.where(known.made & ~full, q + explore * bonus, -jnp.inf)


def room(
  units: int,
  *,
  candidates: int,
  max_steps: int,
  explore: float,
  children: int,
  text: str,
  critique: str,
) -> Room:
  """A slot for each step of each solution. No keys of them are kept, since a turn has a cache of
  its own.

  Raises:
    ValueError: of settings with which nothing can be refined, or no such critique.
  """
  del candidates, text
  turns.check_critique(critique)
  check_range(1, whole=True, children=children)
  check_range(0, explore=explore)
  slots = units * max_steps
  return Room(slots=slots, candidates=1, last=slots)


METHOD = Method(
  mctsr,
  room,
  'MCTSr',
  Look('pink', 'D'),
  unit='solutions',
  steps=lambda units, *, candidates, max_steps, **settings: units * max_steps,
  settings=dict(explore=1.4, children=2, text='', critique=turns.CRITIQUE),
  several=True,
  continues=True,
  writes=SCORES,
  says=('text',),
  turns=True,
)
