"""Accuracy under search: the same verdicts in any batches, those of plain Python on the text that
was chosen."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax import tree as tree_lib
from o1jax.evaluation.accuracy import (
  Answers,
  Evaluator,
  Reading,
  Readout,
  Verdicts,
  coverage,
  equal_batches,
  result,
)
from o1jax.evaluation.results import Result
from o1jax.evaluation.statistics import pass_at_k, wilson_interval
from o1jax.evaluation.verdicts import BY_PROBLEM, joined
from o1jax.keys import of_problems
from o1jax.model.compute import search_bill, search_cost
from o1jax.search import Budget
from o1jax.search.choose import choose
from o1jax.verify.host import VerifierError
from o1jax.verify.outcome import solution_bytes
from tests import toys
from tests.helpers import best_of_n

COUNT, SAMPLES = 11, 6
KEY = jax.random.key(3)
READOUTS = tuple(
  Readout(rule, rule, Budget(units=chains), chains)
  for rule, chains in (('best', SAMPLES), ('majority', SAMPLES), ('first', 1), ('weighted', 3))
)
READING = Reading(
  tuple(readout.rule for readout in READOUTS),
  verifier=toys.VERIFIER,
  choose=functools.partial(choose, table=toys.TABLE),
  spell=functools.partial(solution_bytes, table=toys.TABLE),
  cost=functools.partial(search_bill, toys.CONFIG),
  chains=True,
)
ASK = dict(readouts=READOUTS)


@pytest.fixture(scope='module')
def problems():
  return toys.problems(COUNT, wanted='a')


@pytest.fixture(scope='module')
def search():
  return jax.jit(
    functools.partial(
      _drop_model, units=SAMPLES, sampling=toys.SAMPLING, step_length=3, max_steps=3
    )
  )


def _drop_model(params, keys, prompt, **settings):
  return best_of_n(toys.MODEL, params, keys, prompt, **settings)


@pytest.fixture(scope='module')
def evaluate(search):
  """By batch size; the function compiles once a size."""
  return functools.cache(lambda batch: Evaluator(search, READING, batch=batch))


@pytest.fixture(scope='module')
def verdicts(evaluate, problems):
  return evaluate(4)(toys.params(), *problems, KEY, **ASK)


@pytest.fixture(scope='module')
def tree(search, problems):
  return search(toys.params(), of_problems(KEY, COUNT), problems[0])


def texts(tree, b):
  """The text of every finished solution of a problem, by node id."""
  one = toys.problem(tree, b)
  found = {}
  for x, a in np.argwhere(one.mask & one.terminal):
    line = [
      ((node - 1), one.length.reshape(-1)[node - 1])
      for node in toys.ancestors(one.expanded, 1, 1 + x + a)
    ]
    found[1 + int(x)] = ''.join(
      toys.decode(one.tokens.reshape(-1, 3)[i, :n]) for i, n in reversed(line)
    )
  return found


def test_equal_batches_hold_all_problems_and_fill_up_few():
  for count in range(1, 40):
    for most in range(1, 45):
      batch = equal_batches(count, most)
      batches = -(-count // batch)
      assert 1 <= batch <= most
      assert batches == -(-count // most)  # not one more than needed
      assert batches * batch - count < batches
      shared = equal_batches(count, most, of=4)  # by four devices
      assert shared % 4 == 0 and 4 <= shared <= max(most, 4)
      assert -(-count // shared) * shared - count < 4 * (-(-count // max(most // 4 * 4, 4)))


class TestVerdicts:
  def test_do_not_depend_on_the_batches(self, evaluate, verdicts, problems):
    seen = []
    # In one; before: 4, 4 and 3 of 4.
    whole = evaluate(COUNT)(toys.params(), *problems, KEY, **ASK, watch=seen.append)
    assert seen == [COUNT]
    for readout in READOUTS:
      one, other = whole.answers[readout], verdicts.answers[readout]
      np.testing.assert_array_equal(one.verdict, other.verdict)
      np.testing.assert_array_equal(one.chosen, other.chosen)
      assert one.text == other.text
    for name in ('tokens', 'samples', 'right'):
      np.testing.assert_array_equal(getattr(whole, name), getattr(verdicts, name))
    for one, other in zip(whole.states, verdicts.states, strict=True):
      np.testing.assert_allclose(one, other, rtol=1e-5)
    np.testing.assert_allclose(whole.flops, verdicts.flops, rtol=1e-6)

  def test_keep_the_judged_trees_of_the_first_problems(self, verdicts, tree):
    assert verdicts.trees.mask.shape[0] == 4
    np.testing.assert_array_equal(verdicts.trees.tokens, tree.tokens[:4])
    np.testing.assert_array_equal(verdicts.trees.outcome.sum((1, 2)), verdicts.right[:4])

  def test_of_some_problems_are_those_of_all(self, evaluate, verdicts, problems):
    """Joined again, the parts are the whole."""
    groups, seen = [np.array([7, 2, 9, 0, 5]), np.array([1, 3, 4, 6, 8, 10])], []
    some = lambda only: evaluate(4)(
      toys.params(), *problems, KEY, **ASK, only=only, watch=seen.append
    )
    parts = [(only, some(only)) for only in groups]
    assert seen == [4, 1, 4, 2]
    np.testing.assert_array_equal(parts[0][1].tokens, verdicts.tokens[groups[0]])
    whole = joined(parts)
    for readout in READOUTS:
      one, other = whole.answers[readout], verdicts.answers[readout]
      np.testing.assert_array_equal(one.verdict, other.verdict)
      np.testing.assert_array_equal(one.chosen, other.chosen)
      assert one.text == other.text
    for name in BY_PROBLEM:
      if name != 'seconds':
        np.testing.assert_allclose(getattr(whole, name), getattr(verdicts, name), rtol=1e-6)

  def test_say_how_far_they_are(self, evaluate, problems):
    seen = []
    evaluate(4)(toys.params(), *problems, KEY, **ASK, watch=seen.append)
    assert seen == [4, 4, 3]

  def test_follow_the_parameters_given(self, evaluate, verdicts, problems):
    other = evaluate(4)(toys.params(5), *problems, KEY, **ASK)
    assert (other.tokens != verdicts.tokens).any()
    again = evaluate(4)(toys.params(), *problems, KEY, **ASK)
    np.testing.assert_array_equal(again.tokens, verdicts.tokens)

  def test_are_those_of_plain_python_on_the_text_chosen(self, verdicts, tree):
    pick = jax.jit(
      lambda tree: [choose(tree, rule=r.rule, table=toys.TABLE, first=r.chains) for r in READOUTS]
    )
    chosen = [np.asarray(nodes) for nodes in pick(tree)]
    np.testing.assert_array_equal(verdicts.chosen, chosen[0])
    for readout, nodes in zip(READOUTS, chosen):
      expected = [node > 0 and 'a' in texts(tree, b)[node] for b, node in enumerate(nodes)]
      answers = verdicts.answers[readout]
      np.testing.assert_array_equal(answers.correct, expected)
      assert 0 < sum(expected) < COUNT
      assert answers.known.all()
      assert answers.text == [texts(tree, b)[node] if node else '' for b, node in enumerate(nodes)]

  def test_count_what_was_found(self, verdicts, tree):
    finished = [texts(tree, b) for b in range(COUNT)]
    np.testing.assert_array_equal(
      verdicts.right, [sum('a' in t for t in found.values()) for found in finished]
    )
    np.testing.assert_array_equal(verdicts.samples, SAMPLES)

  def test_tell_what_came_of_every_state_the_critic_saw(self, verdicts, tree):
    finished = [texts(tree, b) for b in range(COUNT)]
    expected = []
    for b in range(COUNT):
      one, seen = toys.problem(tree, b), {}
      for chain in range(SAMPLES):
        # The steps of a chain, the last of which ends it: finished, or cut off at the last depth.
        nodes = [1 + x for x in range(chain, len(one.mask), SAMPLES) if one.mask[x, 0]]
        right = 'a' in finished[b].get(nodes[-1], '')
        seen |= {node: (right, 1 + i, node in finished[b]) for i, node in enumerate(nodes)}
      expected += [(one.value[node - 1, 0], *seen[node]) for node in sorted(seen)]
    assert {row[3] for row in expected} == {True, False}
    for found, column in zip(verdicts.states, zip(*expected), strict=True):
      np.testing.assert_allclose(found, column, rtol=1e-5)

  def test_are_billed_every_token(self, verdicts, tree, problems):
    np.testing.assert_array_equal(verdicts.tokens, tree_lib.generated_tokens(tree))
    np.testing.assert_allclose(
      verdicts.flops, search_cost(toys.CONFIG, problems[0], tree)[1], rtol=1e-6
    )

  def test_a_readout_of_few_chains_reads_only_those(self, verdicts, tree):
    for b in range(COUNT):
      first = [t for node, t in texts(tree, b).items() if (node - 1) % SAMPLES == 0]  # chain 0
      assert verdicts.answers[READOUTS[2]].correct[b] == any('a' in t for t in first)


def test_the_search_is_never_handed_the_reference(problems):
  handed = []

  def spy(*args):
    handed.append(args)
    raise InterruptedError

  run = Evaluator(spy, READING, batch=COUNT)
  with pytest.raises(InterruptedError):
    run(toys.params(), *problems, KEY, **ASK)
  (given,) = handed
  shapes = [x.shape for x in jax.tree.leaves(given[1:])]
  assert len(given) == 3 and shapes == [(COUNT,), problems[0].tokens.shape, (COUNT,)]


def test_what_was_compiled_ahead_serves_any_parameters(search, problems):
  traced = []

  def counted(*args):
    traced.append(args)
    return search(*args)

  run = Evaluator(counted, READING, batch=4)
  run.compile(jax.eval_shape(toys.params), *problems)
  for seed in (0, 1):
    assert len(run(toys.params(seed), *problems, KEY, **ASK).chosen) == COUNT
  assert len(traced) == 1


def test_a_search_spends_the_units_that_a_call_names(problems):
  traced = []

  def search(params, keys, prompt, which):
    traced.append(which)
    tree = toys.random_tree(0)
    tree = jax.tree.map(lambda x: x[:1].repeat(prompt.length.shape[0], 0), tree)
    return tree.replace(
      expanded=jnp.where(jnp.arange(tree.expanded.shape[1]) <= which, tree.expanded, -1)
    )

  readouts = [Readout('tree', 'best', Budget(tokens=90, units=2))]
  run = Evaluator(search, READING._replace(rules=('best',), chains=False), batch=4, most=8)
  ask = functools.partial(run, toys.params(), *problems, KEY, readouts=readouts)
  few, some, many = (ask(spend=units) for units in (2, 5, 8))
  assert list(few.answers) == list(many.answers) == readouts
  assert (few.tokens < some.tokens).all() and (some.tokens < many.tokens).all()
  assert len(traced) == 1
  for units in (0, 9, None):
    with pytest.raises(ValueError, match=f'spend={units}: the program has room for 1 to 8 units'):
      ask(spend=units)


def test_a_program_reads_the_first_chains_whatever_a_call_says(evaluate, tree, problems):
  """As if that number stood in the program."""
  run = evaluate(4)
  counted = ((6, 6, 1, 3), (1, 2, 3, 4), (5, 1, 6, 2))
  for chains in counted:
    asked = [
      readout._replace(budget=Budget(units=n), chains=n)
      for readout, n in zip(READOUTS, chains, strict=True)
    ]
    found = run(toys.params(), *problems, KEY, readouts=asked)
    for readout in asked:
      fixed = functools.partial(choose, rule=readout.rule, first=readout.chains, table=toys.TABLE)
      np.testing.assert_array_equal(found.answers[readout].chosen, jax.jit(fixed)(tree))
  with pytest.raises(ValueError, match='the readouts choose by'):
    run(toys.params(), *problems, KEY, readouts=READOUTS[:2])


def test_the_first_problems_begin_a_search_of_all(evaluate, verdicts, problems):
  """What is kept of them is not searched again, and changes nothing."""
  run, kept, seen = evaluate(4), {}, []
  begun = run(toys.params(), *problems, KEY, **ASK, of=5, kept=kept)
  assert len(begun.tokens) == 8 and len(kept) == 2  # in whole batches
  np.testing.assert_array_equal(begun.tokens, verdicts.tokens[:8])
  before = dict(kept)
  whole = run(toys.params(), *problems, KEY, **ASK, kept=kept, watch=seen.append)
  assert len(kept) == 3 and seen == [4, 4, 3]
  assert all(kept[at] is part for at, part in before.items())
  for readout in READOUTS:
    np.testing.assert_array_equal(whole.answers[readout].chosen, verdicts.answers[readout].chosen)
  fewer = [readout._replace(chains=1) for readout in READOUTS]
  run(toys.params(), *problems, KEY, readouts=fewer, of=5, kept=kept)
  assert len(kept) == 5  # other chains are another reading


class TestRows:
  RIGHT = np.array([6, 0, 2, 1])
  TELL = dict(stage='learned', task='toy', seed=5)
  ALL, TWO = (Readout('vote', 'majority', Budget(0, n), n) for n in (6, 2))

  def verdicts(self, verdict=(1, 0, 1, 0)):
    answers = lambda verdict: Answers(np.arange(4), np.array(verdict, float), ['x'] * 4)
    return Verdicts(
      answers={self.ALL: answers(verdict), self.TWO: answers((1, 0, 0, 0))},
      tokens=np.array([60, 80, 100, 120]),
      flops=np.array([6e3, 8e3, 1e4, 1.2e4]),
      scoring=np.array([3e3, 3e3, 4e3, 2e3]),
      seconds=np.array([2.0, 2.0, 4.0, 4.0]),
      samples=np.full(4, 6),
      right=self.RIGHT,
      unjudged=np.zeros(4, int),
      score=np.full(4, 0.5),
      late=np.zeros(4, int),
      ease=np.zeros(4),
      states=None,
      trees=None,
    )

  def test_all_chains_pay_for_all(self):
    low, high = wilson_interval(2, 4)
    assert result(self.ALL, self.verdicts(), **self.TELL) == Result(
      'learned', 'toy', 'vote', 0, 6, 90, 9e3, 0.5, low, high, 4, 5, 3.0
    )

  def test_who_does_not_read_the_critic_does_not_pay_for_it(self):
    verdicts = self.verdicts()
    without = self.TWO._replace(critic=False)
    verdicts.answers[without] = verdicts.answers[self.TWO]
    paid, saved = (result(one, verdicts, **self.TELL) for one in (self.TWO, without))
    assert (paid.flops, saved.flops) == (3e3, 2e3)
    assert paid == dataclasses.replace(saved, flops=paid.flops)
    (ceiling,) = coverage(verdicts, [Budget(0, 2)], **self.TELL)
    assert ceiling.flops == saved.flops  # of choosing, by whatever means

  def test_some_chains_pay_their_share(self):
    some = result(self.TWO, self.verdicts(), **self.TELL)
    assert (some.budget, some.units, some.accuracy) == (0, 2, 0.25)
    np.testing.assert_allclose((some.tokens, some.flops, some.seconds), (30, 3e3, 1.0))

  def test_what_is_unjudged_is_neither_right_nor_wrong(self):
    """As if its problem, or its sample, had not been asked; but it is counted."""
    row = result(self.ALL, self.verdicts((1, np.nan, 1, 0)), **self.TELL)
    assert (row.accuracy, row.problems, row.unjudged) == (2 / 3, 3, 1)
    assert (row.ci_low, row.ci_high, row.tokens) == (*wilson_interval(2, 3), 90)
    with pytest.raises(VerifierError, match='none of 4 answers of vote has a verdict'):
      result(self.ALL, self.verdicts([np.nan] * 4), **self.TELL)
    lost = self.verdicts()._replace(unjudged=np.array([0, 6, 1, 0]))
    one, six = coverage(lost, [Budget(0, 1), Budget(0, 6)], **self.TELL)
    assert (one.problems, one.unjudged, six.problems, six.unjudged) == (3, 1, 2, 2)
    np.testing.assert_allclose(one.accuracy, (6 / 6 + 2 / 5 + 1 / 6) / 3)
    assert (
      coverage(self.verdicts()._replace(unjudged=np.full(4, 6)), [Budget(0, 1)], **self.TELL) == []
    )

  def test_coverage_is_pass_at_k_of_the_right_ones(self):
    asked = [Budget(10, 1), Budget(25, 2), Budget(0, 6)]
    rows = coverage(self.verdicts(), asked, **self.TELL)
    assert [row.budget for row in rows] == [10, 25, 0]
    for row, k in zip(rows, (1, 2, 6)):
      assert (row.method, row.units, row.problems) == ('pass@k', k, 4)
      np.testing.assert_allclose(row.accuracy, pass_at_k(6, self.RIGHT, k).mean())
      np.testing.assert_allclose((row.tokens, row.flops, row.seconds), (15 * k, 1e3 * k, k / 2))
      assert 0 <= row.ci_low <= row.accuracy <= row.ci_high <= 1
    np.testing.assert_allclose(rows[0].accuracy, self.RIGHT.mean() / 6)
    np.testing.assert_allclose(rows[2].accuracy, 3 / 4)

  @pytest.mark.parametrize('right', [0, 6])
  def test_coverage_of_problems_that_agree_is_not_certain(self, right):
    alike = self.verdicts()._replace(right=np.full(4, right))
    (row,) = coverage(alike, [Budget(0, 1)], **self.TELL)
    assert (row.ci_low, row.ci_high) == wilson_interval(4 * right // 6, 4)
