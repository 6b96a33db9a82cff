"""Laws of the tokenizer: lossless, and the same ids whole or step by step."""

import numpy as np
import pytest

from o1jax.tasks import cipher, countdown
from o1jax.text import steps
from o1jax.text.tokenizer import Tokenizer

STRANGE = [
  '',
  ' ',
  '  a  ',
  '▁',
  'a▁ ▁b',
  'é',
  '日本語',
  '🙂',
  '\x00',
  '\t\r\n',
  '<0x41>',
  '</s><pad><unk><s>',
  'ﬁ',
  'A\u0301',
  '<answer',
  'answer>',
  '<answer><answer>',
  '\n\n',
  '1234567890',
  ' \u2028\u3000',
]


@pytest.fixture(scope='module')
def solutions():
  rng = np.random.default_rng(0)
  return [
    [problem.prompt.removesuffix('\n'), *task.demonstrate(problem, rng)]
    for task in (countdown.task(), cipher.task(max_words=2))
    for problem in task.problems('train', 40, 0)
  ]


@pytest.fixture(scope='module', params=[None, 360])
def tokenizer(request, solutions, tmp_path_factory):
  path = tmp_path_factory.mktemp('tokenizer') / 'tokenizer.model'
  return Tokenizer.train(map(steps.join_steps, solutions), path, vocab_size=request.param)


def fuzzed(count):
  rng = np.random.default_rng(1)
  parts = [*STRANGE, *steps.SYMBOLS, *'abc123 ,=>', 'make ', ' from']
  for _ in range(count):
    yield ''.join(parts[i] for i in rng.integers(len(parts), size=rng.integers(12)))
  for _ in range(count):  # any code points but the surrogates, which are no characters
    yield ''.join(chr(c) for c in rng.integers(0x110000, size=8) if not 0xD800 <= c < 0xE000)


def test_decoding_inverts_encoding(tokenizer):
  for text in [*STRANGE, *fuzzed(500)]:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_table_spells_the_exact_bytes(tokenizer):
  table, length = tokenizer.bytes_table()
  assert (
    table.shape[0] == length.shape[0] == tokenizer.vocab_size and table.shape[1] == length.max()
  )
  assert length[tokenizer.pad_id] == length[tokenizer.eos_id] == 0
  for text in [*STRANGE, *fuzzed(200)]:
    assert (
      b''.join(table[i, : length[i]].tobytes() for i in tokenizer.encode(text)) == text.encode()
    )


def test_same_ids_whole_or_step_by_step(tokenizer, solutions):
  for parts in solutions:
    whole = tokenizer.encode(steps.join_steps(parts))
    *early, last = parts
    assert whole == [
      i for step in early for i in tokenizer.encode(step + steps.DELIMITER)
    ] + tokenizer.encode(last)


def test_symbols_are_one_token_wherever_they_stand(tokenizer):
  ids = {symbol: tokenizer.encode(symbol) for symbol in steps.SYMBOLS}
  assert all(len(i) == 1 for i in ids.values()) and len({i for (i,) in ids.values()}) == len(ids)
  assert {tokenizer.pieces[i] for i in tokenizer.delimiter_ids} == {b'\n'}
  assert ids[steps.DELIMITER][0] in tokenizer.delimiter_ids
  for symbol, (i,) in ids.items():
    assert tokenizer.encode(f'ok{symbol}ok{symbol}').count(i) == 2


def test_digits_are_never_merged(tokenizer):
  assert not [
    piece for piece in tokenizer.pieces if len(piece) > 1 and any(c in b'0123456789' for c in piece)
  ]


def test_control_tokens_cannot_be_written(tokenizer):
  control = {i for i, piece in enumerate(tokenizer.pieces) if not piece}
  assert {tokenizer.pad_id, tokenizer.eos_id} < control
  for text in [*STRANGE, *fuzzed(200)]:
    assert not control & set(tokenizer.encode(text))


def test_training_is_deterministic_and_loads(solutions, tmp_path):
  texts = [steps.join_steps(parts) for parts in solutions]
  first = Tokenizer.train(texts, tmp_path / 'a.model', vocab_size=340)
  Tokenizer.train(iter(texts), tmp_path / 'deeper' / 'b.model', vocab_size=340)
  assert (tmp_path / 'a.model').read_bytes() == (tmp_path / 'deeper' / 'b.model').read_bytes()
  assert Tokenizer.load(tmp_path / 'a.model').pieces == first.pieces and first.vocab_size == 340


def test_the_smallest_vocabulary_is_the_characters(tmp_path):
  tokenizer = Tokenizer.train(['abba ab', '<answer>1'], tmp_path / 'a.model')
  assert tokenizer.vocab_size == 3 + 256 + len(steps.SYMBOLS) + len(set('ab 1'))
  assert tokenizer.unknown_characters(['ab<completion>\n', 'xa1▁ ']) == ['x', '▁']


def test_a_vocabulary_too_small_names_the_least(tmp_path):
  least = Tokenizer.train(['abc'], tmp_path / 'a.model').vocab_size
  assert Tokenizer.train(['abc'], tmp_path / 'a.model', vocab_size=least).vocab_size == least
  with pytest.raises(ValueError, match=f'vocab_size={least - 1}.*at least {least}'):
    Tokenizer.train(['abc'], tmp_path / 'a.model', vocab_size=least - 1)


def test_an_empty_corpus_is_refused(tmp_path):
  with pytest.raises(ValueError, match='empty corpus'):
    Tokenizer.train(['', ''], tmp_path / 'a.model')
