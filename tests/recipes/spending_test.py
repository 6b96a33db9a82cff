"""Tokens that a config asks become units by what a policy spends, on drawn costs."""

from types import SimpleNamespace

import numpy as np
import pytest

from configs import quickstart
from o1jax.recipes import spending
from o1jax.recipes.experiment import Asked
from o1jax.recipes.searches import row_of, row_of_method
from o1jax.recipes.settings import complete
from o1jax.recipes.spending import (
  answer_units,
  measured_budgets,
  spent_points,
  units_expected,
  units_measured,
)
from o1jax.search import Budget


def config():
  """The quickstart's chains and MCTS, asked for the same tokens."""
  c = quickstart.get_config()
  for row in (c.evaluate.searches.chains, c.evaluate.searches.gumbel):
    row.tokens = (100, 200, 400, 800, 1600)
  c.evaluate.answer.search = 'chains'
  return complete(c)


CONFIG = config()
STEP = 16.0
ROOM = CONFIG.evaluate.searches.chains.most
GREEDY = np.full(100, 96.0)  # tokens of the greedy solutions of the test problems


@pytest.fixture(autouse=True)
def step(monkeypatch):
  monkeypatch.setattr(spending, 'tokens_of_a_step', lambda experiment: STEP)


class Evaluator:
  """Spends what a cost says, and has no verdict to read."""

  batch = 32

  def __init__(self, cost):
    self.cost, self.asked = cost, []

  def __call__(self, params, *data, readouts, spend, of, kept, watch):
    assert params == 'params' and of == spending.FIRST and kept == {}
    self.asked.append(spend)
    watch(of)
    return SimpleNamespace(tokens=np.full(of, self.cost(spend)))


def run_with(evaluator, config=CONFIG):
  return SimpleNamespace(
    experiment=SimpleNamespace(config=config, key='key'),
    programs=SimpleNamespace(evaluator=lambda search, problems: evaluator),
  )


def asked_of(name, cost, config=CONFIG, **settings):
  evaluator = Evaluator(cost)
  how = dict(greedy=GREEDY, kept={}, who='evaluate learned') | settings
  asked = Asked('test', ['problem'] * 100, ('prompt', 'reference'))
  row, run = row_of(config, name), run_with(evaluator, config)
  return measured_budgets(run, row, 'params', asked, **how), evaluator.asked


COSTS = {
  'affine': lambda units: 70.0 + 22.0 * units,
  'concave': lambda units: 90.0 * units**0.7,
  'dear': lambda units: 40.0 + 31.0 * units,
}


@pytest.mark.parametrize('shape', COSTS)
def test_what_a_tree_spends_is_what_was_asked(shape):
  cost = COSTS[shape]
  budgets, asked = asked_of('gumbel', cost)
  assert [budget.tokens for budget in budgets] == [100, 200, 400, 800, 1600]
  for tokens, units in budgets:
    room = max(0.1 * tokens, abs(cost(units + 1) - cost(units)) / 2)
    assert abs(cost(units) - tokens) <= room or units in (1, 80)
  assert len(asked) == len(set(asked)) <= 12
  assert asked_of('gumbel', cost) == (budgets, asked)  # as another process, or when it resumes


def test_chains_cost_the_same_so_that_one_search_tells_all():
  budgets, asked = asked_of('chains', lambda spend: ROOM * 103.0)
  assert budgets == [Budget(n, round(n / 103)) for n in (100, 200, 400, 800, 1600)]
  assert asked == [None]


def test_where_all_problems_take_longer_than_the_first_that_is_reckoned_with():
  # The first 64 of 100 problems have solutions of 80 tokens, all of them 110 in the mean.
  greedy = np.where(np.arange(100) < 64, 80.0, 163 + 1 / 3)
  budgets, _ = asked_of('chains', lambda spend: ROOM * 80.0, greedy=greedy)
  assert budgets == [Budget(n, round(n / 110)) for n in (100, 200, 400, 800, 1600)]
  budgets, _ = asked_of('gumbel', lambda units: 20.0 * units, greedy=greedy)
  assert budgets[2] == Budget(400, round(400 / (20 * 110 / 80)))


