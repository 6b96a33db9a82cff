"""An evaluation that is interrupted goes on behind the last batch, and finds the same."""

import functools
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from o1jax.evaluation.accuracy import Evaluator, Reading, Readout
from o1jax.evaluation.verdicts import BY_PROBLEM
from o1jax.model.compute import search_bill
from o1jax.recipes import measure
from o1jax.recipes import searched as searched_lib
from o1jax.recipes.experiment import Asked
from o1jax.recipes.searched import Batches, Searched, forget
from o1jax.recipes.searches import Search
from o1jax.runtime.config import ConfigDict
from o1jax.search import Budget
from o1jax.search.choose import choose
from o1jax.verify.outcome import solution_bytes
from tests import toys
from tests.helpers import best_of_n

COUNT, BATCH, CHAINS = 11, 3, 2
CONFIG = ConfigDict(dict(seed=0, evaluate=dict(rows=BATCH)))
SEARCH = Search('best_of_n', CHAINS, ('best',))
READOUTS = [Readout('best', 'best', Budget(units=CHAINS), CHAINS)]


def searched(workdir, *, config=CONFIG, seed=0, policy='learned', split='test'):
  return Searched.of(workdir, config, toys.params(seed), policy, split)


@functools.cache
def evaluator():
  def search(params, keys, prompt):
    how = dict(units=CHAINS, sampling=toys.SAMPLING, step_length=3, max_steps=3)
    return best_of_n(toys.MODEL, params, keys, prompt, **how)

  reading = Reading(
    ('best',),
    verifier=toys.VERIFIER,
    choose=functools.partial(choose, table=toys.TABLE),
    spell=functools.partial(solution_bytes, table=toys.TABLE),
    cost=functools.partial(search_bill, toys.CONFIG),
    chains=True,
  )
  made = Evaluator(search, reading, batch=BATCH)
  made.compile(toys.params(), *toys.problems(COUNT, wanted='a'))
  return made


def evaluated(searched, *, draws=(0,), only=None, batches=None):
  """What an evaluation finds, and how many batches it searched; more than `batches` interrupt
  it."""
  made, ran = evaluator(), []

  def run(*given):
    if len(ran) == batches:
      raise KeyboardInterrupt
    ran.append(given)
    return made._compiled(*given)

  one = Evaluator(None, made._reading, batch=BATCH)
  one._compiled = _Counted(run, made._compiled.input_shardings)
  asked = Asked('test', [None] * COUNT, toys.problems(COUNT, wanted='a'))
  job = SimpleNamespace(
    programs=SimpleNamespace(evaluator=lambda *_: one),
    experiment=SimpleNamespace(key=jax.random.key(3)),
  )
  how = dict(draws=draws) if only is None else dict(draws=draws, only=only)
  search = functools.partial(measure._search, job, asked, toys.params(), searched)
  try:
    return search(SEARCH, READOUTS, 'a test', **how), len(ran)
  except KeyboardInterrupt:
    return None, len(ran)


class _Counted:
  def __init__(self, run, shardings):
    self._run, self.input_shardings = run, shardings

  def __call__(self, *given):
    return self._run(*given)


def assert_same(one, other):
  for name in {*BY_PROBLEM} - {'seconds'}:
    np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
  assert one.answers.keys() == other.answers.keys()
  for readout, mine in one.answers.items():
    np.testing.assert_array_equal(mine.chosen, other.answers[readout].chosen)
    np.testing.assert_array_equal(mine.verdict, other.answers[readout].verdict)
    assert mine.text == other.answers[readout].text
  jax.tree.map(np.testing.assert_array_equal, one.trees, other.trees)
  jax.tree.map(np.testing.assert_array_equal, tuple(one.states), tuple(other.states))


@pytest.mark.parametrize('draws', [(0,), (0, 2)])
def test_it_goes_on_where_it_was_interrupted(tmp_path, draws):
  whole, all_batches = evaluated(Searched(), draws=draws)
  assert all_batches == 4 * len(draws)
  assert evaluated(searched(tmp_path), draws=draws, batches=all_batches - 1)[0] is None
  found, ran = evaluated(searched(tmp_path), draws=draws)
  assert ran == 1
  assert_same(found, whole)


def test_other_problems_are_searched_anew(tmp_path):
  some = np.array([1, 4, 8, 10])
  evaluated(searched(tmp_path))
  found, ran = evaluated(searched(tmp_path), only=some)
  assert ran == 2
  assert_same(found, evaluated(Searched(), only=some)[0])
  assert evaluated(searched(tmp_path), only=some)[1] == 0
  assert evaluated(searched(tmp_path), only=some + [0, 1, 0, 0])[1] == 2


@pytest.mark.parametrize(
  'other',
  [
    dict(seed=1),
    dict(policy='control'),
    dict(split='validation'),
    dict(config=ConfigDict(dict(seed=0, evaluate=dict(rows=4)))),
  ],
)
def test_what_was_searched_otherwise_is_searched_again(tmp_path, other):
  evaluated(searched(tmp_path))
  assert evaluated(searched(tmp_path))[1] == 0
  assert evaluated(searched(tmp_path, **other))[1] == 4


