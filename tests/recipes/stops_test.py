"""Rules that stop a search, in configs and results: what rows are called, and what is refused."""

import dataclasses

import pytest

from configs import quickstart
from o1jax.evaluation.methods import method, without_rule
from o1jax.recipes.build import build, check_evaluate
from o1jax.recipes.idle import idle
from o1jax.recipes.programs import answers_told, reading
from o1jax.recipes.searches import rows_of
from o1jax.recipes.settings import complete
from o1jax.runtime.config import ConfigError
from o1jax.search import STOPS
from o1jax.search.allocate import DEFAULTS, SIGNALS


def config(argument='', **rows):
  """The quickstart's, with rows of searches changed or added: copies of gumbel with changes. What
  weighs solutions is in no name."""
  c = quickstart.get_config(argument)
  c.evaluate.searches.gumbel.weigh = ''
  for name, changes in rows.items():
    row = c.evaluate.searches.get(name, c.evaluate.searches.gumbel).copy_and_resolve_references()
    if 'method' in changes:
      del row.candidates
    with row.unlocked():
      row.update(changes)
    c.evaluate.searches[name] = row
  c.evaluate.policies.initialised.searches = tuple(c.evaluate.searches)
  return c


def test_a_stopped_search_is_called_so():
  full = complete(
    config(
      early=dict(stop=dict(rule='value')),
      told=dict(stop=dict(rule='verifier')),
      rounds=dict(method='sequential', choices=('majority', 'best'), stop=dict(rule='agreement')),
      plain=dict(method='sequential', choices=('majority', 'best')),
      strict=dict(method='sequential', stop=dict(rule='value', gate=0.5)),
      loose=dict(method='sequential', stop=dict(rule='value', gate=0.4)),
    )
  )
  rows = {row.name: row for row in rows_of(full, 'initialised')}
  names = {name: list(row.labels.values()) for name, row in rows.items()}
  assert names['early'] == ['gumbel:stop=value'] and names['gumbel'] == ['gumbel']
  assert names['plain'] == ['sequential', 'sequential:best']
  assert names['rounds'] == ['sequential:stop=agreement', 'sequential:best:stop=agreement']
  assert names['strict'] == ['sequential:stop=value:strict']
  words = {name: method(label[0]) for name, label in names.items()}
  assert words['early'].words == 'Gumbel MCTS, until a solution has a high value'
  assert words['strict'].words == 'chains in rounds, until a solution has a high value, strict'
  # Who is told a verdict is a ceiling, and who reads no critic needs none.
  assert [name for name, row in words.items() if row.oracle] == ['told']
  read = {name: rows[name].reads_critic(next(iter(rows[name].labels))) for name in rows}
  assert not read['rounds'] and not read['plain'] and read['strict'] and read['early']
  assert not words['rounds'].critic and words['strict'].critic


def test_the_program_knows_its_rule_and_who_is_told(tmp_path):
  experiment = build(config('smoke', told=dict(stop=dict(rule='verifier'))), tmp_path)
  rows = {row.name: row.search for row in rows_of(experiment.config, 'initialised')}
  assert rows['told'].stop == (('rule', 'verifier'),) and rows['gumbel'].stop == ()
  assert rows['told'].oracle and not rows['gumbel'].oracle
  assert answers_told(experiment, rows['gumbel']) == {}
  assert answers_told(experiment, rows['told']) == dict(outcome=experiment.verifier.outcome)


def test_a_search_that_shares_is_called_so_and_told_how_easy_problems_look(tmp_path):
  shared = dict(allocate=dict(rule='hardest'), stop=dict(rule='value'))
  experiment = build(config('smoke', shared=shared), tmp_path)
  rows = {row.name: row for row in rows_of(experiment.config, 'initialised')}
  assert rows['shared'].labels == dict(weighted='gumbel:allocate=hardest:stop=value')
  words = method('gumbel:allocate=hardest:stop=value').words
  assert words == 'Gumbel MCTS, more for hard problems, until a solution has a high value'
  assert dict(rows['shared'].allocate) == DEFAULTS | dict(rule='hardest')
  assert rows['gumbel'].allocate == () and rows['gumbel'].search.ease == ''
  ease = [reading(experiment, rows[name].search).ease for name in ('shared', 'gumbel')]
  assert ease == [SIGNALS[DEFAULTS['by']].ease, None]
  assert 'allocate' not in experiment.config.evaluate.searches.chains


