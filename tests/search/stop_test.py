"""Rules that stop a search: their laws for every search, in worlds where every value is known."""

import functools

import jax
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.reward import ANSWERS, OUTCOME, SCORES
from o1jax.reward.known import Texts
from o1jax.search import SEARCHES, STOPS, run, stop
from o1jax.tasks import countdown
from tests import toys
from tests.helpers import LINE, jit, keys, prompts, tiny
from tests.marks import some
from tests.worlds import random_world

R, MOST = 5, 6
METHODS = [name for name, row in SEARCHES.items() if not row.in_one_go]


@functools.cache
def program(method):
  """Of all gates of a value, and its world. No value is above 1."""
  row = SEARCHES[method]
  world = random_world(8, multiplicity=(1, 1, 1) if row.branches else (2, 1, 1), ends=0.3, seed=3)
  own = dict(max_steps=R, drawn=not row.branches, **row.settings | row.quiet)

  def search(world, keys, units, gate):
    stops = dict(rule='value', gate=gate)
    return world.search(method, keys, units=units, most=MOST, stop=stops, **own)

  return world, jit(search)


@functools.cache
def search(method, gate=2.0):
  world, run = program(method)
  return jax.device_get(run(world, keys(len(world.values)), MOST, gate))


@pytest.mark.parametrize('method', some(METHODS, 'gumbel', 'without_replacement', 'sequential'))
def test_what_is_stopped_is_a_beginning(method):
  """What is there is as in the whole search, which goes on. It was stopped where it was done."""
  whole, cut, shorter = search(method), search(method, 0.5), 0
  for b in range(len(whole.mask)):
    used = cut.expanded[b] >= 0
    for name in ('expanded', 'tokens', 'length', 'mask', 'value', 'terminal', 'path'):
      np.testing.assert_array_equal(*(getattr(tree, name)[b, used] for tree in (whole, cut)))
    assert not cut.mask[b, ~used].any() and not cut.length[b, ~used].any()
    done = (tree_lib.finished(cut)[b] & (cut.value[b] >= 0.5)).any()
    goes_on = (whole.expanded[b, ~used] >= 0).any()
    assert done or not goes_on
    shorter += goes_on
  assert shorter


def test_it_is_stopped_by_the_very_solution():
  """Where each slot is a call of its own, the last one holds it."""
  whole, cut = search('gumbel'), search('gumbel', 0.5)
  ends = []
  for b in range(len(whole.mask)):
    used = np.flatnonzero(cut.expanded[b] >= 0)
    done = (tree_lib.finished(cut)[b] & (cut.value[b] >= 0.5)).any(-1)
    if (whole.expanded[b] >= 0).sum() > len(used):
      ends.append(np.flatnonzero(done).tolist() == [used[-1]])
  assert ends and all(ends)


@pytest.mark.parametrize('method', some(METHODS, 'gumbel', 'without_replacement', 'sequential'))
def test_a_rule_never_spends_more_and_a_lower_gate_less(method):
  trees = [search(method, gate) for gate in (2.0, 0.9, 0.5, 0.1)]
  spent = [tree_lib.generated_tokens(tree) for tree in trees]
  assert all((more >= less).all() for more, less in zip(spent, spent[1:]))
  assert spent[-1].sum() < spent[0].sum()


@pytest.mark.parametrize('method', some(METHODS, 'gumbel', 'without_replacement', 'sequential'))
def test_a_problem_stops_alone_as_in_its_batch(method):
  world, run = program(method)
  count, together = len(world.values), search(method, 0.5)
  for b in range(2):
    own = np.full(count, b)
    alone = run(world._replace(values=world.values[own]), keys(count)[own], MOST, 0.5)
    for name in ('expanded', 'tokens', 'length', 'mask'):
      np.testing.assert_array_equal(getattr(together, name)[b], getattr(alone, name)[0])


def drawn_tree(answers, ended=True):
  """A tree of one finished solution a slot; answers [B, X], 0 = the slot is unused."""
  answers = np.asarray(answers)
  batch, slots = answers.shape
  tree = tree_lib.empty(batch, slots, 1, 2, 1, scores=(tree_lib.note(ANSWERS), stop.VERDICT))
  there = (answers > 0)[..., None]
  notes = answers[..., None].astype(np.float32)
  return tree.replace(
    mask=there, terminal=there & ended, scores=tree.scores | {tree_lib.note(ANSWERS): notes}
  )


def done(tree, rule, **settings):
  return np.asarray(STOPS[rule].done(tree, **{**STOPS[rule].settings, **settings})).tolist()


