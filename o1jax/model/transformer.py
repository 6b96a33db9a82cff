"""The decoder-only transformer (Flax Linen): RMSNorm, rotary positions, grouped queries, SwiGLU,
and a critic.

Tokens are [B, W, A, Q]; plain rows of text have W = A = 1. Between embedding and last norm, all
tokens are rows of one matrix: with more axes XLA's CPU chooses worse layouts and slower products.
Every parameter carries logical axis names, so one table of rules shards the model.
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from o1jax.model.attention import Context, Segment, attend, capped, rotate, turns, windowed
from o1jax.model.layers import Bias, Linear, Norm, products
from o1jax.model.sharding import constrain, shard_count
from o1jax.model.tree_attention import Paths, attend_tree
from o1jax.model.variants import ModelConfig
from o1jax.types import Array, KeyValue


class Output(NamedTuple):
  """What a pass returns.

  `hidden` [B, W, A, Q, D] is after the last norm, `value` [B, W, A, Q] in logits of P(correct).
  `cache` holds the keys and values of the pass's own tokens, per trunk and layer. With
  `Context.rows` it holds the rows, into which these are written.
  """

  hidden: Array
  value: Array
  cache: Any


class View(NamedTuple):
  """What a layer reads: the `turns` of the pass's tokens, and a context without its caches."""

  by: tuple[Array, Array]
  context: Context


class Block(nn.Module):
  """Attention and feed-forward with residuals."""

  config: ModelConfig

  @nn.compact
  def __call__(self, x, cached, local, views: list[View]):
    """One layer.

    Args:
      x: [B*W*A*Q, D].
      cached: this layer's (prompt, path, rows) of the context.
      local: [], where there are two views: whether the layer is local and takes the second.
      views: one, or two: that of layers which read everything, and that of local ones.

    Returns:
      x, and the `KeyValue` of this pass, or the rows with it written into them.
    """
    c = self.config
    if c.scan_layers:
      # Without the barrier, masks (the same for all layers) would be made for the whole tree before
      # the first layer and kept to the last.
      x, views = jax.lax.optimization_barrier((x, views))
    view = (
      views[0]
      if len(views) == 1
      else jax.tree.map(functools.partial(jnp.where, local), *views[::-1])
    )
    norm = lambda name: Norm(c.dtype, c.norm_epsilon, name=name)
    read, kv = self._attention(norm('attention_norm')(x), cached, view)
    if c.post_norms:
      read = norm('attention_post_norm')(read)
    x = constrain(x + read, 'batch', None)
    added = self._mlp(norm('mlp_norm')(x))
    if c.post_norms:
      added = norm('mlp_post_norm')(added)
    return constrain(x + added, 'batch', None), kv

  def _attention(self, h, cached, view):
    c, context = self.config, view.context
    query, key, value = self._heads(h, view.by)
    kv = KeyValue(jnp.moveaxis(key, (4, 5), (1, 4)), jnp.moveaxis(value, 4, 1))
    prompt, path, rows = cached
    if rows is not None:
      put = jax.lax.dynamic_update_slice_in_dim
      value = kv.value.reshape(*rows.value.shape[:2], query.shape[2], -1)
      key = jnp.swapaxes(kv.key.reshape(value.shape), -1, -2)
      kv = KeyValue(
        put(rows.key, key, context.at, axis=-1), put(rows.value, value, context.at, axis=-2)
      )
    if context.path_ids is not None:
      paths = Paths(
        context.path_ids,
        context.path_mask[:, :, :, 0],
        context.prompt_mask[:, 0, 0, 0],
        context.near,
      )
      read = attend_tree(query, kv, prompt, paths, cap=c.score_cap).reshape(h.shape[0], -1)
    else:
      segments = [Segment(kv, context.self_mask)]
      for part, mask in ((prompt, context.prompt_mask), (path, context.path_mask)):
        if part is not None:
          segments.append(Segment(part, mask))
      read = attend(jnp.moveaxis(query, 4, 1), segments, cap=c.score_cap)
      read = _side_by_side(read).reshape(h.shape[0], -1)
    return Linear(c.width, ('heads', 'embed'), c.dtype, name='out')(read), kv

  def _heads(self, h, by):
    """Queries [B, W, A, Q, K, G, E], keys and values [B, W, A, Q, K, E] of all tokens."""
    c, lead = self.config, by[0].shape[:-2]
    parts = [
      ('query', c.heads, 'heads'),
      ('key', c.kv_heads, 'kv_heads'),
      ('value', c.kv_heads, 'kv_heads'),
    ]
    linear = [
      Linear(count * c.head_width, ('embed', axis), c.dtype, name=name)
      for name, count, axis in parts
    ]
    made = products(h, [one.kernel(c.width) for one in linear])
    if c.qkv_bias:
      made = [
        Bias(axis, c.dtype, name=f'{name}_bias')(x) for (name, _, axis), x in zip(parts, made)
      ]
    if c.qk_norm:
      norm = lambda x, name: Norm(c.dtype, c.norm_epsilon, name=name)(x.reshape(-1, c.head_width))
      made = [norm(made[0], 'query_norm'), norm(made[1], 'key_norm'), made[2]]
    query, key, value = (
      x.reshape(*lead, count, c.head_width) for x, (_, count, _) in zip(made, parts)
    )
    if c.query_scale:
      query = query * (c.head_width / c.query_scale) ** 0.5  # `attend` divides by sqrt(E)
    query = rotate(query, by).reshape(*lead, c.kv_heads, -1, c.head_width)
    return query, rotate(key, by), value

  def _mlp(self, h):
    c = self.config
    gate = Linear(c.mlp_width, ('embed', 'mlp'), c.dtype, name='gate')(h)
    up = Linear(c.mlp_width, ('embed', 'mlp'), c.dtype, name='up')(h)
    active = nn.silu if c.activation == 'silu' else nn.gelu
    return Linear(c.width, ('mlp', 'embed'), c.dtype, name='down')(active(gate) * up)


