"""A tiny transformer that is far from uniform, two language models without any weights, and trees
grown with them."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from o1jax import tree as tree_lib
from o1jax.decode.grow import grower, start
from o1jax.decode.rules import Sampling
from o1jax.model import forward
from o1jax.model.transformer import LanguageModel, Output
from o1jax.model.variants import ModelConfig
from o1jax.search import SEARCHES, run
from o1jax.types import KeyValue, Params, Prompt, Tree

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
