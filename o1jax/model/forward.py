"""The three uses of the one attention: rows of text, the prompt before decoding, and a whole tree
in one pass."""

import dataclasses
import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.model import groups
from o1jax.model.attention import Context, as_blocks
from o1jax.model.scores import Scores, scores_in_parts
from o1jax.model.sharding import FSDP, Names, constrain
from o1jax.model.transformer import LanguageModel, Output, each_layer, layers_apart
from o1jax.types import Array, KeyValue, Params, Prompt, Tree, TreeCache


class TreeOutput(NamedTuple):
  """What one pass over a tree gives: logprob [B, X, A, L] of every token, entropy [B, X, A, L] in
  nats, value [B, X, A] in logits of P(correct) after each node, token_value [B, X, A, L] after each
  token, root_value [B] after the prompt."""

  logprob: Array
  entropy: Array
  value: Array
  token_value: Array
  root_value: Array


def init(model: LanguageModel, key: Array) -> Params:
  """Fresh parameters (boxed with their logical axis names; `flax.linen.unbox` gives plain
  arrays)."""
  tokens = jnp.zeros((1, 1, 1, 2), jnp.int32)
  context = Context(self_mask=jnp.tri(2, dtype=bool)[None, None, None])
  variables = model.init(key, tokens, tokens, context, method=_touch_all)
  return {role: variables['params'][role] for role in ('policy', 'critic')}


def _touch_all(model, tokens, positions, context):
  return model.logits(model(tokens, positions, context, longest=2).hidden)


def apply(model: LanguageModel, params: Params, *args, **kwargs):
  """`model.apply` on our `Params`."""
  return model.apply(
    {'params': {'policy': params['policy'], 'critic': params['critic']}}, *args, **kwargs
  )


@functools.cache
def axis_names(model: LanguageModel) -> dict[str, Names]:
  """What the axes of each parameter are called, by its path, such as 'policy.trunk.embedding'."""
  boxes = jax.eval_shape(lambda: init(model, jax.random.key(0)))
  leaves = jax.tree_util.tree_leaves_with_path(
    boxes, is_leaf=lambda x: isinstance(x, nn.Partitioned)
  )
  return {jax.tree_util.keystr(path, simple=True, separator='.'): box.names for path, box in leaves}


def decoder(model: LanguageModel) -> LanguageModel:
  """The model that reads what `for_search` makes."""
  return LanguageModel(dataclasses.replace(model.config, scan_layers=False))


def for_search(model: LanguageModel, params: Params) -> Params:
  """Parameters as decoding reads them fastest, made once a search and not at every token: matrices
  in the compute type, of which no device lacks a part that it would have to ask for at every token,
  and layers one by one, since a scan over layers would copy all their keys at every token."""
  return {role: layers_apart(part) for role, part in _whole(model, params).items()}


def _whole(model, params: Params) -> Params:
  """Parameters, or some of them, as the model computes with them, each device having all but what
  `tensor` splits."""
  names = axis_names(model)

  def ready(path, x):
    own = names[jax.tree_util.keystr(path, simple=True, separator='.')]
    return constrain(
      x if path[-1].key == 'scale' else x.astype(model.config.dtype), *own, without=(FSDP,)
    )

  return jax.tree_util.tree_map_with_path(ready, params)


def logits_of(model: LanguageModel, params: Params, hidden: Array) -> Array:
  """Next-token logits [..., V], float32."""
  return apply(model, params, hidden, method='logits')


def score_tokens(
  model: LanguageModel, params: Params, hidden: Array, tokens: Array, *, temperature=1.0
) -> Scores:
  """Scores of tokens [B, ...] at a temperature, after hidden states [B, ..., D]."""
  tied = dict(trunk=dict(embedding=params['policy']['trunk']['embedding']))
  head = dict(
    policy=tied if model.config.tied_head else dict(head=params['policy']['head']), critic={}
  )

  def logits(head, hidden):
    return logits_of(model, head, hidden) / temperature

  return scores_in_parts(logits, _whole(model, head), hidden, tokens, vocab=model.config.vocab_size)


def forward_rows(
  model, params, tokens: Array, length: Array, segment=None, *, with_value: bool = True
) -> Output:
  """Plain causal pass over rows. tokens [B, T], length [B] -> Output with W = A = 1 axes.

  segment [B, T] (optional): a token reads only tokens of its own segment.
  """
  batch, width = tokens.shape
  positions = jnp.broadcast_to(jnp.arange(width), (batch, 1, 1, width))
  mask = jnp.tri(width, dtype=bool) & (jnp.arange(width) < length[:, None, None])
  if segment is not None:
    mask &= segment[:, :, None] == segment[:, None, :]
  context = Context(mask[:, None, None])
  return apply(
    model, params, tokens[:, None, None], positions, context, longest=width, with_value=with_value
  )


