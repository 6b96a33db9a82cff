"""Decoding, learning and the plain forward pass are one function; what a token may read is exactly
its prefix."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax.decode.rules import Sampling
from o1jax.model.forward import decoder, for_search, forward_rows, forward_tree, init, logits_of
from o1jax.model.variants import RopeScaling
from o1jax.types import Prompt
from tests.helpers import (
  CONFIG,
  DELIMITER,
  EOS,
  LINE,
  best_of_n,
  bushy_tree,
  climb,
  grafted_tree,
  jit,
  keys,
  mcts,
  prompts,
  real_nodes,
  spell,
  tiny,
)
from tests.toys import hand_tree, pad

HOT = Sampling(eos_id=EOS, delimiter_id=DELIMITER, temperature=1.7, top_k=4, top_p=0.9)
CASES = [
  (dict(), LINE),
  (dict(scan_layers=True, own_critic=True, kv_heads=4, rope_base=50.0), HOT),
  (dict(scan_layers=True, remat=True, tied_head=False), LINE),
  (
    dict(
      window=4, local_layers=(1,), post_norms=True, score_cap=2.0, logit_cap=3.0, query_scale=5.0
    ),
    LINE,
  ),
  (
    dict(
      window=3,
      local_layers=(0,),
      local_rope_base=30.0,
      qk_norm=True,
      qkv_bias=True,
      scan_layers=True,
      remat=True,
      rope_scaling=RopeScaling(8.0),
      activation='gelu',
      scaled_embedding=False,
    ),
    HOT,
  ),
]


NAMES = [
  'default',
  'critic with a trunk',
  'scanned and untied',
  'local layers and caps',
  'local layers, scanned',
]


@functools.cache
def learn(model, temperature):
  return jit(functools.partial(forward_tree, model, temperature=temperature))


@functools.cache
def plain(model):
  """Log-probs at any temperature [N, T, V], and values in logits [N, T], of rows."""

  def run(params, tokens, length):
    out = forward_rows(model, params, tokens, length)
    return logits_of(model, params, out.hidden[:, 0, 0]), out.value[:, 0, 0]

  return jit(run)


def read_plainly(model, params, prompt, tree, temperature=1.0):
  """log-prob, entropy, value of every node and value of the root, each node's text being its own
  plain row."""
  tree, prompt = jax.device_get((tree, prompt))
  nodes = real_nodes(tree)
  texts = [
    prompt.tokens[b, : prompt.length[b]].tolist() + sum(spell(tree, b, n), [])
    for b, _, _, n in nodes
  ]
  rows = np.zeros((64, 17), np.int32)
  for row, text in zip(rows, texts):
    row[: len(text)] = text
  length = np.ones(len(rows), np.int32)
  length[: len(texts)] = [len(text) for text in texts]
  logits, values = jax.device_get(plain(model)(params, rows, length))
  scores = jax.device_get(jax.nn.log_softmax(logits / temperature))
  logprob, entropy, value = (
    np.zeros(tree.tokens.shape),
    np.zeros(tree.tokens.shape),
    np.zeros(tree.mask.shape),
  )
  root = np.zeros(len(prompt.length))
  for i, (b, x, a, _) in enumerate(nodes):
    step = tree.length[b, x, a]
    for t in range(step):
      at = scores[i, length[i] - step + t - 1]
      logprob[b, x, a, t] = at[tree.tokens[b, x, a, t]]
      entropy[b, x, a, t] = -np.sum(np.exp(at) * at)
    value[b, x, a] = values[i, length[i] - 1]
    root[b] = values[i, prompt.length[b] - 1]
  return logprob, entropy, value, root


def check(model, params, prompt, tree, temperature=1.0):
  """decode == learn == plain."""
  learned = learn(model, temperature)(params, prompt, tree)
  logprob, entropy, value, root = read_plainly(model, params, prompt, tree, temperature)
  np.testing.assert_allclose(learned.logprob, logprob, atol=2e-4)
  np.testing.assert_allclose(tree.logprob, logprob, atol=2e-4)
  np.testing.assert_allclose(learned.entropy, entropy, atol=2e-4)
  np.testing.assert_allclose(learned.value, value, atol=2e-4)
  np.testing.assert_allclose(learned.root_value, root, atol=2e-4)
  sigmoid = lambda x: 1 / (1 + np.exp(-x))
  np.testing.assert_allclose(tree.value, np.where(tree.mask, sigmoid(value), 0), atol=5e-5)
  np.testing.assert_allclose(tree.root_value, sigmoid(root), atol=5e-5)


@pytest.mark.parametrize('changes, sampling', CASES, ids=NAMES)
def test_decode_is_learn_is_plain(changes, sampling):
  model, params = tiny(**changes)
  prompt = prompts()
  tree = bushy_tree(model, params, prompt, sampling=sampling)
  # The law is worth something on a tree with all there is: depth, ends, long and short steps,
  # unused slots.
  assert (tree.path[:, :, 2] > 0).any() and tree.terminal.any() and (tree.expanded < 0).any()
  assert len(np.unique(tree.length)) >= 4
  assert np.std(np.asarray(tree.value)[np.asarray(tree.mask)]) > 0.1
  check(model, params, prompt, tree, sampling.temperature)


@pytest.mark.parametrize('changes, sampling', CASES[:2], ids=NAMES[:2])
def test_where_chains_begin_at_nodes_of_chains(changes, sampling):
  model, params = tiny(**changes)
  prompt = prompts()
  tree = grafted_tree(model, params, prompt, sampling=sampling)
  above = tree.expanded[:, 6:]
  assert (above == 0).any() and (above > 0).any() and tree.terminal.any()
  # A node from which two chains go on, neither of them the root.
  assert any(np.bincount(row[row > 0]).max(initial=0) > 1 for row in np.asarray(tree.expanded))
  check(model, params, prompt, tree, sampling.temperature)


@pytest.mark.parametrize('changes, sampling', CASES[:2], ids=NAMES[:2])
def test_where_siblings_go_on_with_the_text_of_others(changes, sampling):
  model, params = tiny(**changes)
  prompt = prompts()
  tree = bushy_tree(model, params, prompt, sampling=sampling, replacement=False)
  tokens = np.asarray(tree.tokens)
  alike = (tokens[..., :-1, 0] == tokens[..., 1:, 0]) & tree.mask[..., 1:]
  assert alike.any()  # some part behind a token that they share
  for b, x in np.argwhere(np.asarray(tree.expanded) >= 0):
    said = [tuple(text) for text, real in zip(tokens[b, x], tree.mask[b, x]) if real]
    assert len(set(said)) == len(said) > 1
  check(model, params, prompt, tree, sampling.temperature)


@functools.cache
def _chains(granularity, step_length, max_steps):
  model, params = tiny(layers=1)
  sampling = Sampling(eos_id=EOS, delimiter_id=DELIMITER, granularity=granularity)
  run = functools.partial(
    best_of_n, model, units=4, sampling=sampling, step_length=step_length, max_steps=max_steps
  )
  return jit(functools.partial(run, params))


@pytest.mark.long
@pytest.mark.parametrize(
  'granularity, step_length, max_steps', [('tokens', 1, 5), ('tokens', 6, 1)]
)
def test_at_other_granularities(granularity, step_length, max_steps):
  prompt = prompts(seed=2)
  check(*tiny(layers=1), prompt, _chains(granularity, step_length, max_steps)(keys(), prompt))


def test_a_batch_of_one():
  """B problems at once are B searches of one, even where another shape is compiled."""
  prompt = prompts(seed=2)
  run = _chains('tokens', 1, 5)
  together = run(keys(), prompt)
  assert len(np.unique(together.tokens)) > 5
  for b in range(3):
    alone = run(keys()[b : b + 1], jax.tree.map(lambda x, b=b: x[b : b + 1], prompt))
    np.testing.assert_array_equal(together.tokens[b], alone.tokens[0])
    np.testing.assert_allclose(together.logprob[b], alone.logprob[0], atol=1e-4)


def test_on_a_searched_tree_and_in_any_batch():
  """The same law on an MCTS tree; and a problem's tree does not depend on its batch or on padding
  of its prompt."""
  model, params = tiny(layers=1)
  prompt = prompts(width=6)
  prompt = prompt.replace(length=jnp.minimum(prompt.length, 5))
  settings = dict(
    units=6, candidates=2, sampling=LINE, step_length=4, max_steps=3, gumbel_scale=0.0
  )
  run = jit(functools.partial(mcts, model, **settings))
  together = run(params, keys(), prompt)
  check(model, params, prompt, together)
  assert together.terminal.any()
  np.testing.assert_array_equal(together.reward, np.where(together.terminal, together.value, 0))
  assert (together.tokens[0] != together.tokens[1]).any()
  for b in range(3):
    junk = prompt.tokens.at[:, prompt.length[b] :].set(7)
    others = Prompt(*(x[jnp.array([b] * 3)] for x in (junk, prompt.length)))
    alone = run(params, keys()[jnp.array([b] * 3)], others)
    for name in ('tokens', 'expanded', 'visits', 'mask'):
      np.testing.assert_array_equal(getattr(together, name)[b], getattr(alone, name)[0])
    np.testing.assert_allclose(together.logprob[b], alone.logprob[0], atol=1e-5)


def test_padding_changes_nothing():
  """A wider prompt, junk behind every end, more slots, longer steps, deeper paths: the same
  numbers."""
  model, params = tiny()
  prompt = prompts()
  tree = bushy_tree(model, params, prompt, sampling=LINE)
  before = learn(model, 1.0)(params, prompt, tree)
  rng = np.random.default_rng(0)
  junk = lambda shape: rng.integers(0, CONFIG.vocab_size, shape)
  wide = np.pad(prompt.tokens, [(0, 0), (0, 3)])
  wide = np.where(np.arange(8) < prompt.length[:, None], wide, junk(wide.shape))
  larger = jit(functools.partial(pad, slots=2, tokens=1, depth=1))(tree)
  real = np.arange(5) < np.asarray(larger.length)[..., None]
  larger = larger.replace(
    tokens=jnp.asarray(np.where(real, larger.tokens, junk(larger.tokens.shape)), jnp.int32)
  )
  after = learn(model, 1.0)(params, Prompt(jnp.asarray(wide, jnp.int32), prompt.length), larger)
  slots, step = tree.mask.shape[1], tree.tokens.shape[-1]
  np.testing.assert_allclose(after.logprob[:, :slots, :, :step], before.logprob, atol=1e-4)
  np.testing.assert_allclose(after.value[:, :slots], before.value, atol=1e-4)
  np.testing.assert_allclose(after.root_value, before.root_value, atol=1e-4)
  assert not after.logprob[:, slots:].any() and not after.logprob[..., step:].any()


# Every token of this tree is another one, so an embedding row names a place in it.
#
#   prompt ──┬── 1 ──┬── 3 ── 5, 6
#            │       └── 4
#            └── 2
PLACES = 3 + 4 * 2 * 2


def _place_tree():
  tree = hand_tree(
    [0, 1, -1, 3], width=2, max_steps=3, step=2, length=[[2, 1], [2, 2], [2, 2], [1, 2]]
  )
  return tree.replace(tokens=3 + jnp.arange(16).reshape(1, 4, 2, 2))


def _may_read(tree, x, a, *, end):
  """Places that the token `end` of node (x, a) is predicted from: the prompt's two real tokens, its
  path, itself."""
  places = {0, 1}
  for node in climb(tree, 0, 1 + 2 * x + a)[:-1]:
    y, c = divmod(node - 1, 2)
    places |= {3 + 4 * y + 2 * c + t for t in range(int(tree.length[0, y, c]))}
  return places | {3 + 4 * x + 2 * a + t for t in range(end)}


@pytest.fixture(scope='module')
def jacobian():
  """d (log-prob, value) of every token / d embedding row, reduced to: is it anything but 0?"""
  model, params = tiny(vocab_size=PLACES, tied_head=False)
  prompt = Prompt(tokens=jnp.array([[0, 1, 2]]), length=jnp.array([2]))
  tree = _place_tree()

  def read(embedding):
    trunk = {**params['policy']['trunk'], 'embedding': embedding}
    out = forward_tree(
      model, params | dict(policy={**params['policy'], 'trunk': trunk}), prompt, tree
    )
    return out.logprob[0], out.value[0], out.root_value[0]

  grads = jit(jax.jacrev(read))(params['policy']['trunk']['embedding'])
  return jax.device_get(tree), [np.abs(g).max(-1) > 0 for g in grads]


def test_a_token_depends_on_its_prefix_and_on_nothing_else(jacobian):
  """Causality by gradient: not on siblings, cousins, descendants, later tokens, unused slots or
  padding."""
  tree, (logprob, value, root) = jacobian
  for _, x, a, _ in real_nodes(tree):
    length = int(tree.length[0, x, a])
    for t in range(length):
      assert set(np.flatnonzero(logprob[x, a, t])) == _may_read(tree, x, a, end=t), (x, a, t)
    assert set(np.flatnonzero(value[x, a])) == _may_read(tree, x, a, end=length), (x, a)
  assert set(np.flatnonzero(root)) == {0, 1}


def test_nothing_flows_out_of_unused_slots(jacobian):
  _, (logprob, value, _) = jacobian
  assert not logprob[2].any() and not value[2].any()


def test_a_text_reads_only_its_own_segment():
  """Two texts packed in one row give what each gives alone, up to the shift of positions."""
  model, params = tiny()
  rng = np.random.default_rng(0)
  row = rng.integers(0, CONFIG.vocab_size, (2, 9)).astype(np.int32)
  row[1, :4] = rng.permutation(row[0, :4] + 1) % CONFIG.vocab_size
  row[1, 4:] = row[0, 4:]
  segment = jnp.array([[1] * 4 + [2] * 5] * 2)
  run = jit(lambda *args: forward_rows(model, *args).hidden[:, 0, 0])
  hidden = run(params, row, jnp.array([9, 9]), segment)
  np.testing.assert_array_equal(hidden[0, 4:], hidden[1, 4:])
  assert np.abs(hidden[0, :4] - hidden[1, :4]).max() > 0.1
  np.testing.assert_allclose(
    hidden[0, :4], run(params, row, jnp.array([4, 4]), segment)[0, :4], atol=1e-5
  )
  # Rotary positions are relative: alone, at positions 0..4, the second text gives the same.
  alone = run(
    params, np.pad(row[:, 4:], [(0, 0), (0, 4)]), jnp.array([5, 5]), jnp.ones_like(segment)
  )
  np.testing.assert_allclose(alone[0, :5], hidden[0, 4:], atol=1e-4)


def test_fresh_parameters_carry_their_axes():
  import flax.linen as nn

  model, _ = tiny()
  boxed = jax.eval_shape(lambda key: init(model, key), jax.random.key(0))
  named = jax.tree.leaves(boxed, is_leaf=lambda leaf: isinstance(leaf, nn.LogicallyPartitioned))
  assert all(isinstance(leaf, nn.LogicallyPartitioned) for leaf in named)
  assert all(len(leaf.names) == leaf.value.ndim for leaf in named)


@pytest.mark.long
@pytest.mark.parametrize(
  'changes', [dict(dtype='bfloat16'), dict(scan_layers=True, own_critic=True)]
)
def test_what_a_search_reads_is_cast_and_apart_and_makes_the_same_search(changes):
  model, params = tiny(**changes)
  apart, ready = decoder(model), for_search(model, params)
  assert not apart.config.scan_layers
  for path, x in jax.tree_util.tree_leaves_with_path(ready):
    assert x.dtype == (jnp.float32 if 'scale' in jax.tree_util.keystr(path) else model.config.dtype)
  run = lambda model, params: best_of_n(
    model, params, keys(), prompts(), units=2, sampling=LINE, step_length=4, max_steps=2
  )
  trees = [
    jit(functools.partial(run, form))(weights)
    for form, weights in ((model, params), (apart, ready))
  ]
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), *trees)
