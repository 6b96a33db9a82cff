"""What the options of the model may and may not change."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax.model.forward import forward_rows, logits_of
from o1jax.model.transformer import LanguageModel, layers_apart
from o1jax.model.variants import VARIANTS, ModelConfig, variant
from tests.helpers import CONFIG, jit, tiny

TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, CONFIG.vocab_size, (2, 6)), jnp.int32)
LENGTH = jnp.array([6, 6])


def _read(params, *, model):
  out = forward_rows(model, params, TOKENS, LENGTH)
  return logits_of(model, params, out.hidden), out.value


def read(config, params):
  """Logits and values of some text."""
  return jit(functools.partial(_read, model=LanguageModel(config)))(params)


def same(one, other, atol=1e-4):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol), one, other)


def with_trunk(params, change):
  """`params` with `change(trunk)` as the policy's trunk."""
  return params | dict(
    policy={**params['policy'], 'trunk': change(dict(params['policy']['trunk']))}
  )


@pytest.fixture(scope='module')
def plain():
  _, params = tiny()
  logits, value = read(CONFIG, params)
  assert logits.std() > 0.5 and value.std() > 0.5
  return params, (logits, value)


def test_scan_is_the_loop(plain):
  params, expected = plain

  def stack(trunk):
    blocks = [trunk.pop(f'block_{i}') for i in range(CONFIG.layers)]
    return {**trunk, 'blocks': jax.tree.map(lambda *x: jnp.stack(x), *blocks)}

  stacked = with_trunk(params, stack)
  same(read(dataclasses.replace(CONFIG, scan_layers=True), stacked), expected)
  jax.tree.map(np.testing.assert_array_equal, layers_apart(stacked['policy']), params['policy'])


def test_remat_changes_no_gradient(plain):
  params, _ = plain

  def grad(config):
    return jit(
      jax.grad(lambda p: sum(jnp.sum(x**2) for x in _read(p, model=LanguageModel(config))) / 100)
    )(params)

  same(grad(CONFIG), grad(dataclasses.replace(CONFIG, remat=True)), atol=1e-3)


def test_a_tied_head_is_the_embedding(plain):
  params, expected = plain
  head = {'kernel': params['policy']['trunk']['embedding'].T}
  untied = params | dict(policy={**params['policy'], 'head': head})
  same(read(dataclasses.replace(CONFIG, tied_head=False), untied), expected)


def test_grouped_queries_share_repeated_keys(plain):
  """With each key and value head repeated for its queries, grouped-query attention is the ordinary
  one."""
  params, expected = plain
  group = CONFIG.heads // CONFIG.kv_heads

  def repeat(kernel):
    heads = kernel.reshape(CONFIG.width, CONFIG.kv_heads, CONFIG.head_width)
    return {'kernel': jnp.repeat(heads, group, axis=1).reshape(CONFIG.width, -1)}

  def spread(trunk):
    for i in range(CONFIG.layers):
      block = dict(trunk[f'block_{i}'])
      trunk[f'block_{i}'] = {
        **block,
        **{name: repeat(block[name]['kernel']) for name in ('key', 'value')},
      }
    return trunk

  same(
    read(dataclasses.replace(CONFIG, kv_heads=CONFIG.heads), with_trunk(params, spread)), expected
  )


def test_a_critic_with_a_copy_of_the_trunk_is_the_head(plain):
  params, expected = plain
  critic = {**params['critic'], 'trunk': params['policy']['trunk']}
  config = dataclasses.replace(CONFIG, own_critic=True)
  same(read(config, params | dict(critic=critic)), expected)
  # And then the policy's trunk no longer moves the value.
  moved = with_trunk(
    params | dict(critic=critic), lambda trunk: jax.tree.map(lambda x: 1.1 * x, trunk)
  )
  logits, value = read(config, moved)
  np.testing.assert_allclose(value, expected[1], atol=1e-4)
  assert np.abs(logits - expected[0]).max() > 0.1


def test_a_critic_of_fewer_layers_is_one_whose_last_layers_say_nothing(plain):
  params, _ = plain
  trunk = params['policy']['trunk']
  config = dataclasses.replace(CONFIG, own_critic=True)
  small = dataclasses.replace(config, critic_layers=CONFIG.layers - 1)
  last = f'block_{CONFIG.layers - 1}'
  silent = jax.tree_util.tree_map_with_path(
    lambda path, x: 0 * x if path[-2].key in ('out', 'down') else x, trunk[last]
  )
  with_critic = lambda trunk: params | dict(critic={**params['critic'], 'trunk': trunk})
  whole = read(config, with_critic({**trunk, last: silent}))
  part = {name: x for name, x in trunk.items() if name != last}
  same(read(small, with_critic(part)), whole)
  assert np.abs(whole[1] - read(config, with_critic(trunk))[1]).max() > 1e-3


@pytest.mark.parametrize(
  'shape, told',
  [
    (dict(critic_layers=1), 'own_critic=False'),
    (dict(own_critic=True, critic_layers=CONFIG.layers + 1), 'at most'),
    (dict(own_critic=True, critic_layers=-1), 'at most'),
  ],
)
def test_a_critic_has_at_most_the_policys_layers(shape, told):
  with pytest.raises(ValueError, match=told):
    dataclasses.replace(CONFIG, **shape)


def test_bfloat16_is_near_and_comes_out_as_float32(plain):
  params, expected = plain
  got = read(dataclasses.replace(CONFIG, dtype='bfloat16'), params)
  assert all(x.dtype == jnp.float32 for x in got)
  scale = float(jnp.abs(expected[0]).max())
  same(got, expected, atol=0.15 * scale)


@pytest.mark.parametrize('name', VARIANTS)
def test_variants_are_shapes(name):
  config = variant(name, 100, width=64)
  assert config.vocab_size == 100 and config.width == 64
  assert config.heads % config.kv_heads == 0


@pytest.mark.parametrize(
  'make, word',
  [
    (lambda: ModelConfig(10, heads=4, kv_heads=3), 'kv_heads=3'),
    (lambda: ModelConfig(10, head_width=7), 'head_width=7'),
    (lambda: variant('11m', 10), '11m'),
  ],
)
def test_impossible_shapes(make, word):
  with pytest.raises(ValueError, match=word):
    make()


def test_an_unknown_type_is_refused():
  with pytest.raises(TypeError):
    ModelConfig(10, dtype='float31')
