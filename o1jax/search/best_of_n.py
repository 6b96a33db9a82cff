"""Best-of-N: N independent chains of steps from the root. Greedy decoding is N = 1 at temperature 0."""

import jax
import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.policy.sampling import Sampling
from o1jax.search.expand import expand, start
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
  """Samples N chains for every problem, all chains one step further in each round.

  Slot `round*N + i` holds the step that chain i takes in that round, so A = 1 and X = N*R; the N slots of round 0 all
  expand the root. Chains are independent samples: they are never merged.

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
  tree, cache = start(
    model, params, prompt, slots=samples * max_steps, candidates=1, step_length=step_length, max_steps=max_steps
  )
  first = jnp.full((prompt.length.shape[0], samples), tree_lib.ROOT)

  def round_(carry):
    r, parents, tree, cache = carry
    round_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, r)
    tree, cache = expand(
      model, params, round_keys, tree, cache, parents, slot=r * samples, sampling=sampling, merge=False
    )
    made = 1 + r * samples + jnp.arange(samples)
    return r + 1, jnp.where(tree_lib.expandable(tree, made[None] + 0 * parents), made, tree_lib.NONE), tree, cache

  def unfinished(carry):
    r, parents, _, _ = carry
    return (r < max_steps) & jnp.any(parents >= 0)

  _, _, tree, _ = jax.lax.while_loop(unfinished, round_, (jnp.int32(0), first, tree, cache))
  return tree
