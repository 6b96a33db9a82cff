"""Budget forcing: whose ends are taken back, what stands in their place, and what that costs."""

import functools

import jax
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.model.compute import search_cost, token_flops
from o1jax.model.forward import forward_tree
from o1jax.reward.known import Texts
from o1jax.reward.written import guided
from o1jax.search import SEARCHES, run
from o1jax.search.budget_forcing import METHOD, edit
from tests.decode.world_test import SAID, WORLD
from tests.helpers import DELIMITER, EOS, LINE, best_of_n, jit, keys, prompts, tiny

N, R, L = 4, 6, 5
WAIT, FINAL = [DELIMITER, 7], [9]
WORDS = {'wait': WAIT, 'final': FINAL, '': []}
TEXTS = Texts(None, None, WORDS.get)
MODEL, PARAMS = tiny(layers=1)
SHAPE = dict(step_length=L, max_steps=R, sampling=LINE)


@functools.cache
def search(units=N, batch=None, **settings):
  how = dict(times=1, text='wait', answer='final', most=N) | settings
  forced = functools.partial(run, SEARCHES['budget_forcing'], MODEL, texts=TEXTS, **SHAPE, **how)
  rows = slice(None) if batch is None else slice(batch, batch + 1)
  asked = jax.tree.map(lambda x: x[rows], (keys(), prompts()))
  return jax.device_get(jit(functools.partial(forced, units=units))(PARAMS, *asked))


def chain(tree, b, i):
  """The nodes of a chain: tokens, which of them are given, how many were taken back, terminal."""
  for slot in range(i, N * R, N):
    if tree.expanded[b, slot] >= 0:
      length = tree.length[b, slot, 0]
      yield (
        tree.tokens[b, slot, 0, :length].tolist(),
        tree.given[b, slot, 0, :length].tolist(),
        int(tree.scores[tree_lib.TAKEN][b, slot, 0]),
        bool(tree.terminal[b, slot, 0]),
      )


def chains(tree):
  return [list(chain(tree, b, i)) for b in range(len(tree.mask)) for i in range(N)]


def test_with_nothing_forced_it_is_best_of_n():
  plain = jit(functools.partial(best_of_n, MODEL, units=N, **SHAPE))(PARAMS, keys(), prompts())
  free = search(times=0, answer='')
  for name in ('expanded', 'path', 'tokens', 'length', 'logprob', 'terminal', 'value', 'reward'):
    np.testing.assert_array_equal(getattr(free, name), getattr(plain, name))
  assert free.chains == plain.chains and not free.given.any()
  assert edit(WORDS.get, times=0, text='wait', answer='') is None


@pytest.mark.long
@pytest.mark.parametrize('times', [1, 2])
@pytest.mark.parametrize('answer', ['final', ''])
def test_ends_are_taken_back_so_often_and_an_answer_is_forced(times, answer):
  forced, due = 0, 0
  for steps in chains(search(times=times, answer=answer)):
    taken = 0
    for depth, (tokens, given, back, done) in enumerate(steps, 1):
      assert not done or depth == len(steps)
      says = WORDS[answer] if answer and depth == R - 1 and not done else []
      if back:
        says = WAIT
        assert back == 1 and depth < R - bool(answer)
      # It stands behind what was sampled.
      assert given == [False] * (len(tokens) - len(says)) + [True] * len(says)
      assert tokens[len(tokens) - len(says) :] == says
      assert EOS not in tokens or done
      taken, due = taken + back, due + (says == FINAL)
      assert not done or taken == times or depth >= R - bool(answer)
    assert taken <= times and (steps[-1][3] or len(steps) == R)
    forced += taken
  assert forced > 5 and (due > 1) == bool(answer)


@pytest.mark.long
def test_more_continuations_begin_as_fewer_do():
  """The chains are the same up to the second end."""
  other = 0
  for few, many in zip(chains(search()), chains(search(times=2)), strict=True):
    ends = [depth for depth, step in enumerate(many) if step[2]]
    same = ends[1] if len(ends) > 1 else len(many)
    assert few[:same] == many[:same]
    other += len(ends) > 1
  assert other


