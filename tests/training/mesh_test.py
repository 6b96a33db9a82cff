"""Several devices do what one does, each on problems of its own."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax import fused
from o1jax.learning.objective import Weights
from o1jax.learning.optimizer import build_optimizer, init_state
from o1jax.learning.supervised import supervised_update
from o1jax.search.mcts import mcts
from o1jax.training import mesh as mesh_lib
from o1jax.training.mesh import VECTORS, by_problem, cores, data_mesh, everywhere, placed, prepare_cpu, spread
from o1jax.types import Sequences
from tests import toys

BATCH, KEY = 4, jax.random.key(5)


@pytest.mark.parametrize('batches, count', [((4,), 2), ((4, 6), 2), ((4, 3), 1), ((1,), 1)])
def test_a_mesh_has_as_many_devices_as_divide_all_batches(batches, count):
  assert jax.device_count() == 2
  assert data_mesh(*batches).size == count


def test_no_core_is_counted_that_a_container_may_not_use(monkeypatch, tmp_path):
  quota = tmp_path / 'cpu.max'
  monkeypatch.setattr(mesh_lib, 'QUOTA', quota)
  monkeypatch.setattr(mesh_lib.os, 'sched_getaffinity', lambda _: set(range(8)), raising=False)
  counted = [cores()]
  for text in ('300000 100000', 'max 100000', '50000 100000', '1600000 100000'):
    quota.write_text(text)
    counted.append(cores())
  assert counted == [8, 3, 8, 1, 8]


@pytest.mark.parametrize(
  'before, after',
  [
    ('', VECTORS),
    ('--xla_a=1', f'--xla_a=1 {VECTORS}'),
    ('--xla_cpu_prefer_vector_width=256', '--xla_cpu_prefer_vector_width=256'),
  ],
)
def test_flags_that_the_user_set_stay(monkeypatch, before, after):
  told = {}
  monkeypatch.setattr(mesh_lib.jax.config, 'update', told.__setitem__)
  monkeypatch.setenv('XLA_FLAGS', before)
  prepare_cpu()
  assert mesh_lib.os.environ['XLA_FLAGS'] == after
  assert told == {'jax_num_cpu_devices': cores()}


def search(params, keys, prompt, reference=None):
  return mcts(
    toys.MODEL, params, keys, prompt, simulations=3, candidates=2, sampling=toys.SAMPLING, step_length=3, max_steps=2,
    gumbel_scale=0.0,
  )  # fmt: skip


@pytest.fixture(scope='module')
def problems():
  return toys.problems(BATCH)


@pytest.fixture(scope='module')
def shared(problems):
  """The search as two devices share it, compiled."""
  mesh = data_mesh(BATCH)
  params = placed(toys.params(), everywhere(mesh))
  data = placed((fused.problem_keys(KEY, BATCH), problems[0]), by_problem(mesh))
  return jax.jit(spread(search, mesh)).lower(params, *data).compile()


def test_devices_search_their_own_problems_and_find_the_same(shared, problems):
  args = toys.params(), fused.problem_keys(KEY, BATCH), problems[0]
  tree = shared(*jax.device_put(args, shared.input_shardings[0]))
  assert len(tree.tokens.sharding.device_set) == 2
  alone = jax.jit(search)(*args)
  for name in ('tokens', 'expanded', 'visits', 'mask'):
    np.testing.assert_array_equal(getattr(tree, name), getattr(alone, name))
  jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-5), tree, alone)


def test_devices_that_search_do_not_talk(shared):
  assert not re.findall(r'all-reduce|all-gather|all-to-all|collective|reduce-scatter', shared.as_text())


def test_the_fused_update_is_the_same_on_two_devices(problems):
  optimizer = build_optimizer(learning_rate=0.01, steps=10, name='adamw')
  weights = jax.tree.map(jnp.float32, Weights(clone=1.0, distill=1.0, gradient=1.0, value=1.0))
  states = []
  for mesh in (None, data_mesh(BATCH // 2)):
    sharing = {} if mesh is None else dict(sharding=by_problem(mesh))
    update = fused.search_and_learn(
      toys.MODEL, search=search if mesh is None else spread(search, mesh), outcome=toys.OUTCOME, optimizer=optimizer,
      batch=BATCH, minibatches=2, **sharing,
    )  # fmt: skip
    args = init_state(toys.params(), optimizer), *problems, KEY, weights
    state, metrics = update(*(args if mesh is None else jax.device_put(args, everywhere(mesh))))
    states.append((state.params, metrics))
  assert all(len(x.sharding.device_set) == 2 for x in jax.tree.leaves(states[1]))
  moved = jax.tree.map(lambda x, y: float(jnp.abs(x - y).max()), states[0][0], toys.params())
  assert max(jax.tree.leaves(moved)) > 1e-4
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=2e-5), *states)


def test_a_supervised_update_is_the_same_on_two_devices():
  optimizer, mesh = build_optimizer(learning_rate=0.01, steps=10, name='adamw'), data_mesh(BATCH)
  rng = np.random.default_rng(0)
  tokens, segment = rng.integers(0, 5, (BATCH, 6)).astype(np.int32), np.array([[1, 1, 1, 2, 2, 2]] * BATCH, np.int32)
  rows = Sequences(tokens, np.full(BATCH, 6, np.int32), rng.random((BATCH, 6)) < 0.7, segment)
  alone = supervised_update(toys.MODEL, optimizer)(init_state(toys.params(), optimizer), rows)
  state = jax.device_put(init_state(toys.params(), optimizer), everywhere(mesh))
  shared = supervised_update(toys.MODEL, optimizer, sharding=everywhere(mesh))(
    state, jax.device_put(rows, by_problem(mesh))
  )
  assert all(len(x.sharding.device_set) == 2 for x in jax.tree.leaves(shared))
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=2e-5), alone, shared)
