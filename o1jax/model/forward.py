"""The three uses of the one attention: rows of text, the prompt before decoding, and a whole tree in one pass."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.model.attention import Context
from o1jax.model.transformer import LanguageModel, Output, each_layer
from o1jax.types import Array, KeyValue, Params, Prompt, Tree, TreeCache


class TreeOutput(NamedTuple):
  """What one pass over a tree gives: logprob [B, X, A, L] of every token, entropy [B, X, A, L] in nats, value [B, X,
  A] in logits of P(correct) after each node, root_value [B] after the prompt."""

  logprob: Array
  entropy: Array
  value: Array
  root_value: Array


def init(model: LanguageModel, key: Array) -> Params:
  """Fresh parameters (boxed with their logical axis names; `flax.linen.unbox` gives plain arrays)."""
  tokens = jnp.zeros((1, 1, 1, 2), jnp.int32)
  context = Context(self_mask=jnp.tri(2, dtype=bool)[None, None, None])
  variables = model.init(key, tokens, tokens, context, method=_touch_all)
  return Params(policy=variables['params']['policy'], critic=variables['params']['critic'])


def _touch_all(model, tokens, positions, context):
  return model.logits(model(tokens, positions, context).hidden)


def apply(model: LanguageModel, params: Params, *args, **kwargs):
  """`model.apply` on our `Params`."""
  return model.apply({'params': {'policy': params.policy, 'critic': params.critic}}, *args, **kwargs)


def logits_of(model: LanguageModel, params: Params, hidden: Array) -> Array:
  """Next-token logits [..., V], float32."""
  return apply(model, params, hidden, method='logits')


def forward_rows(model, params, tokens: Array, length: Array, segment=None, *, with_value: bool = True) -> Output:
  """Plain causal pass over rows. tokens [B, T], length [B] -> Output with W = A = 1 axes.

  segment [B, T] (optional): a token reads only tokens of its own segment.
  """
  batch, width = tokens.shape
  positions = jnp.broadcast_to(jnp.arange(width), (batch, 1, 1, width))
  mask = jnp.tri(width, dtype=bool) & (jnp.arange(width) < length[:, None, None])
  if segment is not None:
    mask &= segment[:, :, None] == segment[:, None, :]
  return apply(
    model, params, tokens[:, None, None], positions, Context(mask[:, None, None]), with_value=with_value
  )


def prefill(model, params, prompt: Prompt) -> tuple[Output, Array, Array]:
  """Runs the prompt. Returns the output (caches without W and A axes), the last hidden state [B, D], the value [B]."""
  out = forward_rows(model, params, prompt.tokens, prompt.length)
  last = prompt.length - 1
  hidden = jnp.take_along_axis(out.hidden[:, 0, 0], last[:, None, None], axis=1)[:, 0]
  value = jnp.take_along_axis(out.value[:, 0, 0], last[:, None], axis=1)[:, 0]
  cache = each_layer(lambda kv: KeyValue(kv.key[:, :, 0, 0], kv.value[:, :, 0, 0]), out.cache)
  return out._replace(cache=cache), hidden, value


def start_cache(model, params, prompt: Prompt, slots: int, width: int, step: int) -> tuple[TreeCache, Array]:
  """An empty tree's cache after the prompt, and the root's value in logits [B]."""
  out, hidden, value = prefill(model, params, prompt)
  batch = prompt.length.shape[0]

  cache = TreeCache(
    prompt=out.cache,
    nodes=each_layer(lambda kv: empty_blocks(kv, (slots, width), step), out.cache),
    prompt_length=prompt.length,
    root_hidden=hidden,
    hidden=jnp.zeros((batch, slots, width, hidden.shape[-1]), hidden.dtype),
  )
  return cache, value


def empty_blocks(kv: KeyValue, nodes: tuple[int, int], step: int) -> KeyValue:
  """Room for the keys [B, K, *nodes, E, L] and values [B, K, *nodes, L, E] of nodes, typed as `kv`."""
  batch, heads, *_, width = kv.value.shape
  lead = (batch, heads, *nodes)
  return KeyValue(jnp.zeros((*lead, width, step), kv.key.dtype), jnp.zeros((*lead, step, width), kv.value.dtype))


def path_mask(tree_length: Array, ids: Array, step: int) -> Array:
  """Which gathered path tokens are real. tree_length [B, X, A], ids [B, W, R-1] -> [B, W, (R-1)*L]."""
  lengths = tree_lib.pick(tree_length, ids)
  return (jnp.arange(step) < lengths[..., None]).reshape(*ids.shape[:2], -1)


def forward_tree(model, params: Params, prompt: Prompt, tree: Tree, *, temperature: float = 1.0) -> TreeOutput:
  """Log-prob and value of every node in one pass; no prefix is computed twice (docs/DESIGN.md, "one attention").

  Args:
    model: the language model.
    params: policy and critic are read.
    prompt: B problems.
    tree: a finished search over them.
    temperature: of the distribution whose log-probs are wanted, that of sampling.

  Returns:
    See `TreeOutput`; entries of unused slots and padding are 0.
  """
  step = tree.tokens.shape[-1]
  head, root_hidden, root_value = prefill(model, params, prompt)
  ids = tree.path[..., 1:]
  column = jnp.arange(step)
  real = column < jnp.where(tree.expanded[..., None] >= 0, tree.length, 0)[..., None]
  context = Context(
    self_mask=jnp.tri(step, dtype=bool)[None, None, None],
    prompt=head.cache,
    prompt_mask=shared_mask(jnp.arange(prompt.tokens.shape[1]) < prompt.length[:, None]),
    path_mask=path_mask(tree.length, ids, step)[:, :, None, None],
    gather=ids if ids.shape[-1] else None,
  )
  if not ids.shape[-1]:
    context = context._replace(path_mask=None)
  positions = tree_lib.step_start(tree, prompt.length)[..., None, None] + column
  positions = jnp.broadcast_to(positions, tree.tokens.shape)
  out = apply(model, params, tree.tokens, positions, context)

  last = jnp.maximum(tree.length - 1, 0)[..., None]
  ends = jnp.take_along_axis(out.hidden, last[..., None], axis=3)[:, :, :, 0]
  above = tree_lib.pick(ends, tree.expanded)
  above = jnp.where((tree.expanded == tree_lib.ROOT)[..., None], root_hidden[:, None], above)
  above = jnp.broadcast_to(above[:, :, None, None], (*tree.tokens.shape[:3], 1, above.shape[-1]))
  before = jnp.concatenate([above, out.hidden[..., :-1, :]], axis=3)
  scores = jax.nn.log_softmax(logits_of(model, params, before) / temperature)
  logprob = jnp.take_along_axis(scores, tree.tokens[..., None], axis=-1)[..., 0]
  entropy = -jnp.sum(jnp.exp(scores) * scores, axis=-1)
  value = jnp.take_along_axis(out.value, last, axis=3)[..., 0]
  return TreeOutput(
    logprob=jnp.where(real, logprob, 0),
    entropy=jnp.where(real, entropy, 0),
    value=jnp.where(real[..., 0], value, 0),
    root_value=root_value,
  )


def shared_mask(mask: Array) -> Array:
  """[B, S] -> [B, 1, 1, 1, S]: read by every query of a problem."""
  return mask[:, None, None, None]
