"""Budget forcing (s1, arXiv:2501.19393): a chain that would end too soon has to go on, and one that
would go on too long has to answer."""

from collections.abc import Callable

import jax.numpy as jnp

from o1jax import tree as tree_lib
from o1jax.decode.grow import Grow
from o1jax.decode.world import Edit
from o1jax.search.method import Look, Method
from o1jax.search.room import Room, check_range
from o1jax.text.steps import ANSWER, DELIMITER, TAGS
from o1jax.types import Array, Tree, TreeCache

# A policy that was shown no 'Wait' knows a line that judges what stands before it.
_LOOK_AGAIN = DELIMITER + TAGS['evaluation']


def budget_forcing(
  grow: Grow,
  tree: Tree,
  cache: TreeCache,
  keys: Array,
  *,
  units: Array | int,
  times: int = 1,
  text: str = _LOOK_AGAIN,
  answer: str = ANSWER,
) -> Tree:
  """Samples N = `units` chains, of which `edit` takes the ends back while they grow.

  With nothing to force it is best-of-N. Else the chains grow a step at a time, so that a text can
  be given between their steps. The program samples as many chains at once as it has room for: fewer
  cost fewer tokens, and no less time.

  Args:
    grow: the policy, which keeps to `edit`.
    tree: empty, [B, N*R, 1, L], with room for the most chains.
    cache: its.
    keys: [B] one key a problem.
    units: [] N.
    times, text, answer: see `edit`.

  Returns:
    The tree. Slot `r*N + i` holds step r of chain i, as of best-of-N.
  """
  del times, text, answer
  steps = tree.path.shape[-1]
  most = tree.mask.shape[1] // steps
  roots = jnp.where(jnp.arange(most) < units, tree_lib.ROOT, tree_lib.NONE)
  roots = jnp.broadcast_to(roots, (keys.shape[0], most))
  tree, _ = grow(tree, cache, keys, roots, slot=0, steps=steps, depth=0)
  return tree.replace(chains=most)


def edit(encode: Callable[[str], list[int]], *, times: int, text: str, answer: str) -> Edit | None:
  """What is written in place of an end, or before the last step.

  Args:
    encode: text -> its tokens.
    times: how often the end of a chain is taken back. It stands where no two steps would be left,
      or no step where no answer is forced: there is no use in going on.
    text: stands in place of the end token, such as 'Wait'.
    answer: how the last step of a chain begins, such as 'Final Answer:', where the chain has not
      ended one step before the deepest; '' = no answer is forced.

  Returns:
    The edit; None where nothing is forced.
  """
  words = [encode(text) if times else [], encode(answer)]
  if not any(words):
    return None
  size = max(map(len, words))
  rows = jnp.array([[*ids, *[0] * (size - len(ids))] for ids in words], jnp.int32)
  again, last = map(len, words)

  def rule(tree, ids):
    deepest, length = tree.path.shape[-1], tree_lib.pick(tree.length, ids)
    path = tree_lib.path_nodes(tree, ids)
    left = deepest - jnp.sum(path > 0, axis=-1)
    taken = tree_lib.pick(tree_lib.taken(tree), path).sum(-1)
    done = tree_lib.pick(tree_lib.finished(tree), ids, fill=False)
    back = done & (taken < times) & (left > bool(answer))
    due = tree_lib.expandable(tree, ids) & (ids > tree_lib.ROOT) & (left == 1)
    tokens = jnp.where(back[..., None], rows[0], rows[1])
    return length - back, tokens, jnp.where(back, again, jnp.where(due, last, 0))

  return Edit(rule, spare=max(again - 1, last))


def room(
  units: int, *, candidates: int, max_steps: int, times: int, text: str, answer: str
) -> Room:
  """A slot for each step of each chain. Their keys are kept, since a text may follow any of them.

  Raises:
    ValueError: ends are taken back and nothing stands in their place.
  """
  del candidates, answer
  check_range(0, whole=True, times=times)
  if times and not text:
    raise ValueError(f'text is empty, and times={times} ends want one in their place: give a text')
  return Room(slots=units * max_steps, candidates=1, width=units)


METHOD = Method(
  budget_forcing,
  room,
  'budget forcing',
  Look('red', 'X'),
  unit='chains',
  # A chain that goes on is hardly as long again.
  steps=lambda units, *, candidates, max_steps, times, text, answer: units * max_steps,
  settings=dict(times=1, text=_LOOK_AGAIN, answer=ANSWER),
  several=True,
  in_one_go=True,
  guided=False,
  writes=(tree_lib.TAKEN,),
  provides=frozenset({'solutions'}),
  edits=edit,
  says=('text', 'answer'),
)
