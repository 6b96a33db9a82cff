import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from o1jax.decode.rules import Sampling, next_token, sample_token, truncate
from o1jax.model.attention import path_rooms
from o1jax.model.forward import forward_tree
from tests.helpers import (
  DELIMITER,
  EOS,
  LINE,
  Markov,
  best_of_n,
  jit,
  keys,
  mcts,
  prompts,
  tables,
  tiny,
)
from tests.marks import some

V = 5  # of the Markov model below; tokens 1 and 2 end a solution and a line


def _random_logits(*shape, seed=0, spread=2.0):
  return jnp.asarray(spread * np.random.default_rng(seed).normal(size=shape), jnp.float32)


# --- truncate ---

HALVES = jnp.log(jnp.array([0.125, 0.5, 0.0625, 0.25, 0.0625]))


@pytest.mark.parametrize(
  'settings, kept',
  [
    (dict(), [0, 1, 2, 3, 4]),
    (dict(top_k=1), [1]),
    (dict(top_k=2), [1, 3]),
    (dict(top_k=99), [0, 1, 2, 3, 4]),
    (dict(top_p=1e-6), [1]),
    (dict(top_p=0.49), [1]),
    (dict(top_p=0.51), [1, 3]),
    (dict(top_p=0.76), [0, 1, 3]),
    (dict(top_k=2, top_p=0.9), [1, 3]),
    (dict(top_k=3, top_p=0.6), [1, 3]),
  ],
)
def test_truncate_closed_form(settings, kept):
  got = truncate(HALVES, **settings)
  np.testing.assert_array_equal(np.flatnonzero(np.isfinite(got)), kept)
  np.testing.assert_array_equal(got[jnp.array(kept)], HALVES[jnp.array(kept)])


@pytest.mark.parametrize('top_k, top_p', [(3, 1.0), (0, 0.7), (4, 0.5)])
def test_truncate_on_random_logits(top_k, top_p):
  logits = _random_logits(50, 9)
  kept = np.isfinite(truncate(logits, top_k=top_k, top_p=top_p))
  for row, got in zip(np.asarray(jax.nn.softmax(logits)), kept):
    order, mass, expected = np.argsort(-row), 0.0, set()
    for token in order[: top_k or None]:
      if mass < top_p:
        expected.add(token)
      mass += row[token]
    assert set(np.flatnonzero(got)) == expected


# --- sample_token ---


def test_sample_token_is_the_inverse_of_the_distribution():
  """On a fine grid of uniform numbers every token takes its share, to one grid point."""
  logits, count = _random_logits(6, 9), 4096
  uniform = (jnp.arange(count) + 0.5) / count
  tokens = sample_token(uniform, jnp.broadcast_to(jnp.exp(logits[:, None]), (6, count, 9)))
  for row, drawn in zip(np.asarray(jax.nn.softmax(logits)), np.asarray(tokens)):
    np.testing.assert_allclose(np.bincount(drawn, minlength=9), count * row, atol=1.01)


def test_sample_token_never_picks_a_token_without_mass():
  """Not at 0, not at the largest number below 1, and not next to the border of any token."""
  rng = np.random.default_rng(0)
  sample, mass_of = jax.jit(sample_token), jax.jit(lambda x: jnp.cumsum(jax.nn.softmax(x)))
  for kept in (1, 2, 5, 40) * 8:
    logits = np.full(321, -np.inf, np.float32)
    logits[rng.choice(321, kept, replace=False)] = 2 * rng.normal(size=kept)
    mass = np.asarray(mass_of(logits))
    uniform = np.stack(
      [np.nextafter(mass, 0), mass, np.nextafter(mass, 2), np.zeros(321), np.full(321, 1 - 2**-24)]
    )
    uniform = np.where(uniform < 1, uniform, 0).astype(np.float32)
    tokens = sample(uniform, np.broadcast_to(np.exp(logits), (*uniform.shape, 321)))
    assert np.isfinite(logits[np.asarray(tokens)]).all()


# --- decoding, with a model whose distribution is a table ---


@functools.cache
def _compiled(sampling, samples, step_length, watch):
  return jit(
    functools.partial(
      best_of_n,
      Markov(watch),
      units=samples,
      sampling=sampling,
      step_length=step_length,
      max_steps=1,
    )
  )


@functools.cache
def _decode(sampling, *, samples=200, step_length=4, ends=0.0, watch=None):
  """One step of each chain. `ends` is added to the logits of the tokens that end something."""
  logits = np.array(_random_logits(V, V, seed=3, spread=1.5))
  logits[:, [EOS, DELIMITER]] += ends
  values = np.linspace(-2, 2, V)
  prompt = prompts(2)
  prompt = prompt.replace(tokens=prompt.tokens % V)
  tree = _compiled(sampling, samples, step_length, watch)(
    tables(logits, values), keys(2, seed=5), prompt
  )
  jax.effects_barrier()
  last = np.take_along_axis(
    np.asarray(prompt.tokens), np.asarray(prompt.length)[:, None] - 1, axis=1
  )[:, 0]
  return logits, values, last, jax.device_get(tree)


