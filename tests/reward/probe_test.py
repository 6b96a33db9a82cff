"""p(yes) of a probe is what a plain pass over prompt, solution and line finds, whatever search made
the solution, and what it reads is billed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax.keys import of_problems
from o1jax.model.compute import search_cost, token_flops
from o1jax.model.forward import forward_rows, logits_of
from o1jax.reward.known import Texts
from o1jax.reward.probe import lacks
from o1jax.search import SEARCHES as METHODS
from o1jax.search import run
from o1jax.tasks import countdown
from o1jax.tree import READ
from o1jax.types import Probe
from tests import toys
from tests.helpers import best_of_n, climb, jit, mcts, spell
from tests.marks import some

DIGITS = 'abcdefgh'


def _count(prompt, prompt_length, text, length):
  """How long prompt and solution are together, in bytes; nothing of a solution of two bytes."""
  del prompt, text
  return jnp.where(length == 2, -1, prompt_length + length)


def _encode(text):
  """The toy language has no digits: they are letters."""
  return [toys.TEXTS.index(DIGITS[int(c) % 8] if c.isdigit() else c) for c in text]


PROBE = Probe(('gh', _count, 'a'), digits=3, yes='b', no='cd', instead=('a', 'b', 'cc', 'f'))
TEXTS = Texts(countdown.task()._replace(probe=PROBE, reads=64), toys.TABLE, _encode)
SEARCHES = {
  'chains': functools.partial(best_of_n, units=40),
  'mcts': functools.partial(mcts, units=16, candidates=4),
  'ab_mcts': functools.partial(run, METHODS['ab_mcts'], units=16),
}


@functools.cache
def _search(name, guide='probe'):
  how = dict(sampling=toys.SAMPLING, step_length=5, max_steps=3, guide=guide, texts=TEXTS)
  search = functools.partial(SEARCHES[name], toys.MODEL, **how)
  return jax.device_get(jit(search)(toys.params(), KEYS, toys.problems(4)[0]))


KEYS = of_problems(jax.random.key(0), 4)


@jit
def _pass(row, length):
  hidden = forward_rows(toys.MODEL, toys.params(), row, length).hidden[:, 0, 0]
  return jax.nn.log_softmax(logits_of(toys.MODEL, toys.params(), hidden))


def _logprob(before, word):
  """Of the word's tokens after a text."""
  text = [*before, *word]
  row = np.array([text + [0] * (60 - len(text))])
  logprob = np.asarray(_pass(row, np.array([len(text)])))[0]
  return sum(logprob[len(before) + i - 1, token] for i, token in enumerate(word))


def _asked(prompt, steps):
  """The text before the yes, and how long the line in it is; None where there is nothing to ask."""
  size = sum(len(toys.TEXTS[t]) for step in steps for t in step)
  if size == 2:
    return None
  number, kept = str(size + sum(len(toys.TEXTS[t]) for t in prompt)), list(steps)
  begins = [_encode(words) for words in PROBE.instead]
  while kept and any(kept[-1][: len(words)] == words for words in begins):
    kept.pop()
  whole = len(kept) == len(steps)
  line = _encode('\n' * whole + f'gh{number}a')
  text = [t for step in kept for t in step]
  return [*prompt, *(text[:-1] if whole else text), *line], len(line)


@pytest.mark.parametrize('name', some(SEARCHES, 'chains'))
def test_it_is_what_a_plain_pass_finds(name):
  tree, asked, kinds = _search(name), toys.problems(4)[0], set()
  width = tree.mask.shape[-1]
  used = (tree.expanded >= 0)[..., None] & (tree.length > 0)
  for b, x, a in np.argwhere(used):
    node = 1 + int(x) * width + int(a)
    found, read = tree.scores['probe'][b, x, a], tree.scores[READ][b, x, a]
    if not (tree.mask & tree.terminal)[b, x, a]:
      assert (found, read) == (0.5, 0)
      continue
    prompt = asked.tokens[b, : asked.length[b]].tolist()
    steps = spell(tree, b, node)
    asked_for = _asked(prompt, steps)
    if asked_for is None:
      assert (found, read) == (0.5, 0)
      kinds.add('nothing')
      continue
    before, line = asked_for
    yes, no = _logprob(before, _encode('b')), _logprob(before, _encode('cd'))
    assert found == pytest.approx(1 / (1 + np.exp(no - yes)), abs=1e-4)
    assert read == 2 * line + 3
    kinds.add((len(climb(tree, b, node)), before[-line] == toys.NEWLINE))
  # At depth R too; and in place of other steps than the last one alone.
  depths, whole = zip(*kinds - {'nothing'})
  assert {1, 3} <= {*depths} and {*whole} == {True, False}


def test_a_probe_changes_no_sample():
  probed, plain = _search('chains'), _search('chains', guide='confidence')
  for field in ('tokens', 'logprob', 'expanded', 'value', 'mask'):
    np.testing.assert_array_equal(getattr(probed, field), getattr(plain, field))


@pytest.mark.parametrize('name', some(SEARCHES, 'chains'))
def test_what_it_reads_is_billed_and_not_sampled(name):
  tree, asked = _search(name), toys.problems(4)[0]
  silent = tree.replace(scores={})
  (tokens, flops), (before, less) = (search_cost(toys.CONFIG, asked, t) for t in (tree, silent))
  np.testing.assert_array_equal(tokens, before)
  expected, width = np.zeros(4), tree.mask.shape[-1]
  for b, x, a in np.argwhere(tree.scores[READ] > 0):
    node = 1 + int(x) * width + int(a)
    start = int(asked.length[b]) + sum(map(len, spell(tree, b, node))) - 1
    line = int(tree.scores[READ][b, x, a]) / 2  # of both words, which differ by one token
    for size in (int(line), int(line + 0.5)):
      places = range(start + 1, start + size + 1)
      expected[b] += sum(token_flops(toys.CONFIG, place, critic=False) for place in places)
  assert (expected > 0).all()
  np.testing.assert_allclose(np.asarray(flops - less), expected, rtol=1e-3)


def test_what_a_task_lacks():
  assert not lacks(TEXTS.task)
  assert lacks(TEXTS.task._replace(probe=None)) == 'a line in which a policy judges its solution'