def _side_by_side(read: Array) -> Array:
  """[B, K, W, A, Q, G, E] -> [B, W, A, Q, K*G*E]."""
  if shard_count('kv_heads') > 1:
    return jnp.moveaxis(read, 1, 4).reshape(read.shape[0], *read.shape[2:5], -1)
  # One copy for each key head. XLA's CPU would do a transposition number by number.
  heads = [read[:, i].reshape(read.shape[0], *read.shape[2:5], -1) for i in range(read.shape[1])]
  return jnp.concatenate(heads, axis=-1)


class Trunk(nn.Module):
  """Embedding, blocks, last norm. Caches are per layer: stacked with `scan_layers`, else tuples."""

  config: ModelConfig

  def setup(self):
    c = self.config
    init = nn.with_logical_partitioning(nn.initializers.normal(0.02), ('vocab', 'embed'))
    self.embedding = self.param('embedding', init, (c.vocab_size, c.width))
    block = nn.remat(Block, prevent_cse=not c.scan_layers) if c.remat else Block
    if c.scan_layers:
      scanned = nn.scan(
        block,
        variable_axes={'params': 0},
        split_rngs={'params': True},
        in_axes=(0, 0, nn.broadcast),
        length=c.layers,
        metadata_params={nn.PARTITION_NAME: 'layers'},
      )
      self.blocks = scanned(c, name='blocks')
    else:
      self.blocks = [block(c, name=f'block_{i}') for i in range(c.layers)]
    self.last_norm = Norm(c.dtype, c.norm_epsilon)

  def __call__(self, tokens, positions, context: Context, longest):
    c = self.config
    # No device has whole rows of a table that is sharded along both its axes, so the lookup needs
    # one axis whole.
    table = constrain(jnp.asarray(self.embedding, c.dtype), 'vocab', None)
    x = table[tokens.reshape(-1)]
    x = constrain(x * c.width**0.5 if c.scaled_embedding else x, 'batch', None)
    cached = (context.prompt, context.path, context.rows)
    views = _views(c, context, positions, longest)
    local = np.isin(np.arange(c.layers), c.local_layers)
    if c.scan_layers:
      x, kv = self.blocks(x, cached, jnp.asarray(local), views)
    else:
      kv = []
      for i, block in enumerate(self.blocks):
        mine = tuple(part if part is None else part[i] for part in cached)
        x, layer = block(x, mine, None, [views[-1] if local[i] else views[0]])
        kv.append(layer)
      kv = tuple(kv)
    return self.last_norm(x).reshape(*tokens.shape, c.width), kv


