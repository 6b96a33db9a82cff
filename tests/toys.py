"""A toy language, a tiny model, and trees: hand-drawn, random, padded, and walked in plain
Python."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from o1jax.decode.rules import Sampling
from o1jax.learning.credit import assign_credit
from o1jax.learning.experience import Credit, Experience
from o1jax.learning.experience import experience as as_experience
from o1jax.learning.optimizer import init_state
from o1jax.model import forward
from o1jax.model.forward import TreeOutput
from o1jax.model.transformer import LanguageModel
from o1jax.model.variants import ModelConfig
from o1jax.types import Params, Prompt, Reference, TrainState, Tree, Verifier
from o1jax.verify.outcome import outcome

PAD, EOS, NEWLINE = 0, 1, 2
TEXTS = ('', '', '\n', *'abcdefgh')  # of each token
TABLE = (
  np.array([list(text.encode() or b'\0') for text in TEXTS], np.uint8),
  np.array([len(t) for t in TEXTS]),
)
CONFIG = ModelConfig(
  vocab_size=len(TEXTS), width=16, layers=1, heads=2, kv_heads=1, head_width=8, mlp_width=32
)
MODEL = LanguageModel(CONFIG)
SAMPLING = Sampling(eos_id=EOS, delimiter_id=NEWLINE)


@functools.lru_cache
def _params(seed):
  """As `forward.init` makes them, but drawn by NumPy: compiling its initialisers takes seconds."""
  rng = np.random.default_rng(seed)

  def draw(path, x):
    spread = {'kernel': x.shape[0] ** -0.5, 'embedding': 0.02, 'scale': 0}[path[-1].key]
    return (rng.normal(0, spread, x.shape) + (spread == 0)).astype(x.dtype)

  shapes = jax.eval_shape(lambda: nn.unbox(forward.init(MODEL, jax.random.key(0))))
  return jax.tree_util.tree_map_with_path(draw, shapes)


def params(seed=0) -> Params:
  """Fresh copies of tiny parameters, so that a test may donate them."""
  return jax.tree.map(jnp.array, _params(seed))


def state(optimizer, seed=0) -> TrainState:
  """Update 0 of tiny parameters, held by themselves."""
  return init_state(params(seed), optimizer, frozen=dict(reference=params(seed)['policy']))


def decode(tokens) -> str:
  return ''.join(TEXTS[int(token)] for token in tokens)


def problems(count: int, *, seed=0, width=5, wanted='a') -> tuple[Prompt, Reference]:
  """Random prompts of the toy language; `contains` calls for the letter `wanted`."""
  rng = np.random.default_rng(seed)
  length = rng.integers(2, width + 1, count)
  tokens = np.where(
    np.arange(width) < length[:, None], rng.integers(3, len(TEXTS), (count, width)), PAD
  )
  tokens[np.arange(count), length - 1] = NEWLINE
  text = np.full((count, 1), ord(wanted), np.uint8)
  reference = Reference(
    text=text, length=np.ones(count, np.int32), numbers=np.full((count, 1), -1, np.int32)
  )
  return jax.tree.map(
    jnp.asarray, (Prompt(tokens.astype(np.int32), length.astype(np.int32)), reference)
  )


def contains(reference, text, length):
  """A verifier: the solution holds the wanted letter."""
  return jnp.any((text == reference.text[0]) & (jnp.arange(text.shape[0]) < length))


OUTCOME = functools.partial(outcome, verify=contains, table=TABLE)
VERIFIER = Verifier(OUTCOME)


# --- trees ---


def paths(expanded, width: int, max_steps: int) -> np.ndarray:
  """`Tree.path` of [B, X] expanded ids, from the definition."""
  out = np.full((*np.shape(expanded), max_steps), -1, np.int32)
  for b, x in np.ndindex(*np.shape(expanded)):
    node = expanded[b][x]
    if node >= 0:
      line = [0, *reversed(ancestors(expanded[b], width, node))]
      out[b, x, : len(line)] = line
  return out


def ancestors(expanded, width: int, node: int) -> list[int]:
  """The node, then what lies above it, the root left out. Reads `expanded` only, [X] of one
  problem."""
  found = []
  while node > 0:
    assert len(found) <= len(expanded), 'a node lies above itself'
    found.append(int(node))
    node = expanded[(node - 1) // width]
  return found


def hand_tree(
  expanded, *, width: int, max_steps: int, step: int = 1, root_value=0.5, **fields
) -> Tree:
  """One problem's tree from nested lists: expanded [X], fields [X, A]. Where not given, all of a
  used slot's candidates are real, equally likely, one token long and not terminal; all other
  numbers are 0."""
  expanded = np.array([expanded], np.int32)
  shape = (1, expanded.shape[1], width)
  used = np.broadcast_to(expanded[..., None] >= 0, shape)
  kinds = dict(
    mask=bool,
    terminal=bool,
    prior=float,
    value=float,
    reward=float,
    outcome=float,
    unjudged=bool,
    visits=int,
    q=float,
    length=int,
  )
  given = {
    name: np.array([fields.pop(name)], kind) for name, kind in kinds.items() if name in fields
  }
  assert not fields, fields
  mask = given.setdefault('mask', used)
  given.setdefault('prior', mask / np.maximum(mask.sum(-1, keepdims=True), 1))
  given.setdefault('length', used)
  return batch_tree(expanded, max_steps, step, shape, root_value=np.full(1, root_value), **given)


def batch_tree(expanded, max_steps: int, step: int, shape, **fields) -> Tree:
  """A tree [B, X, A, L] from what each slot [B, X] expanded; fields not given are 0."""
  each_token = ('tokens', 'logprob', 'token_value', 'given')
  zeros = {name: np.zeros((*shape, step)) for name in each_token}
  zeros['root_value'] = np.zeros(shape[0])
  scores = fields.pop('scores', {})
  numbers = ('length', 'prior', 'value', 'reward', 'outcome', 'visits', 'q')
  zeros |= {name: np.zeros(shape) for name in (*numbers, 'terminal', 'mask', 'unjudged')}
  kinds = dict.fromkeys(('tokens', 'length', 'visits'), jnp.int32) | dict.fromkeys(
    ('terminal', 'mask', 'given', 'unjudged'), bool
  )
  arrays = {
    name: jnp.asarray(x, kinds.get(name, jnp.float32)) for name, x in (zeros | fields).items()
  }
  path = jnp.asarray(paths(expanded, shape[2], max_steps))
  return Tree(expanded=jnp.asarray(expanded, jnp.int32), path=path, scores=scores, **arrays)


def random_tree(
  seed=0, *, batch=3, slots=8, width=3, step=4, max_steps=3, again=0.0, scores=()
) -> Tree:
  """What a search may leave behind, with random shape and numbers: unused slots, masked twins, dead
  ends. again: chance that a slot expands a node which was expanded before; scores: their names."""
  rng = np.random.default_rng(seed)
  shape = (batch, slots, width)
  expanded = np.full((batch, slots), -1)
  mask = rng.random(shape) < 0.8
  mask[..., 0] = True
  terminal = rng.random(shape) < 0.3
  for b in range(batch):
    free = [0]
    for x in range(slots):
      if free and (x == 0 or rng.random() < 0.85):
        node = expanded[b, x] = free.pop(rng.integers(len(free)))
        free += [node] * (again > 0 and rng.random() < again)
        if len(ancestors(expanded[b], width, node)) + 1 < max_steps:
          free += [
            1 + x * width + a for a in range(width) if mask[b, x, a] and not terminal[b, x, a]
          ]
  used = expanded[..., None] >= 0
  mask, terminal = mask & used, terminal & used
  prior = np.where(mask, rng.integers(1, 4, shape), 0).astype(float)
  visits = np.where(mask, rng.integers(0, 4, shape), 0)
  length = np.where(used, rng.integers(1, step + 1, shape), 0)
  real = np.arange(step) < length[..., None]
  tokens = np.where(real, rng.integers(NEWLINE + 1, len(TEXTS), (*shape, step)), 0)
  np.put_along_axis(
    tokens, np.maximum(length - 1, 0)[..., None], np.where(terminal, EOS, NEWLINE)[..., None], -1
  )
  return batch_tree(
    expanded,
    max_steps,
    step,
    shape,
    mask=mask,
    terminal=terminal,
    visits=visits,
    length=length,
    prior=prior / np.maximum(prior.sum(-1, keepdims=True), 1),
    value=np.where(mask, rng.random(shape), 0),
    q=np.where(visits > 0, rng.random(shape), 0),
    outcome=mask & terminal & (rng.random(shape) < 0.5),
    tokens=np.where(real, tokens, 0),
    logprob=np.where(real, -rng.exponential(size=(*shape, step)), 0),
    token_value=np.where(real, np.random.default_rng((seed, 1)).random((*shape, step)), 0),
    root_value=rng.random(batch),
    scores={name: jnp.asarray(np.where(mask, rng.random(shape), 0)) for name in scores},
  )


def credit(tree: Tree, **fields) -> Credit:
  """The tree's own credit, or other fields."""
  return assign_credit(tree).replace(**fields)


