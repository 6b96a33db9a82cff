"""Every loss that a config can weigh works in every stage that searches and learns."""

import jax
import numpy as np
import pytest

from configs import quickstart
from o1jax.learning import LOSSES
from o1jax.model.sharding import put_global
from o1jax.recipes.build import build, fresh_params
from o1jax.recipes.objectives import weights
from o1jax.recipes.programs import Programs
from o1jax.recipes.searches import GREEDY, GREEDY_SEARCH


@pytest.fixture(scope='module', params=['reward', 'learn'])
def stage(request):
  return request.param


@pytest.fixture(scope='module')
def weighed(stage, tmp_path_factory):
  """The programs of the smoke job, whose stage learns by all losses at once."""
  config = quickstart.get_config('smoke')
  section = config[stage]
  section.search.method, section.search.candidates = 'gumbel', 2
  section.learns = ('policy', 'critic')
  section.weights = quickstart.losses(**dict.fromkeys(LOSSES, 0.1))
  if stage == 'learn':
    section.credit.advantage = section.credit.value = 'gae'
  return Programs(build(config, tmp_path_factory.mktemp(stage)))


@pytest.mark.long
def test_every_loss_of_a_stage_is_learned_from_and_its_policy_is_measured(weighed, stage):
  e, program = weighed.experiment, weighed.searching(stage)
  data = put_global((*e.data.pool, e.key, weights(e.config[stage])), program.shardings[1:])
  start = fresh_params(e)
  before = jax.tree.map(np.array, start)
  state, metrics = program.update(program.start(start), *data)
  assert set(LOSSES) == {name.removeprefix('loss_') for name in metrics if name.startswith('loss_')}
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(metrics)), metrics
  assert metrics['skipped'].sum() == 0
  moved = jax.tree.map(lambda x, y: bool((np.asarray(x) != y).any()), state.params, before)
  assert all(jax.tree.leaves(moved)), moved
  # The evaluator was compiled for a policy, whatever it is trained with.
  validation = weighed.evaluator(GREEDY_SEARCH, e.data.validation)
  found = validation(state.params, *e.data.validation, e.key, readouts=[GREEDY])
  right = found.judged(GREEDY)
  assert right.shape == (len(e.data.validation[0].length),)
