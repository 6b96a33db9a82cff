"""The decoder-only transformer (Flax Linen): RMSNorm, rotary positions, grouped queries, SwiGLU, and a critic.

Tokens are [B, W, A, Q]; plain rows of text are W = A = 1. Between embedding and last norm all of them are rows of one
matrix, since XLA's CPU chooses worse layouts and slower products for more axes. Every parameter carries logical axis
names, so that one table of rules shards the model.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from o1jax.model.attention import Context, Segment, attend, rotate, turns
from o1jax.model.layers import Linear, Norm, products
from o1jax.model.sharding import constrain, ways
from o1jax.model.tree_attention import Paths, attend_tree
from o1jax.model.variants import ModelConfig
from o1jax.types import Array, KeyValue


class Output(NamedTuple):
  """hidden [B, W, A, Q, D] after the last norm; value [B, W, A, Q] in logits of P(correct); cache: keys and values of
  the pass's own tokens, per trunk and layer; with `Context.rows`, those with them written into them."""

  hidden: Array
  value: Array
  cache: Any


class Block(nn.Module):
  """Attention and feed-forward with residuals."""

  config: ModelConfig

  @nn.compact
  def __call__(self, x, cached, by, context: Context):
    """x [B*W*A*Q, D]; cached: this layer's (prompt, path, rows) of the context; by: see `rotate`. Returns x and the
    `KeyValue` of this pass, or the rows with that written into them."""
    c = self.config
    if c.scan_layers:
      # Else masks, the same for all layers, would be made for the whole tree before the first and kept to the last.
      x, context = jax.lax.optimization_barrier((x, context))
    h = Norm(c.dtype, name='attention_norm')(x)
    lead = by[0].shape[:-2]
    query = Linear(c.heads * c.head_width, ('embed', 'heads'), c.dtype, name='query')
    key = Linear(c.kv_heads * c.head_width, ('embed', 'kv_heads'), c.dtype, name='key')
    value = Linear(c.kv_heads * c.head_width, ('embed', 'kv_heads'), c.dtype, name='value')
    query, key, value = products(h, [linear.kernel(c.width) for linear in (query, key, value)])
    query = rotate(query.reshape(*lead, c.heads, c.head_width), by)
    key = rotate(key.reshape(*lead, c.kv_heads, c.head_width), by)
    value = value.reshape(key.shape)
    kv = KeyValue(jnp.moveaxis(key, (4, 5), (1, 4)), jnp.moveaxis(value, 4, 1))
    prompt, path, rows = cached
    if rows is not None:
      put = jax.lax.dynamic_update_slice_in_dim
      value = kv.value.reshape(*rows.value.shape[:2], lead[2], -1)
      key = jnp.swapaxes(kv.key.reshape(value.shape), -1, -2)
      kv = KeyValue(put(rows.key, key, context.at, axis=-1), put(rows.value, value, context.at, axis=-2))
    query = query.reshape(*lead, c.kv_heads, -1, c.head_width)
    if context.path_ids is not None:
      paths = Paths(context.path_ids, context.path_mask[:, :, :, 0], context.prompt_mask[:, 0, 0, 0])
      read = attend_tree(query, kv, prompt, paths).reshape(x.shape[0], -1)
    else:
      segments = [Segment(kv, context.self_mask)]
      for part, mask in ((prompt, context.prompt_mask), (path, context.path_mask)):
        if part is not None:
          segments.append(Segment(part, mask))
      read = attend(jnp.moveaxis(query, 4, 1), segments)
      read = _side_by_side(read).reshape(x.shape[0], -1)
    x = constrain(x + Linear(c.width, ('heads', 'embed'), c.dtype, name='out')(read), 'batch', None)
    h = Norm(c.dtype, name='mlp_norm')(x)
    gate = Linear(c.mlp_width, ('embed', 'mlp'), c.dtype, name='gate')(h)
    up = Linear(c.mlp_width, ('embed', 'mlp'), c.dtype, name='up')(h)
    x = x + Linear(c.width, ('mlp', 'embed'), c.dtype, name='down')(nn.silu(gate) * up)
    return constrain(x, 'batch', None), kv


