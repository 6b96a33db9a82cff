"""Scores of the distributions that tokens are sampled from: closed forms, and what decoding takes
down against a plain pass over the same text."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax.model.forward import forward_rows, logits_of
from o1jax.reward import SCORES
from o1jax.reward.tokens import certainty, top5
from o1jax.tree import note
from tests.decode.world_test import WORLD
from tests.helpers import LINE, VOCAB, best_of_n, climb, dvts, jit, keys, mcts, prompts, spell, tiny
from tests.marks import some

NAMES = tuple(name for name, row in SCORES.items() if row.token)
COOL = dataclasses.replace(LINE, temperature=0.7)
SEARCHES = {
  'chains': functools.partial(best_of_n, units=3),
  'mcts': functools.partial(mcts, units=6, candidates=2),
  'beams': functools.partial(dvts, units=2, candidates=2),
}


def test_closed_forms():
  even, sure = jnp.zeros(8), jnp.where(jnp.arange(8) == 3, 0.0, -1e30)
  assert certainty(even, None) == pytest.approx(0, abs=1e-6) and certainty(sure, None) == 1
  half = jnp.where(jnp.arange(8) < 2, 5.0, -1e30)  # one bit of three
  assert certainty(half, None) == pytest.approx(2 / 3)
  assert top5(even, jnp.array(6)) == pytest.approx(1 / 5) and top5(sure, jnp.array(3)) == 1
  falling = -jnp.arange(8.0)
  mass = np.exp(-np.arange(5.0)).sum()
  for token in (0, 4, 7):  # the last is not among the five
    assert top5(falling, jnp.array(token)) == pytest.approx(np.exp(-token) / mass)
  assert top5(falling + 3, jnp.array(1)) == pytest.approx(np.exp(-1) / mass)
  # Fewer tokens than five.
  assert top5(jnp.zeros(3), jnp.array(1)) == pytest.approx(1 / 3)


@functools.cache
def _search(name, world=None, scores=NAMES):
  model, params = tiny()
  settings = dict(sampling=COOL, step_length=7, max_steps=4, world=world, scores=scores)
  search = functools.partial(SEARCHES[name], model, **settings)
  return jax.device_get(jit(search)(params, keys(), prompts()))


def _plain(prompt, steps):
  """Both numbers of each token of a text, a list a step, in NumPy on a pass over the text."""
  model, params = tiny()
  text = [*prompt, *(token for step in steps for token in step)]
  room = 60
  rows = jnp.array([text + [0] * (room - len(text))])
  out = _pass(model, params, rows, jnp.array([len(text)]))
  logits = np.asarray(out, np.float64)[0] / COOL.temperature
  found, place = [], len(prompt)
  for step in steps:
    before = logits[place - 1 : place - 1 + len(step)]
    probs = np.exp(before - before.max(-1, keepdims=True))
    probs /= probs.sum(-1, keepdims=True)
    best = np.sort(probs, axis=-1)[:, -5:].sum(-1)
    entropy = -(probs * np.log(probs)).sum(-1)
    share = probs[np.arange(len(step)), step] / best
    found.append(dict(top5=share, certainty=1 - entropy / np.log(VOCAB)))
    place += len(step)
  return found


@functools.partial(jit, static_argnums=0)
def _pass(model, params, rows, length):
  return logits_of(model, params, forward_rows(model, params, rows, length).hidden[:, 0, 0])


@pytest.mark.parametrize('world', [None, WORLD], ids=['silent', 'told'])
@pytest.mark.parametrize('name', some(SEARCHES, 'beams'))
def test_decoding_takes_down_what_a_plain_pass_finds(name, world):
  tree, asked = _search(name, world), prompts()
  width, seen, heard = tree.mask.shape[-1], 0, 0
  used = (tree.expanded >= 0)[..., None] & (tree.length > 0)
  for b, x, a in np.argwhere(used)[::2]:
    node = 1 + int(x) * width + int(a)
    line = [divmod(i - 1, width) for i in climb(tree, b, node)]
    prompt = asked.tokens[b, : asked.length[b]].tolist()
    plain = _plain(prompt, spell(tree, b, node))
    sampled = [int(tree.length[b, i, j] - tree.given[b, i, j].sum()) for i, j in line]
    for score in NAMES:
      each = [numbers[score][:count] for numbers, count in zip(plain, sampled)]
      at = b, *line[-1]
      assert tree.scores[note(score)][at] == pytest.approx(each[-1].mean(), abs=2e-4)
      assert tree.scores[score][at] == pytest.approx(np.concatenate(each).mean(), abs=2e-4)
    seen += len(line) > 1
    heard += any(tree.given[b, i, j].any() for i, j in line)
  assert seen > 2 and (heard > 2) == (world is not None)


@pytest.mark.long
@pytest.mark.parametrize('name', some(SEARCHES, 'beams'))
def test_what_is_taken_down_changes_nothing_else(name):
  noted, plain = _search(name), _search(name, scores=())
  assert not plain.scores and set(noted.scores) == {*NAMES, *map(note, NAMES)}
  for field in ('tokens', 'logprob', 'expanded', 'value', 'visits', 'mask'):
    np.testing.assert_array_equal(getattr(noted, field), getattr(plain, field))
