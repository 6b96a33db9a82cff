"""Best-of-N: N independent chains of steps from the root. Greedy decoding is N = 1 at temperature
0."""

import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.decode.grow import Grow
from o1jax.search.method import Look, Method
from o1jax.search.room import Room
from o1jax.types import Array, Tree, TreeCache


def best_of_n(grow: Grow, tree: Tree, cache: TreeCache, keys: Array, *, units: int) -> Tree:
  """Samples N = `units` chains for every problem.

  Chains never branch, so each is decoded in one go: none waits for the others at the end of a step.
  Slot `r*N + i` holds step r of chain i, and the N slots of step 0 expand the root. Chains are
  independent samples and are never merged.

  Args:
    grow: the policy.
    tree: empty, [B, N*R, 1, L].
    cache: of the tree.
    keys: [B] one key a problem.
    units: N.
  """
  steps = tree.path.shape[-1]
  roots = jnp.full((keys.shape[0], units), tree_lib.ROOT)
  tree, _ = grow(tree, cache, keys, roots, slot=0, steps=steps, depth=0)
  return tree.replace(chains=units)


def room(units: int, *, candidates: int, max_steps: int) -> Room:
  """Chains are decoded in one go, so no keys of their nodes are kept."""
  del candidates
  slots = units * max_steps
  return Room(slots=slots, candidates=1, last=slots, width=units)


METHOD = Method(
  best_of_n,
  room,
  'best-of-N',
  Look('green', '^'),
  unit='chains',
  steps=lambda units, *, candidates, max_steps: units * max_steps,
  independent=True,
  in_one_go=True,
  guided=False,
  provides=frozenset({'solutions'}),
)
