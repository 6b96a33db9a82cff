"""The rows of a config's searches: what is asked of them, what their results are called, and what is
refused."""

import pytest

from configs import beam, quickstart
from o1jax.evaluation.methods import method
from o1jax.recipes.searches import (
  CHAINS,
  GREEDY_SEARCH,
  Search,
  check_searches,
  row_of,
  row_of_method,
  rows_of,
  searches_of,
)
from o1jax.recipes.settings import complete
from o1jax.runtime.config import ConfigDict, ConfigError
from o1jax.search import Budget


def quick():
  """The quickstart's chains and MCTS, guided by the critic alone."""
  c = quickstart.get_config()
  c.evaluate.searches.chains.guide, c.evaluate.searches.gumbel.weigh = 'critic', ''
  for name in ('chains', 'gumbel'):
    c.evaluate.searches[name].tokens = (100, 200, 400, 800, 1600)
  c.evaluate.policies.initialised.searches = ('chains', 'gumbel')
  c.evaluate.answer.search = 'gumbel'
  return c


def config(**changes):
  """The quickstart's, with changes below `evaluate`."""
  found = quick()
  for key, value in changes.items():
    found.update_from_flattened_dict({f'evaluate.{key.replace("__", ".")}': value})
  return complete(found)


def test_a_policy_is_measured_by_the_rows_that_it_names():
  full = config()
  chains, trees = rows_of(full, 'initialised')
  assert (chains.name, chains.method, trees.name, trees.method) == (
    *('chains', CHAINS),
    *('gumbel', 'gumbel'),
  )
  tokens = (100, 200, 400, 800, 1600)
  assert chains.budgets == trees.budgets == tuple(Budget(tokens=n) for n in tokens)
  assert rows_of(full, 'learned') == [] and searches_of(full, 'learned') == [GREEDY_SEARCH]
  # Chains are sampled once for all budgets, and one program serves all that trees spend.
  assert searches_of(full, 'initialised') == [
    GREEDY_SEARCH,
    Search(CHAINS, 24, ('weighted', 'majority', 'best') * 5, guide='critic'),
    Search('gumbel', 80, ('weighted',), (('candidates', 4), ('replacement', True))),
  ]


def test_tokens_and_units_may_be_asked_and_what_asks_neither_measures_nothing():
  asked = config(searches__gumbel__tokens=(400, 400), searches__gumbel__units=(32, 1))
  (_, trees) = rows_of(asked, 'initialised')
  assert trees.budgets == (Budget(tokens=400), Budget(units=32), Budget(units=1))
  silent = config(searches__gumbel__tokens=())
  assert [row.name for row in rows_of(silent, 'initialised')] == ['chains']


def test_readouts_of_chains_count_theirs_and_those_of_trees_all():
  chains, trees = rows_of(config(), 'initialised')
  budgets = [Budget(100, 1), Budget(200, 2)]
  found = [(r.method, r.rule, r.budget, r.chains) for r in chains.readouts(budgets)]
  assert found == [
    (rule, rule, budget, budget.units)
    for budget in budgets
    for rule in ('weighted', 'majority', 'best')
  ]
  (readout,) = trees.readouts(budgets[1:])
  assert tuple(readout) == ('gumbel', 'weighted', Budget(200, 2), 0, True)


def test_results_are_called_apart_where_they_mean_two_things():
  full = quick()
  wide = full.evaluate.searches.gumbel.copy_and_resolve_references()
  full.evaluate.searches.again = wide.copy_and_resolve_references()
  full.evaluate.searches.again.tokens = (50,)  # another budget of the same search
  labels = lambda name: row_of(complete(full), name).labels
  assert labels('gumbel') == labels('again') == dict(weighted='gumbel')
  full.evaluate.searches.gumbel.choices = full.evaluate.searches.again.choices = (
    *('weighted', 'best'),
  )
  assert labels('gumbel') == dict(weighted='gumbel', best='gumbel:best')
  wide.replacement = False
  full.evaluate.searches.wide = wide
  assert labels('gumbel') == dict(weighted='gumbel:gumbel', best='gumbel:best')
  assert labels('wide') == dict(weighted='gumbel:wide')
  assert labels('chains') == dict(majority='majority', best='best', weighted='weighted')
  assert method('gumbel:best').words == "Gumbel MCTS, critic's best" and method('gumbel:x').tree


