import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax.model.layers import Linear, products, rms_norm
from tests.helpers import jit


def _normal(seed, *shape):
  return jax.random.normal(jax.random.key(seed), shape)


def _with_gradients(function, args, pull):
  out, back = jax.vjp(function, *args)
  return out, back(pull)


class TestProducts:
  # Narrow and wide kernels, for the gradient turns the narrower side.
  @pytest.mark.parametrize('sizes', [(6,), (2,), (4, 2, 2), (1, 1)])
  def test_it_is_a_product_with_each_and_so_is_its_gradient(self, sizes):
    x, kernels = _normal(0, 7, 5), [_normal(1 + i, 5, size) for i, size in enumerate(sizes)]
    pull = tuple(_normal(10 + i, 7, size) for i, size in enumerate(sizes))
    plain = lambda x, kernels: tuple(x @ kernel for kernel in kernels)
    ours, theirs = (
      jit(lambda *args, f=f: _with_gradients(f, args, pull))(x, kernels) for f in (products, plain)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), ours, theirs)


class TestRmsNorm:
  def test_it_is_that_of_flax_and_so_is_its_gradient(self):
    x, scale, pull = 3 * _normal(0, 7, 16) + 1, 1 + _normal(1, 16), _normal(2, 7, 16)
    flax = lambda x, scale: nn.RMSNorm(epsilon=1e-6).apply({'params': {'scale': scale}}, x)
    ours, theirs = (
      jit(lambda *args, f=f: _with_gradients(f, args, pull))(x, scale) for f in (rms_norm, flax)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), ours, theirs)

  def test_zeros_have_a_gradient(self):
    grads = jax.grad(lambda x: rms_norm(x, jnp.ones(4)).sum())(jnp.zeros((2, 4)))
    np.testing.assert_allclose(grads, 1e3, rtol=1e-3)


def test_a_linear_layer_holds_its_kernel_under_its_own_name():
  layer = Linear(3, ('embed', 'mlp'), 'bfloat16')
  params = nn.unbox(layer.init(jax.random.key(0), jnp.ones((2, 5))))
  assert (
    params['params']['kernel'].shape == (5, 3) and params['params']['kernel'].dtype == jnp.float32
  )
  assert layer.apply(params, jnp.ones((2, 4, 5))).shape == (2, 4, 3)
  assert layer.apply(params, 5, method='kernel').dtype == jnp.bfloat16
