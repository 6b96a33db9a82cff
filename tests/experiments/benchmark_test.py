"""The benchmark on next to nothing: that it runs, that its JSON is complete, and what it refuses.
Nothing is timed."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.benchmark import get_config
from experiments.benchmark import learning, peers, searching
from experiments.benchmark.timing import beside, row, share_row
from experiments.benchmark.work import Sizes, make
from o1jax import tree as tree_lib
from o1jax.model.forward import forward_rows, start_cache
from o1jax.model.variants import variant
from tests import jobs

ALWAYS = ('matmul_peak_gflops', 'memory_gigabytes_per_second')
SECTIONS = {
  'search': (
    'decode_tokens_per_second',
    'decode_utilisation',
    'best_of_n_tokens_per_second',
    'best_of_n_utilisation',
    'search_tokens_per_second',
    'search_utilisation',
    'mctx_share',
  ),
  'learn': (
    'learn_utilisation',
    'learn_tree_speedup',
    'update_seconds',
    'update_seconds_search',
    'update_seconds_credit',
    'update_seconds_learn',
    'compile_seconds',
    'traces',
  ),
  'memory': ('search_peak_megabytes', 'bytes_per_node', 'bytes_per_node_ratio'),
  'growth': ('growth_tokens_per_second', 'growth_exponent'),
}


def benchmark(workdir, *arguments, **how):
  config = '--config=configs/benchmark.py:smoke'
  return jobs.run('experiments.benchmark', config, f'--workdir={workdir}', *arguments, **how)


def work():
  config = get_config('smoke')
  model = variant(config.model.variant, config.model.vocab_size, **config.model.changes.to_dict())
  return make(model, Sizes(**config.sizes))


@pytest.mark.long
def test_every_row_is_there_and_finite(tmp_path):
  done = benchmark(tmp_path / 'run', f'--config.sections={tuple(SECTIONS)}')
  assert done.returncode == 0, done.stderr
  rows = json.loads((tmp_path / 'run' / 'benchmark.json').read_text())
  assert {r['name'] for r in rows} == {*ALWAYS, *sum(SECTIONS.values(), ())}
  for r in rows:
    assert (
      set(r) == {'name', 'value', 'unit', 'shape', 'low', 'high'} and r['unit'] and r['shape']
    ), r
    assert (
      np.isfinite([r['value'], r['low'], r['high']]).all() and r['low'] <= r['value'] <= r['high']
    ), r
    assert r['value'] > 0 or r['name'] == 'growth_exponent', r
    assert r['name'] in done.stdout
  assert {r['shape']['dtype'] for r in rows if r['name'] == 'matmul_peak_gflops'} == {
    'float32',
    'bfloat16',
  }


@pytest.mark.parametrize(
  'argument, message',
  [
    (
      "--config.sections=('serach',)",
      "config.sections names ['serach']: choose from search, learn",
    ),
    ('--config.model.variant=huge', "model variant 'huge' is unknown"),
  ],
)
def test_refuses_in_one_line(tmp_path, argument, message):
  done = benchmark(tmp_path / 'run', argument)
  assert done.returncode == 1 and message in done.stderr and 'Traceback' not in done.stderr
  assert not (tmp_path / 'run' / 'benchmark.json').exists()


def test_a_row_is_the_median_and_the_quartiles():
  assert row('x', [4.0, 1.0, 2.0, 3.0, 100.0], 's', {})[1:] == (3.0, 's', {}, 2.0, 4.0)


def test_a_share_is_of_the_limit_beside_it():
  limits = iter([1.0, 2.0, 4.0])
  took, seen = beside(lambda: next(limits), lambda: jnp.zeros(()), 3)
  assert seen.tolist() == [1.0, 2.0, 4.0] and took.shape == (3,) and (took > 0).all()
  share = share_row('x', 4e9, np.array([4.0, 2.0, 4.0]), seen, dict(batch=2))
  assert share == ('x', 1.0, 'of matmul peak', dict(batch=2, peak_gflops=2.0), 0.625, 1.0)


@pytest.mark.long
def test_steps_are_full_and_paths_are_those_of_the_leaves():
  """Every leaf's text appears once, whole, among rows of its own length."""
  w = work()
  tree = w.mcts(w.params)
  # Chains that end a search have A = 1.
  made = np.asarray((tree.expanded >= 0)[..., None] & (tree.length > 0))
  assert (np.asarray(tree.length)[made] == w.sizes.step_length).all() and made[:, 0].all()
  rows = learning._paths(w, tree)
  expanded = np.asarray(tree.expanded)
  leaves = sum(made[b].sum() - len(set(expanded[b][expanded[b] > 0])) for b in range(w.sizes.batch))
  assert sum(len(batch) for batch in rows) == leaves
  told = {tuple(r) for batch in rows for r in np.asarray(batch).tolist()}
  ids = jnp.broadcast_to(tree_lib.node_ids(tree).reshape(-1), (w.sizes.batch, tree.mask[0].size))
  tokens, length = jax.device_get(jax.jit(tree_lib.solution_tokens)(tree, ids))
  for b in range(w.sizes.batch):
    for node in range(ids.shape[1]):
      if made[b].reshape(-1)[node] and node + 1 not in expanded[b]:
        text = [
          *np.asarray(w.prompt.tokens)[b].tolist(),
          *tokens[b, node, : length[b, node]].tolist(),
        ]
        assert tuple(text) in told


def test_bytes_of_a_node_are_those_of_its_arrays():
  w, slots = work(), 5
  s = w.sizes
  tree = jax.eval_shape(
    lambda: tree_lib.empty(s.batch, slots, s.candidates, s.step_length, s.max_steps)
  )
  start = lambda: start_cache(w.model, w.params, w.prompt, slots, s.candidates, s.step_length)[0]
  cache = jax.eval_shape(start)
  arrays = [
    x
    for x in jax.tree.leaves((tree.replace(root_value=None), cache.nodes, cache.hidden))
    if x is not None
  ]
  total = sum(x.size * x.dtype.itemsize for x in arrays)
  per_node = total / (s.batch * slots * s.candidates)
  np.testing.assert_allclose(searching.bytes_per_node(w.model.config, s), per_node)


@pytest.mark.parity
def test_the_peer_chooses_what_our_critic_likes_best():
  import torch

  w, samples = work(), 5
  peer = peers.Peer(w)
  torch.manual_seed(0)
  rows = peer.generate(samples).numpy()
  torch.manual_seed(0)
  chosen = peer.best_of_n(samples).numpy()
  value = forward_rows(w.model, w.params, rows, np.full(len(rows), rows.shape[1])).value[
    :, 0, 0, -1
  ]
  value = np.asarray(value).reshape(-1, samples)
  assert (value.max(1) - np.median(value, axis=1) > 1e-4).all()
  np.testing.assert_array_equal(
    chosen, rows.reshape(*value.shape, -1)[np.arange(len(value)), value.argmax(1)]
  )