def experience(tree: Tree, *, frozen=None, credit: Credit | None = None, **fields) -> Experience:
  """What a loss reads of a tree; fields of `TreeOutput` and `Credit` that are not given are 0."""
  token = jnp.zeros(tree.tokens.shape)
  node, root = jnp.zeros(tree.mask.shape), jnp.zeros(tree.root_value.shape)
  shapes = dict.fromkeys(('logprob', 'entropy', 'token_value'), token)
  shapes |= dict(value=node, root_value=root)
  out = TreeOutput(**{name: fields.pop(name, zero) for name, zero in shapes.items()})
  shapes = dict.fromkeys(('advantage', 'token_target', 'token_mask'), token)
  shapes |= dict.fromkeys(('root_target', 'root_mask'), root)
  names = [name for name in Credit.__dataclass_fields__ if credit is None]
  given = {name: fields.pop(name, shapes.get(name, node)) for name in names}
  assert not fields, fields
  prompt, _ = problems(tree.mask.shape[0])
  return as_experience(out, prompt, tree, credit or Credit(**given), frozen=frozen)


def pad(tree: Tree, *, slots=0, candidates=0, tokens=0, depth=0) -> Tree:
  """The same search in larger arrays: slots unused, candidates masked twins (they cost tokens),
  steps padded."""
  _, used, width = tree.mask.shape

  def renamed(ids):
    x, a = jnp.divmod(ids - 1, width)
    return jnp.where(ids > 0, 1 + x * (width + candidates) + a, ids)

  def larger(x, fill=0):
    return jnp.pad(x, [(0, 0), (0, slots), *[(0, 0)] * (x.ndim - 2)], constant_values=fill)

  out = {
    name: larger(getattr(tree, name))
    for name in tree.__dataclass_fields__
    if name not in _PER_PROBLEM
  }
  for name, x in out.items():
    twins = [(0, 0), (0, 0), (0, candidates), *[(0, 0)] * (x.ndim - 3)]
    copied = name in ('tokens', 'length', 'logprob', 'terminal', 'token_value', 'given')
    x = jnp.pad(x, twins, mode='edge') if copied else jnp.pad(x, twins)
    out[name] = jnp.pad(x, [*[(0, 0)] * 3, (0, tokens)]) if x.ndim == 4 else x
  path = jnp.pad(larger(renamed(tree.path), -1), [(0, 0), (0, 0), (0, depth)], constant_values=-1)
  return Tree(
    expanded=larger(renamed(tree.expanded), -1), path=path, root_value=tree.root_value, **out
  )