HOT = Sampling(eos_id=EOS, delimiter_id=DELIMITER, temperature=1.5)


@pytest.mark.parametrize('sampling', [LINE, HOT], ids=['temperature 1', 'temperature 1.5'])
def test_decoding_samples_the_distribution(sampling):
  """Chi-square on pairs of tokens: their distribution, and that no two draws share their
  randomness."""
  logits, _, last, tree = _decode(sampling, samples=4000, step_length=2, ends=-50.0)
  probs = np.exp(np.asarray(jax.nn.log_softmax(logits / sampling.temperature), np.float64))
  for b in range(2):
    pairs = np.bincount(tree.tokens[b, :, 0] @ [V, 1], minlength=V * V)
    expected = (probs[last[b]][:, None] * probs).reshape(-1) * 4000
    kept = expected > 1
    assert pairs[~kept].sum() <= 5
    test = stats.chisquare(pairs[kept], expected[kept] * pairs[kept].sum() / expected[kept].sum())
    assert test.pvalue > 1e-3, test
  # Problems have keys of their own.
  assert (tree.tokens[0] != tree.tokens[1]).any()


@pytest.mark.parametrize('changes', [dict(), dict(temperature=1.5, top_k=3, top_p=0.6)])
def test_logprob_is_of_the_whole_distribution(changes):
  """Also where sampling was truncated: learning knows nothing of top-k and top-p."""
  sampling = dataclasses.replace(LINE, **changes)
  logits, values, last, tree = _decode(sampling)
  scores = np.asarray(jax.nn.log_softmax(logits / sampling.temperature))
  scaled = jnp.asarray(logits) / sampling.temperature
  kept = np.isfinite(truncate(scaled, top_k=sampling.top_k, top_p=sampling.top_p))
  for b, x in np.ndindex(2, 200):
    before = last[b]
    for t in range(tree.length[b, x, 0]):
      token = tree.tokens[b, x, 0, t]
      np.testing.assert_allclose(tree.logprob[b, x, 0, t], scores[before, token], atol=1e-5)
      assert kept[before, token]
      before = token
    np.testing.assert_allclose(tree.value[b, x, 0], 1 / (1 + np.exp(-values[before])), atol=1e-5)


@pytest.mark.parametrize('changes', [dict(temperature=0.0), dict(top_k=2), dict(top_p=0.9)])
def test_nothing_is_taken_from_a_distribution_that_is_not_sampled(changes):
  logits, known = _random_logits(V), jnp.zeros(V)
  next_token(jnp.float32(0.5), logits, LINE, known)
  with pytest.raises(ValueError, match='without replacement'):
    next_token(jnp.float32(0.5), logits, dataclasses.replace(LINE, **changes), known)


def test_temperature_zero_is_argmax():
  logits, _, last, tree = _decode(dataclasses.replace(LINE, temperature=0.0), samples=3)
  for b, x in np.ndindex(2, 3):
    before = last[b]
    for token in tree.tokens[b, x, 0, : tree.length[b, x, 0]]:
      assert token == logits[before].argmax()
      before = token


@pytest.mark.parametrize('granularity, step_length', [('line', 4), ('tokens', 4), ('tokens', 1)])
def test_what_closes_a_step(granularity, step_length):
  sampling = dataclasses.replace(LINE, granularity=granularity)
  _, _, _, tree = _decode(sampling, step_length=step_length)
  closing = {EOS, DELIMITER} if granularity == 'line' else {EOS}
  seen = set()
  for b, x in np.ndindex(2, 200):
    step, length = tree.tokens[b, x, 0].tolist(), tree.length[b, x, 0]
    first = next((t for t, token in enumerate(step) if token in closing), step_length - 1)
    assert length == first + 1
    assert not any(step[length:]) and not tree.logprob[b, x, 0, length:].any()
    assert tree.terminal[b, x, 0] == (step[length - 1] == EOS)
    seen.add((int(length), step[length - 1] == DELIMITER, bool(tree.terminal[b, x, 0])))
  assert len(seen) >= 3  # ends of several kinds did occur
  assert any(delimiter for _, delimiter, _ in seen)


@pytest.mark.parametrize('ids', [(), (3,), (3, 1), (9, 1, 3, 4, 7, 0), tuple(range(2, 11))])
def test_several_tokens_may_close_a_step(ids):
  """A few are compared and many looked up; tokens beyond the largest of them close nothing."""
  tokens = np.arange(20).reshape(4, 5)
  end, delimiter = Sampling(eos_id=ids, delimiter_id=12), Sampling(eos_id=12, delimiter_id=ids)
  np.testing.assert_array_equal(end.ends(jnp.asarray(tokens)), np.isin(tokens, ids))
  for sampling in (end, delimiter):
    np.testing.assert_array_equal(sampling.closes(jnp.asarray(tokens)), np.isin(tokens, [*ids, 12]))
  assert (
    not dataclasses.replace(delimiter, granularity='tokens')
    .closes(jnp.asarray(ids, jnp.int32))
    .any()
  )


