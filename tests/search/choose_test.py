import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax.reward.process import solution_score
from o1jax.search.choose import CHOICES as RULES
from o1jax.search.choose import choose
from o1jax.tree import COUNT
from o1jax.verify.answers import answer_keys
from tests.helpers import jit
from tests.toys import hand_tree

TEXTS = ['', '', '\n', '<answer>', *'abcdefgh ']
TABLE = (
  np.array([list(text.encode().ljust(8, b'\0')) for text in TEXTS], np.uint8),
  np.array([len(text) for text in TEXTS]),
)
EOS, ANSWER = 1, 3


def _ids(text):
  """'work | answer' as tokens, closed by the end token."""
  return [ANSWER if char == '|' else TEXTS.index(char) for char in text] + [EOS]


def _solutions(texts, values=None, finished=None):
  """A best-of-N tree of one-step solutions, its six slots not all used."""
  unused = max(6 - len(texts), 0)
  rows = [_ids(text) for text in texts] + [[]] * unused
  tokens = np.array([row + [0] * (12 - len(row)) for row in rows])[None, :, None]
  column = lambda x, default, empty: [[y] for y in x or [default] * len(texts)] + [[empty]] * unused
  tree = hand_tree(
    [0] * len(texts) + [-1] * unused,
    width=1,
    max_steps=1,
    step=12,
    length=[[len(row)] for row in rows],
    value=column(values, 0.5, 0),
    terminal=column(finished, True, False),
  )
  return tree.replace(tokens=jnp.asarray(tokens, jnp.int32))


CHAINS = (None, 1, 4)
CHOICES = [(rule, 'last', first) for rule in RULES for first in CHAINS] + [
  ('best', 'min', None),
  ('best', 'product', None),
]


@jit
def _every_choice(tree):
  return [
    choose(tree, rule=rule, table=TABLE, aggregate=name, first=first)[0]
    for rule, name, first in CHOICES
  ]


def pick(tree, rule, *, aggregate='last', first=None):
  """The choice for one problem. All choices are compiled at once."""
  return int(_every_choice(tree)[CHOICES.index((rule, aggregate, first))])


TEXT = ['g|a b', 'h|c', '|ab', 'd|c', 'e|c ', 'f|d']
VALUES = [0.9, 0.5, 0.8, 0.5, 0.6, 0.95]


@pytest.mark.parametrize(
  'rule, node', [('first', 1), ('majority', 2), ('best', 6), ('weighted', 1)]
)
def test_rules_differ_and_do_what_they_say(rule, node):
  """c is found most often (3), ab weighs most (1.7 against 1.6), d scores highest, and ab is the
  first."""
  assert pick(_solutions(TEXT, VALUES), rule) == node


@pytest.mark.parametrize(
  'rule, node', [('first', 3), ('majority', 4), ('best', 6), ('weighted', 6)]
)
def test_unfinished_solutions_have_no_say(rule, node):
  """Without the first two: c twice (1.1), ab once (0.8), d once (0.95)."""
  values = [*VALUES[:3], 0.4, 0.5, 0.95]
  tree = _solutions(TEXT, values, finished=[False, False, True, True, True, True])
  assert pick(tree, rule) == node


def test_merged_twins_have_no_vote():
  tree = _solutions(TEXT, VALUES)
  tree = tree.replace(mask=tree.mask.at[0, 3:5].set(False))
  assert pick(tree, 'majority') == 1  # of c only one is left; ab has two


@pytest.mark.parametrize(
  'rule, node', [('first', 1), ('majority', 6), ('best', 6), ('weighted', 6)]
)
def test_a_solution_that_stands_for_several_has_as_many_votes(rule, node):
  """c is found three times, and d once but by four particles."""
  tree = _solutions(TEXT, VALUES)
  count = jnp.array([1, 1, 1, 1, 0.5, 4]).reshape(1, 6, 1)
  assert pick(tree.replace(scores={COUNT: count}), rule) == node


@pytest.mark.parametrize('rule', RULES)
def test_nothing_finished_is_no_answer(rule):
  assert pick(_solutions(TEXT, VALUES, finished=[False] * 6), rule) == 0


@pytest.mark.parametrize(
  'rule, node', [('first', 2), ('majority', 2), ('best', 5), ('weighted', 5)]
)
def test_a_guide_may_be_negative(rule, node):
  """An unfinished solution is never chosen, though its 0 is more: a has -4.5, and b -2.5."""
  values, finished = [0, -1.5, -1.5, -1.5, -1.2, -1.3], [False] + [True] * 5
  assert pick(_solutions(4 * ['|a'] + 2 * ['|b'], values, finished), rule) == node


