"""Laws of the pipeline: what goes in comes out, and a batch is a function of (seed, update)."""

import numpy as np
import pytest

from o1jax import types
from o1jax.data import pipeline
from o1jax.tasks import calculator, cipher, countdown
from o1jax.text.steps import Given, join_steps
from o1jax.text.tokenizer import Tokenizer


@pytest.fixture(scope='module')
def task():
  return countdown.task()


@pytest.fixture(scope='module')
def demonstrations(task):
  return pipeline.demonstrate(task, task.problems('train', 60, 0), seed=1)


@pytest.fixture(scope='module')
def texts(task):
  return pipeline.plain_text(task, 100)


@pytest.fixture(scope='module')
def tokenizer(demonstrations, texts, tmp_path_factory):
  path = tmp_path_factory.mktemp('tokenizer') / 'tokenizer.model'
  return Tokenizer.train(pipeline.corpus(texts, demonstrations), path, vocab_size=320)


def test_demonstration_i_is_a_function_of_seed_and_i(task, demonstrations):
  problems = task.problems('train', 60, 0)
  assert pipeline.demonstrate(task, problems[:7], seed=1) == demonstrations[:7]
  assert pipeline.demonstrate(task, problems, seed=2) != demonstrations
  assert pipeline.plain_text(task, 5) == pipeline.plain_text(task, 9)[:5]


def test_problems_round_trip(task, tokenizer):
  problems = [
    *task.problems('test', 20, 0),
    types.Problem(prompt='make 9\n', text='5', numbers=(9,)),
  ]
  prompt, reference = pipeline.encode_problems(tokenizer, problems, prompt_length=24)
  assert (
    prompt.tokens.shape == (21, 24)
    and reference.numbers.shape == (21, 4)
    and reference.text.dtype == np.uint8
  )
  for i, problem in enumerate(problems):
    assert tokenizer.decode(prompt.tokens[i, : prompt.length[i]]) == problem.prompt
    assert (prompt.tokens[i, prompt.length[i] :] == tokenizer.pad_id).all()
    assert bytes(reference.text[i, : reference.length[i]]) == problem.text.encode()
    assert tuple(n for n in reference.numbers[i] if n != types.UNUSED) == problem.numbers


def test_the_prompt_does_not_depend_on_the_answer(tokenizer):
  one, other = [
    pipeline.encode_problems(
      tokenizer, [types.Problem('make 26 from 3,5,7\n', text, numbers)], prompt_length=30
    )[0]
    for text, numbers in [('', (26, 3)), ('x', (1, 2, 3))]
  ]
  assert (one.tokens == other.tokens).all() and (one.length == other.length).all()


ROW = 120


def test_plain_rows_hold_every_text_whole(tokenizer, texts):
  rows = pipeline.plain_rows(tokenizer, texts, row_length=ROW)
  assert (
    len(rows.tokens) < len(texts) and (rows.mask == (np.arange(ROW) < rows.length[:, None])).all()
  )
  found = []
  for tokens, length in zip(rows.tokens, rows.length):
    assert tokens[length - 1] == tokenizer.eos_id
    ends = np.flatnonzero(tokens[:length] == tokenizer.eos_id)
    found += [tokenizer.decode(part) for part in np.split(tokens[:length], ends + 1)[:-1]]
  assert sorted(found) == sorted(texts)


def test_rows_are_full(tokenizer, texts):
  """A text goes to the first row that has room: no two rows near each other could be one."""
  rows = pipeline.plain_rows(tokenizer, texts, row_length=ROW)
  assert len(rows.length) > 20
  assert min(a + b for a, b in zip(rows.length, rows.length[1:])) > ROW