def test_other_code_searches_again(tmp_path, monkeypatch):
  evaluated(searched(tmp_path))
  monkeypatch.setattr(searched_lib, '_code', lambda: b'another rule')
  assert evaluated(searched(tmp_path))[1] == 4


def test_settings_that_change_no_batch_may_differ(tmp_path):
  free = dict(stages=('evaluate',), verifier=dict(patience=9.0, workers=2, where='host'))
  config = ConfigDict(dict(CONFIG, verifier=dict(patience=1.0, workers=0, where='host')))
  evaluated(searched(tmp_path, config=config))
  assert evaluated(searched(tmp_path, config=ConfigDict(dict(CONFIG, **free))))[1] == 0
  free['verifier']['where'] = 'device'
  assert evaluated(searched(tmp_path, config=ConfigDict(dict(CONFIG, **free))))[1] == 4


def test_a_missing_verdict_is_asked_again(tmp_path):
  one = Batches(tmp_path)
  for start, unjudged in ((0, [0, 1]), (2, [0, 0])):
    one[start, CHAINS] = {'unjudged': np.array(unjudged)}, None
  assert one.keys() == {(0, CHAINS), (2, CHAINS)}
  assert Batches(tmp_path).keys() == {(2, CHAINS)}


def test_a_program_may_be_told_much(tmp_path):
  at = tuple(range(300))
  Batches(tmp_path)[at] = {'unjudged': np.zeros(1)}, None
  assert Batches(tmp_path).keys() == {at}


def test_a_tree_comes_back_as_it_was(tmp_path):
  whole, _ = evaluated(searched(tmp_path))
  tree = whole.trees.replace(scores=dict(guide=whole.trees.value), chain=2)
  Batches(tmp_path / 'one')[0, CHAINS] = {'unjudged': np.zeros(3)}, tree
  Batches(tmp_path / 'one')[3, CHAINS] = {'unjudged': np.zeros(2)}, None
  again = Batches(tmp_path / 'one')
  assert again.keys() == {(0, CHAINS), (3, CHAINS)} and again[3, CHAINS][1] is None
  part, found = again[0, CHAINS]
  assert (found.chain, found.chains) == (2, CHAINS) and type(found.chain) is int
  assert jax.tree.structure(found) == jax.tree.structure(tree)
  jax.tree.map(np.testing.assert_array_equal, found, tree)
  assert part.keys() == {'unjudged'} and part['unjudged'].tolist() == [0, 0, 0]


@pytest.mark.parametrize('damage', [lambda data: data[:-9], lambda data: b'', lambda data: b'no'])
def test_a_damaged_batch_is_searched_again(tmp_path, damage):
  evaluated(searched(tmp_path))
  one, *others = sorted(tmp_path.rglob('*.npz'))
  assert len(others) == 3
  one.write_bytes(damage(one.read_bytes()))
  assert evaluated(searched(tmp_path))[1] == 1


def test_what_is_forgotten_leaves_nothing(tmp_path):
  evaluated(searched(tmp_path))
  evaluated(searched(tmp_path, policy='control'))
  forget(tmp_path)
  assert list(tmp_path.iterdir()) == []
  forget(tmp_path)


def test_what_is_done_stays_searched_until_all_is(tmp_path, monkeypatch):
  made = [measure.Made(name, name, critic=False) for name in ('initialised', 'learned')]
  data = SimpleNamespace(asked=lambda split: Asked(split, [], None))
  config = SimpleNamespace(evaluate=SimpleNamespace(splits=('validation', 'test')))
  run = SimpleNamespace(
    workdir=tmp_path,
    experiment=SimpleNamespace(data=data, config=config),
    programs=SimpleNamespace(evaluator=lambda *_: None),
    params=lambda _: toys.params(),
    write_data=lambda *_: None,
  )
  interrupted = []

  def evaluate_policy(run, policy, planned, params, asked):
    if (policy.name, asked.split) == ('learned', 'test') and not interrupted:
      interrupted.append(True)
      raise KeyboardInterrupt
    evaluated(searched(tmp_path, policy=policy.name, split=asked.split))
    return measure.Measured(None, None, {})

  monkeypatch.setattr(measure, 'policies_made', lambda _: made)
  monkeypatch.setattr(measure, '_planned', lambda *_: [])
  monkeypatch.setattr(measure, 'evaluate_policy', evaluate_policy)
  monkeypatch.setattr(measure, 'measure_behaviours', lambda *_: {})
  with pytest.raises(KeyboardInterrupt):
    measure.evaluate(run)
  done = [('initialised', 'validation'), ('initialised', 'test'), ('learned', 'validation')]
  for policy, split in done:
    assert evaluated(searched(tmp_path, policy=policy, split=split))[1] == 0
  measure.evaluate(run)
  assert list(tmp_path.iterdir()) == []
