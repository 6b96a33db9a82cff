"""Scores that read texts: what is asked reaches a rule of thumb, and what a world said last counts."""

import jax.numpy as jnp
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.reward import reading
from o1jax.reward.known import Known, Texts
from o1jax.tasks import calculator, countdown
from o1jax.types import TextWorld
from tests import toys
from tests.helpers import jit


def _known(prompt=None, **changes):
  return Known(prompt=prompt, texts=Texts(countdown.task()._replace(**changes), toys.TABLE, None))


def _ids(tree):
  count = tree.mask[0].size
  return np.broadcast_to(np.arange(1, 1 + count), (len(tree.mask), count))


def _texts(tree, b, node):
  """The texts of the steps on the way to a node."""
  width = tree.mask.shape[-1]
  line = toys.ancestors(np.asarray(tree.expanded[b]), width, node)[::-1]
  places = [divmod(i - 1, width) for i in line]
  return [toys.decode(tree.tokens[b, x, a, : tree.length[b, x, a]]) for x, a in places]


def test_a_rule_of_thumb_is_told_what_is_asked_and_the_end_of_what_is_written():
  def rule(prompt, prompt_length, text, length):
    """The last letters of both, and how many bytes of the text there are."""
    last = lambda text, length: text[jnp.maximum(length - 2, 0)].astype(jnp.float32)
    return last(prompt, prompt_length) / 10 + last(text, length) / 100 + length / 1000

  tree, (prompt, _) = toys.random_tree(1), toys.problems(3)
  known = _known(prompt, heuristic=rule, reads=6)
  found = np.asarray(jit(lambda tree: reading.heuristic(known, tree, _ids(tree)))(tree))
  asked = [toys.decode(row[:n])[-2] for row, n in zip(prompt.tokens, prompt.length)]
  cut = 0
  for b, x, a in toys.nodes(tree):
    node = 1 + 3 * x + a
    text = ''.join(_texts(tree, b, node))
    cut += len(text) > 6
    text = text[-6:]
    letter = text[max(len(text) - 2, 0) :][:1] or '\0'
    expected = ord(asked[b]) / 10 + ord(letter) / 100 + len(text) / 1000
    assert found[b, node - 1] == pytest.approx(expected, abs=1e-5)
  assert cut > 5


def test_feedback_is_what_the_world_said_last():
  tree = toys.random_tree(2, slots=16)
  rng = np.random.default_rng(0)
  # The world has said the last tokens of some steps.
  said = np.minimum(rng.integers(0, 3, tree.length.shape), np.asarray(tree.length) - 1)
  place = np.arange(tree.tokens.shape[-1])
  given = (place >= (np.asarray(tree.length) - said)[..., None]) & (
    place < np.asarray(tree.length)[..., None]
  )
  tree = tree.replace(given=jnp.asarray(given))

  def failed(text, length):
    """It begins with a letter before e."""
    return (length > 0) & (text[0] < ord('e'))

  known = _known(world=TextWorld(None, 8, 4, failed))
  found = np.asarray(jit(lambda tree: reading.feedback(known, tree, _ids(tree)))(tree))
  width, kinds = tree.mask.shape[-1], set()
  for b, x, a in toys.nodes(tree):
    node = 1 + width * x + a
    expected = 0.5
    for i in toys.ancestors(np.asarray(tree.expanded[b]), width, node)[::-1]:
      at = (b, *divmod(i - 1, width))
      if given[at].any():
        text = toys.decode(tree.tokens[at][given[at]])
        expected = 0.0 if text and text[0] < 'e' else 1.0
    assert found[b, node - 1] == expected
    kinds.add(expected)
  assert kinds == {0.0, 0.5, 1.0}


def test_a_prm_is_the_product_of_the_steps_since_the_last_return():
  """The tag of a return is one token of a vocabulary, or several."""
  spelled = [*toys.TEXTS[:-3], '<corr', 'ection>', '<correction>']
  rows = np.zeros((len(spelled), 12), np.uint8)
  for row, text in zip(rows, spelled):
    row[: len(text)] = list(text.encode())
  table = rows, np.array([len(text) for text in spelled])
  tree, rng = toys.random_tree(4, slots=16), np.random.default_rng(0)
  tokens, length = np.array(tree.tokens), np.asarray(tree.length)
  begins = rng.integers(0, 4, length.shape)  # with the tag, with its halves, with half of it
  first = len(spelled) - 3
  tokens[..., 0] = np.where(begins == 1, first + 2, np.where(begins > 1, first, tokens[..., 0]))
  tokens[..., 1] = np.where(begins == 2, first + 1, np.where(begins == 3, 3, tokens[..., 1]))
  tree = tree.replace(tokens=jnp.asarray(tokens))
  known = Known(texts=Texts(countdown.task(), table, None))

  def write(tree):
    ids = _ids(tree)
    note = reading.returns(known, tree, ids).reshape(tree.mask.shape)
    noted = tree.replace(scores={tree_lib.note(reading.PRM): note})
    return reading.prm(known, noted, ids), note

  found, note = map(np.asarray, jit(write)(tree))
  width, value, taken = tree.mask.shape[-1], np.asarray(tree.value), 0
  for b, x, a in toys.nodes(tree):
    node, product = 1 + width * x + a, 1.0
    line = toys.ancestors(np.asarray(tree.expanded[b]), width, node)[::-1]
    for place, i in enumerate(line):
      at = (b, *divmod(i - 1, width))
      text = ''.join(spelled[t] for t in tokens[at][: length[at]])
      returned = text.startswith('<correction>')
      assert note[at] == returned
      product = value[at] if returned else product * value[at]
      taken += returned and place > 0
    assert found[b, node - 1] == pytest.approx(product, rel=1e-5)
  assert taken > 10


@pytest.mark.parametrize('operation', ['7*8', '3-5', '7/2', '8/2', '9/0'])
def test_a_calculator_tells_of_errors(operation):
  row = np.zeros(32, np.uint8)
  text = f'{calculator.ASK}{operation}\n'.encode()
  row[: len(text)] = list(text)
  said, length = calculator.answer(row, len(text))
  told = bytes(np.asarray(said)[: int(length)]).decode()
  assert bool(calculator.failed(said, length)) == (told == '= no\n')
  assert (told == '= no\n') == (operation in ('3-5', '7/2', '9/0'))
  assert not calculator.failed(said, 0)


def test_what_tasks_lack():
  plain, told = countdown.task(), calculator.task()
  assert not reading.lacks_heuristic(plain) and not reading.lacks_feedback(told)
  assert reading.lacks_heuristic(plain._replace(heuristic=None)) == 'a rule of thumb'
  mute = told._replace(world=told.world._replace(failed=None))
  for task in (plain, mute):
    assert reading.lacks_feedback(task) == 'a world that tells of errors'
