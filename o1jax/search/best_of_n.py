"""Best-of-N: N independent chains of steps from the root. Greedy decoding is N = 1 at temperature
0."""

import jax
import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.decode.grow import start
from o1jax.decode.sampling import Chains, Sampling, cut, decode, prompt_context
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

  Chains never branch, so each is decoded in one go and cut into steps afterwards: no chain waits
  for the others at the end of a step. Slot `r*N + i` holds step r of chain i, so A = 1 and X = N*R;
  the N slots of step 0 expand the root. Chains are independent samples: they are never merged.

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
  root, cache = start(
    model, params, prompt, slots=0, candidates=1, step_length=step_length, max_steps=max_steps
  )
  lead = (prompt.length.shape[0], samples, 1)  # chains share the prompt alone, as expansions do
  rows = decode(
    model,
    params,
    keys,
    prompt_context(cache),
    jnp.broadcast_to(prompt.length[:, None], lead[:2]),
    jnp.broadcast_to(cache.root_hidden[:, None, None], (*lead, cache.root_hidden.shape[-1])),
    jnp.zeros(lead, bool),
    sampling=sampling,
    step_length=step_length,
    steps=max_steps,
  )
  rows = jax.tree.map(lambda x: x[:, :, 0], rows._replace(cache=None))
  return _as_tree(cut(rows, step_length)).replace(root_value=root.root_value)


def _as_tree(chains: Chains) -> Tree:
  batch, steps, samples, step_length = chains.tokens.shape
  made = 1 + jnp.arange(steps * samples).reshape(steps, samples)
  above = jnp.concatenate(
    [jnp.full_like(made[:1], tree_lib.ROOT), made[:-1]]
  )  # [R, N]: the parent of each
  path = jnp.where(jnp.tri(steps, dtype=bool)[:, None], above.T, tree_lib.NONE)  # [R, N, R]
  tree = tree_lib.empty(batch, steps * samples, 1, step_length, steps)
  return tree.replace(
    chains=samples,
    expanded=jnp.where(chains.used, above, tree_lib.NONE).reshape(batch, -1),
    path=jnp.where(chains.used[..., None], path, tree_lib.NONE).reshape(batch, -1, steps),
    **{
      name: field.reshape(batch, steps * samples, 1, *field.shape[3:])
      for name, field in chains.node_fields().items()
    },
  )
