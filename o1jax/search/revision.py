"""Sequential revision (Self-Refine, arXiv:2303.17651; arXiv:2408.03314): chains side by side, each
of which is then revised, turn after turn."""

import jax
import jax.numpy as jnp

from o1jax import keys as streams
from o1jax import tree as tree_lib
from o1jax.decode.grow import Grow
from o1jax.dialogue import SCORES, Revise
from o1jax.search import turns
from o1jax.search.method import Look, Method
from o1jax.search.room import Room, check_range
from o1jax.types import Array, Tree, TreeCache


def revision(
  grow: Grow,
  tree: Tree,
  cache: TreeCache,
  keys: Array,
  *,
  units: Array | int,
  revise: Revise,
  rounds: int = 1,
  text: str = '',
  critique: str = turns.CRITIQUE,
) -> Tree:
  """Samples N = `units` chains, and then revises each, `rounds` times.

  A turn reads the question and the attempt of the turn before, and what the policy has said of it.
  The answer is chosen among the solutions of all turns, since a revision may spoil what was right.
  Without rounds it is best-of-N.

  Args:
    grow: the policy, on the questions.
    tree: empty, [B, X, 1, L], with room for the most chains.
    cache: its.
    keys: [B] one key a problem.
    units: [] N.
    revise: takes a turn.
    rounds: T, of revision.
    text, critique: what a turn's prompt says behind the attempt, see `turns`.

  Returns:
    The tree. Slot `r*M + i` holds step r of chain i of the M that there is room for. Behind them,
    slots `(t*M + i)*R` and on hold what it became in round t, from 1.
  """
  del text, critique
  steps = tree.path.shape[-1]
  most = tree.mask.shape[1] // (steps * (1 + rounds))
  roots = jnp.where(jnp.arange(most) < units, tree_lib.ROOT, tree_lib.NONE)
  roots = jnp.broadcast_to(roots, (keys.shape[0], most))
  tree, _ = grow(tree, cache, keys, roots, slot=0, steps=steps, depth=0)

  def turn(n, tree):
    number, chain = n // units, n % units
    slot = ((1 + number) * most + chain) * steps
    before = (number * most + chain) * steps
    first = turns.last_node(tree, chain, steps, stride=most)
    origin = jnp.where(number > 0, turns.last_node(tree, before, steps), first)
    return revise(tree, streams.of_slot(keys, slot), origin, slot=slot)

  # The name tells how often the loop runs at most, which a reader of the program could not see.
  with jax.named_scope(f'turns/turns_{most * rounds}'):
    return jax.lax.fori_loop(0, units * rounds, turn, tree) if rounds else tree


def room(
  units: int, *, candidates: int, max_steps: int, rounds: int, text: str, critique: str
) -> Room:
  """A slot for each step of each chain and of what it becomes. No keys of them are kept, since a
  turn has a cache of its own.

  Raises:
    ValueError: there is no such number of rounds, or no such critique.
  """
  del candidates, text
  turns.check_critique(critique)
  check_range(0, whole=True, rounds=rounds)
  slots = units * (1 + rounds) * max_steps
  return Room(slots=slots, candidates=1, last=slots, width=units)


METHOD = Method(
  revision,
  room,
  'revision',
  Look('sky', 'P'),
  unit='chains',
  steps=lambda units, *, candidates, max_steps, rounds, **said: units * (1 + rounds) * max_steps,
  settings=dict(rounds=1, text='', critique=turns.CRITIQUE),
  several=True,
  continues=True,
  guided=False,
  writes=SCORES,
  says=('text',),
  turns=True,
)