def _side_by_side(read: Array) -> Array:
  """[B, K, W, A, Q, G, E] -> [B, W, A, Q, K*G*E]."""
  if ways('kv_heads') > 1:
    return jnp.moveaxis(read, 1, 4).reshape(read.shape[0], *read.shape[2:5], -1)
  # A copy for each key head; as a transposition, XLA's CPU would move it number by number.
  heads = [read[:, i].reshape(read.shape[0], *read.shape[2:5], -1) for i in range(read.shape[1])]
  return jnp.concatenate(heads, axis=-1)


class Trunk(nn.Module):
  """Embedding, blocks, last norm. With `scan_layers` per-layer caches are stacked, else they are tuples."""

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
        in_axes=(0, nn.broadcast, nn.broadcast),
        length=c.layers,
        metadata_params={nn.PARTITION_NAME: 'layers'},
      )
      self.blocks = scanned(c, name='blocks')
    else:
      self.blocks = [block(c, name=f'block_{i}') for i in range(c.layers)]
    self.last_norm = Norm(c.dtype)

  def __call__(self, tokens, positions, context: Context, longest):
    c = self.config
    # Rows of a table that is split along them and along its columns are found in neither part.
    table = constrain(jnp.asarray(self.embedding, c.dtype), 'vocab', None)
    x = constrain(table[tokens.reshape(-1)] * c.width**0.5, 'batch', None)
    by = turns(positions, c.head_width // 2, c.rope_base, longest=longest)
    cached = (context.prompt, context.path, context.rows)
    context = context._replace(prompt=None, path=None, rows=None)
    if c.scan_layers:
      x, kv = self.blocks(x, cached, by, context)
    else:
      kv = []
      for i, block in enumerate(self.blocks):
        mine = tuple(part if part is None else part[i] for part in cached)
        x, layer = block(x, mine, by, context)
        kv.append(layer)
      kv = tuple(kv)
    return self.last_norm(x).reshape(*tokens.shape, c.width), kv


class LanguageModel(nn.Module):
  """A policy trunk with its output matrix, and a critic: a head on that trunk or on a trunk of its own."""

  config: ModelConfig

  def setup(self):
    c = self.config
    self.policy = Policy(c)
    self.critic = Critic(c)

  def __call__(
    self, tokens: Array, positions: Array, context: Context, *, longest: int, with_value: bool = True
  ) -> Output:
    """tokens [B, W, A, Q], positions [B, W, A, Q] below `longest`. The context's caches are dicts by trunk, as
    `Output.cache`."""
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
    logits = logits.astype(jnp.float32)
    return jnp.where(jnp.arange(c.vocab_size) < c.vocab_size - c.unused, logits, -1e30) if c.unused else logits


class Critic(nn.Module):
  """P(correct | prefix) after each token, in logits."""

  config: ModelConfig

  @nn.compact
  def __call__(self, hidden, tokens, positions, context, longest):
    kv = None
    if self.config.own_critic:
      hidden, kv = Trunk(self.config, name='trunk')(tokens, positions, context, longest)
    h = nn.gelu(Linear(self.config.width, ('embed', 'mlp'), self.config.dtype, name='hidden')(hidden))
    return Linear(1, ('mlp', None), self.config.dtype, name='score')(h)[..., 0].astype(jnp.float32), kv


def _of_trunk(context: Context, name: str) -> Context:
  def mine(part):
    return part if part is None else part.get(name)

  return context._replace(prompt=mine(context.prompt), path=mine(context.path), rows=mine(context.rows))


def each_layer(function, *caches):
  """Applies a function of one layer's `KeyValue` to all layers and trunks of caches, tuples or stacked arrays."""

  def layers(*parts):
    if isinstance(parts[0], KeyValue):
      return jax.vmap(function)(*parts)
    return tuple(function(*layer) for layer in zip(*parts))

  return {name: layers(*(cache[name] for cache in caches)) for name in caches[0]}


def layers_apart(part: dict) -> dict:
  """Parameters of a policy or critic as they are without `scan_layers`."""
  trunk = dict(part.get('trunk', {}))
  if 'blocks' not in trunk:
    return part
  blocks = trunk.pop('blocks')
  for i in range(jax.tree.leaves(blocks)[0].shape[0]):
    trunk[f'block_{i}'] = jax.tree.map(lambda x, i=i: x[i], blocks)
  return {**part, 'trunk': trunk}