def prefill(model, params, prompt: Prompt) -> tuple[Output, Array, Array]:
  """Runs the prompt. Returns the output (caches without W and A axes), the last hidden state [B,
  D], the value [B]."""
  out = forward_rows(model, params, prompt.tokens, prompt.length)
  last = prompt.length - 1
  hidden = jnp.take_along_axis(out.hidden[:, 0, 0], last[:, None, None], axis=1)[:, 0]
  value = jnp.take_along_axis(out.value[:, 0, 0], last[:, None], axis=1)[:, 0]
  cache = each_layer(lambda kv: KeyValue(kv.key[:, :, 0, 0], kv.value[:, :, 0, 0]), out.cache)
  return out._replace(cache=cache), hidden, value


def start_cache(
  model, params, prompt: Prompt, slots: int, width: int, step: int
) -> tuple[TreeCache, Array]:
  """An empty tree's cache after the prompt, and the root's value in logits [B]."""
  out, hidden, value = prefill(model, params, prompt)
  batch = prompt.length.shape[0]

  cache = TreeCache(
    prompt=out.cache,
    nodes=each_layer(lambda kv: as_blocks(empty_blocks(kv, (slots, width), step)), out.cache),
    prompt_length=prompt.length,
    root_hidden=hidden,
    hidden=jnp.zeros((batch, slots, width, hidden.shape[-1]), hidden.dtype),
  )
  return cache, value


def empty_blocks(kv: KeyValue, nodes: tuple[int, int], step: int) -> KeyValue:
  """Room for the keys [B, K, *nodes, E, L] and values [B, K, *nodes, L, E] of nodes, typed as
  `kv`."""
  batch, heads, *_, width = kv.value.shape
  lead = (batch, heads, *nodes)
  return KeyValue(
    jnp.zeros((*lead, width, step), kv.key.dtype), jnp.zeros((*lead, step, width), kv.value.dtype)
  )


def path_mask(tree_length: Array, ids: Array, step: int) -> Array:
  """Which gathered path tokens are real. tree_length [B, X, A], ids [B, W, R-1] -> [B, W,
  (R-1)*L]."""
  lengths = tree_lib.pick(tree_length, ids)
  return (jnp.arange(step) < lengths[..., None]).reshape(*ids.shape[:2], -1)


def forward_tree(
  model,
  params: Params,
  prompt: Prompt,
  tree: Tree,
  *,
  temperature: float = 1.0,
  tokens: int = 0,
) -> TreeOutput:
  """Log-prob and value of every node in one pass; no prefix is computed twice (docs/DESIGN.md, "one
  attention").

  Args:
    model: the language model.
    params: policy and critic are read.
    prompt: B problems.
    tree: a finished search over them. N independent chains (`Tree.chains`) are laid out as rows
      of their own, and given back in the tree's shape.
    temperature: of the distribution whose log-probs are wanted, that of sampling.
    tokens: 0 = every node takes the L tokens that it has room for; else the nodes of a tree, or of
      a chain, are packed into a row of so many tokens, see `tree.crop`. Nodes that fill their
      room are read fastest by the former, and short ones by the latter.

  Returns:
    See `TreeOutput`; entries of unused slots and padding are 0.
  """
  run = functools.partial(_forward_packed, tokens=tokens) if tokens else _forward_slots
  out = run(model, params, *tree_lib.chains_apart(prompt, tree), temperature=temperature)
  if not tree.chains:
    return out
  together = {
    name: tree_lib.chains_together(field, tree.chains)
    for name, field in out._asdict().items()
    if name != 'root_value'
  }
  # Every chain has read the same prompt.
  return TreeOutput(root_value=out.root_value.reshape(-1, tree.chains)[:, 0], **together)


def _forward_slots(model, params, prompt, tree, *, temperature):
  """All nodes at once, as decoding reads them: siblings share their path, which is gathered from
  the pass itself."""
  step = tree.tokens.shape[-1]
  to_groups = functools.partial(groups.to_groups, tree)
  from_groups = functools.partial(groups.from_groups, tree)
  every = lambda of_slot: to_groups(jnp.broadcast_to(of_slot[..., None], tree.mask.shape))
  used = tree.expanded >= 0
  tokens, length = to_groups(tree.tokens), to_groups(jnp.where(used[..., None], tree.length, 0))
  out, root_hidden, root_value = prefill(model, params, prompt)
  offset = jnp.arange(step)
  context = Context(
    self_mask=jnp.tri(step, dtype=bool)[
      None, None, None
    ],  # padding comes last, so no token reads it
    prompt=out.cache,
    prompt_mask=shared_mask(jnp.arange(prompt.tokens.shape[1]) < prompt.length[:, None]),
  )
  ids, above = groups.paths(tree)
  if ids.shape[-1]:
    near = jnp.arange(ids.shape[-1]) < above[..., None]
    real = path_mask(length, ids, step)[:, :, None] & jnp.repeat(near, step, axis=-1)
    context = context._replace(path_ids=ids, path_mask=real[:, :, :, None])
  positions = every(tree_lib.step_start(tree, prompt.length))[..., None] + offset
  made = apply(model, params, tokens, positions, context, longest=tree_lib.longest(tree, prompt))
  last = jnp.maximum(length - 1, 0)[..., None]
  end = jnp.take_along_axis(made.hidden, last[..., None], axis=3)[..., 0, :]
  parent = groups.rename(tree, every(tree.expanded))
  parent = jnp.where(
    (parent > tree_lib.ROOT)[..., None], tree_lib.pick(end, parent), root_hidden[:, None, None]
  )
  before = jnp.concatenate([parent[..., None, :], made.hidden[..., :-1, :]], axis=3)
  scores = score_tokens(model, params, before, tokens, temperature=temperature)
  real = offset < length[..., None]
  value = jnp.take_along_axis(made.value, last, axis=-1)[..., 0]
  return TreeOutput(
    logprob=from_groups(jnp.where(real, scores.logprob, 0)),
    entropy=from_groups(jnp.where(real, scores.entropy, 0)),
    value=from_groups(jnp.where(real[..., 0], value, 0)),
    token_value=from_groups(jnp.where(real, made.value, 0)),
    root_value=root_value,
  )


