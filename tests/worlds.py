"""Search problems by table, of which searches are tried without any model."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from o1jax import tree as tree_lib
from o1jax.decode.grow import growing
from o1jax.decode.loop import Steps
from o1jax.decode.world import reopened
from o1jax.dialogue import reviser, writer
from o1jax.search import SEARCHES
from o1jax.search.prune import pruned
from o1jax.search.room import Room
from o1jax.search.stop import stopped, stopped_turns
from o1jax.tree import GUIDE
from o1jax.types import Prompt, Tree, TreeCache


class World(NamedTuple):
  """A search problem by table: state 0 is the root, and candidate `a` of state s is always
  `children[s, a]`.

  children [S, A] int, equal entries being duplicates; values [B, S] in (0, 1); terminal [S] bool.
  """

  children: np.ndarray
  values: np.ndarray
  terminal: np.ndarray

  def start(
    self, room, max_steps: int, root_value=0.5, scores: tuple[str, ...] = (), spare: int = 0
  ) -> tuple[Tree, TreeCache]:
    """An empty tree of steps of one token, with room for more, and a cache of nothing."""
    batch = len(self.values)
    tree = tree_lib.empty(batch, room.slots, room.candidates, 1 + spare, max_steps, scores=scores)
    nodes = jnp.zeros((batch, room.slots, room.candidates, 0))
    nothing = TreeCache({}, {}, jnp.ones(batch, jnp.int32), jnp.zeros((batch, 0)), nodes)
    return tree.replace(root_value=jnp.full(batch, root_value)), nothing

  def grow(self, *, drawn: bool = False, **settings):
    """The `Grow` of this world. drawn: a chain goes on to a child that its key draws."""
    world = jax.tree.map(jnp.asarray, self)
    return growing(functools.partial(self._sample, world, drawn), **settings)

  @staticmethod
  def _sample(
    world,
    drawn,
    keys,
    tree,
    cache,
    parents,
    path,
    *,
    candidates=None,
    each=None,
    steps=1,
    keep=False,
    distinct=False,
    **how,
  ):
    """A step is one token, the state it leads to. With several steps, each candidate goes on to the
    first child of its state, or to one that is drawn, until one ends or is at depth R. Draws have
    the log-probs of their states."""
    del how
    last = jnp.maximum(tree.length - 1, 0)[..., None]
    state = jnp.take_along_axis(tree.tokens, last, axis=-1)[..., 0]
    kids = world.children[tree_lib.pick(state, parents)]
    share = lambda kids, chosen: jnp.log((kids == chosen).mean(-1))
    chances = []
    if drawn:
      draw = lambda key: jax.random.randint(key, (kids.shape[1], steps), 0, kids.shape[-1])
      which = jax.vmap(draw)(keys)  # [B, W, S]
      if distinct:
        theirs = (tree.expanded[:, None] == parents[..., None])[..., None]  # [B, W, X, 1]
        known = theirs & (kids[:, :, None] == state[:, None, :, :1])
        order = (jnp.arange(kids.shape[-1]) - which[..., :1]) % kids.shape[-1]
        order += kids.shape[-1] * known.any(2)
        which = which.at[..., 0].set(jnp.argmin(order, axis=-1))
      every, kids = kids, jnp.take_along_axis(kids, which[..., :1], axis=-1)
      chances.append(share(every, kids)[..., None])
    kids = kids[..., :candidates]
    lead, limit = kids.shape, 1 + path.shape[-1] - jnp.sum(path >= 0, axis=-1)[..., None]
    tokens, goes_on, ended = [], [], []
    alive = (parents >= 0)[..., None] & jnp.ones(lead, bool)
    if each is not None:
      alive &= jnp.arange(lead[-1]) < each[..., None]
    for step in range(steps):
      alive &= step < limit
      tokens.append(kids)
      goes_on.append(alive)
      ended.append(alive & world.terminal[kids])
      alive &= ~world.terminal[kids]
      after = world.children[kids]
      if drawn and step + 1 < steps:
        kids = jnp.take_along_axis(after, which[:, :, None, step + 1, None], axis=-1)[..., 0]
        chances.append(share(after, kids[..., None]))
      else:
        kids = after[..., 0]
    tokens, goes_on = jnp.stack(tokens, axis=-1), jnp.stack(goes_on, axis=-1)
    values = world.values[jnp.arange(lead[0])[:, None, None, None], tokens]
    return Steps(
      tokens=jnp.where(goes_on, tokens, 0).astype(jnp.int32),
      length=goes_on.sum(-1).astype(jnp.int32),
      logprob=jnp.where(goes_on, jnp.stack(chances, axis=-1) if drawn else 0.0, 0.0),
      place=jnp.broadcast_to(jnp.arange(steps) * tree.tokens.shape[-1], tokens.shape),
      value=jnp.log(values / (1 - values)).astype(jnp.float32),
      terminal=jnp.stack(ended, axis=-1).any(-1),
      hidden=jnp.zeros((*lead, 0)),
      cache={},
      after=jnp.zeros((*tokens.shape, 0)) if keep else None,
    )

  @staticmethod
  def encode(text: str) -> list[int]:
    """A text is one token, the state that it leads to."""
    return [1 + len(text) % 7] if text else []

  def _reviser(self, settings, max_steps, reward, drawn, named, written):
    """Turns in this world begin at its root, and their keys depend on what was asked."""
    prompt = Prompt(jnp.ones((len(self.values), 40), jnp.int32), jnp.ones(len(self.values), int))
    grow = self.grow(reward=reward, drawn=drawn, scores=written)

    def grow_turn(asked, tree, cache, keys, parents, **how):
      keys = jax.vmap(jax.random.fold_in)(keys, jnp.sum(asked.tokens, axis=-1))
      return grow(tree, cache, keys, parents, **how)

    def open_turn(asked, keys):
      tree, cache = self.start(Room(max_steps, 1), max_steps, **named)
      return tree, cache, functools.partial(grow_turn, asked)

    def critique(tree, origin):
      return origin[:, None], jnp.where(origin > 0, 1, 0)

    said = critique if settings['critique'] else None
    write = writer(prompt, self.encode, text=settings['text'], critique=said)
    return reviser(open_turn, write)

  def _edited(self, edit, tree, cache, ids):
    """As `decode.world.rewrite`, in a world of tables."""
    kept, text, length = edit.rule(tree, ids)
    place = jnp.arange(tree.tokens.shape[-1]) - kept[..., None]
    inside = (place >= 0) & (place < length[..., None])
    tree = reopened(tree, ids, kept, length)
    told = jnp.where(length > 0, ids, tree_lib.NONE)
    fill = lambda field, new: tree_lib.put(
      field, told, jnp.where(inside, new, tree_lib.pick(field, ids))
    )
    value = jnp.asarray(self.values, jnp.float32)[jnp.arange(len(ids))[:, None], text[..., 0]]
    return tree.replace(
      tokens=fill(tree.tokens, text[..., :1]),
      given=fill(tree.given, True),
      length=tree_lib.put(tree.length, told, kept + length),
      value=tree_lib.put(tree.value, told, value),
    ), cache

  def search(
    self,
    method: str,
    keys,
    *,
    units,
    max_steps: int,
    most=None,
    reward=None,
    guide=None,
    drawn=False,
    stop=None,
    prune=None,
    **settings,
  ):
    """The tree of a method in this world, which has no model. guide: of a node's value, what is
    followed in its place."""
    row = SEARCHES[method]
    settings = {**row.settings, **settings}
    width = self.children.shape[1]
    room = row.room(most or units, candidates=width, max_steps=max_steps, **settings)
    written = {}
    if guide is not None:
      written = {GUIDE: lambda tree, cache, ids: guide(tree_lib.pick(tree.value, ids))}
      reward = lambda tree, ids: tree_lib.pick(tree.scores[GUIDE], ids)
    elif row.told and reward is None:  # a verdict
      reward = lambda tree, ids: (tree_lib.pick(tree.value, ids) > 0.5).astype(jnp.float32)
    edit = row.edits(self.encode, **settings) if row.edits else None
    named = dict(scores=(*row.writes, *written), spare=edit.spare if edit else 0)
    tree, cache = self.start(room, max_steps, **named)
    if row.turns:
      settings['revise'] = self._reviser(settings, max_steps, reward, drawn, named, written)
    answer = functools.partial(self._edited, edit) if edit else None
    grow = self.grow(reward=reward, drawn=drawn, scores=written, answer=answer)
    grow = stopped(grow, **stop or {})
    if row.turns and stop:
      settings['revise'] = stopped_turns(settings['revise'], **stop)
    grow = pruned(grow, **prune or {})
    return row.search(grow, tree, cache, keys, units=units, **settings)


def random_world(batch=4, *, states=40, multiplicity=(2, 1, 1), ends=0.25, seed=0) -> World:
  """A random graph of states; the candidates of a state come in the given multiplicities."""
  rng = np.random.default_rng(seed)
  several = np.array(
    [rng.choice(np.arange(1, states), len(multiplicity), replace=False) for _ in range(states)]
  )
  return World(
    children=np.repeat(several, multiplicity, axis=1),
    values=rng.uniform(0.05, 0.95, (batch, states)),
    terminal=rng.random(states) < ends,
  )