def test_what_another_rule_reads_is_idle():
  full = complete(config(early=dict(stop=dict(rule='value'))))
  keys = {each.key.removeprefix('evaluate.searches.') for each in idle(full)}
  own = {key for row in STOPS.values() for key in row.settings}
  assert {f'gumbel.stop.{key}' for key in own} < keys
  assert {key for key in own if f'early.stop.{key}' not in keys} == {'gate'}
  assert 'stop' not in full.evaluate.searches.chains


def test_a_pruned_search_is_called_apart():
  both = dict(prune=dict(below=0.2), stop=dict(rule='value'))
  full = complete(config(pruned=dict(prune=dict(below=0.2)), both=both))
  rows = {row.name: row for row in rows_of(full, 'initialised')}
  assert rows['pruned'].labels == dict(weighted='gumbel:pruned')
  assert dict(rows['pruned'].search.prune) == dict(below=0.2, of_best=0.0, sure=0.0)
  assert rows['gumbel'].search.prune == () and rows['gumbel'].labels == dict(weighted='gumbel')
  assert rows['both'].labels == dict(weighted='gumbel:pruned:stop=value')
  assert without_rule('gumbel:pruned:stop=value') == 'gumbel:pruned'
  assert 'prune' not in full.evaluate.searches.chains


MISTAKES = [
  (
    dict(gumbel=dict(allocate=dict(rule='rich'))),
    "searches.gumbel.allocate.rule is 'rich': choose",
  ),
  (
    dict(gumbel=dict(allocate=dict(ratio=9.0))),
    'searches.gumbel.allocate.ratio=9.0 has no effect: choose another config.evaluate.searches.gum',
  ),
  (
    dict(chains=dict(allocate=dict(rule='middle'))),
    "searches.chains.allocate.rule='middle': best_of_n spends as much on each problem; use",
  ),
  (dict(gumbel=dict(prune=dict(below=1.2))), 'searches.gumbel.prune.below=1.2: give a number'),
  (dict(gumbel=dict(prune=dict(below=0.5, sure=0.4))), 'searches.gumbel.prune.sure=0.4: nodes'),
  (
    dict(chains=dict(prune=dict(of_best=0.5))),
    'searches.chains.prune.of_best=0.5 has nothing to prune: best_of_n samples whole',
  ),
  (
    dict(grafts=dict(method='ab_mcts', prune=dict(sure=0.5))),
    'searches.grafts.prune.sure=0.5 has no effect: ab_mcts samples one candidate',
  ),
  (dict(gumbel=dict(stop=dict(rule='bored'))), "searches.gumbel.stop.rule is 'bored': choose one"),
  (dict(gumbel=dict(stop=dict(rule='value', gate=2.0))), 'searches.gumbel.stop.gate=2.0: give'),
  (
    dict(gumbel=dict(stop=dict(rule='value', share=0.9))),
    'searches.gumbel.stop.share=0.9 has no effect: set config.evaluate.searches.gumbel.stop.rule=',
  ),
  (
    dict(chains=dict(stop=dict(rule='agreement'))),
    "searches.chains.stop.rule='agreement' has nothing to stop: best_of_n samples all at once; use",
  ),
]


@pytest.mark.parametrize('rows, words', MISTAKES)
def test_a_rule_that_cannot_work_is_one_line(rows, words, tmp_path):
  with pytest.raises(ConfigError) as error:
    build(config('smoke', **rows), tmp_path)
  assert f'config.evaluate.{words}' in str(error.value) and '\n' not in str(error.value)


def test_programs_do_not_agree(tmp_path):
  """Each is an answer of its own."""
  made = build(config('smoke', gumbel=dict(stop=dict(rule='consistency'))), tmp_path)
  programs = dataclasses.replace(made, task=made.task._replace(marker=''))
  with pytest.raises(ConfigError, match="stop.rule='consistency' reads .* lacks answers that can"):
    check_evaluate(programs, 'evaluate', None)