def test_units_that_were_asked_are_not_measured():
  config = CONFIG.copy_and_resolve_references().unlock()
  config.evaluate.searches.gumbel.update(tokens=(), units=(1, 32))
  budgets, asked = asked_of('gumbel', None, config)
  assert (budgets, asked) == ([Budget(0, 1), Budget(0, 32)], [])
  config.evaluate.searches.gumbel.tokens = (400,)
  budgets, asked = asked_of('gumbel', COSTS['affine'], config)
  assert budgets == [Budget(400, 15), Budget(0, 1), Budget(0, 32)] and asked


@pytest.mark.parametrize('name, room', [('chains', f'{ROOM} chains'), ('gumbel', '80 simulations')])
def test_a_search_without_the_room_is_told(capsys, name, room):
  budgets, _ = asked_of(name, lambda units: 10.0 * (units or ROOM))
  assert budgets[-1].units == {'chains': ROOM, 'gumbel': 80}[name]
  (line,) = (line for line in capsys.readouterr().err.splitlines() if 'has room' in line)
  assert 'asked for 1,600 tokens, it spends' in line
  assert line.endswith(f'has room for {room}: raise config.evaluate.searches.{name}.most')


@pytest.mark.parametrize('name', ['chains', 'gumbel'])
def test_a_search_that_cannot_spend_so_little_is_told(capsys, name):
  for one, told in ((170.0, 1), (100.0, 0)):
    budgets, _ = asked_of(name, lambda units, one=one: one * (units or ROOM))
    assert budgets[0] == Budget(100, 1)
    lines = [line for line in capsys.readouterr().err.splitlines() if 'no less' in line]
    assert len(lines) == told and all('for 100 tokens, it spends 170,' in line for line in lines)


def test_what_a_search_shows_becomes_units_for_tokens():
  chains, trees = row_of(CONFIG, 'chains'), row_of(CONFIG, 'gumbel')
  whole = SimpleNamespace(tokens=ROOM * np.array([95.0, 105.0]))
  assert spent_points(chains, [Budget(100, 1), Budget(800, 8)], whole) == [[1, 100.0], [8, 800.0]]
  assert spent_points(trees, [Budget(1600, 64)], whole) == [[64, 100.0 * ROOM]]
  # Four draws of all chains were paid for.
  again = chains._replace(draws=(0, 1, 2, 3))
  assert spent_points(again, [Budget(100, 1)], whole) == [[1, 25.0]]
  spent = dict(
    initialised=dict(chains=[[1, 100.0], [8, 800.0]], gumbel=[[64, 1600.0]]),
    learned=dict(chains=[[1, 50.0]]),
  )
  assert units_measured(spent, 'initialised', chains, 400) == 4
  assert units_measured(spent, 'learned', chains, 400) == 8
  assert units_measured(spent, 'learned', chains, 3) == 1
  # What one policy did not show another did.
  assert units_measured(spent, 'learned', trees, 800) == 32
  assert units_measured(spent, 'learned', row_of_method(CONFIG, 'beam'), 800) is None
  assert units_measured({}, 'learned', trees, 800) is None


def test_without_a_measurement_the_steps_of_the_demonstrations_tell():
  run, trees = run_with(None), row_of(CONFIG, 'gumbel')
  # (1 + units) expansions of 4 candidates, and half a solution of 6 steps.
  assert units_expected(run.experiment, trees, (1 + 20) * 4 * STEP + 3 * STEP) == 20
  assert units_expected(run.experiment, row_of(CONFIG, 'chains'), 5 * 6 * STEP) == 5
  assert units_expected(run.experiment, row_of(CONFIG, 'chains'), 500, solution=100.0) == 5
  assert answer_units(run, trees, 'learned', {}) == units_expected(run.experiment, trees, 1000)
  measured = dict(learned=dict(gumbel=[[10, 500.0]]))
  assert answer_units(run, trees, 'learned', measured) == 20
  assert answer_units(run, trees, 'learned', dict(learned=dict(gumbel=[[1, 1.0]]))) == trees.most
  asked = CONFIG.copy_and_resolve_references().unlock()
  asked.evaluate.answer.update(tokens=0, units=7)
  assert answer_units(run_with(None, asked), trees, 'learned', measured) == 7
