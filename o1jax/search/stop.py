"""When a problem is done: rules by which a search stops before its budget is spent.

The terminal decision is a part of its own (arXiv:2412.14135, section 5). A rule reads the tree that
there is, and any search keeps it, since a search grows its tree by `Grow` alone.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.decode.grow import Grow, Scores
from o1jax.dialogue import Revise
from o1jax.reward import ANSWERS
from o1jax.search.room import check_range
from o1jax.types import Array, Tree

NEVER = 'never'
VERDICT = 'verdict'  # the name in `Tree.scores` of what a rule is told of finished solutions


class Stop(NamedTuple):
  """A rule that says of each problem whether it is done.

  Attributes:
    done: (tree, **settings) -> bool [B].
    words: what people call it.
    settings: its own, with their defaults.
    reads: rows of `reward.SCORES` that must stand on the nodes.
    guided: it reads what the search follows.
    told: it is told verdicts, so a search that stops by it is a ceiling and no method.
  """

  done: Callable[..., Array]
  words: str
  settings: Mapping[str, Any] = {}
  reads: tuple[str, ...] = ()
  guided: bool = False
  told: bool = False


def stopped(grow: Grow, *, rule: str = NEVER, **settings) -> Grow:
  """A `Grow` that samples nothing more for problems that are done by a row of `STOPS`.

  So the tree of such a problem is the beginning of the one that it would have become. A search runs
  on for the other problems. It decodes nothing where all are done.
  """
  row = STOPS[rule]
  if rule == NEVER:
    return grow

  def wrapped(tree, cache, keys, parents, **how):
    over = row.done(tree, **{**row.settings, **settings})
    return grow(tree, cache, keys, jnp.where(over[:, None], tree_lib.NONE, parents), **how)

  return wrapped


def stopped_turns(revise: Revise, *, rule: str = NEVER, **settings) -> Revise:
  """A `Revise` that asks nothing more about problems that are done by a row of `STOPS`."""
  row = STOPS[rule]
  if rule == NEVER:
    return revise

  def wrapped(tree, keys, origin, **how):
    over = row.done(tree, **{**row.settings, **settings})
    return revise(tree, keys, jnp.where(over, tree_lib.NONE, origin), **how)

  return wrapped


def told(rule: str, outcome: Callable[[Tree, Array], Array] | None) -> Scores:
  """What a rule wants written on new nodes beside rows of `reward.SCORES`; outcome: (tree, ids
  [B, N]) -> verdicts [B, N]."""
  if not STOPS[rule].told:
    return {}
  return {VERDICT: lambda tree, cache, ids: outcome(tree, ids)}


def _never(tree: Tree) -> Array:
  return jnp.zeros(tree.mask.shape[0], bool)


def _value(tree: Tree, *, gate: float) -> Array:
  """The end gate of ReST-MCTS* (arXiv:2406.03816)."""
  sure = tree_lib.finished(tree) & (tree_lib.guide(tree) >= gate)
  return jnp.any(sure, axis=(1, 2))


def _agreement(tree: Tree, *, share: float, least: int) -> Array:
  first, _, total = votes(tree)
  return (total >= least) & (first >= share * total)


def _consistency(tree: Tree, *, sure: float) -> Array:
  """The Beta criterion of adaptive consistency (arXiv:2305.11860): of the two most frequent answers
  the first has `v` votes and the second `w`, so its share of the two has the posterior
  Beta(v + 1, w + 1)."""
  first, second, _ = votes(tree)
  behind = jax.scipy.special.betainc(first + 1.0, second + 1.0, 0.5)
  return (1 - behind >= sure) & (first > 0)


def _verifier(tree: Tree) -> Array:
  verdict = tree.scores[VERDICT]
  right = tree_lib.finished(tree) & jnp.isfinite(verdict) & (verdict > 0)
  return jnp.any(right, axis=(1, 2))


def votes(tree: Tree) -> tuple[Array, Array, Array]:
  """How many finished solutions have the most frequent answer, and the next one, and how many there
  are, [B] each."""
  batch = tree.mask.shape[0]
  answer = tree.scores[tree_lib.note(ANSWERS)].reshape(batch, -1)
  done = tree_lib.finished(tree).reshape(batch, -1)
  same = (answer[:, :, None] == answer[:, None, :]) & done[:, None, :]
  votes = jnp.where(done, same.sum(-1), 0)
  most = jnp.max(votes, axis=-1)
  winner = jnp.take_along_axis(answer, jnp.argmax(votes, axis=-1)[:, None], axis=-1)
  second = jnp.max(jnp.where(answer == winner, 0, votes), axis=-1)
  return most, second, done.sum(-1)


STOPS: dict[str, Stop] = {
  NEVER: Stop(_never, 'the budget is spent'),
  'value': Stop(_value, 'a solution has a high value', dict(gate=0.9), guided=True),
  'agreement': Stop(
    _agreement,
    'enough solutions agree',
    dict(share=0.6, least=4),
    reads=(ANSWERS,),
  ),
  'consistency': Stop(
    _consistency,
    'one answer is ahead for good',
    dict(sure=0.95),
    reads=(ANSWERS,),
  ),
  'verifier': Stop(_verifier, 'the verifier calls one right', told=True),
}


def defaults() -> dict[str, Any]:
  """Of all that a config may say of stopping."""
  found = dict(rule=NEVER)
  for row in STOPS.values():
    found |= row.settings
  return found


def check_stop(settings: Mapping[str, Any]) -> None:
  """Raises ValueError for settings, of all `defaults`, that cannot work."""
  name = settings['rule']
  if name not in STOPS:
    raise ValueError(f'rule is {name!r}: choose one of {", ".join(STOPS)}')
  check_range(0, 1, **{key: settings[key] for key in ('gate', 'share', 'sure')})
  check_range(1, whole=True, least=settings['least'])
