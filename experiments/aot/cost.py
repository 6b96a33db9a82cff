"""The least that an update must cost: the model's operations, what decoding reads, and what chips
send."""

from typing import NamedTuple

import jax
import numpy as np

from experiments.aot.chips import Chip
from experiments.aot.hlo import Collective
from o1jax import tree as tree_lib
from o1jax.model.compute import search_cost, token_flops
from o1jax.model.variants import ModelConfig, matmul_parameters
from o1jax.types import Prompt, Tree

# The part of a message's `size` that a device sends in a group of n, along a ring.
SHARES = {
  'all-reduce': lambda n: 2 * (n - 1) / n,
  'all-gather': lambda n: (n - 1) / n,
  'reduce-scatter': lambda n: (n - 1) / n,
  'all-to-all': lambda n: (n - 1) / n,
}


class Floor(NamedTuple):
  """The least seconds of a phase on such a chip: for products, for memory, for messages. The
  longest bounds the phase."""

  compute: float
  memory: float
  network: float

  @property
  def bound(self) -> tuple[float, str]:
    """The longest of the three, and its name."""
    return max(zip(self, self._fields))


def full_tree(
  batch: int,
  slots: int,
  candidates: int,
  step_length: int,
  max_steps: int,
  prompt: int,
  *,
  chain: int = 0,
) -> tuple[Prompt, Tree]:
  """The largest tree that a search can leave, on the host: all slots used and all steps full,
  depths up to R, one candidate in each of the last `chain` slots and all in the others."""
  tree = jax.tree.map(
    lambda x: np.zeros(x.shape, x.dtype),
    jax.eval_shape(lambda: tree_lib.empty(batch, slots, candidates, step_length, max_steps)),
  )
  depth = np.arange(slots) % max_steps
  path = np.full((slots, max_steps), tree_lib.NONE)
  for slot, deep in enumerate(depth):
    path[slot, : deep + 1] = [
      tree_lib.ROOT,
      *(1 + (slot - deep + i) * candidates for i in range(deep)),
    ]
  every = lambda x: np.broadcast_to(x, (batch, *x.shape)).astype(np.int32)
  length = np.full_like(tree.length, step_length)
  length[:, slots - chain :, 1:] = 0
  tree = tree.replace(
    path=every(path), expanded=every(path[np.arange(slots), depth]), length=length
  )
  return Prompt(np.zeros((batch, prompt), np.int32), np.full(batch, prompt, np.int32)), tree


def tree_flops(config: ModelConfig, prompt: Prompt, tree: Tree) -> float:
  """FLOPs to generate a tree. To learn from it costs three times that."""
  return float(np.sum(np.asarray(search_cost(config, prompt, tree)[1], np.float64)))


def row_flops(config: ModelConfig, rows: int, length: int) -> float:
  """FLOPs to train on rows of text, forward and backward."""
  return 3.0 * rows * sum(token_flops(config, i + 1, critic=False) for i in range(length))


class Decoding(NamedTuple):
  """Tokens of a problem that are made one after the other, and the mean number of other tokens
  whose keys each reads. Candidates that are made side by side read the keys of their path
  together."""

  turns: int
  context: float


def decoding_of_tree(
  expansions: int,
  candidates: int,
  *,
  finish: bool,
  step_length: int,
  max_steps: int,
  prompt: int,
):
  """The largest tree: expansions one after the other, and a chain that finishes it."""
  path = prompt + (max_steps - 1) / 2 * step_length
  grown = Decoding(expansions * step_length, path + candidates * step_length / 2)
  chain = Decoding((max_steps - 1) * step_length, path + step_length / 2)
  return [grown, chain] if finish else [grown]


def decoding_of_chains(*, chains: int, step_length: int, max_steps: int, prompt: int):
  """Decoding of best-of-N, whose chains go side by side."""
  length = max_steps * step_length
  return [Decoding(length, prompt + chains * length / 2)]


def decode_bytes(
  config: ModelConfig, parts: list[Decoding], *, problems: float, ways: int
) -> float:
  """Bytes that a chip reads for its problems: at every token its part (one of `ways` along
  `tensor`) of all weights, and of keys and values."""
  weights = matmul_parameters(config) * (1 + config.own_critic)
  keys = 2 * config.layers * config.kv_heads * config.head_width * (1 + config.own_critic)
  read = sum(part.turns * (weights + problems * keys * part.context) for part in parts)
  return np.dtype(jax.numpy.dtype(config.dtype)).itemsize * read / ways


def sent(messages: list[Collective]) -> float:
  """Bytes that a chip sends in all of the messages."""
  return sum(
    one.size * one.turns * SHARES.get(one.kind, lambda n: 1)(one.group) for one in messages
  )


def floor(
  chip: Chip, *, flops: float, chips: int, memory: float, messages: list[Collective]
) -> Floor:
  """The floor of a phase, from its FLOPs on all chips, the bytes that one reads, and what is
  sent."""
  return Floor(flops / chips / chip.flops, memory / chip.bandwidth, sent(messages) / chip.links)
