"""Turns: what a revision is asked, that it is an ordinary search of that prompt, and what it costs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.keys import of_problems, of_slot
from o1jax.model.compute import search_cost, token_flops
from o1jax.search import SEARCHES, run
from o1jax.search.choose import choose
from o1jax.search.revision import METHOD
from o1jax.tree import ASKED, ORIGIN, READ
from o1jax.types import Prompt
from tests import toys
from tests.helpers import best_of_n, climb, jit, spell
from tests.marks import some
from tests.reward.probe_test import PROBE, TEXTS

B, N, R, L, WIDTH = 4, 3, 3, 5, 40
ROUNDS, TEXT = 2, 'ha'
SHAPE = dict(sampling=toys.SAMPLING, step_length=L, max_steps=R, texts=TEXTS)
KEYS = of_problems(jax.random.key(0), B)


def asked(width=WIDTH):
  prompt, _ = toys.problems(B)
  return prompt.replace(tokens=jnp.pad(prompt.tokens, ((0, 0), (0, width - 5))))


@functools.cache
def program(**settings):
  how = dict(rounds=ROUNDS, text=TEXT, most=N) | SHAPE | settings
  stop = dict(stop=dict(how.pop('stop'))) if 'stop' in how else {}
  return jit(functools.partial(run, SEARCHES['revision'], toys.MODEL, **how, **stop))


@functools.cache
def search(units=N, only=None, width=WIDTH, **settings):
  rows = slice(None) if only is None else slice(only, only + 1)
  given = jax.tree.map(lambda x: x[rows], (KEYS, asked(width)))
  return jax.device_get(program(units=units, **settings)(toys.params(), *given))


def first_slot(t, i):
  """Of chain i in round t, and how far its steps are apart."""
  return (i, N) if t == 0 else ((t * N + i) * R, 1)


def solution(tree, b, t, i):
  """Its steps, and the id of its last node."""
  slot, apart = first_slot(t, i)
  made = [x for x in range(slot, slot + R * apart, apart) if tree.expanded[b, x] >= 0]
  return spell(tree, b, 1 + made[-1]), 1 + made[-1]


def said(tree, b, node, question):
  """What the policy says of a solution, in tokens; [] where it is not asked."""
  steps = spell(tree, b, node)
  if not tree.terminal.reshape(B, -1)[b, node - 1]:
    return []
  size = sum(len(toys.TEXTS[t]) for step in steps for t in step)
  if size == 2:
    return []
  number = str(size + sum(len(toys.TEXTS[t]) for t in question))
  likes = tree.scores['probe'].reshape(B, -1)[b, node - 1] >= 0.5
  return TEXTS.encode(f'gh{number}a{PROBE.yes if likes else PROBE.no}\n')


def prompt_of(tree, b, node, *, critique=True):
  """What a turn about a node is asked, in plain Python."""
  question = asked().tokens[b, : asked().length[b]].tolist()
  attempt = [t for step in spell(tree, b, node) for t in step]
  if attempt[-1] == toys.EOS:
    attempt[-1] = toys.NEWLINE
  judged = said(tree, b, node, question) if critique else []
  return [*question, *attempt, *judged, *TEXTS.encode(TEXT)]


@pytest.mark.parametrize('critique', some(['', 'probe'], 'probe'))
def test_without_rounds_it_is_best_of_n(critique):
  plain = functools.partial(best_of_n, toys.MODEL, units=N, **SHAPE)
  plain = jit(plain)(toys.params(), KEYS, asked())
  tree = search(rounds=0, critique=critique)
  for name in ('expanded', 'path', 'tokens', 'length', 'logprob', 'terminal', 'value', 'reward'):
    np.testing.assert_array_equal(getattr(tree, name), getattr(plain, name))


@pytest.mark.long
@pytest.mark.parametrize('critique', ['', 'probe'])
def test_a_turn_is_a_search_of_the_prompt_that_was_written(critique):
  tree, kinds = search(critique=critique), set()
  alone = jit(functools.partial(best_of_n, toys.MODEL, units=1, **SHAPE))
  for t in range(1, 1 + ROUNDS):
    for i in range(N):
      slot, _ = first_slot(t, i)
      rows = []
      for b in range(B):
        _, before = solution(tree, b, t - 1, i)
        rows.append(prompt_of(tree, b, before, critique=bool(critique)))
        used = tree.expanded[b, slot : slot + R] >= 0
        np.testing.assert_array_equal(
          tree.scores[ORIGIN][b, slot : slot + R, 0], np.where(used, before, 0)
        )
        np.testing.assert_array_equal(
          tree.scores[ASKED][b, slot : slot + R, 0], np.where(used, len(rows[-1]), 0)
        )
        ended = tree.terminal.reshape(B, -1)[b, before - 1]
        question = rows[-1][: int(asked().length[b])]
        kinds.add((bool(ended), bool(critique and said(tree, b, before, question))))
      tokens = np.array([row + [0] * (WIDTH - len(row)) for row in rows], np.int32)
      length = np.array([len(row) for row in rows], np.int32)
      prompt = Prompt(jnp.asarray(tokens), jnp.asarray(length))
      other = alone(toys.params(), of_slot(KEYS, slot), prompt)
      rows = np.arange(slot, slot + R)
      for name in ('tokens', 'length', 'terminal'):
        np.testing.assert_array_equal(getattr(tree, name)[:, rows], getattr(other, name))
      np.testing.assert_allclose(tree.value[:, rows], other.value, atol=1e-5)
  # Of attempts that ended and that did not, with and without something said of them.
  assert kinds == {(False, False), (True, False), *([(True, True)] if critique else [])}


@pytest.mark.long
def test_paths_of_turns_begin_at_the_root():
  tree = search()
  for t in range(1 + ROUNDS):
    for i in range(N):
      slot, apart = first_slot(t, i)
      for b in range(B):
        made = [x for x in range(slot, slot + R * apart, apart) if tree.expanded[b, x] >= 0]
        assert climb(tree, b, 1 + made[-1]) == [1 + x for x in made]
        for depth, x in enumerate(made):
          assert list(tree.path[b, x]) == [0, *(1 + y for y in made[:depth])] + [-1] * (
            R - 1 - depth
          )


@pytest.mark.parametrize('critique', ['', 'probe'])
def test_sampled_tokens_are_billed_and_prompts_are_read(critique):
  tree = search(critique=critique)
  tokens, flops = search_cost(toys.CONFIG, asked(), tree)
  for b in range(B):
    question = int(asked().length[b])
    cost, sampled = sum(token_flops(toys.CONFIG, 1 + at) for at in range(question)), 0
    for t in range(1 + ROUNDS):
      for i in range(N):
        steps, node = solution(tree, b, t, i)
        begin = question
        if t:
          _, before = solution(tree, b, t - 1, i)
          begin = len(prompt_of(tree, b, before, critique=bool(critique)))
          cost += sum(token_flops(toys.CONFIG, 1 + at) for at in range(begin))
        size = sum(map(len, steps))
        sampled += size
        cost += sum(token_flops(toys.CONFIG, begin + 1 + at) for at in range(size))
        if critique and (read := tree.scores[READ].reshape(B, -1)[b, node - 1]):
          for line in (int(read / 2), int(read / 2 + 0.5)):
            places = range(begin + size, begin + size + line)
            cost += sum(token_flops(toys.CONFIG, at, critic=False) for at in places)
    assert tokens[b] == sampled
    np.testing.assert_allclose(flops[b], cost, rtol=1e-4)
  assert not tree.given.any()


@pytest.mark.long
@pytest.mark.parametrize('only', range(B))
def test_a_problem_does_not_know_its_batch(only):
  together, alone = search(), search(only=only)
  for name in ('tokens', 'length', 'expanded', 'terminal'):
    np.testing.assert_array_equal(getattr(together, name)[only], getattr(alone, name)[0])


@pytest.mark.long
def test_fewer_units_are_the_beginning_of_more():
  few, many = search(units=2), search()
  for t in range(1 + ROUNDS):
    for i in range(N):
      slot, apart = first_slot(t, i)
      rows = np.arange(slot, slot + R * apart, apart)
      if i < 2:
        np.testing.assert_array_equal(few.tokens[:, rows], many.tokens[:, rows])
      else:
        assert (few.expanded[:, rows] == -1).all()


def test_an_answer_is_chosen_among_all_turns():
  tree = search()
  told = dict(table=toys.TABLE, marker='', reads=64)
  chosen = np.asarray(choose(jax.tree.map(jnp.asarray, tree), rule='best', **told))
  score = np.where(tree_lib.finished(tree), tree.value, -1).reshape(B, -1)
  np.testing.assert_array_equal(chosen, 1 + score.argmax(-1))
  assert (chosen > N * R).any()


@pytest.mark.long
def test_a_problem_that_is_done_is_asked_nothing_more():
  """The first chains are sampled at once. Each turn is asked where the rule does not hold yet."""
  free, kept = search(), search(stop=(('gate', 0.5), ('rule', 'value')))
  done = (tree_lib.finished(free) & (free.value >= 0.5))[:, : N * R].any((1, 2))
  assert done.any() and not done.all()
  asked_more = (kept.expanded[:, N * R :] >= 0).any(-1)
  np.testing.assert_array_equal(asked_more, ~done)
  np.testing.assert_array_equal(kept.tokens[:, : N * R], free.tokens[:, : N * R])


def test_a_critique_that_says_nothing_in_words_is_refused():
  settings = dict(METHOD.settings) | dict(critique='critic')
  with pytest.raises(ValueError, match="critique='critic' is none of probe"):
    METHOD.room(3, candidates=1, max_steps=R, **settings)
