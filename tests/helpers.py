"""A tiny transformer that is far from uniform, two language models without any weights, and trees
grown with them."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from o1jax import tree as tree_lib
from o1jax.decode.grow import grower, growing, start
from o1jax.decode.loop import Steps
from o1jax.decode.rules import Sampling
from o1jax.decode.world import reopened
from o1jax.dialogue import reviser, writer
from o1jax.model import forward
from o1jax.model.transformer import LanguageModel, Output
from o1jax.model.variants import ModelConfig
from o1jax.search import SEARCHES, run
from o1jax.search.prune import pruned
from o1jax.search.room import Room
from o1jax.search.stop import stopped, stopped_turns
from o1jax.tree import GUIDE
from o1jax.types import KeyValue, Params, Prompt, Tree, TreeCache

# (model, params, keys, prompt, *, units, ...) -> Tree
best_of_n, mcts, puct, beam, dvts = (
  functools.partial(run, SEARCHES[name]) for name in ('best_of_n', 'gumbel', 'puct', 'beam', 'dvts')
)

EOS, DELIMITER, VOCAB = 1, 2, 11
LINE = Sampling(eos_id=EOS, delimiter_id=DELIMITER)
CONFIG = ModelConfig(
  vocab_size=VOCAB, width=16, layers=2, heads=4, kv_heads=2, head_width=8, mlp_width=24
)

# Tests compile much and run little.
jit = functools.partial(
  jax.jit,
  compiler_options={'xla_backend_optimization_level': 0, 'xla_llvm_disable_expensive_passes': True},
)


def random_params(model: LanguageModel, seed: int = 0) -> Params:
  """Parameters several times larger than fresh ones, so that a wrong key or mask changes what comes
  out."""
  shapes = jax.eval_shape(lambda key: nn.unbox(forward.init(model, key)), jax.random.key(0))
  rng = np.random.default_rng(seed)

  def draw(path, shape):
    name = path[-1].key
    scales = {'scale': 0.2, 'embedding': 0.4, 'bias': 0.3}
    scale = scales.get(name, 2 * shape.shape[-2] ** -0.5 if shape.ndim > 1 else 0)
    return jnp.asarray((name == 'scale') + scale * rng.normal(size=shape.shape), jnp.float32)

  return jax.tree_util.tree_map_with_path(draw, shapes)


@functools.cache
def tiny(**changes) -> tuple[LanguageModel, Params]:
  """A model of the tiny config with changes, and its parameters."""
  model = LanguageModel(ModelConfig(**{**CONFIG.__dict__, **changes}))
  return model, random_params(model)


def prompts(batch: int = 3, width: int = 5, seed: int = 0) -> Prompt:
  """Random prompts; the padding holds 0."""
  rng = np.random.default_rng(seed)
  length = rng.permutation(np.arange(batch) % 3) + width - 2
  tokens = np.where(np.arange(width) < length[:, None], rng.integers(2, VOCAB, (batch, width)), 0)
  return Prompt(tokens=jnp.asarray(tokens, jnp.int32), length=jnp.asarray(length, jnp.int32))


def keys(batch: int = 3, seed: int = 0):
  return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(batch))


@functools.cache
def growers(
  model,
  *,
  sampling=LINE,
  merge=True,
  replacement=True,
  slots=6,
  candidates=3,
  step_length=4,
  max_steps=3,
  steps=None,
):
  """Compiled `start` (params, prompt) and `expand` (params, keys, tree, cache, parents, slot).
  steps: of the chain that is grown, and kept, in place of candidates."""
  shape = dict(slots=slots, candidates=candidates, step_length=step_length, max_steps=max_steps)
  begin = jit(functools.partial(start, model, **shape))

  def grow(params, keys, prompt, tree, cache, parents, slot):
    rules = dict(sampling=sampling, merge=merge, replacement=replacement)
    expand = grower(model, params, prompt, **rules)
    how = dict(steps=steps, keep=True) if steps else {}
    return expand(tree, cache, keys, jnp.asarray(parents), slot=slot, **how)

  return begin, jit(grow)


def bushy_tree(model, params, prompt, *, seed=0, **settings):
  """A random tree with two expansions at once: what no single search algorithm makes, but any
  might."""
  begin, grow = growers(model, **settings)
  tree, cache = begin(params, prompt)
  batch, slots, _ = tree.mask.shape
  rng = np.random.default_rng(seed)
  every = tree_lib.node_ids(tree).reshape(1, -1).repeat(batch, 0)
  parents = np.broadcast_to([tree_lib.ROOT, tree_lib.NONE], (batch, 2))
  for slot in range(0, slots, 2):
    tree, cache = grow(params, keys(batch, seed + slot), prompt, tree, cache, parents, slot)
    leaf, expanded = np.array(tree_lib.expandable(tree, every)), np.asarray(tree.expanded)
    for b, x in np.argwhere(expanded > 0):
      leaf[b, expanded[b, x] - 1] = False
    parents = np.array(
      [np.append(rng.permutation(1 + np.flatnonzero(row)), [-1, -1])[:2] for row in leaf]
    )
  return tree


def grafted_tree(model, params, prompt, *, seed=0, candidates=2, max_steps=3, **settings):
  """A random tree of three rounds of two chains each, which begin at the root or at any node of
  the chains before."""
  steps, rounds = max_steps, 3
  settings |= dict(candidates=candidates, max_steps=max_steps, slots=2 * steps * rounds)
  begin, grow = growers(model, steps=steps, **settings)
  tree, cache = begin(params, prompt)
  rng = np.random.default_rng(seed)
  every = tree_lib.node_ids(tree).reshape(1, -1).repeat(len(tree.mask), 0)
  for n in range(rounds):
    free = np.asarray(tree_lib.expandable(tree, every))
    parents = [rng.permutation(np.append(1 + np.flatnonzero(row), [0, 0]))[:2] for row in free]
    slot = 2 * steps * n
    tree, cache = grow(
      params, keys(len(free), seed + n), prompt, tree, cache, np.array(parents), slot
    )
  return tree


def climb(tree: Tree, b: int, node: int) -> list[int]:
  """The nodes from below the root down to `node`, read off `expanded` alone."""
  line = []
  while node > 0:
    line.insert(0, int(node))
    node = int(tree.expanded[b, (node - 1) // tree.mask.shape[-1]])
  return line


def spell(tree: Tree, b: int, node: int) -> list[list[int]]:
  """The tokens of each step on the way to `node`."""
  _, _, width, length = tree.tokens.shape
  tokens, lengths = (np.asarray(x[b]).reshape(-1, *x.shape[3:]) for x in (tree.tokens, tree.length))
  return [tokens[i - 1, : lengths[i - 1]].tolist() for i in climb(tree, b, node)]


def real_nodes(tree: Tree):
  """(b, x, a, id) of every candidate that was generated, merged twins included."""
  width = tree.mask.shape[-1]
  made = (np.asarray(tree.expanded) >= 0)[..., None] & (np.asarray(tree.length) > 0)
  return [(b, x, a, 1 + x * width + a) for b, x, a in np.argwhere(made)]


class Markov(NamedTuple):
  """A language model in which the last token decides everything; its parameters are two tables, see
  `tables`.

  `watch`, if given, is called each time that a forward pass runs.
  """

  watch: object = None

  def apply(self, variables, *args, method=None, with_value=True, longest=None):
    """What `LanguageModel.apply` gives, hidden states being one-hot tokens and keys being
    nothing."""
    params = variables['params']
    if method == 'logits':
      return args[0] @ params['policy']
    tokens = args[0]
    if self.watch is not None:
      jax.debug.callback(self.watch)
    lead = (tokens.shape[0], 1, *tokens.shape[1:3])
    nothing = KeyValue(
      jnp.zeros((*lead, 1, tokens.shape[3])), jnp.zeros((*lead, tokens.shape[3], 1))
    )
    hidden = jax.nn.one_hot(tokens, len(params['critic']))
    rows = args[2].rows
    return Output(
      hidden, params['critic'][tokens], {'policy': (nothing,)} if rows is None else rows
    )


# Chances of the next token after each, for laws by enumeration. 1 ends, 2 closes a step, 3 and 4
# are said.
CHANCES = np.array(
  [
    [0.0, 1.0, 0.0, 0.0, 0.0],
    [0.0, 1.0, 0.0, 0.0, 0.0],
    [0.0, 0.3, 0.0, 0.7, 0.0],
    [0.0, 0.5, 0.3, 0.0, 0.2],
    [0.0, 0.1, 0.3, 0.6, 0.0],
  ]
)


def tables(logits, values) -> Params:
  """Parameters of `Markov`: logits [V, V] of the next token after each token, values [V] in logits
  of P(correct)."""
  return dict(policy=jnp.asarray(logits, jnp.float32), critic=jnp.asarray(values, jnp.float32))


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
