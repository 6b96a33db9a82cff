import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from o1jax.search.choose import chain_of
from tests.helpers import LINE, Markov, best_of_n, jit, keys, prompts, spell, tables

N, R, L = 6, 4, 3
RANDOM = tables(np.random.default_rng(0).normal(size=(5, 5)), np.linspace(-2, 2, 5))
# 2 3 4 2 3 4 ... without an end.
SURE = tables(50 * np.eye(5)[[3, 0, 3, 4, 2]], np.linspace(-2, 2, 5))
ENDING = tables(50 * np.eye(5)[[1, 1, 1, 1, 1]], np.linspace(-2, 2, 5))


@functools.cache
def _compiled(samples, temperature):
  sampling = dataclasses.replace(LINE, temperature=temperature)
  return jit(
    functools.partial(
      best_of_n, Markov(), units=samples, sampling=sampling, step_length=L, max_steps=R
    )
  )


def run(params, *, samples=N, temperature=1.0, seed=0):
  prompt = prompts()
  prompt = prompt.replace(tokens=prompt.tokens % 5)
  return jax.device_get(_compiled(samples, temperature)(params, keys(seed=seed), prompt)), prompt


def test_chains():
  """Slot r*N + i continues chain i, exactly as long as it is not finished."""
  tree, _ = run(RANDOM)
  assert tree.mask.shape == (3, N * R, 1)
  for b, r, i in np.ndindex(3, R, N):
    slot = r * N + i
    if r == 0:
      assert tree.expanded[b, slot] == 0
      continue
    before = slot - N
    goes_on = tree.mask[b, before, 0] and not tree.terminal[b, before, 0]
    assert tree.expanded[b, slot] == (1 + before if goes_on else -1)
    assert tree.mask[b, slot, 0] == goes_on
  used = tree.expanded >= 0
  np.testing.assert_array_equal(
    np.asarray(chain_of(tree))[used], np.tile(np.arange(N), (3, R))[used]
  )
  # No finished solution is held twice: a chain ends once.
  ends = np.array(chain_of(tree))[:, :, None][tree.terminal]
  owner = np.nonzero(tree.terminal)[0]
  assert len(set(zip(owner, ends))) == len(ends) > 3
  assert (tree.prior[used] == 1).all()


def test_equal_chains_all_stand():
  """Chains are independent samples; that two agree is what a vote counts."""
  tree, _ = run(SURE)
  assert (tree.expanded >= 0).all() and tree.mask.all()
  assert (tree.tokens == tree.tokens[:, ::N].repeat(N, 1)).all()


def test_rounds_end_with_the_last_chain():
  tree, _ = run(ENDING)
  assert (tree.expanded[:, :N] == 0).all() and (tree.expanded[:, N:] == -1).all()
  assert tree.terminal[:, :N].all() and tree.length.sum() == 3 * N


def test_one_chain_at_temperature_zero_is_greedy():
  tree, prompt = run(RANDOM, samples=1, temperature=0.0)
  table = np.asarray(RANDOM['policy'])
  for b in range(3):
    text, token = [], int(prompt.tokens[b, prompt.length[b] - 1])
    for _ in range(R):
      for _ in range(L):
        token = int(table[token].argmax())
        text.append(token)
        if token in (1, 2):
          break
      if token == 1:
        break
    last = 1 + np.flatnonzero(tree.expanded[b] >= 0)[-1]
    assert sum(spell(tree, b, last), []) == text


def test_fewer_chains_are_the_first_of_many():
  """So a curve over N can be read off one search."""
  many, _ = run(RANDOM)
  few, _ = run(RANDOM, samples=2)
  for r in range(R):
    np.testing.assert_array_equal(
      few.tokens[:, 2 * r : 2 * r + 2], many.tokens[:, N * r : N * r + 2]
    )
    np.testing.assert_allclose(
      few.logprob[:, 2 * r : 2 * r + 2], many.logprob[:, N * r : N * r + 2], atol=1e-6
    )


def test_samples_are_diverse_and_repeatable():
  one, _ = run(RANDOM)
  two, _ = run(RANDOM)
  other, _ = run(RANDOM, seed=1)
  jax.tree.map(np.testing.assert_array_equal, one, two)
  assert (one.tokens != other.tokens).any()
  first = {tuple(row) for row in one.tokens[0, :N, 0]}
  assert len(first) >= 3
  rounds = jnp.asarray(one.tokens[0, : 2 * N, 0]).reshape(2, N, L)
  assert (rounds[0] != rounds[1]).any()