_PER_PROBLEM = ('expanded', 'path', 'root_value', 'chain', 'chains', 'scores')


def problem(tree: Tree, b: int) -> Tree:
  """One problem of a tree, as NumPy without the batch axis."""
  return jax.tree.map(lambda x: np.asarray(x[b]), tree)


def below(tree: Tree, node: int) -> list[tuple[int, int]]:
  """(slot, candidate) of the real candidates at or below a node of one problem's tree."""
  slots, width = tree.mask.shape
  return [
    (x, a)
    for x in range(slots)
    for a in range(width)
    if tree.mask[x, a]
    and tree.expanded[x] >= 0
    and node in ancestors(tree.expanded, width, 1 + x * width + a)
  ]


def over(tree: Tree, x: int, a: int) -> bool:
  """A solution has ended here: finished, or cut off at depth R. One problem's tree."""
  depth = len(ancestors(tree.expanded, tree.mask.shape[1], 1 + x * tree.mask.shape[1] + a))
  return bool(tree.mask[x, a] and (tree.terminal[x, a] or depth == tree.path.shape[-1]))


def nodes(tree: Tree):
  """(b, slot, candidate) of every real candidate of a batch of trees."""
  return [tuple(index) for index in np.argwhere(np.asarray(tree.mask))]


def chains(ends, right, *, max_steps: int) -> Tree:
  """One problem's best-of-N tree: chain i has `ends[i]` steps and finishes there (0 = cut off at
  depth R), and is correct where `right[i]`."""
  count = len(ends)
  expanded = np.full(count * max_steps, -1)
  terminal = np.zeros((count * max_steps, 1), bool)
  outcome = np.zeros((count * max_steps, 1))
  for r, i in np.ndindex(max_steps, count):
    if r < (ends[i] or max_steps):
      expanded[r * count + i] = 1 + (r - 1) * count + i if r else 0
      terminal[r * count + i] = r == ends[i] - 1
      outcome[r * count + i] = terminal[r * count + i, 0] and right[i]
  return hand_tree(expanded, width=1, max_steps=max_steps, terminal=terminal, outcome=outcome)


def permute(tree: Tree, order) -> Tree:
  """The same search with candidates in another order: new candidate j of a slot is old `order[b, x,
  j]`."""
  width = order.shape[-1]
  place = np.argsort(order, axis=-1)

  def renamed(ids):
    x, a = np.divmod(np.maximum(np.asarray(ids) - 1, 0), width)
    rows = np.arange(len(ids)).reshape(-1, *[1] * (ids.ndim - 1))
    return jnp.where(ids > 0, 1 + x * width + place[rows, x, a], ids)

  names = [name for name in tree.__dataclass_fields__ if name not in _PER_PROBLEM]
  moved = {name: moved_field(getattr(tree, name), order) for name in names}
  return Tree(
    expanded=renamed(tree.expanded), path=renamed(tree.path), root_value=tree.root_value, **moved
  )


def moved_field(x, order):
  """A node field after `permute`."""
  return jnp.take_along_axis(x, order.reshape(order.shape + (1,) * (x.ndim - 3)), axis=2)
