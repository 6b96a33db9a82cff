"""Agreement is a majority vote as a number of a solution, over what is there and no more."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from o1jax.reward.agreement import agreement, lacks, note
from o1jax.reward.known import Known, Texts
from o1jax.reward.written import renewed
from o1jax.search.choose import choose
from o1jax.tasks import countdown, mixture
from o1jax.tree import GUIDE
from o1jax.tree import note as note_of
from o1jax.verify.answers import answer_keys
from tests import toys
from tests.helpers import best_of_n, jit, keys, mcts

TASK = countdown.task()._replace(marker='c', reads=16)
KNOWN = Known(texts=Texts(TASK, toys.TABLE, None))
NAME = 'agreement'


def _noted(tree):
  ids = jnp.broadcast_to(jnp.arange(1, 1 + tree.mask[0].size), (len(tree.mask), tree.mask[0].size))
  notes = note(KNOWN, tree, ids).reshape(tree.mask.shape)
  return tree.replace(scores=tree.scores | {note_of(NAME): notes}), ids


def _few_letters(tree):
  """b, and the marker c: so that many answers are the same."""
  letters = jnp.where(tree.tokens % 3 > 0, 4, 5)
  return tree.replace(tokens=jnp.where(tree.tokens > 2, letters, tree.tokens))


@jit
def _all(tree):
  tree, ids = _noted(tree)
  return agreement(KNOWN, tree, ids), answer_keys(tree, ids, toys.TABLE, marker='c', reads=16)


@pytest.mark.parametrize('seed', range(4))
def test_it_is_the_share_of_the_others_that_have_the_same_answer(seed):
  tree, seen = toys.random_tree(seed, slots=20, step=4, again=0.9), set()
  tree = _few_letters(tree)
  found, answers = map(np.asarray, _all(tree))
  done = np.asarray(tree.mask & tree.terminal).reshape(len(found), -1)
  for b, row in enumerate(done):
    ended = np.flatnonzero(row)
    for i in range(row.size):
      others = [j for j in ended if j != i]
      same = [answers[b, j] == answers[b, i] for j in others]
      expected = np.mean(same) if row[i] and others else 0.5
      assert found[b, i] == pytest.approx(expected, abs=1e-6)
      seen.add(round(float(expected), 3))
  assert len(seen) > 3


def test_the_only_solution_and_a_prefix_are_unknown():
  tree = toys.hand_tree([0, -1], width=2, max_steps=2, terminal=[[1, 0], [0, 0]])
  assert np.asarray(_all(tree)[0]).tolist() == [[0.5] * 4]


@functools.cache
def _sampled(search, units, **settings):
  """A tree of a tiny policy whose guide is agreement."""
  how = dict(sampling=toys.SAMPLING, step_length=6, max_steps=2, guide=NAME, texts=KNOWN.texts)
  run = functools.partial(search, toys.MODEL, units=units, **how, **settings)
  return jit(run)(toys.params(), keys(64), toys.problems(64)[0])


RENEW = functools.partial(renewed, known=KNOWN, guide=NAME)


@pytest.mark.parametrize('first', [1, 3, 8, 16])
def test_the_best_by_agreement_is_the_majority_of_the_chains_that_count(first):
  tree = jit(lambda tree: RENEW(_noted(_few_letters(tree))[0]))(_sampled(best_of_n, 16))
  pick = functools.partial(
    choose, table=toys.TABLE, marker=TASK.marker, reads=TASK.reads, first=first, renew=RENEW
  )
  best, majority = (np.asarray(jit(functools.partial(pick, rule=rule))(tree)) for rule in RULES)
  np.testing.assert_array_equal(best, majority)
  if first == 3:  # the others would have had a say
    late = jit(functools.partial(pick, rule='best', renew=None))(tree)
    assert (np.asarray(late) != best).any()


RULES = ('best', 'majority')


@pytest.mark.long
def test_when_the_search_is_over_it_is_computed_anew():
  tree = _sampled(mcts, 12, candidates=3)
  now = np.asarray(jit(_noted)(tree)[0].scores[note_of(NAME)])
  done = np.asarray(tree.mask & tree.terminal)
  np.testing.assert_array_equal(
    np.where(done, now, 0), np.where(done, tree.scores[note_of(NAME)], 0)
  )
  expected = np.asarray(_all(tree)[0]).reshape(done.shape)
  np.testing.assert_allclose(np.where(done, tree.scores[NAME], 0), np.where(done, expected, 0))
  np.testing.assert_array_equal(tree.scores[GUIDE], tree.scores[NAME])
  # What the search had backed up is what was known then.
  reward = np.where(done, tree.reward, 0)
  assert (np.abs(reward - np.where(done, expected, 0)) > 0.05).any()


def test_what_a_guide_has_beside_it_stays():
  """Only what depends on the whole tree is written anew."""
  tree = _sampled(mcts, 12, candidates=3)
  tree = tree.replace(scores=tree.scores | {'length': jnp.full(tree.mask.shape, 0.25)})
  found = jit(functools.partial(renewed, known=KNOWN, guide='agreement * length'))(tree)
  np.testing.assert_array_equal(found.scores['length'], 0.25)
  np.testing.assert_allclose(found.scores[GUIDE], 0.25 * found.scores[NAME])


def test_tasks_whose_answers_cannot_agree():
  assert not lacks(TASK)
  assert lacks(TASK._replace(marker='')) == 'answers that can be the same'
  parts = [TASK._replace(name='one'), TASK._replace(name='two', marker='d')]
  mixed = mixture.task(parts=parts, shares=[1, 1])
  assert 'all of its parts share' in lacks(mixed)
  assert not lacks(mixture.task(parts=[parts[0], parts[0]._replace(name='two')], shares=[1, 1]))
