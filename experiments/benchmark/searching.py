"""How fast search is: tokens a second, and the share of the machine's limit that the model's FLOPs
reach."""

import jax.numpy as jnp

from experiments.benchmark.timing import Limit, Row, beside, row, seconds, share_row
from experiments.benchmark.work import FULL, Sizes, Work, make
from o1jax.decode.loop import decode, prompt_context
from o1jax.model.compute import search_cost, token_flops
from o1jax.model.forward import decoder, start_cache
from o1jax.model.variants import ModelConfig
from o1jax.runtime.mesh import sharded_search


def mcts_rows(work: Work, limit: Limit, *, repeats: int) -> list[Row]:
  """Gumbel MCTS, and the share of its time that the model does not take. `limit` measures
  GFLOP/s."""
  took, peak, tokens, flops = _search(work, work.mcts, limit, repeats)
  bare = _without_model(work.sizes)
  bookkeeping = seconds(lambda: bare.mcts(bare.params), repeats)
  shape = work.shape()
  return [
    row('search_tokens_per_second', tokens / took, 'tokens/s', shape),
    share_row('search_utilisation', flops, took, peak, shape),
    row('mctx_share', bookkeeping / took, 'of search time', shape),
  ]


def best_of_n_rows(work: Work, samples: int, limit: Limit, *, repeats: int) -> list[Row]:
  """Best-of-N: chains of R full steps."""
  took, peak, tokens, flops = _search(work, work.best_of_n(samples), limit, repeats)
  shape = work.shape(samples=samples)
  return [
    row('best_of_n_tokens_per_second', tokens / took, 'tokens/s', shape),
    share_row('best_of_n_utilisation', flops, took, peak, shape),
  ]


def decode_rows(work: Work, limit: Limit, *, repeats: int) -> list[Row]:
  """One step of A candidates under every root: decoding and nothing else."""
  s, model = work.sizes, decoder(work.model)

  def begin(params, prompt):
    return start_cache(model, params, prompt, 0, s.candidates, s.step_length)

  def run(params, keys, prompt, cache):
    lead = (prompt.length.shape[0], 1, s.candidates)
    hidden = jnp.broadcast_to(
      cache.root_hidden[:, None, None], (*lead, cache.root_hidden.shape[-1])
    )
    return decode(
      model,
      params,
      keys,
      prompt_context(cache),
      prompt.length[:, None],
      hidden,
      jnp.zeros(lead, bool),
      sampling=FULL,
      step_length=s.step_length,
    )

  cache, _ = work.jit(sharded_search(work.model, begin))(work.params, work.prompt)
  step = work.jit(sharded_search(work.model, run))
  took, peak = beside(limit, lambda: step(work.params, work.keys, work.prompt, cache), repeats)
  rows = s.batch * s.candidates
  flops = rows * sum(
    token_flops(model.config, s.prompt_length + t + 1) for t in range(s.step_length)
  )
  shape = work.shape()
  return [
    row('decode_tokens_per_second', rows * s.step_length / took, 'tokens/s', shape),
    share_row('decode_utilisation', flops, took, peak, shape),
  ]


def memory_rows(work: Work) -> list[Row]:
  """Bytes that one more node takes in the compiled search, and their ratio to its keys, values and
  fields."""
  s, config = work.sizes, work.model.config
  more = make(config, s._replace(simulations=2 * s.simulations))
  small, large = _peak_bytes(work), _peak_bytes(more)
  measured = (large - small) / (s.simulations * s.candidates * s.batch)
  formula = bytes_per_node(config, s)
  return [
    row('search_peak_megabytes', 1e-6 * small, 'MB', work.shape()),
    row('bytes_per_node', measured, 'bytes', work.shape(formula=formula)),
    row('bytes_per_node_ratio', measured / formula, 'of formula', work.shape()),
  ]


def bytes_per_node(config: ModelConfig, sizes: Sizes) -> float:
  """Keys and values of L tokens in every layer, the last hidden state, and a candidate's share of a
  `Tree` slot."""
  width = jnp.dtype(config.dtype).itemsize
  cache = 2 * config.layers * config.kv_heads * config.head_width * sizes.step_length * width
  # Tokens, log-probs, values and whether they were given; seven numbers and three flags.
  fields = 13 * sizes.step_length + 4 * 7 + 3
  slot = 4 * (1 + sizes.max_steps)
  return cache + config.width * width + fields + slot / sizes.candidates


def _peak_bytes(work: Work) -> int:
  """On all devices."""
  stats = work.program.memory_analysis()
  return work.mesh.size * (
    stats.temp_size_in_bytes + stats.argument_size_in_bytes + stats.output_size_in_bytes
  )


def _search(work: Work, run, limit: Limit, repeats: int):
  """(seconds of each call, the limit beside each, tokens, FLOPs) of a search over all problems."""
  tokens, flops = search_cost(work.model.config, work.prompt, run(work.params))
  return *beside(limit, lambda: run(work.params), repeats), float(tokens.sum()), float(flops.sum())


def _without_model(sizes: Sizes) -> Work:
  """The same search with a model of almost no size and one token a step. What remains is mctx's and
  our bookkeeping."""
  config = ModelConfig(
    vocab_size=2, width=2, layers=1, heads=1, kv_heads=1, head_width=2, mlp_width=2
  )
  return make(config, sizes._replace(step_length=1, prompt_length=1))