def test_every_sampled_token_is_billed_and_none_that_is_given():
  tree = search(times=2)
  config, asked = MODEL.config, prompts()
  tokens, flops = search_cost(config, asked, tree)
  given = tree_lib.given_tokens(tree)
  for b in range(len(tree.mask)):
    sampled = written = 0
    cost = sum(token_flops(config, 1 + at) for at in range(int(asked.length[b])))
    for i in range(N):
      place = int(asked.length[b])
      for text, told, back, _ in chain(tree, b, i):
        stayed = len(text) - sum(told)
        sampled, written = sampled + stayed + back, written + sum(told)
        cost += sum(token_flops(config, place + 1 + at) for at in range(len(text)))
        cost += sum(token_flops(config, place + 1 + stayed + at) for at in range(back))
        place += len(text)
    assert (tokens[b], given[b]) == (sampled, written)
    np.testing.assert_allclose(flops[b], cost, rtol=1e-5)
  assert given.all()


def test_learning_reads_a_tree_as_decoding_did():
  """Keys, positions and hidden states after a text are right, and so are values."""
  tree = search(times=2)
  whole = jit(functools.partial(forward_tree, MODEL, tokens=60))(PARAMS, prompts(), tree)
  used = (tree.expanded >= 0)[..., None]
  real = used[..., None] & (np.arange(L) < tree.length[..., None])
  assert (real & tree.given).any()
  value = jax.nn.sigmoid(whole.token_value)
  for ours, other in ((whole.logprob, tree.logprob), (value, tree.token_value)):
    np.testing.assert_allclose(*(np.where(real, x, 0) for x in (ours, other)), atol=2e-4)
  value = np.where(used, jax.nn.sigmoid(whole.value), 0)
  np.testing.assert_allclose(np.where(used, tree.value, 0), value, atol=2e-4)
  # What is no end any more returns nothing, and what is one returns its value.
  np.testing.assert_allclose(tree.reward, np.where(tree.terminal, tree.value, 0), atol=1e-6)


def test_a_guide_is_written_on_what_stands_in_the_end():
  tree = search(guide='critic * critic')
  ids = np.broadcast_to(np.asarray(tree_lib.node_ids(tree)).reshape(-1), (3, N * R))
  expected = guided(tree, ids, 'critic * critic').reshape(tree.mask.shape)
  real = tree.mask & (tree.expanded >= 0)[..., None]
  np.testing.assert_allclose(tree_lib.guide(tree)[real], np.asarray(expected)[real], atol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize('batch', range(3))
def test_a_problem_does_not_know_its_batch(batch):
  together, alone = search(times=2), search(times=2, batch=batch)
  for name in ('tokens', 'length', 'given', 'expanded', 'terminal'):
    np.testing.assert_array_equal(getattr(together, name)[batch], getattr(alone, name)[0])


@pytest.mark.long
def test_fewer_units_are_fewer_chains():
  tree = search(units=2)
  assert ((tree.expanded == tree_lib.ROOT).sum(-1) == 2).all()
  whole = search()
  for b in range(3):
    assert [list(chain(tree, b, i)) for i in range(N)] == [
      *(list(chain(whole, b, i)) for i in range(2)),
      *([], []),
    ]


def test_an_end_in_whose_place_nothing_stands_is_refused():
  settings = dict(METHOD.settings) | dict(text='')
  with pytest.raises(ValueError, match='text is empty'):
    METHOD.room(3, candidates=1, max_steps=R, **settings)


@pytest.mark.long
def test_a_world_speaks_between_the_steps_all_the_same():
  """Both texts have their room, and decoding reads both as learning does."""
  size = L + SAID
  how = dict(step_length=size, max_steps=R, sampling=LINE, world=WORLD, texts=TEXTS, units=N)
  forced = functools.partial(run, SEARCHES['budget_forcing'], MODEL, **how, text='wait')
  tree = jit(functools.partial(forced, answer='final'))(PARAMS, keys(), prompts())
  tree = jax.device_get(tree)
  whole = jit(functools.partial(forward_tree, MODEL, tokens=100))(PARAMS, prompts(), tree)
  real = (tree.expanded >= 0)[..., None, None] & (np.arange(size) < tree.length[..., None])
  assert (tree.scores[tree_lib.TAKEN] > 0).any()
  assert (tree.given & (tree.scores[tree_lib.TAKEN] == 0)[..., None]).any()
  np.testing.assert_allclose(*(np.where(real, x.logprob, 0) for x in (whole, tree)), atol=2e-4)