def test_other_draws_of_chains_are_called_apart():
  full = quick()
  again = full.evaluate.searches.chains.copy_and_resolve_references()
  full.evaluate.searches.again = again
  assert row_of(complete(full), 'again').labels['majority'] == 'majority'
  again.draws = (1, 2)
  row = row_of(complete(full), 'again')
  assert row.draws == (1, 2) and row.labels['majority'] == 'majority:again'
  assert row.search == row_of(complete(full), 'chains').search  # one program


def test_a_row_that_is_named_twice_is_measured_once():
  twice = config(policies__learned__searches=('chains', 'gumbel', 'chains'))
  assert [one.name for one in rows_of(twice, 'learned')] == ['chains', 'gumbel']


def test_a_method_without_a_row_has_its_defaults():
  full = config()
  assert row_of_method(full, 'gumbel') == row_of(full, 'gumbel')
  assert row_of_method(full, CHAINS) == row_of(full, 'chains')
  other = row_of_method(full, 'beam')
  assert (other.name, other.method, other.budgets) == ('', 'beam', ())
  assert other.settings == (('aggregate', 'last'), ('candidates', 4))
  assert row_of_method(complete(beam.get_config()), 'beam').name == 'beam'


def test_a_search_that_is_told_verdicts_answers_no_question():
  with pytest.raises(ConfigError, match="the search is 'bisection', which is told verdicts"):
    row_of_method(complete(quick()), 'bisection')


MISTAKES = [
  (dict(searches__gumbel__method='astar'), "searches.gumbel.method is 'astar': choose one of"),
  (dict(searches__gumbel__choices=('loudest',)), "searches.gumbel.choices=('loudest',): choose"),
  (dict(searches__gumbel__choices=()), 'searches.gumbel.choices=(): choose'),
  (dict(searches__gumbel__tokens=(400, 0)), 'searches.gumbel.tokens=(400, 0): give whole'),
  (dict(searches__gumbel__units=('4-8',)), "searches.gumbel.units=('4-8',): give whole"),
  (dict(searches__gumbel__choice=('best',)), "no setting of gumbel: did you mean 'choices'?"),
  (dict(searches__gumbel__method='beam', searches__gumbel__aggregate='mean'), "'mean' is unknown"),
  (dict(searches__gumbel__method='lookahead', searches__gumbel__aggregate=''), "'' is unknown"),
  (dict(searches__gumbel__tokens=(0.5,)), 'searches.gumbel.tokens=(0.5,): give whole'),
  (dict(searches__gumbel__tokens=(True,)), 'searches.gumbel.tokens=(True,): give whole'),
  (dict(searches__chains__units=(-1,)), 'searches.chains.units=(-1,): give whole'),
  (dict(searches__chains__units=(1, 25)), 'has room for most=24: raise'),
  (dict(searches__chains__most=0), 'searches.chains.most=0: give at least 1'),
  (dict(searches__gumbel__candidates=1), 'searches.gumbel.candidates=1 leaves gumbel nothing'),
  (dict(searches__gumbel__replacement=0), 'searches.gumbel.replacement=0: give True or False'),
  (
    dict(searches__gumbel__method='rejection', searches__gumbel__alpha=1.0),
    'searches.gumbel.alpha=1.0 leaves no chain: give',
  ),
  (dict(searches__gumbel__method='bisection'), 'is told verdicts where it grows, so it is of'),
  (dict(policies__learned__searches=('gumble',)), "learned.searches names 'gumble': choose"),
  (dict(searches__chains__draws=()), 'searches.chains.draws=(): give different whole'),
  (dict(searches__chains__draws=(1, 1)), 'searches.chains.draws=(1, 1): give different whole'),
  (dict(searches__gumbel__draws=(0, 1)), 'of gumbel depend on each other, so those of several'),
  (dict(answer__search='beam'), "answer.search is 'beam': choose from"),
  (dict(answer__units=8), 'tokens=1000 and units=8: give one of them'),
  (dict(answer__tokens=0), 'tokens=0 and units=0: give one of them'),
  (dict(answer__tokens=-5), 'tokens=-5 and units=0: give one of them'),
  (
    dict(answer__tokens=0, answer__units=81),
    'the search gumbel has room for 80: raise config.eval',
  ),
]


