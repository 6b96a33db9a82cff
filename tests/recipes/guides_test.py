"""Searches under every guide: what their results are called, and guides that a task cannot give."""

import types

import pytest

from configs import calculator, guides, quickstart
from o1jax.evaluation.methods import method
from o1jax.recipes import build as build_lib
from o1jax.recipes.build import build
from o1jax.recipes.programs import reading
from o1jax.recipes.searches import rows_of
from o1jax.recipes.settings import complete
from o1jax.reward import SCORES
from o1jax.runtime.config import ConfigError
from o1jax.tasks import calculator as calculator_task
from o1jax.tasks import cipher, countdown, mixture


def test_results_are_called_apart_and_by_their_guide():
  rows = rows_of(complete(guides.get_config()), 'initialised')
  labels = [label for row in rows for label in row.labels.values()]
  assert len(set(labels)) == len(labels) == 1 + 3 * len(guides.GUIDES)
  words = [method(label).words for label in labels]
  assert len(set(words)) == len(words)
  assert {'majority', 'best', 'weighted', 'gumbel', 'best:top5', 'gumbel:critic*agreement'} <= {
    *labels
  }
  told = {label: method(label) for label in labels}
  assert told['best'].words == "critic's best"
  assert told['best:top5'].words == "top5's best"
  assert told['weighted:critic*agreement'].words == 'critic*agreement-weighted vote'
  assert told['gumbel:probe'].words == 'Gumbel MCTS by probe'
  assert method('gumbel:best:probe').words == "Gumbel MCTS, probe's best"
  assert method('gumbel:wide:probe').words == 'Gumbel MCTS, wide by probe'
  assert method('best:oracle').oracle and not told['best:top5'].oracle
  # What reads no critic says something where no stage has trained one.
  critic = lambda label: ':' not in label or 'critic' in label or 'prm' in label
  assert [label for label in labels if method(label).critic] == [
    label for label in labels if label != 'majority' and critic(label)
  ]


def test_every_guide_is_a_row():
  read = {name for guide in guides.GUIDES.values() for name in guide.split(' * ')}
  # A world gives feedback, and length alone is no guide.
  assert read == SCORES.keys() - {'feedback', 'length'}


def test_equal_guides_of_unlike_rows_are_called_apart():
  config = guides.get_config()
  config.evaluate.searches.gumbel_top5.candidates = 8
  config.evaluate.searches.wide = config.evaluate.searches.gumbel_top5.copy_and_resolve_references()
  config.evaluate.searches.wide.candidates = 4
  config.evaluate.policies.initialised.searches = ('gumbel_top5', 'wide')
  first, second = rows_of(complete(config), 'initialised')
  assert first.labels == dict(weighted='gumbel:top5:gumbel_top5')
  assert second.labels == dict(weighted='gumbel:top5:wide')


LACKING = [
  (countdown, 'feedback', 'countdown', 'lacks a world that tells of errors'),
  (cipher, 'heuristic', 'cipher', 'lacks a rule of thumb'),
  (cipher, 'probe', 'cipher', 'lacks a line in which a policy judges'),
]


@pytest.mark.parametrize('module, name, task, words', LACKING)
def test_a_score_that_a_task_cannot_give_is_refused(module, name, task, words):
  experiment = types.SimpleNamespace(task=module.task())
  for known in SCORES.keys() - {name, 'feedback', 'heuristic', 'probe'}:
    build_lib.check_scores(experiment, [known], 'here')
  with pytest.raises(ConfigError) as error:
    build_lib.check_scores(experiment, ['critic', name], 'config.x')
  assert str(error.value).startswith(f'config.x reads the score {name}, for which the task')
  assert repr(task) in str(error.value) and words in str(error.value)


def test_a_world_gives_feedback_and_a_mixture_of_one_what_its_task_does():
  one = mixture.task(parts=[countdown.task()], shares=[1])
  for task, names in ((calculator_task.task(), SCORES), (one, SCORES.keys() - {'feedback'})):
    build_lib.check_scores(types.SimpleNamespace(task=task), list(names), 'here')
  several = mixture.task(parts=[countdown.task(), cipher.task()], shares=[1, 1])
  with pytest.raises(ConfigError, match='mixture.* lacks a rule of thumb'):
    build_lib.check_scores(types.SimpleNamespace(task=several), ['heuristic'], 'here')


@pytest.mark.parametrize(
  'key, value, words',
  [
    ('evaluate.searches.gumbel.guide', 'critic * feedback', 'reads the score feedback'),
    ('learn.credit.reward.feedback', 1.0, 'config.learn.credit.reward reads the score feedback'),
    ('evaluate.searches.chains', dict(guide='agreement', flips=0.1), 'set flips=0'),
  ],
)
def test_it_is_refused_before_anything_is_compiled(tmp_path, key, value, words):
  config = quickstart.get_config('smoke')
  changes = {f'{key}.{k}': x for k, x in value.items()} if isinstance(value, dict) else {key: value}
  config = complete(config).unlock()
  config.update_from_flattened_dict(changes)
  with pytest.raises(ConfigError) as error:
    build(config, tmp_path)
  assert words in str(error.value) and '\n' not in str(error.value)


def test_a_guide_of_the_whole_tree_is_read_anew_for_fewer_chains(tmp_path):
  experiment = build(guides.get_config('smoke'), tmp_path)
  (rows,) = [rows_of(experiment.config, 'initialised')]
  anew = {row.guide: reading(experiment, row.search).choose.keywords['renew'] for row in rows}
  assert {guide for guide, renew in anew.items() if renew} == {'agreement', 'critic * agreement'}


def test_a_calculator_is_searched_by_feedback(tmp_path):
  config = calculator.get_config('smoke')
  for row in config.evaluate.searches.values():
    row.guide = 'feedback * confidence'
  build(config, tmp_path)