@pytest.mark.parametrize('rule', RULES)
def test_ties_go_to_the_first(rule):
  assert pick(_solutions(['|a', '|b', '|a', '|b'], [0.5] * 4), rule) == 1


def test_of_the_heaviest_answer_the_best_solution_is_given():
  assert pick(_solutions(['|a', '|b', '|a'], [0.5, 0.7, 0.6]), 'weighted') == 3


@pytest.mark.parametrize('rule, node', [('majority', 1), ('weighted', 6)])
def test_without_a_marker_no_two_solutions_agree(rule, node):
  chosen = jit(functools.partial(choose, rule=rule, table=TABLE, marker='', reads=16))(
    _solutions(6 * ['|c'], VALUES)
  )
  assert int(chosen[0]) == node


@pytest.mark.parametrize('rule', RULES)
@pytest.mark.parametrize('chains', [1, 4])
def test_the_first_chains_alone(rule, chains):
  """A readout of n chains is the choice from a tree of those n."""
  few = _solutions(TEXT[:chains], VALUES[:chains])
  assert pick(_solutions(TEXT, VALUES), rule, first=chains) == pick(few, rule)


def test_chains_of_several_steps():
  """Chain 0 takes two steps and chain 1 one: what counts is where a chain began."""
  unused = [[0]] * 3
  values = [[0.1], [0.2], [0.9], *unused]
  slots = dict(width=1, max_steps=2, value=values)
  tree = hand_tree([0, 0, 1, -1, -1, -1], terminal=[[0], [1], [1], *unused], **slots)
  assert pick(tree, 'best') == 3
  assert pick(tree, 'best', first=1) == 3
  assert pick(tree, 'first') == 2
  tree = hand_tree([0, 0, 2, -1, -1, -1], terminal=[[1], [0], [1], *unused], **slots)
  assert pick(tree, 'best') == 3
  assert pick(tree, 'best', first=1) == 1


@pytest.mark.parametrize('aggregate, node', [('last', 4), ('min', 5), ('product', 6)])
def test_the_aggregate_is_obeyed(aggregate, node):
  """Three chains of two steps: (.2, .9), (.6, .7) and (.95, .55) have the highest last, least step,
  and product."""
  tree = hand_tree(
    [0, 0, 0, 1, 2, 3],
    width=1,
    max_steps=2,
    terminal=[[0], [0], [0], [1], [1], [1]],
    value=[[0.2], [0.6], [0.95], [0.9], [0.7], [0.55]],
  )
  assert pick(tree, 'best', aggregate=aggregate) == node
  score = solution_score(tree, jnp.array([[node]]), aggregate=aggregate)
  assert float(score[0, 0]) == pytest.approx(
    {'last': 0.9, 'min': 0.6, 'product': 0.95 * 0.55}[aggregate]
  )


def _keys(texts):
  tree = _solutions(texts)
  ids = jnp.arange(1, len(texts) + 1)[None]
  return np.asarray(jit(lambda tree, ids: answer_keys(tree, ids, TABLE))(tree, ids))[0].tolist()


def test_keys_ignore_spaces_and_work():
  assert len(set(_keys(['|ab', ' |ab', 'cd|a b', 'e|f|  ab ', '\n|ab ']))) == 1


def test_solutions_without_an_answer_agree_with_nobody():
  assert len(set(_keys(['ab', 'ab', '|', 'cd|', '|ab']))) == 5


def test_keys_tell_answers_apart():
  rng = np.random.default_rng(0)
  answers = {''.join(rng.choice(list('abcdefgh'), rng.integers(1, 9))) for _ in range(3000)}
  near = ['a', 'aa', 'aaa', 'ab', 'ba', 'abc', 'acb', 'cab']
  texts = sorted(answers | set(near))
  assert len(set(_keys(['|' + text for text in texts]))) == len(texts)


def test_a_batch_chooses_for_each():
  one, two = _solutions(TEXT, VALUES), _solutions(TEXT, VALUES[::-1])
  both = jax.tree.map(lambda *x: jnp.concatenate(x), one, two)
  got = jit(lambda tree: choose(tree, rule='best', table=TABLE))(both)
  assert got.tolist() == [pick(one, 'best'), pick(two, 'best')] == [6, 1]


def test_unknown_rule():
  with pytest.raises(ValueError, match='loudest'):
    choose(_solutions(TEXT), rule='loudest', table=TABLE)