@pytest.mark.parametrize('changes, words', MISTAKES)
def test_what_cannot_be_searched_is_one_line(changes, words):
  with pytest.raises(ConfigError) as error:
    check_searches(config(**changes))
  assert words in str(error.value) and '\n' not in str(error.value)
  assert str(error.value).startswith('config.evaluate')
  check_searches(config())


@pytest.mark.parametrize('key', ['tokens', 'units', 'draws', 'choices'])
def test_a_config_file_with_one_value_in_place_of_several_is_one_line(key):
  plain = quick().to_dict()
  plain['evaluate']['searches']['chains'][key] = 4
  with pytest.raises(ConfigError, match=f'searches.chains.{key}=4: give a tuple'):
    check_searches(complete(ConfigDict(plain)))


def test_without_a_policy_nothing_is_measured():
  config = quick()
  config.evaluate.policies = ConfigDict()
  with pytest.raises(ConfigError, match='config.evaluate.policies names none'):
    check_searches(complete(config))


def test_without_a_temperature_there_is_one_chain_and_no_tree():
  cold = quick()
  cold.sampling.temperature = 0.0
  with pytest.raises(ConfigError, match='temperature=0 makes all that config.evaluate.searches'):
    check_searches(complete(cold))
  cold.evaluate.searches = ConfigDict(dict(one=cold.evaluate.searches.chains))
  cold.evaluate.searches.one.most = 1
  cold.evaluate.policies.initialised.searches = ('one',)
  cold.evaluate.answer.search = 'one'
  check_searches(complete(cold))


@pytest.mark.parametrize('name, value', [('top_k', 5), ('top_p', 0.9)])
def test_without_replacement_all_tokens_are_sampled_from(name, value):
  config = quick()
  config.evaluate.searches.chains.method = 'without_replacement'
  check_searches(complete(config))
  config.sampling[name] = value
  with pytest.raises(ConfigError, match=f'{name}={value}.*samples without replacement'):
    check_searches(complete(config))


@pytest.mark.parametrize(
  'changes, message',
  [
    (dict(searches__gumbel__guide='critic + luck'), 'gumbel.guide: .* reads luck, which nothing'),
    (dict(searches__gumbel__guide='critic critic'), 'gumbel.guide: .* is no guide: write names'),
    (dict(searches__chains__flips=0.7), 'chains.flips=0.7: give a chance in .0, 0.5.'),
    (dict(searches__gumbel__weigh='critic + luck'), 'gumbel.weigh: .* reads luck, which nothing'),
    (dict(searches__gumbel__weigh='oracle'), 'gumbel.weigh: .* reads oracle, which nothing'),
    (
      dict(searches__gumbel__weigh='length', searches__gumbel__choices=('majority',)),
      "gumbel.weigh='length' has no effect: none of the choices majority weighs",
    ),
  ],
)
def test_a_guide_that_nobody_can_follow_is_refused(changes, message):
  with pytest.raises(ConfigError, match=message):
    check_searches(config(**changes))


def test_what_weighs_the_answers_is_told_and_billed():
  full = config(
    searches__gumbel__weigh='critic * length',
    searches__gumbel__guide='confidence',
    searches__gumbel__choices=('weighted', 'majority'),
  )
  _, trees = rows_of(full, 'initialised')
  weighed = 'gumbel:confidence:weigh=critic*length'
  assert trees.labels == dict(weighted=weighed, majority='gumbel:majority:confidence')
  assert trees.reads_critic('weighted') and not trees.reads_critic('majority')
  assert [readout.critic for readout in trees.readouts(trees.budgets[:1])] == [True, False]
  assert method(weighed).words == 'Gumbel MCTS by confidence, answers by critic*length'


def test_what_is_told_verdicts_is_called_an_oracle():
  full = config(searches__gumbel__guide='critic * oracle', searches__chains__guide='oracle')
  chains, trees = rows_of(full, 'initialised')
  assert trees.labels == dict(weighted='gumbel:critic*oracle') and trees.search.oracle
  assert not method('gumbel').oracle and method('gumbel:critic*oracle').oracle
  # A vote reads no guide.
  assert chains.labels == dict(majority='majority', best='best:oracle', weighted='weighted:oracle')
  assert method('best:oracle').oracle and not method('majority').oracle
  assert trees.reads_critic('weighted') and not chains.reads_critic('best')