def _forward_packed(model, params, prompt, tree, *, temperature, tokens):
  """A row a problem: the prompt, then the tokens of all nodes in the order of their ids, without
  padding.

  A token reads the prompt, its node's ancestors, and its own node up to itself.
  """
  batch, slots, width, step = tree.tokens.shape
  first = prompt.tokens.shape[1]  # where the tokens of nodes begin in a row
  length = jnp.where(tree.expanded[..., None] >= 0, tree.length, 0).reshape(batch, -1)
  end = jnp.cumsum(length, axis=1)
  place = jnp.arange(tokens)
  node = jax.vmap(functools.partial(jnp.searchsorted, side='right'), (0, None))(end, place)
  node = jnp.minimum(node, slots * width - 1)
  offset = place - _take(end - length, node)
  row = jnp.concatenate(
    [prompt.tokens, _take(tree.tokens.reshape(batch, -1), node * step + offset)], axis=1
  )
  positions = _take(tree_lib.step_start(tree, prompt.length), node // width) + offset
  positions = jnp.concatenate(
    [jnp.broadcast_to(jnp.arange(first), prompt.tokens.shape), positions], axis=1
  )
  mask = _row_mask(tree, prompt, node, place < end[:, -1:])
  context = Context(mask[:, None, None])
  longest = tree_lib.longest(tree, prompt)
  out = apply(model, params, row[:, None, None], positions[:, None, None], context, longest=longest)
  hidden, value = out.hidden[:, 0, 0], out.value[:, 0, 0]

  last = prompt.length[:, None] - 1
  node_end = first + end - 1
  parent = _take(tree.expanded, node // width)
  parent_end = jnp.where(parent > tree_lib.ROOT, _take(node_end, jnp.maximum(parent - 1, 0)), last)
  before = _take(hidden, jnp.where(offset > 0, first + place - 1, parent_end))
  scores = score_tokens(model, params, before, row[:, first:], temperature=temperature)

  where = (end - length)[..., None] + jnp.arange(
    step
  )  # [B, X*A, L]: the place of every token of the tree
  real = (jnp.arange(step) < length[..., None]) & (where < place.size)

  def unpack(values):
    found = _take(values, jnp.where(real, where, 0).reshape(batch, -1)).reshape(real.shape)
    return jnp.where(real, found, 0).reshape(tree.tokens.shape)

  value_there = jnp.where(real[..., 0], _take(value, jnp.where(real[..., 0], node_end, 0)), 0)
  return TreeOutput(
    logprob=unpack(scores.logprob),
    entropy=unpack(scores.entropy),
    value=value_there.reshape(tree.mask.shape),
    token_value=unpack(value[:, first:]),
    root_value=_take(value, last)[:, 0],
  )


def _take(x: Array, index: Array) -> Array:
  """x [B, N, ...] at index [B, M] -> [B, M, ...]."""
  return jnp.take_along_axis(x, index.reshape(*index.shape, *[1] * (x.ndim - 2)), axis=1)


def _row_mask(tree: Tree, prompt: Prompt, node: Array, real: Array) -> Array:
  """Who reads whom in a row of `_forward_packed`, [B, P+T, P+T]. node [B, T], counted from 0; real
  [B, T]."""
  batch, slots, width = tree.mask.shape
  first, size = prompt.tokens.shape[1], node.shape[1]

  def one(path, node, real):
    above = jnp.zeros((slots, 1 + slots * width), bool)
    above = above.at[jnp.arange(slots)[:, None], jnp.where(path > 0, path, 0)].set(True)[:, 1:]
    ancestor = above[node // width][:, node]
    own = (node[:, None] == node) & jnp.tri(size, dtype=bool)
    return (ancestor | own) & real

  inner = jax.vmap(one)(tree.path, node, real)
  shown = jnp.arange(first) < prompt.length[:, None]
  to_prompt = jnp.broadcast_to(shown[:, None], (batch, size, first))
  causal = jnp.pad(jnp.tri(first, dtype=bool) & shown[:, None], ((0, 0), (0, 0), (0, size)))
  return jnp.concatenate([causal, jnp.concatenate([to_prompt, inner], axis=2)], axis=1)


def shared_mask(mask: Array) -> Array:
  """[B, S] -> [B, 1, 1, 1, S]: read by every query of a problem."""
  return mask[:, None, None, None]