def test_instruction_rows_mask_the_prompts_out_and_keep_the_texts_apart(tokenizer, demonstrations):
  rows = pipeline.instruction_rows(tokenizer, demonstrations, row_length=150)
  assert len(rows.tokens) < len(demonstrations)
  assert ((rows.segment > 0) == (np.arange(150) < rows.length[:, None])).all()
  texts = [(i, n) for i, row in enumerate(rows.segment) for n in range(1, row.max() + 1)]
  assert len(texts) == len(demonstrations)
  left = {d.problem.prompt: d for d in demonstrations}
  for i, n in texts:
    first = tokenizer.decode(rows.tokens[i][(rows.segment[i] == n) & ~rows.mask[i]])
    problem, steps = left.pop(first)
    own = rows.segment[i] == n
    tokens, mask = rows.tokens[i][own], rows.mask[i][own]
    assert (
      tokenizer.decode(tokens) == problem.prompt + join_steps(steps)
      and tokens[-1] == tokenizer.eos_id
    )
    assert tokenizer.decode(tokens[~mask]) == problem.prompt
    assert tokenizer.decode(tokens[mask]) == join_steps(steps)


def test_a_batch_is_a_function_of_seed_and_update():
  rows = {'a': np.arange(10), 'b': np.arange(20).reshape(10, 2)}
  stream, again = [pipeline.batches(rows, batch_size=4, seed=3) for _ in range(2)]
  forwards = [stream(update)['a'] for update in range(20)]
  backwards = [again(np.int32(update))['a'] for update in reversed(range(20))]
  assert np.array_equal(forwards, backwards[::-1])
  assert not np.array_equal(
    forwards, [pipeline.batches(rows, batch_size=4, seed=4)(u)['a'] for u in range(20)]
  )
  assert all(
    (batch['b'] == 2 * batch['a'][:, None] + [0, 1]).all() for batch in map(stream, range(20))
  )
  epochs = np.concatenate(forwards).reshape(-1, 10)
  assert (np.sort(epochs, axis=1) == np.arange(10)).all() and len(
    {tuple(epoch) for epoch in epochs}
  ) == len(epochs)


def test_a_share_of_a_mixed_batch_is_from_the_other_rows():
  stream = pipeline.mixed_batches(
    np.arange(10), np.arange(100, 130), batch_size=8, share=0.4, seed=3
  )
  assert all((stream(update) < 10).tolist() == [True] * 5 + [False] * 3 for update in range(20))
  assert set(np.concatenate([stream(u) for u in range(10)])) == {*range(10), *range(100, 130)}
  alone = pipeline.mixed_batches(np.arange(10), np.zeros(0), batch_size=8, share=0.1, seed=3)
  assert np.array_equal(alone(4), pipeline.batches(np.arange(10), batch_size=8, seed=3)(4))
  for share in (1.0, -0.1):
    with pytest.raises(ValueError, match=f'{share} .* give a number in'):
      pipeline.mixed_batches(np.arange(10), np.arange(10), batch_size=8, share=share)


def test_a_batch_may_be_larger_than_the_data():
  assert np.bincount(pipeline.batches(np.arange(3), batch_size=6)(0)).tolist() == [2, 2, 2]


def test_what_does_not_fit_names_the_value_and_the_way_out(tokenizer, demonstrations, texts):
  problems = [d.problem for d in demonstrations]
  with pytest.raises(
    ValueError, match=r"prompt 'make .*' has \d+ tokens, and prompt_length=5: raise it to at least"
  ):
    pipeline.encode_problems(tokenizer, problems, prompt_length=5)
  with pytest.raises(
    ValueError, match=r"plain text '.*' has \d+ tokens with its end, and row_length=9: raise"
  ):
    pipeline.plain_rows(tokenizer, texts, row_length=9)
  with pytest.raises(
    ValueError, match=r"demonstration 'make .*' has \d+ tokens with its end, and row_length=40"
  ):
    pipeline.instruction_rows(tokenizer, demonstrations, row_length=40)


@pytest.mark.parametrize(
  'make',
  [
    lambda tokenizer: pipeline.encode_problems(tokenizer, [], prompt_length=5),
    lambda tokenizer: pipeline.plain_rows(tokenizer, [], row_length=5),
    lambda tokenizer: pipeline.instruction_rows(tokenizer, [], row_length=5),
    lambda tokenizer: pipeline.batches(np.zeros(0), batch_size=1),
    lambda tokenizer: pipeline.batches(np.zeros(3), batch_size=0),
  ],
)
def test_nothing_is_refused(make, tokenizer):
  with pytest.raises(ValueError, match='give at least'):
    make(tokenizer)


