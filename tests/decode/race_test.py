"""Siblings without replacement: laws of their distribution, by enumeration."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from o1jax.decode.grow import grower, start
from o1jax.decode.rules import Sampling
from tests.helpers import CHANCES, DELIMITER, EOS, LINE, Markov, jit, keys, prompts, tables

L, START = 3, 3
VALUES = np.linspace(-2, 2, 5)
PARAMS = tables(np.log(CHANCES + 1e-30), VALUES)
HOT = Sampling(eos_id=EOS, delimiter_id=DELIMITER, temperature=1.5)


def texts(temperature=1.0, step=(), chance=1.0):
  """All steps that the policy may say at first, with their probability."""
  if len(step) == L or (step and step[-1] in (EOS, DELIMITER)):
    return {step: chance}
  now = CHANCES[step[-1] if step else START] ** (1 / temperature)
  found = {}
  for token in np.flatnonzero(now):
    found |= texts(temperature, (*step, int(token)), chance * now[token] / now.sum())
  return found


@functools.cache
def program(candidates, sampling=LINE, each=False):
  def expand(params, keys, prompt, counts):
    shape = dict(slots=1, candidates=candidates, step_length=L, max_steps=2)
    tree, cache = start(Markov(), params, prompt, **shape)
    grow = grower(Markov(), params, prompt, sampling=sampling, replacement=False)
    root = jnp.zeros((len(prompt.length), 1), jnp.int32)
    how = dict(each=counts[:, None]) if each else {}
    return grow(tree, cache, keys, root, slot=0, **how)[0]

  return jit(expand)


def drawn(candidates, batch, *, sampling=LINE, seed=0, counts=None):
  prompt = prompts(batch)
  prompt = prompt.replace(tokens=jnp.full_like(prompt.tokens, START))
  expand = program(candidates, sampling, each=counts is not None)
  counts = jnp.full(batch, candidates) if counts is None else counts
  return jax.device_get(expand(PARAMS, keys(batch, seed), prompt, counts))


def said(tree, b):
  """The steps of a problem, in their order."""
  made = zip(tree.tokens[b, 0], tree.length[b, 0], tree.mask[b, 0])
  return [tuple(step[:n].tolist()) for step, n, real in made if real]


@pytest.mark.parametrize('sampling', [LINE, HOT], ids=['temperature 1', 'temperature 1.5'])
def test_each_next_candidate_is_drawn_from_what_is_left(sampling):
  """Chi-square on ordered triples: p(i) p(j) / (1 - p(i)) p(k) / (1 - p(i) - p(j))."""
  chances, batch = texts(sampling.temperature), 6000
  tree = drawn(3, batch, sampling=sampling)
  found = {order: 0 for order in itertools.permutations(chances, 3)}
  for b in range(batch):
    found[tuple(said(tree, b))] += 1
  expected = []
  for order in found:
    left, chance = 1.0, batch
    for text in order:
      chance *= chances[text] / left
      left -= chances[text]
    expected.append(chance)
  counts, expected = np.array(list(found.values())), np.array(expected)
  often = expected > 5
  merge = lambda x: np.append(x[often], x[~often].sum())
  assert len(counts) == 7 * 6 * 5 and often.sum() > 40
  test = stats.chisquare(merge(counts), merge(expected))
  assert test.pvalue > 1e-3, test


def test_the_first_candidate_is_a_sample_of_the_policy():
  chances, tree = texts(), drawn(2, 4000, seed=7)
  found = [said(tree, b)[0] for b in range(4000)]
  counts = [found.count(text) for text in chances]
  assert stats.chisquare(counts, 4000 * np.array(list(chances.values()))).pvalue > 1e-3


def test_where_there_are_fewer_texts_than_candidates_each_is_there_once():
  chances = texts()
  tree = drawn(len(chances) + 2, 5)
  for b in range(5):
    assert sorted(said(tree, b)) == sorted(chances)
    assert not tree.mask[b, 0, len(chances) :].any() and not tree.length[b, 0, len(chances) :].any()
    prior = dict(zip(said(tree, b), tree.prior[b, 0]))
    assert prior == pytest.approx(chances, rel=1e-4)


def test_what_stands_in_a_candidate_is_of_its_own_text():
  """A candidate may go on with the text of another. Its log-prob, values and ends go with it."""
  tree = drawn(4, 300)
  moved = 0
  for b in range(300):
    for a, step in enumerate(said(tree, b)):
      before = (START, *step)
      chances = [CHANCES[x, y] for x, y in itertools.pairwise(before)]
      np.testing.assert_allclose(tree.logprob[b, 0, a, : len(step)], np.log(chances), atol=1e-5)
      values = 1 / (1 + np.exp(-VALUES[list(step)]))
      np.testing.assert_allclose(tree.token_value[b, 0, a, : len(step)], values, atol=1e-5)
      assert tree.value[b, 0, a] == pytest.approx(values[-1], abs=1e-5)
      assert tree.terminal[b, 0, a] == (step[-1] == EOS)
      moved += step[0] in [other[0] for other in said(tree, b)[:a]]
    share = np.exp(tree.logprob[b, 0].sum(-1)) * tree.mask[b, 0]
    np.testing.assert_allclose(tree.prior[b, 0], share / share.sum(), rtol=1e-4)
  assert moved > 50  # else nothing was moved, and this tests nothing


def test_problems_may_have_fewer_candidates():
  counts = jnp.array([1, 3, 2, 4])
  tree = drawn(4, 4, counts=counts)
  assert [len(said(tree, b)) for b in range(4)] == counts.tolist()
  assert [int((tree.length[b] > 0).sum()) for b in range(4)] == counts.tolist()  # nothing is billed


def test_a_problem_does_not_depend_on_its_batch():
  both, alone = drawn(3, 4, seed=3), drawn(3, 1, seed=3)
  jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[:1], y), both, alone)


def test_greedy_siblings_are_refused():
  with pytest.raises(ValueError, match='temperature=0 has one candidate'):
    drawn(2, 1, sampling=dataclasses.replace(LINE, temperature=0.0))