def _views(config: ModelConfig, context: Context, positions: Array, longest: int) -> list[View]:
  """What layers read, see `Block`."""
  c = config
  rotary = functools.partial(turns, positions, c.head_width // 2, longest=longest)
  by = rotary(c.rope_base, scaling=c.rope_scaling)
  bare = lambda context: context._replace(
    prompt=None, path=None, rows=None, path_at=None, rows_at=None
  )
  if not c.local_layers or (longest <= c.window and not c.local_rope_base):
    return [View(by, bare(context))]
  # Over a whole tree, local layers read as many arrays as the others, so that a scan may choose.
  everything = windowed(context, positions, longest) if context.path_ids is not None else context
  near = rotary(c.local_rope_base) if c.local_rope_base else by
  return [View(by, bare(everything)), View(near, bare(windowed(context, positions, c.window)))]


class LanguageModel(nn.Module):
  """A policy trunk with its output matrix, and a critic: a head on that trunk, or on a trunk of its
  own."""

  config: ModelConfig

  def setup(self):
    c = self.config
    self.policy = Policy(c)
    self.critic = Critic(c)

  def __call__(
    self,
    tokens: Array,
    positions: Array,
    context: Context,
    *,
    longest: int,
    with_value: bool = True,
  ) -> Output:
    """tokens [B, W, A, Q], positions [B, W, A, Q] below `longest`. The context's caches are dicts
    by trunk, like `Output.cache`."""
    hidden, kv = self.policy(tokens, positions, _of_trunk(context, 'policy'), longest)
    cache = {'policy': kv}
    value = None
    if with_value:
      value, own = self.critic(hidden, tokens, positions, _of_trunk(context, 'critic'), longest)
      if own is not None:
        cache['critic'] = own
    return Output(hidden, value, cache)

  def logits(self, hidden: Array) -> Array:
    """hidden [..., D] -> next-token logits [..., V], float32."""
    return self.policy.logits(hidden)


class Policy(nn.Module):
  """The language model proper."""

  config: ModelConfig

  def setup(self):
    self.trunk = Trunk(self.config)
    if not self.config.tied_head:
      self.head = Linear(self.config.vocab_size, ('embed', 'vocab'), self.config.dtype)

  def __call__(self, tokens, positions, context, longest):
    return self.trunk(tokens, positions, context, longest)

  def logits(self, hidden):
    c = self.config
    if c.tied_head:
      table = jnp.asarray(self.trunk.embedding, c.dtype)
      (logits,) = products(hidden.reshape(-1, hidden.shape[-1]), [table.T])
      logits = logits.reshape(*hidden.shape[:-1], -1)
    else:
      logits = self.head(hidden)
    logits = capped(logits.astype(jnp.float32), c.logit_cap)
    return (
      jnp.where(jnp.arange(c.vocab_size) < c.vocab_size - c.unused, logits, -1e30)
      if c.unused
      else logits
    )


class Critic(nn.Module):
  """P(correct | prefix) after each token, in logits."""

  config: ModelConfig

  @nn.compact
  def __call__(self, hidden, tokens, positions, context, longest):
    c, kv = self.config.of_critic, None
    if c.own_critic:
      hidden, kv = Trunk(c, name='trunk')(tokens, positions, context, longest)
    h = nn.gelu(Linear(c.width, ('embed', 'mlp'), c.dtype, name='hidden')(hidden))
    value = Linear(1, ('mlp', None), c.dtype, name='score')(h)[..., 0]
    return value.astype(jnp.float32), kv


def _of_trunk(context: Context, name: str) -> Context:
  def mine(part):
    return part if part is None else part.get(name)

  return context._replace(
    prompt=mine(context.prompt), path=mine(context.path), rows=mine(context.rows)
  )


def each_layer(function, *caches):
  """Applies a function of one layer's `KeyValue` to all layers and trunks of caches, be they tuples
  or stacked arrays."""

  def layers(*parts):
    if isinstance(parts[0], KeyValue):
      return jax.vmap(function)(*parts)
    return tuple(function(*layer) for layer in zip(*parts))

  return {name: layers(*(cache[name] for cache in caches)) for name in caches[0]}


def layers_apart(part: dict) -> dict:
  """Parameters of a policy or critic in the form that they have without `scan_layers`."""
  trunk = dict(part.get('trunk', {}))
  if 'blocks' not in trunk:
    return part
  blocks = trunk.pop('blocks')
  for i in range(jax.tree.leaves(blocks)[0].shape[0]):
    trunk[f'block_{i}'] = jax.tree.map(lambda x, i=i: x[i], blocks)
  return {**part, 'trunk': trunk}
