"""What a walk of countdown says of itself without an answer: how near it is, and the line in which
a policy judges it.

Both believe the walk: no line of it is checked, as `o1jax.tasks.standing` does.
"""

import functools
import itertools
import math
import operator

import jax
import jax.numpy as jnp

from o1jax import types
from o1jax.tasks import standing
from o1jax.tasks.infix import LIMIT
from o1jax.text.bytes import after_last
from o1jax.text.steps import ANSWER, TAGS
from o1jax.types import UNUSED

ASKS = 'make '  # how a prompt begins, `make 26 from 7,3,5`
_BYTES = 64  # of a prompt behind `ASKS`


def nearness(
  prompt: jax.Array, prompt_length: jax.Array, text: jax.Array, length: jax.Array, *, count: int
) -> jax.Array:
  """A rule of thumb: how near the numbers that a walk has left come to its target, in jnp; vmap it
  over many.

  With one number left, that number counts. With several, the nearest counts of what any two of them
  make, their sum, and their product: one move ahead, and no search for a way. After the heuristics
  of Stream of Search (arXiv:2404.03683), which measure distances from the target.

  Args:
    prompt: uint8 [P], what is asked.
    prompt_length: int32 [].
    text: uint8 [N], the end of a walk.
    length: int32 [].
    count: M, how many numbers are given.

  Returns:
    [] in [0, 1]: 1 / (1 + the distance from the target); 0 for a prompt of another form.
  """
  target, given, formed = asked(prompt, prompt_length, count=count)
  # In float32, in which products do not overflow.
  left = [x.astype(jnp.float32) for x in standing.left(text, length, given, count=count)]
  there = [number <= LIMIT for number in left]
  alone = sum(x.astype(jnp.int32) for x in there) == 1
  total = sum(jnp.where(x, number, 0) for number, x in zip(left, there))
  product = math.prod(jnp.where(x, number, 1) for number, x in zip(left, there))
  # With one number left, both are that number.
  made, counts = [total[None], product[None]], [jnp.ones(2, bool)]
  for i, j in itertools.combinations(range(count), 2):
    results, legal = standing.makes(left[i], left[j])
    made.append(results)
    counts.append(legal & there[i] & there[j] & ~alone)
  far = jnp.abs(jnp.concatenate(made) - target.astype(jnp.float32))
  nearest = jnp.min(jnp.where(jnp.concatenate(counts), far, jnp.inf))
  return jnp.where(formed, 1 / (1 + nearest), 0)


def probe(*, count: int) -> types.Probe:
  """The evaluation that a walk ends with: its last result beside the target, then ` ok` or ` no`.
  It is asked after the last move. There is nothing to judge while several numbers are left."""

  def result(prompt, prompt_length, text, length):
    _, given, _ = asked(prompt, prompt_length, count=count)
    first, *others = standing.left(text, length, given, count=count)
    done = functools.reduce(operator.and_, [other > LIMIT for other in others], first <= LIMIT)
    return jnp.where(done, first, UNUSED)

  def target(prompt, prompt_length, text, length):
    del text, length
    target, _, formed = asked(prompt, prompt_length, count=count)
    return jnp.where(formed, target, UNUSED)

  parts = (TAGS['evaluation'], result, ' for ', target)
  instead = (TAGS['evaluation'], ANSWER)
  return types.Probe(parts, digits=len(str(LIMIT)), yes=' ok', no=' no', instead=instead)


def asked(
  prompt: jax.Array, length: jax.Array, *, count: int
) -> tuple[jax.Array, tuple[jax.Array, ...], jax.Array]:
  """What a prompt asks: the target [], the M = `count` numbers given, and whether it has that
  form."""
  text, rest = after_last(prompt, length, ASKS.encode(), size=_BYTES)
  target, *given, there = standing.first_numbers(text, jnp.minimum(rest, _BYTES), most=1 + count)
  return target, tuple(given), (rest > 0) & there
