"""The prompts of turns: what stands in them, and what is left out where there is no room."""

import jax.numpy as jnp
import numpy as np
import pytest

from o1jax.dialogue import writer
from o1jax.types import Prompt
from tests.toys import EOS, NEWLINE, hand_tree

WORDS = {'\n': [NEWLINE], 'more': [7, 8], '': []}


def tree():
  """Chains 3 4 EOS and 5 6, the second of which is not finished."""
  found = hand_tree(
    [0, 1, 0, 3], width=1, max_steps=2, terminal=[[False], [True], [False], [False]]
  )
  tokens = np.array([3, EOS, 5, 6], np.int32).reshape(1, 4, 1, 1)
  return found.replace(tokens=jnp.asarray(tokens))


def prompt(width):
  tokens = jnp.zeros((1, width), jnp.int32).at[0, :2].set(jnp.array([9, NEWLINE]))
  return Prompt(tokens, jnp.array([2]))


def written(width, origin, **said):
  asked = writer(prompt(width), WORDS.get, **said)(tree(), jnp.array([origin]))
  return asked.tokens[0, : int(asked.length[0])].tolist()


def critique(tree, origin):
  return jnp.array([[4, 4, 4]]), jnp.where(origin == 2, 2, 0)


@pytest.mark.parametrize(
  'origin, said, behind',
  [
    (2, {}, [3, NEWLINE]),
    (4, {}, [5, 6]),
    (2, dict(text='more'), [3, NEWLINE, 7, 8]),
    (2, dict(text='more', critique=critique), [3, NEWLINE, 4, 4, 7, 8]),
    (4, dict(text='more', critique=critique), [5, 6, 7, 8]),
    (-1, {}, []),
  ],
)
def test_a_prompt_holds_question_attempt_critique_and_text(origin, said, behind):
  for width in range(2, 12):
    room = width - 2
    kept = behind[max(len(behind) - room, 0) :] if room else []
    assert written(width, origin, **said) == [9, NEWLINE, *kept]
