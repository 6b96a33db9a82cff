"""Best-of-N: N independent chains of steps from the root. Greedy decoding is N = 1 at temperature 0."""

import jax
import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.policy.sampling import Sampling, Steps, decode, prompt_context
from o1jax.search.expand import start
from o1jax.types import Array, Params, Prompt, Tree


def best_of_n(
  model,
  params: Params,
  keys: Array,
  prompt: Prompt,
  *,
  samples: int,
  sampling: Sampling,
  step_length: int,
  max_steps: int,
) -> Tree:
  """Samples N chains for every problem.

  Chains never branch, so each is decoded in one go and cut into steps afterwards: no chain waits for the others at
  the end of a step. Slot `r*N + i` holds step r of chain i, so A = 1 and X = N*R; the N slots of step 0 expand the
  root. Chains are independent samples: they are never merged.

  Args:
    model: the language model.
    params: policy and critic are read.
    keys: [B] one key a problem.
    prompt: B problems.
    samples: N.
    sampling: see `Sampling`.
    step_length: L.
    max_steps: R.

  Returns:
    Tree [B, N*R, 1, L].
  """
  root, cache = start(model, params, prompt, slots=0, candidates=1, step_length=step_length, max_steps=max_steps)
  lead = (prompt.length.shape[0], 1, samples)
  chains = decode(
    model,
    params,
    keys,
    prompt_context(cache),
    prompt.length[:, None],
    jnp.broadcast_to(cache.root_hidden[:, None, None], (*lead, cache.root_hidden.shape[-1])),
    jnp.zeros(lead, bool),
    sampling=sampling,
    step_length=step_length,
    steps=max_steps,
  )
  chains = jax.tree.map(lambda x: x[:, 0], chains._replace(cache=None))
  return cut_into_steps(chains, step_length, max_steps).replace(root_value=root.root_value)


def cut_into_steps(chains: Steps, step_length: int, max_steps: int) -> Tree:
  """N decoded chains [B, N, R*L] as a tree [B, N*R, 1, L]; its `root_value` is left 0."""
  batch, samples = chains.length.shape
  written = jnp.arange(max_steps * step_length) < chains.length[..., None]
  place = jnp.where(written, chains.place, max_steps * step_length)

  def lay(row):
    """Rows [B, N, R*L] -> [B, R, N, L]: every token at its place in its step, 0 elsewhere."""
    laid = jax.vmap(jax.vmap(lambda place, x: jnp.zeros_like(x).at[place].set(x, mode='drop')))(place, row)
    return jnp.moveaxis(laid.reshape(batch, samples, max_steps, step_length), 2, 1)

  length = lay(written.astype(jnp.int32)).sum(-1)
  used = length > 0
  last = used & ~jnp.pad(used[:, 1:], ((0, 0), (0, 1), (0, 0)))
  terminal = last & chains.terminal[:, None]
  end = jnp.maximum(length - 1, 0)[..., None]
  value = jnp.where(used, jax.nn.sigmoid(jnp.take_along_axis(lay(chains.value), end, axis=-1)[..., 0]), 0)
  made = 1 + jnp.arange(max_steps * samples).reshape(max_steps, samples)
  above = jnp.concatenate([jnp.full_like(made[:1], tree_lib.ROOT), made[:-1]])  # [R, N]: the parent of each
  path = jnp.where(jnp.tri(max_steps, dtype=bool)[:, None], above.T, tree_lib.NONE)  # [R, N, R]
  fields = dict(
    tokens=lay(chains.tokens),
    length=length,
    logprob=lay(chains.logprob),
    terminal=terminal,
    mask=used,
    prior=used.astype(jnp.float32),
    value=value,
    reward=jnp.where(terminal, value, 0),
  )
  tree = tree_lib.empty(batch, max_steps * samples, 1, step_length, max_steps)
  return tree.replace(
    expanded=jnp.where(used, above, tree_lib.NONE).reshape(batch, -1),
    path=jnp.where(used[..., None], path, tree_lib.NONE).reshape(batch, -1, max_steps),
    **{name: field.reshape(batch, max_steps * samples, 1, *field.shape[3:]) for name, field in fields.items()},
  )
