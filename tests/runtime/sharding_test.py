"""Eight devices (data 2, fsdp 2, tensor 2) do what one does, and what they say to each other is
what it must be."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.aot.hlo import collectives
from o1jax import fused
from o1jax.keys import of_problems
from o1jax.learning.draw import by_learnability, empty_record
from o1jax.learning.objective import Objective
from o1jax.learning.optimizer import build_optimizer, init_state
from o1jax.learning.supervised import supervised_update
from o1jax.model import forward
from o1jax.model.transformer import LanguageModel
from o1jax.runtime.mesh import (
  build_mesh,
  problem_sharding,
  replicated,
  sharded_search,
  state_sharding,
)
from o1jax.search import SEARCHES
from o1jax.search import run as run_search
from o1jax.types import Sequences
from tests import toys

pytestmark = pytest.mark.long
BATCH, POOL, LAYERS, KEY = 8, 24, 2, jax.random.key(5)
MODEL = LanguageModel(
  dataclasses.replace(
    toys.CONFIG, vocab_size=12, heads=4, kv_heads=2, layers=LAYERS, scan_layers=True, remat=True
  )
)
# Axes of different sizes tell along which of them a message goes.
MESHES = dict(
  one=dict(data=1),
  all=dict(data=2, fsdp=2, tensor=2),
  data=dict(data=8),
  uneven=dict(data=1, fsdp=4, tensor=2),
)
MIX = {name: jnp.float32(1.0) for name in ('clone', 'distill', 'gradient', 'value')}


def mesh_of(name):
  return build_mesh(BATCH, **MESHES[name], devices=jax.devices()[: 1 if name == 'one' else 8])


@functools.cache
def fresh():
  params = jax.jit(lambda: nn.unbox(forward.init(MODEL, jax.random.key(0))))()
  # Sharper than at the start, so that a rounding seldom changes what is sampled, and devices that
  # are wrong show.
  return jax.tree.map(np.asarray, jax.tree.map(lambda x: 2 * x if x.ndim > 1 else x, params))


def search(params, keys, prompt, reference=None, *, method='gumbel', **settings):
  method = SEARCHES[method]
  settings = dict(method.quiet) | settings
  return run_search(
    method,
    forward.decoder(MODEL),
    params,
    keys,
    prompt,
    units=3,
    candidates=2,
    sampling=toys.SAMPLING,
    step_length=3,
    max_steps=2,
    **settings,
  )


@functools.cache
def searched(name, **settings):
  """(tree, the text of the program) of a search by some devices."""
  mesh = mesh_of(name)
  prompt, _ = toys.problems(BATCH)
  params = jax.device_put(fresh(), state_sharding(MODEL, fresh(), mesh))
  data = jax.device_put((of_problems(KEY, BATCH), prompt), problem_sharding(mesh))
  with jax.set_mesh(mesh):
    run = (
      jax.jit(sharded_search(MODEL, functools.partial(search, **settings)))
      .lower(params, *data)
      .compile()
    )
  return run(params, *data), run.as_text()


def same(one, other, **tolerance):
  jax.tree.map(functools.partial(np.testing.assert_allclose, **tolerance), one, other)


@pytest.mark.parametrize('name', ['all', 'data'])
def test_devices_find_what_one_finds(name):
  one, several = searched('one')[0], searched(name)[0]
  assert (
    len(several.tokens.sharding.device_set) == 8 and (np.asarray(one.expanded)[:, 1:] >= 0).any()
  )
  for field in ('tokens', 'expanded', 'visits', 'mask'):
    np.testing.assert_array_equal(getattr(one, field), getattr(several, field))
  same(one, several, atol=1e-5)


def test_devices_that_search_problems_of_their_own_do_not_talk():
  assert collectives(searched('data')[1]) == []


def test_a_search_sends_what_the_model_splits_and_parameters_once():
  """Beyond the parameters, which are gathered before the first token, all messages are along
  `tensor`."""
  sent = collectives(searched('uneven')[1])
  whole = [
    one for one in sent if 'shard_map' not in one.scope
  ]  # before devices search problems of their own
  again = [one for one in sent if 'shard_map' in one.scope]
  assert {one.group for one in again} == {2} and any(one.turns > 1 for one in again)
  rows = BATCH // 4 * 2  # of the hidden states of one token
  assert (
    max(one.size for one in again if one.turns > 1) <= 2 * 4 * rows * MODEL.config.width
  )  # some go together
  assert {(one.kind, one.turns, one.group) for one in whole} == {('all-gather', 1, 4)}
  own = state_sharding(MODEL, fresh(), mesh_of('uneven'))
  pairs = zip(jax.tree.leaves(fresh()), jax.tree.leaves(own))
  parts = [
    np.prod(lie.shard_shape(x.shape)) * x.itemsize for x, lie in pairs if 'fsdp' in str(lie.spec)
  ]
  assert len(parts) == 7 + 1 + 1 and sum(one.size for one in whole) == 4 * sum(parts)


@pytest.mark.parametrize(
  'without, noise',
  [
    (dict(), dict(gumbel_scale=1.0)),
    (dict(method='puct'), dict(dirichlet_fraction=0.5)),
  ],
)
def test_noise_belongs_to_a_problem_wherever_it_is_searched(without, noise):
  one, several = (searched(name, **without | noise)[0] for name in ('one', 'data'))
  for field in ('tokens', 'expanded', 'visits'):
    np.testing.assert_array_equal(getattr(one, field), getattr(several, field))
  assert (np.asarray(one.visits) != searched('one', **without)[0].visits).any()


def updated(name, build, optimizer, *data, split=False):
  """(parameters and metrics after an update by some devices, the text of its program)."""
  mesh = mesh_of(name)
  record = None if split else empty_record(POOL)
  state = init_state(jax.tree.map(jnp.asarray, fresh()), optimizer, record=record)
  own = state_sharding(MODEL, state, mesh)
  data = jax.device_put(data, problem_sharding(mesh) if split else replicated(mesh))
  with jax.set_mesh(mesh):
    run = build(sharding=(own, replicated(mesh))).lower(jax.device_put(state, own), *data).compile()
  after, _ = run(jax.device_put(state, own), *data)
  after, metrics = run(after, *data)  # at the first step the learning rate is 0
  assert jax.tree.map(lambda x: x.sharding, after) == own
  found = metrics if split else metrics | vars(after.record)
  return (after.params, found), run.as_text()


def learns_the_same(one, several):
  moved = jax.tree.map(lambda x, y: float(np.abs(x - y).max()), one[0]['policy'], fresh()['policy'])
  assert min(jax.tree.leaves(moved)) > 1e-5
  same(one, several, rtol=1e-3, atol=3e-5)


@functools.cache
def fused_update(name, tokens):
  optimizer = build_optimizer(learning_rate=0.01, steps=10, name='adamw')
  build = functools.partial(
    fused.search_and_learn,
    MODEL,
    search=sharded_search(MODEL, search),
    outcome=toys.OUTCOME,
    optimizer=optimizer,
    batch=2 * BATCH,
    draw=by_learnability,
    minibatches=2,
    objective=Objective(tokens=tokens),
  )
  return updated(name, build, optimizer, *toys.problems(POOL), KEY, MIX)


@pytest.mark.parametrize('name, tokens', [('all', 0), ('uneven', 20)])
def test_a_fused_update_and_its_record_are_the_same(name, tokens):
  learns_the_same(fused_update('one', tokens)[0], fused_update(name, tokens)[0])


def test_the_search_of_an_update_sends_nothing_but_parameters_beyond_tensor():
  sent = [one for one in collectives(fused_update('uneven', 20)[1]) if 'search' in one.scope]
  assert {one.group for one in sent if one.turns > 1} == {2}
  assert {one.turns for one in sent if one.group > 2} == {1}


@pytest.mark.parametrize('name', ['adamw', 'muon'])
def test_a_supervised_update_is_the_same(name):
  rng = np.random.default_rng(0)
  tokens, segment = (
    rng.integers(0, 12, (BATCH, 6)).astype(np.int32),
    np.array([[1, 1, 1, 2, 2, 2]] * BATCH, np.int32),
  )
  rows = Sequences(tokens, np.full(BATCH, 6, np.int32), rng.random((BATCH, 6)) < 0.7, segment)
  optimizer = build_optimizer(learning_rate=0.01, steps=10, name=name)
  build = functools.partial(supervised_update, MODEL, optimizer)
  (one, _), (several, _) = (
    updated(mesh, build, optimizer, rows, split=True) for mesh in ('one', 'all')
  )
  learns_the_same(one, several)