def test_steps_are_checked_at_their_exact_bounds(tokenizer, demonstrations):
  length = max(len(tokenizer.encode(step)) + 1 for d in demonstrations for step in d.steps)
  most = max(len(d.steps) for d in demonstrations)
  pipeline.check_steps(tokenizer, demonstrations, step_length=length, max_steps=most)
  with pytest.raises(
    ValueError, match=f'has {length} tokens with its end, and step_length={length - 1}: raise it'
  ):
    pipeline.check_steps(tokenizer, demonstrations, step_length=length - 1, max_steps=most)
  with pytest.raises(ValueError, match=f'has {most} steps, and max_steps={most - 1}: raise it'):
    pipeline.check_steps(tokenizer, demonstrations, step_length=length, max_steps=most - 1)


def test_a_tokenizer_of_another_task_is_refused(tokenizer):
  task = cipher.task()
  problems = task.problems('train', 50, 0)
  with pytest.raises(
    ValueError, match=r"no token for \['\w', .*'z'\]: it was trained on texts of another task"
  ):
    pipeline.encode_problems(tokenizer, problems, prompt_length=200)
  with pytest.raises(ValueError, match='texts of another task'):
    pipeline.check_steps(
      tokenizer, pipeline.demonstrate(task, problems), step_length=99, max_steps=99
    )


def test_what_fits_is_kept_and_the_rest_counted(tmp_path, monkeypatch):
  """A long step goes on in the next: 7 letters and their end take two steps of 4 tokens."""
  tokenizer = Tokenizer.train(['abc'], tmp_path / 'tokenizer.model')
  shown = [
    pipeline.Demonstration(types.Problem(prompt='abc\n'), steps)
    for steps in (['ab', 'c'], ['abcabca', 'c'], ['abcabca', 'a', 'b'], ['a' * 8, 'c'])
  ]
  told = []
  monkeypatch.setattr(
    pipeline.logging, 'warning', lambda words, *values: told.append(words % values)
  )
  sizes = dict(step_length=4, max_steps=3)
  for row in (99, 14):
    assert pipeline.fitting(tokenizer, shown, **sizes, row_length=row) == shown[:2]
    assert told.pop().startswith(
      f'2 of 4 demonstrations are longer than 3 steps of 4 tokens, or a row of {row}'
    )
  assert pipeline.fitting(tokenizer, shown, **sizes, row_length=13) == shown[:1]
  with pytest.raises(ValueError, match='none of 4 demonstrations fits in max_steps=3'):
    pipeline.fitting(tokenizer, shown, **sizes, row_length=7)


def test_what_a_world_says_is_read_and_not_learned(tmp_path):
  task = calculator.task()
  problems = task.problems('train', 30, 0)
  demonstrations = pipeline.demonstrate(task, problems, seed=1)
  texts = pipeline.plain_text(task, 100)
  corpus = pipeline.corpus(texts, demonstrations)
  tokenizer = Tokenizer.train(corpus, tmp_path / 'tokenizer.model', vocab_size=320)
  for given, steps in demonstrations:
    rows = pipeline.instruction_rows(
      tokenizer, [pipeline.Demonstration(given, steps)], row_length=300
    )
    tokens, learned = rows.tokens[0, : rows.length[0]], rows.mask[0, : rows.length[0]]
    assert tokenizer.decode(tokens) == given.prompt + join_steps(steps)
    said = ''.join(step + '\n' for step in steps if isinstance(step, Given))
    assert tokenizer.decode(tokens[~learned]) == given.prompt + said
    assert said.count('= ') >= 2
    # A world spells in characters, and so do the rows.
    spelled = tokens[~learned][len(tokenizer.encode_prompts([given.prompt])[0]) :]
    assert list(spelled) == tokenizer.spell(said)
  sizes = dict(step_length=40, max_steps=20)
  pipeline.check_steps(tokenizer, demonstrations, **sizes, says=8)
  with pytest.raises(ValueError, match='8 of them kept free for what the world says'):
    pipeline.check_steps(tokenizer, demonstrations, step_length=20, max_steps=20, says=8)