@pytest.mark.parametrize('granularity', ['line', 'tokens'])
def test_decoding_ends_at_any_of_several_tokens(granularity):
  """As at one where the others are never sampled, and at each where they are."""
  one = dataclasses.replace(LINE, granularity=granularity)
  many = dataclasses.replace(one, eos_id=(EOS, 4), delimiter_id=(DELIMITER, 3, *range(20, 25)))
  _, _, _, tree = _decode(many)
  ends, closing = {EOS, 4}, {EOS, 4, DELIMITER, 3} if granularity == 'line' else {EOS, 4}
  last = set()
  for b, x in np.ndindex(2, 200):
    step, length = tree.tokens[b, x, 0].tolist(), tree.length[b, x, 0]
    assert not closing & set(step[: length - 1]) and (length == 4 or step[length - 1] in closing)
    assert tree.terminal[b, x, 0] == (step[length - 1] in ends)
    last.add(step[length - 1])
  assert last >= closing
  same = dataclasses.replace(
    one, eos_id=(EOS, *range(20, 25)), delimiter_id=(DELIMITER, *range(20, 25))
  )
  for leaf, wanted in zip(jax.tree.leaves(_decode(same)[3]), jax.tree.leaves(_decode(one)[3])):
    np.testing.assert_array_equal(leaf, wanted)


def test_the_loop_ends_as_soon_as_every_step_is_closed():
  calls = []
  watch = functools.partial(calls.append, 1)
  for ends, passes in ((50.0, 1), (-50.0, 6)):
    _, _, _, tree = _decode(LINE, samples=4, step_length=6, ends=ends, watch=watch)
    assert (tree.length == passes).all()
    assert len(calls) == 1 + passes  # the prompt, then one pass a token
    calls.clear()


CHAINS = functools.partial(best_of_n, units=7, step_length=6, max_steps=1)
TREES = functools.partial(mcts, units=2, candidates=3, step_length=6, max_steps=3)


@pytest.mark.parametrize('kv_heads', some([1, 2], 1))
@pytest.mark.parametrize(
  'search, rows, size', [(CHAINS, 7, 6), (TREES, 1, 5 + 2 * 6 + 3 * 6)], ids=['chains', 'trees']
)
def test_no_cache_is_copied_at_each_token(search, rows, size, kv_heads):
  """Keys and values are written where they lie: a copy of all that a candidate reads costs more
  than its token."""
  model, params = tiny(layers=1, kv_heads=kv_heads)
  text = (
    jit(functools.partial(search, model, sampling=LINE))
    .lower(params, keys(), prompts())
    .compile()
    .as_text()
  )
  both = rf'f32\[3,(?:{rows * kv_heads}|{kv_heads},(?:1,)?{rows}),(?:8,{size}|{size},8)\]'
  computations = dict(re.findall(r'\n%?([\w.\-]+) [^\n]*\{\n(.*?)\n\}', text, flags=re.DOTALL))
  decoding = [
    computations[name]
    for name in re.findall(r'body=%?([\w.\-]+)', text)
    if re.search(rf'= {both}\S* (fusion|dynamic-update-slice)\(', computations[name])
    and not re.search(r'body=', computations[name])
  ]
  assert decoding
  assert not [part for part in decoding if re.search(rf'= {both}\S* copy\(', part)]


@pytest.mark.long
def test_paths_of_any_depth_are_read_whole():
  """Decoding has a program for shallow parents, one for deeper ones and one for all; learning has
  but one."""
  model, params = tiny()
  prompt, step_length, max_steps = prompts(), 32, 4
  full = Sampling(eos_id=-1, delimiter_id=-1, granularity='tokens')
  search = functools.partial(
    mcts,
    model,
    units=8,
    candidates=2,
    sampling=full,
    step_length=step_length,
    max_steps=max_steps,
  )
  tree = jit(search)(params, keys(), prompt)
  assert path_rooms(max_steps - 1, step_length) == (1, 2, 3)
  deepest = np.sum(np.asarray(tree.path) > 0, axis=-1).max(axis=0)[:9]  # of each expansion
  assert set(deepest) == {0, 1, 2, 3}
  learned = jit(functools.partial(forward_tree, model))(params, prompt, tree)
  np.testing.assert_allclose(learned.logprob, tree.logprob, atol=1e-4)


@pytest.mark.parametrize(
  'wrong, name',
  [
    (dict(granularity='word'), 'word'),
    (dict(temperature=-1.0), '-1.0'),
    (dict(top_k=-2), '-2'),
    (dict(top_p=0.0), '0.0'),
    (dict(top_p=1.1), '1.1'),
  ],
)
def test_impossible_settings(wrong, name):
  with pytest.raises(ValueError, match=name):
    dataclasses.replace(LINE, **wrong)
