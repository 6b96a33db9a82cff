"""What the evaluation makes of a run's problems."""

from types import SimpleNamespace

import numpy as np
import pytest

from configs import quickstart
from o1jax.recipes import measure
from o1jax.recipes.measure import Made, policies_made
from o1jax.recipes.settings import complete
from o1jax.runtime.config import ConfigDict, ConfigError
from o1jax.tasks import cipher, countdown, mixture


def test_a_mixture_is_measured_by_its_parts_and_as_a_whole():
  parts = countdown.task(numbers=3), cipher.task(), cipher.task()._replace(name='absent')
  mixed = mixture.task(parts=parts, shares=(1, 2, 1e-6))
  found = measure.by_task(mixed, mixed.problems('test', 6, 0))
  assert [task.name for task, _ in found] == ['countdown', 'cipher', 'mixture']
  one, other, both = (own for _, own in found)
  assert (one.sum(), other.sum()) == (2, 4) and (one ^ other).all() and both.all()
  ((task, own),) = measure.by_task(parts[1], parts[1].problems('test', 3, 0))
  assert task is parts[1] and own.tolist() == [True] * 3


def test_the_ciphers_sentences_are_fixed_problems():
  assert cipher.task().fixed == (cipher.EXAMPLE, cipher.STRAWBERRY)


class TestPolicies:
  """A run in which some stages have ended."""

  def run(self, *made, policies=('initialised', 'learned', 'control')):
    config = complete(quickstart.get_config('smoke')).copy_and_resolve_references().unlock()
    for name in set(config.evaluate.policies) - set(policies):
      del config.evaluate.policies[name]
    return SimpleNamespace(experiment=SimpleNamespace(config=config), made=made.__contains__)

  def test_all_that_were_made_are_measured(self, capsys):
    found = policies_made(self.run('initialise', 'reward', 'control', 'learn'))
    assert found == [
      Made('initialised', 'reward', critic=True),
      Made('learned', 'learn', critic=True),
      Made('control', 'control', critic=True),
    ]
    assert capsys.readouterr().err == ''

  def test_without_a_reward_stage_the_initialised_one_has_no_critic(self, capsys):
    found = policies_made(self.run('initialise'))
    assert found == [Made('initialised', 'initialise', critic=False)]
    assert capsys.readouterr().err.splitlines() == [
      'evaluate: learned is not measured, since the stage learn has not made it',
      'evaluate: control is not measured, since the stage control has not made it',
    ]

  @pytest.mark.parametrize(
    'made, policies', [((), ('initialised',)), (('initialise', 'reward'), ('learned',))]
  )
  def test_nothing_to_measure_is_an_error_that_names_the_stages(self, made, policies):
    with pytest.raises(
      ConfigError, match='nothing to measure.*of the stages (reward|learn).*FOLDER:STAGE'
    ) as error:
      policies_made(self.run(*made, policies=policies))
    assert '\n' not in str(error.value)

  def test_what_reads_an_untrained_critic_is_left_out_with_a_word(self, capsys):
    run = self.run('initialise')
    planned = measure._planned(run, Made('initialised', 'initialise', critic=False))
    assert [(row.name, read) for row, read in planned] == [('chains', ['majority'])]
    (line,) = capsys.readouterr().err.splitlines()
    read = 'prm*likelihood'
    told = f'weighted:{read}, best:{read}, gumbel:weigh={read} of initialised is left out'
    assert told in line
    whole = measure._planned(run, Made('initialised', 'reward', critic=True))
    assert [(row.name, read) for row, read in whole] == [
      ('chains', ['weighted', 'majority', 'best']),
      ('gumbel', ['weighted']),
    ]
    assert capsys.readouterr().err == ''


class TestDrawn:
  @pytest.mark.parametrize(
    'answer, nearest',
    [
      (dict(search='gumbel', tokens=900, units=0), ('gumbel', 16)),
      (dict(search='gumbel', tokens=0, units=9), ('gumbel', 8)),
      (dict(search='beam', tokens=0, units=9), ('beam', 1)),
    ],
  )
  def test_is_the_search_nearest_to_the_one_that_answers(self, answer, nearest):
    run = SimpleNamespace(
      experiment=SimpleNamespace(config=ConfigDict(dict(evaluate=dict(answer=answer))))
    )
    searched = {('gumbel', 8): 400.0, ('gumbel', 16): 800.0, ('beam', 1): 900.0}
    far = {
      measure._from_answer(
        *(run, SimpleNamespace(name=name), units, SimpleNamespace(tokens=np.array([tokens])))
      ): (name, units)
      for (name, units), tokens in searched.items()
    }
    assert far[min(far)] == nearest