def test_a_share_of_enough_solutions_agrees():
  tree = drawn_tree([[7, 7, 7, 5], [7, 7, 5, 5], [7, 7, 0, 0], [0, 0, 0, 0]])
  assert done(tree, 'agreement', share=0.75, least=4) == [True, False, False, False]
  assert done(tree, 'agreement', share=0.5, least=4) == [True, True, False, False]
  assert done(tree, 'agreement', share=0.75, least=2) == [True, False, True, False]
  assert done(drawn_tree([[7, 7, 7, 7]], ended=False), 'agreement', share=0.5, least=1) == [False]


def test_consistency_is_the_posterior_of_the_two_most_frequent_answers():
  """With v votes to none the chance that the first is behind is 2^-(v+1). With 4 to 1 the
  Beta(5, 2) distribution has 7/64 below one half."""
  unanimous = drawn_tree([[7] * v + [0] * (5 - v) for v in range(6)])
  assert done(unanimous, 'consistency', sure=0.95) == [False] * 4 + [True] * 2
  assert done(unanimous, 'consistency', sure=0.74) == [False, True, True, True, True, True]
  split = drawn_tree([[7, 7, 7, 7, 5]])
  assert done(split, 'consistency', sure=57 / 64 - 1e-4) == [True]
  assert done(split, 'consistency', sure=57 / 64 + 1e-4) == [False]
  # The third answer says nothing of the first two.
  third = drawn_tree([[7, 7, 7, 7, 5, 3]])
  assert done(third, 'consistency', sure=57 / 64 - 1e-4) == [True]


def test_a_verdict_stops_where_it_calls_a_solution_right():
  tree = drawn_tree([[1, 1], [1, 1], [1, 1], [1, 1]])
  verdicts = np.array([[0, 1], [0, 0], [np.nan, 0], [np.inf, np.inf]], np.float32)[..., None]
  tree = tree.replace(scores=tree.scores | {stop.VERDICT: verdicts})
  assert done(tree, 'verifier') == [True, False, False, False]
  assert done(tree.replace(terminal=tree.terminal & False), 'verifier') == [False] * 4


TASK = countdown.task()._replace(marker='c', reads=16)
TEXTS = Texts(TASK, toys.TABLE, None)


@functools.cache
def of_model(method, rule=None):
  """A search of a model by a rule at its defaults; None = without the argument."""
  model, params = tiny(layers=1)
  stops = {} if rule is None else dict(stop=dict(rule=rule))
  verdict = {OUTCOME: lambda tree, ids: (ids % 2).astype(np.float32)} if rule == 'verifier' else {}
  search = functools.partial(run, SEARCHES[method], model, sampling=LINE, candidates=2, units=4)
  shape = dict(step_length=3, max_steps=4, texts=TEXTS)
  return jit(functools.partial(search, **shape, **stops, **verdict))(params, keys(), prompts())


@pytest.mark.long
def test_never_is_the_search_itself():
  jax.tree.map(np.testing.assert_array_equal, of_model('gumbel', stop.NEVER), of_model('gumbel'))


@pytest.mark.long
@pytest.mark.parametrize('rule', [name for name in STOPS if name != stop.NEVER])
def test_every_rule_reads_what_a_search_of_a_model_writes(rule):
  """And it is done where the finished tree of the whole search is."""
  whole, cut = of_model('sequential', stop.NEVER), of_model('sequential', rule)
  spent = [np.asarray(tree_lib.generated_tokens(tree)) for tree in (whole, cut)]
  assert (spent[1] <= spent[0]).all()
  over = np.asarray(STOPS[rule].done(cut, **STOPS[rule].settings))
  assert over[spent[1] < spent[0]].all()


def test_what_a_rule_reads_is_there():
  assert all(set(row.reads) <= SCORES.keys() for row in STOPS.values())


@pytest.mark.parametrize(
  'settings, words',
  [
    (dict(rule='bored'), "rule is 'bored': choose one of never, value"),
    (dict(gate=1.5), 'gate=1.5: give a number in'),
    (dict(share=-0.1), 'share=-0.1: give'),
    (dict(sure=95), 'sure=95: give'),
    (dict(least=0), 'least=0: give a whole number'),
    (dict(least=2.0), 'least=2.0: give a whole number'),
  ],
)
def test_what_cannot_stop_is_refused(settings, words):
  stop.check_stop(stop.defaults())
  with pytest.raises(ValueError) as error:
    stop.check_stop(stop.defaults() | settings)
  assert str(error.value).startswith(words)
