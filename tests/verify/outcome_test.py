"""Verdicts on trees agree with plain Python on the text of every node."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.data import pipeline
from o1jax.tasks import countdown
from o1jax.text.steps import ANSWER, DELIMITER, join_steps
from o1jax.text.tokenizer import Tokenizer
from o1jax.verify.outcome import BROKEN, UNJUDGED, judge, oracle, outcome, solution_bytes
from tests import toys
from tests.tasks.standing_test import stands

PROBLEMS, WIDTH, STEP, DEPTH = 12, 4, 24, 10


@pytest.fixture(scope='module')
def task():
  return countdown.task(numbers=3)


@pytest.fixture(scope='module')
def demonstrations(task):
  return pipeline.demonstrate(task, task.problems('train', PROBLEMS, 0))


@pytest.fixture(scope='module')
def tokenizer(demonstrations, tmp_path_factory):
  corpus = [d.problem.prompt + join_steps(d.steps) for d in demonstrations] + ['0123456789+-*/()']
  return Tokenizer.train(corpus, tmp_path_factory.mktemp('text') / 'a.model', vocab_size=320)


def _near_misses(answer, other, rng):
  """Steps that might stand where the right answer does."""
  place = rng.integers(len(ANSWER), len(answer))
  wrong = answer[:place] + rng.choice(list('0123456789+-*/() ')) + answer[place + 1 :]
  return [wrong, other, answer.replace('+', '-'), answer + rng.choice(['', ' ', '+0', ')'])]


@pytest.fixture(scope='module')
def drawn(demonstrations, tokenizer):
  """Each demonstration as a chain of slots, its steps among others; the tree and every step's text
  by (b, x, a)."""
  rng = np.random.default_rng(0)
  slots = max(len(d.steps) for d in demonstrations)
  shape = (PROBLEMS, slots, WIDTH)
  expanded = np.full(shape[:2], -1)
  fields = dict(
    tokens=np.zeros((*shape, STEP)),
    length=np.zeros(shape),
    terminal=np.zeros(shape, bool),
    mask=np.zeros(shape, bool),
  )
  texts = {}
  for b, (_, steps) in enumerate(demonstrations):
    other, parent = demonstrations[(b + 1) % PROBLEMS].steps, 0
    for x, step in enumerate(steps):
      last = x == len(steps) - 1
      expanded[b, x] = parent
      right = int(rng.integers(WIDTH))
      wrong = _near_misses(step, other[-1], rng) if last else other[:1] * WIDTH
      for a in range(WIDTH):
        text = step if a == right else wrong[a]
        ends = last and rng.random() < 0.8  # some right answers stay unfinished
        ids = (
          [*tokenizer.encode(text), tokenizer.eos_id]
          if ends
          else tokenizer.encode(text + DELIMITER)
        )
        texts[b, x, a] = text if ends else text + DELIMITER
        fields['tokens'][b, x, a, : len(ids)], fields['length'][b, x, a] = ids, len(ids)
        fields['terminal'][b, x, a], fields['mask'][b, x, a] = ends, rng.random() < 0.8
      parent = 1 + x * WIDTH + right
  return toys.batch_tree(expanded, DEPTH, STEP, shape, **fields), texts


def _text(tree, texts, b, x, a):
  line = toys.ancestors(np.asarray(tree.expanded[b]), WIDTH, 1 + x * WIDTH + a)
  return ''.join(texts[b, (node - 1) // WIDTH, (node - 1) % WIDTH] for node in reversed(line))


def test_the_bytes_of_every_node_are_its_text(drawn, tokenizer):
  tree, texts = drawn
  ids = jnp.broadcast_to(tree_lib.node_ids(tree).reshape(-1), (PROBLEMS, tree.mask[0].size))
  cut = 0
  for size in (32, 512):
    read = jax.jit(functools.partial(solution_bytes, table=tokenizer.bytes_table(), size=size))
    found, length = map(np.asarray, read(tree, ids))
    for b, x, a in texts:
      i, text = x * WIDTH + a, _text(tree, texts, b, x, a)
      assert found[b, i, : length[b, i]].tobytes().decode() == text[-size:]
      cut += len(text) > size
  assert cut


@pytest.fixture(scope='module')
def rule(task, tokenizer):
  return jax.jit(functools.partial(outcome, verify=task.verify, table=tokenizer.bytes_table()))


@pytest.fixture(scope='module')
def reference(demonstrations, tokenizer):
  return pipeline.encode_problems(tokenizer, [d.problem for d in demonstrations], prompt_length=24)[
    1
  ]


def test_judging_agrees_with_the_task_on_the_text_of_every_node(
  drawn, demonstrations, reference, rule, task
):
  tree, texts = drawn
  found = np.asarray(judge(reference, tree, rule).outcome)
  expected, hidden = np.zeros(tree.mask.shape), 0
  for b, x, a in texts:
    right = task.check(demonstrations[b].problem, _text(tree, texts, b, x, a))
    stands = bool(tree.mask[b, x, a] & tree.terminal[b, x, a])
    expected[b, x, a] = right and stands
    hidden += right and not stands
  np.testing.assert_array_equal(found, expected)
  finished = np.asarray(tree_lib.finished(tree))
  assert expected.sum() > 5 and (finished & (expected == 0)).sum() > 5 and hidden > 0


def test_verdicts_do_not_depend_on_which_nodes_are_asked(drawn, reference, rule):
  tree, _ = drawn
  whole = judge(reference, tree, rule).outcome
  size = tree.mask[0].size
  ids = jnp.asarray(np.random.default_rng(0).integers(-1, 1 + size, (PROBLEMS, size)))
  np.testing.assert_array_equal(rule(reference, tree, ids), tree_lib.pick(whole, ids))


def test_a_verdict_that_is_no_number_is_unjudged_and_a_broken_verifier_spoils_the_outcome():
  tree = toys.random_tree(batch=4)
  _, reference = toys.problems(4)
  drawn = np.random.default_rng(0).choice([0, 1, UNJUDGED], tree.mask.shape)
  found = judge(reference, tree, lambda reference, tree, ids: jnp.asarray(drawn, jnp.float32))
  np.testing.assert_array_equal(found.unjudged, np.isnan(drawn))
  np.testing.assert_array_equal(found.outcome, drawn == 1)
  broken = judge(reference, tree, lambda reference, tree, ids: jnp.full(ids.shape, BROKEN))
  assert np.isnan(broken.outcome).all() and not broken.unjudged.any()


@pytest.fixture(scope='module')
def told(drawn, task, tokenizer):
  """The oracle with room for all texts, and for half of them."""
  how = dict(reachable=task.reachable, table=tokenizer.bytes_table())
  return functools.partial(oracle, **how), functools.partial(oracle, size=_half(drawn), **how)


def _half(drawn):
  """Bytes of an unfinished text, longer than half of them."""
  tree, texts = drawn
  going = np.asarray(tree.mask & ~tree.terminal)
  lengths = sorted(len(_text(tree, texts, *node)) for node in texts if going[node])
  return lengths[len(lengths) // 2]


def _stands(demonstrations, b, text):
  return float(stands(demonstrations[b].problem.numbers, text))


def test_the_oracle_knows_what_a_finished_solution_is_and_what_an_unfinished_one_can_be(
  drawn, demonstrations, reference, rule, told
):
  tree, texts = drawn
  ids = jnp.broadcast_to(jnp.arange(-1, 1 + tree.mask[0].size), (PROBLEMS, 2 + tree.mask[0].size))
  found = np.asarray(jax.jit(functools.partial(told[0], outcome=rule))(reference, tree, ids))
  verdicts, seen = np.asarray(rule(reference, tree, ids)), []
  for b, x, a in texts:
    i, text = 2 + x * WIDTH + a, _text(tree, texts, b, x, a)
    finished = tree.mask[b, x, a] & tree.terminal[b, x, a]
    expected = verdicts[b, i] if finished else tree.mask[b, x, a] * _stands(demonstrations, b, text)
    assert found[b, i] == expected, text
    seen.append((bool(finished), float(expected)))
  assert {(False, 0), (False, 1), (True, 0), (True, 1)} <= set(seen)
  np.testing.assert_array_equal(found[:, 0], 0)  # no node
  np.testing.assert_array_equal(found[:, 1], 1)  # the root of a problem that can be solved


def _of_one_verdict(oracle):
  """The oracle where all finished solutions have the same verdict."""

  def ask(reference, tree, ids, verdict):
    return oracle(reference, tree, ids, outcome=lambda *_: jnp.full(ids.shape, verdict))

  return jax.jit(ask)


@pytest.mark.long
def test_the_oracle_is_undecided_where_there_is_no_verdict(drawn, reference, told):
  tree, texts = drawn
  size, room = tree.mask[0].size, _half(drawn)
  ids = jnp.broadcast_to(1 + jnp.arange(size), (PROBLEMS, size))
  finished = np.asarray(tree_lib.finished(tree)).reshape(PROBLEMS, size)
  asked = [_of_one_verdict(of) for of in told]
  for verdict in (UNJUDGED, BROKEN):
    whole, short = (np.asarray(ask(reference, tree, ids, verdict)) for ask in asked)
    np.testing.assert_array_equal(whole[finished], 0.5)
    real = np.asarray(tree.mask).reshape(PROBLEMS, size) & ~finished
    for b, x, a in texts:
      i = x * WIDTH + a
      if real[b, i] and x < DEPTH - 1:  # what is longer than it reads has lost its beginning
        long = len(_text(tree, texts, b, x, a)) > room
        assert short[b, i] == (0.5 if long else whole[b, i]) and whole[b, i] != 0.5


@pytest.mark.long
def test_the_oracle_has_no_hope_at_the_last_depth(drawn, reference, told):
  tree, _ = drawn
  ids = jnp.broadcast_to(1 + jnp.arange(4 * WIDTH), (PROBLEMS, 4 * WIDTH))
  asked = _of_one_verdict(told[0])
  ask = lambda tree: np.asarray(asked(reference, tree, ids, 0.0))
  deep, cut = ask(tree), ask(tree.replace(path=tree.path[..., :4]))
  np.testing.assert_array_equal(cut[:, : 3 * WIDTH], deep[:, : 3 * WIDTH])
  assert deep[:, 3 * WIDTH :].any() and not cut[:, 3 * WIDTH :].any()


def test_the_root_and_no_node_are_never_right():
  tree = toys.random_tree(batch=4)
  _, reference = toys.problems(4)
  rule = jax.jit(functools.partial(outcome, verify=lambda *_: jnp.bool_(True), table=toys.TABLE))
  np.testing.assert_array_equal(rule(reference, tree, jnp.tile(jnp.array([0, -1]), (4, 1))), 0)
  np.testing.assert_array_equal(judge(reference, tree, rule).outcome, tree_lib.finished(tree))
