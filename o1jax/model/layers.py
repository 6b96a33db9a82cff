"""Matrix products and norms. Their gradients are written by hand, because XLA's CPU runs those of
automatic differentiation slower."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from o1jax.model.sharding import shard_count
from o1jax.types import Array


@jax.custom_vjp
def products(x: Array, kernels: list[Array]) -> tuple[Array, ...]:
  """x [N, in] times each of several kernels [in, out].

  The gradient is that of one product with all kernels side by side. It is not where their columns
  are sharded, since the devices would then have to exchange them. For the gradient of kernels a CPU
  transposes one of the two sides, which takes a third of the time. We do that once, for the
  narrower side.
  """
  return tuple(x @ kernel for kernel in kernels)


def _products(x, kernels):
  return products(x, kernels), (x, kernels)


def _products_back(kept, given):
  x, kernels = kept
  if shard_count('heads') > 1:
    each = [_product_back(x, kernel, part) for kernel, part in zip(kernels, given)]
    return sum(of_x for of_x, _ in each), [of_kernel for _, of_kernel in each]
  of_x, of_kernel = _product_back(
    x, jnp.concatenate(kernels, axis=-1), jnp.concatenate(given, axis=-1)
  )
  ends = np.cumsum([kernel.shape[-1] for kernel in kernels])[:-1]
  return of_x, jnp.split(of_kernel, ends, axis=-1)


def _product_back(x, kernel, given):
  # Without the barriers XLA would choose for itself which side to transpose.
  if x.shape[-1] > given.shape[-1]:
    of_kernel = jax.lax.optimization_barrier(given.T @ x).T
  else:
    of_kernel = jax.lax.optimization_barrier(x.T @ given)
  return given @ kernel.T, of_kernel


products.defvjp(_products, _products_back)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def rms_norm(x: Array, scale: Array, epsilon: float = 1e-6) -> Array:
  """x / sqrt(mean(x^2) + epsilon) * scale (arXiv:1910.07467), x [N, D], float32.

  The gradient writes sums as products with vectors. XLA's CPU would fuse sums with whole arrays of
  copies.
  """
  return _norm(x, scale, epsilon)[0]


def _norm(x, scale, epsilon):
  factor = jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + epsilon)
  return x * factor * scale, (x, scale, factor)


def _norm_back(epsilon, kept, given):
  x, scale, factor = kept
  both = given * x
  # Sums are exact float32, on accelerators too.
  total = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
  mean = total(both, scale[:, None]) * factor**2 / x.shape[-1]
  return factor * (given * scale - x * mean), total(factor.T, both)[0]


rms_norm.defvjp(_norm, _norm_back)


class Linear(nn.Module):
  """x [..., in] @ kernel [in, features], as one matrix product of rank 2: XLA's CPU is half as fast
  at higher ranks."""

  features: int
  axes: tuple[str | None, str | None]
  dtype: str

  @nn.compact
  def kernel(self, size: int) -> Array:
    """The kernel [size, features], as the product reads it."""
    init = nn.initializers.variance_scaling(1.0, 'fan_in', 'truncated_normal')
    kernel = self.param(
      'kernel', nn.with_logical_partitioning(init, self.axes), (size, self.features)
    )
    return kernel.astype(self.dtype)

  def __call__(self, x):
    (out,) = products(x.astype(self.dtype).reshape(-1, x.shape[-1]), [self.kernel(x.shape[-1])])
    return out.reshape(*x.shape[:-1], self.features)


class Norm(nn.Module):
  """`rms_norm` of x [N, D], computed in float32."""

  dtype: str
  epsilon: float = 1e-6

  @nn.compact
  def __call__(self, x):
    scale = self.param(
      'scale', nn.with_logical_partitioning(nn.initializers.ones, ('norm',)), (x.shape[-1],)
    )
    return rms_norm(x.astype(jnp.float32), scale, self.epsilon).astype(self.dtype)


class Bias(nn.Module):
  """x [..., features] plus a vector."""

  axis: str
  dtype: str

  @nn.compact
  def __call__(self, x):
    bias = self.param(
      'bias', nn.with_logical_partitioning(nn.initializers.zeros, (self.axis,)), (x.shape[-1],)
    )
    return x + bias.astype(self.dtype)
