"""The laws of given text: a world answers after some steps, and the policy reads it as its own."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.decode.world import World, text_world
from o1jax.model.forward import forward_tree
from tests.helpers import LINE, best_of_n, dvts, jit, keys, mcts, prompts, tiny
from tests.marks import some

SAID = 3
GREEDY = dataclasses.replace(LINE, temperature=0.0)


def _answers(prompt, tree, ids):
  """Up to three tokens, which depend on the step: 7 8 9, as many as its last token says."""
  length = tree_lib.pick(tree.length, ids)
  tokens = tree_lib.pick(tree.tokens, ids)
  last = jnp.take_along_axis(tokens, jnp.maximum(length - 1, 0)[..., None], axis=-1)[..., 0]
  said = jnp.broadcast_to(7 + jnp.arange(SAID), (*ids.shape, SAID))
  return said, (last + length) % (SAID + 1)


WORLD = World(_answers, SAID)
SILENT = World(lambda prompt, tree, ids: (_answers(prompt, tree, ids)[0], 0 * ids), SAID)
SEARCHES = {
  'chains': functools.partial(best_of_n, units=3),
  'mcts': functools.partial(mcts, units=6, candidates=2),
  'beams': functools.partial(dvts, units=2, candidates=2),
}


def _search(name, world, sampling=LINE, step_length=7):
  model, params = tiny()
  search = functools.partial(
    SEARCHES[name], model, sampling=sampling, step_length=step_length, max_steps=4, world=world
  )
  return jit(search)(params, keys(), prompts())


@pytest.fixture(scope='module', params=some(SEARCHES, 'chains', 'beams'))
def told(request):
  """The tree of each search in which the world speaks."""
  return _search(request.param, WORLD)


def _nodes(tree):
  used = (np.asarray(tree.expanded) >= 0)[..., None] & (np.asarray(tree.length) > 0)
  return [tuple(at) for at in np.argwhere(used)]


def test_what_was_given_stands_behind_what_was_sampled(told):
  tree, heard = jax.device_get(told), 0
  for b, x, a in _nodes(tree):
    length, given = tree.length[b, x, a], tree.given[b, x, a]
    sampled = length - given.sum()
    assert 0 < sampled <= 7 - SAID
    assert not given[:sampled].any() and given[sampled:length].all() and not given[length:].any()
    ended = tree.terminal[b, x, a] or (tree.path[b, x] > 0).sum() == 3 or not tree.mask[b, x, a]
    said = 0 if ended else (tree.tokens[b, x, a, sampled - 1] + sampled) % (SAID + 1)
    assert given.sum() == said
    assert tree.tokens[b, x, a, sampled:length].tolist() == [7, 8, 9][:said]
    heard += said
  assert heard > 10
  # Every count of tokens names them apart.
  every = tree.length[tree.expanded >= 0].sum()
  assert int(tree_lib.given_tokens(told).sum()) == heard
  assert int(tree_lib.generated_tokens(told).sum()) == every - heard


def test_learning_reads_a_tree_as_decoding_did(told):
  """Keys, positions and hidden states after given text are right at every depth."""
  model, params = tiny()
  assert told.given.any() and (told.path[..., 2] > 0).any()
  read = functools.partial(forward_tree, model, tokens=120 if told.chains else 0)
  whole = jit(read)(params, prompts(), told)
  used = (told.expanded >= 0)[..., None, None]
  real = used & (jnp.arange(7) < told.length[..., None])
  both = [jnp.where(real, x, 0) for x in (whole.logprob, told.logprob)]
  np.testing.assert_allclose(*both, atol=2e-4)
  node = told.mask & used[..., 0]
  values = [jnp.where(node, x, 0) for x in (jax.nn.sigmoid(whole.value), told.value)]
  np.testing.assert_allclose(*values, atol=2e-4)


@pytest.mark.parametrize('name', some(['chains', 'mcts'], 'chains'))
def test_a_silent_world_changes_nothing_but_the_room(name):
  quiet = _search(name, SILENT, sampling=GREEDY)
  alone = _search(name, None, sampling=GREEDY, step_length=7 - SAID)
  assert not quiet.given.any()
  for field in ('expanded', 'path', 'length', 'terminal', 'mask', 'visits'):
    np.testing.assert_array_equal(getattr(quiet, field), getattr(alone, field))
  np.testing.assert_array_equal(quiet.tokens[..., : 7 - SAID], alone.tokens)
  np.testing.assert_allclose(quiet.value, alone.value, atol=1e-5)


def test_a_text_world_reads_the_step_and_speaks_in_characters():
  table = np.array([[0], [ord('a')], [ord('b')], [ord('!')]], np.uint8), np.array([0, 1, 1, 1])
  characters = np.zeros(256, int)
  characters[[ord('a'), ord('b'), ord('!')]] = [1, 2, 3]

  def shout(text, length):
    """Its last letter and '!', where the step has two letters."""
    last = text[jnp.maximum(length - 1, 0)]
    return jnp.array([last, ord('!')], jnp.uint8), jnp.where(length == 2, 2, 0)

  world = text_world(shout, table, characters, reads=8, tokens=2)
  tree = tree_lib.empty(1, 1, 3, 4, 2)
  tree = tree.replace(
    tokens=jnp.array([[[[1, 2, 0, 0], [2, 1, 0, 0], [1, 0, 0, 0]]]]),
    length=jnp.array([[[2, 2, 1]]]),
  )
  tokens, length = world.answer(None, tree, jnp.array([[1, 2, 3]]))
  np.testing.assert_array_equal(length, [[2, 2, 0]])
  np.testing.assert_array_equal(tokens[:, :2], [[[2, 3], [1, 3]]])
