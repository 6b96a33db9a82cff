"""Laws of mixtures: one task alone is that task, and each problem is treated as its own part does."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from o1jax.data import builder, pipeline
from o1jax.tasks import cipher, countdown, mixture
from o1jax.text.steps import ANSWER, join_steps
from o1jax.types import Problem, Reference
from o1jax.verify.answers import answer_keys
from o1jax.verify.host import HostVerifier
from tests import toys

PARTS = countdown.task(numbers=3), cipher.task(max_words=2)
SHARES = 1.0, 3.0


@pytest.fixture(scope='module')
def task():
  return mixture.task(parts=PARTS, shares=SHARES)


def solved(task, count, split='train'):
  """Problems with the text of a demonstration each."""
  rng = np.random.default_rng(0)
  return [(p, join_steps(task.demonstrate(p, rng))) for p in task.problems(split, count, 0)]


def own(problem):
  """As the part made it."""
  return dataclasses.replace(problem, task=0)


def test_problems_are_those_of_the_parts_in_their_shares_and_fewer_are_the_first_of_more(task):
  more = task.problems('test', 40, 5)
  assert task.problems('test', 13, 5) == more[:13]
  for i, part in enumerate(PARTS):
    found = [own(p) for p in more if p.task == i]
    assert found == part.problems('test', (10, 30)[i], 5)
    # At any point a part is less than one problem from its share.
    behind = np.cumsum([p.task == i for p in more]) - np.arange(1, 41) * (0.25, 0.75)[i]
    assert (np.abs(behind) < 1).all()


@pytest.mark.parametrize('part', PARTS, ids=lambda part: part.name)
def test_a_mixture_of_one_is_that_task(part):
  alone = mixture.task(parts=[part], shares=[2.0])
  problems = part.problems('train', 12, 3)
  assert alone.problems('train', 12, 3) == problems
  assert pipeline.demonstrate(alone, problems) == pipeline.demonstrate(part, problems)
  assert pipeline.plain_text(alone, 20) == pipeline.plain_text(part, 20)
  assert (alone.fixed, alone.reads, alone.judges) == (part.fixed, part.reads, part.judges)
  answers = [text for _, text in solved(part, 12)]
  assert verdicts(alone, problems, answers).tolist() == verdicts(part, problems, answers).tolist()


def test_demonstrations_and_texts_are_those_of_the_parts(task):
  for problem, text in solved(task, 16):
    part = PARTS[problem.task]
    assert part.check(own(problem), text) and task.check(problem, text)
  texts = [pipeline.plain_text(task, 400), *(pipeline.plain_text(part, 400) for part in PARTS)]
  mixed, *alone = texts
  which = [[text == other[i] for other in alone].index(True) for i, text in enumerate(mixed)]
  np.testing.assert_allclose(np.mean(which), 0.75, atol=0.07)


def arrays(problems, answers, width=96):
  """The problems as a reference, and all answers to each of them as bytes [B, N, width]."""
  texts = [p.text.encode() for p in problems]
  letters = np.zeros((len(problems), max(1, *map(len, texts))), np.uint8)
  numbers = np.full((len(problems), 8), -1, np.int32)
  for i, problem in enumerate(problems):
    letters[i, : len(texts[i])] = list(texts[i])
    numbers[i, : len(problem.numbers)] = problem.numbers
  numbers = numbers[:, : max(1, *(len(p.numbers) for p in problems))]
  tasks = np.array([p.task for p in problems], np.int32)
  reference = Reference(letters, np.array(list(map(len, texts)), np.int32), numbers, tasks)
  ends = [text.encode()[-width:] for text in answers]
  rows = np.zeros((len(ends), width), np.uint8)
  for row, end in zip(rows, ends):
    row[: len(end)] = list(end)
  length = np.array(list(map(len, ends)), np.int32)
  return reference, *(np.broadcast_to(x, (len(problems), *x.shape)) for x in (rows, length))


@functools.cache
def compiled(verify):
  return jax.jit(jax.vmap(jax.vmap(verify, (None, 0, 0))))


def verdicts(task, problems, answers):
  return np.asarray(compiled(task.verify)(*arrays(problems, answers)))


def some_answers(task):
  """Problems, and answers to all of them, wrong ones too."""
  problems, answers = zip(*solved(task, 12))
  return list(problems), [*answers, ANSWER, answers[0][:-1], f'{answers[1]} ', 'no answer']


def test_the_verdicts_are_those_of_the_parts_on_devices_and_on_the_host(task):
  problems, answers = some_answers(task)
  found = verdicts(task, problems, answers)
  for i, part in enumerate(PARTS):
    rows = [b for b, problem in enumerate(problems) if problem.task == i]
    theirs = verdicts(part, [own(problems[b]) for b in rows], answers)
    np.testing.assert_array_equal(found[rows], theirs)
  assert found.sum() > 12 and (found.sum(1) > 0).all()
  host = HostVerifier(task.check, workers=1, size=tuple(part.reads for part in PARTS))
  given = arrays(problems, answers)
  np.testing.assert_array_equal(host._judge(*given, np.ones(found.shape, bool)), found)


def test_whether_a_solution_can_become_right_is_told_by_its_part(task):
  told = lambda reference, text, length: jnp.sum(text) % 3 == length % 3
  parts = [part._replace(reachable=told) for part in PARTS]
  parts[1] = parts[1]._replace(reachable=lambda *found: ~told(*found))
  whole = mixture.task(parts=parts, shares=SHARES)
  problems, answers = some_answers(task)
  reference, text, length = arrays(problems, answers)
  found = np.asarray(compiled(whole.reachable)(reference, text, length))
  by_first = np.asarray(compiled(told)(reference, text, length))
  second = np.array([problem.task == 1 for problem in problems])
  np.testing.assert_array_equal(found, by_first ^ second[:, None])
  assert 0 < found.sum() < found.size
  silent = mixture.task(parts=[parts[0]._replace(reachable=None), parts[1]], shares=SHARES)
  assert silent.reachable is None


def test_verdicts_do_not_depend_on_the_order_of_the_batch(task):
  problems, answers = some_answers(task)
  order = np.random.default_rng(1).permutation(len(problems))
  moved = verdicts(task, [problems[b] for b in order], answers)
  np.testing.assert_array_equal(moved, verdicts(task, problems, answers)[order])


@pytest.mark.long
@pytest.mark.parametrize('part', [0, 1])
def test_a_batch_may_hold_problems_of_one_part_alone(task, part):
  """Its reference is then as narrow as theirs: other parts find no numbers, or no text, in it."""
  problems, answers = some_answers(task)
  rows = [b for b, problem in enumerate(problems) if problem.task == part]
  alone = verdicts(task, [problems[b] for b in rows], answers)
  np.testing.assert_array_equal(alone, verdicts(task, problems, answers)[rows])
  assert alone.any()
  can = lambda problems: np.asarray(compiled(task.reachable)(*arrays(problems, answers)))
  alone = can([problems[b] for b in rows])
  np.testing.assert_array_equal(alone, can(problems)[rows])
  assert 0 < alone.sum() < alone.size


def seen(problem, text):
  """Right where what the check is told begins with b."""
  return text.startswith('b')


def test_a_part_reads_no_more_of_an_answer_than_alone():
  def verify(reference, text, length):
    return (length > 0) & (text[0] == ord('b'))

  parts = [
    PARTS[0]._replace(name=name, verify=verify, check=seen, reads=reads)
    for name, reads in (('few', 2), ('many', 4))
  ]
  task = mixture.task(parts=parts, shares=(1, 1))
  problems = [Problem('', task=i) for i in (0, 1)]
  answers = ['abab', 'bbaa', 'aaba', 'b', '']
  expected = [[False, False, True, True, False], [False, True, False, True, False]]
  assert task.reads == 4 and verdicts(task, problems, answers).tolist() == expected
  host = HostVerifier(task.check, workers=1, size=(2, 4))
  found = host._judge(*arrays(problems, answers), np.ones((2, 5), bool))
  assert found.tolist() == expected


@pytest.mark.long
def test_a_vote_reads_the_answer_of_its_own_task():
  """Behind its own marker, in as many bytes as it reads."""
  tree = toys.random_tree(2, batch=4, slots=10)
  ids = np.broadcast_to(np.arange(1, 1 + tree.mask[0].size), (4, tree.mask[0].size))
  places = ('a', 8), ('c', 64), ('a', 8)
  which = np.array([2, 1, 0, 1])
  marker, reads = zip(*places)
  found = answer_keys(tree, ids, toys.TABLE, marker=marker, reads=reads, task=which)
  alone = [answer_keys(tree, ids, toys.TABLE, marker=m, reads=n) for m, n in places]
  for b, i in enumerate(which):
    np.testing.assert_array_equal(found[b], alone[i][b])
  assert (np.asarray(alone[0]) != np.asarray(alone[1])).any()


def test_a_question_goes_to_the_part_that_takes_it(task):
  assert task.ask('make 26 from 3 5 7').task == 0
  asked = task.ask('decode oyfjdnisdr')
  assert asked.task == 1 and asked.text == 'think'
  with pytest.raises(ValueError, match='countdown: .*cipher: '):
    task.ask('hello?')


def test_what_does_not_fit_is_refused(task):
  for shares in ((1.0,), (1.0, 0.0)):
    with pytest.raises(ValueError, match='give one share above 0 for each'):
      mixture.task(parts=PARTS, shares=shares)
  for parts in ((PARTS[0], PARTS[0]), (PARTS[0], task)):
    with pytest.raises(ValueError, match='give each a name, and no other mixture'):
      mixture.task(parts=parts, shares=(1, 1))
  with pytest.raises(ValueError, match='a task with one is not mixed'):
    mixture.task(parts=(PARTS[0], PARTS[1]._replace(world=object())), shares=(1, 1))
  twice = [PARTS[1]._replace(name=name) for name in ('one', 'other')]
  with pytest.raises(ValueError, match="'one' and 'other' of a mixture share the problem 'decode"):
    mixture.task(parts=twice, shares=(1, 1)).problems('train', 8, 0)


def test_what_a_mixture_leaves_on_disk_knows_its_tasks(task, tmp_path):
  builder.write(task, tmp_path, counts={'train': 9}, texts=3)
  found = builder.read('mixture', tmp_path, 'train')
  assert found == pipeline.demonstrate(task, task.problems('train', 9, 0))
  assert {d.problem.task for d in found} == {0, 1}
