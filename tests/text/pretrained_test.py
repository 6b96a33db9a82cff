"""Laws of tokenizers from elsewhere: exact bytes, borders between steps, special tokens, and errors
for people."""

import unicodedata

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sentencepiece

from o1jax.data import pipeline
from o1jax.decode.rules import Sampling
from o1jax.text import pretrained
from o1jax.text.steps import DELIMITER, join_steps, split_steps
from o1jax.text.tokenizer import Tokenizer
from o1jax.types import Problem
from tests.golden import talks
from tests.text.vocabularies import (
  ENDS,
  JSON,
  PREFIXED,
  PROMPTS,
  SOLUTIONS,
  corpus,
  tokenizers,
  write,
)

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
  '<0x0A>',
  '</s>',
  '<s><unk>',
  '<|im_end|>',
  '<|eot_id|>x',
  '<end_of_turn>\n',
  '<eos>',
  '[INST] a [/INST]',
  '<think>',
  '\n\n',
  '\n\n\n\n',
  ' \n  \n',
  '.\n',
  '...\n\n',
  '1234567890',
  ' \u2028\u3000',
  'Ġ',
  'ĊĊ',
  '\\',
  "it's WE'LL",
]


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  made = {}
  for kind in ENDS:
    made[kind] = tmp_path_factory.mktemp('checkpoint')
    write(kind, made[kind])
  return made


@pytest.fixture(scope='module', params=ENDS)
def kind(request):
  return request.param


@pytest.fixture(scope='module')
def tokenizer(kind, folders):
  return pretrained.load(folders[kind])


def fuzzed(count, seed=0):
  rng = np.random.default_rng(seed)
  parts = [*STRANGE, *(word for text in corpus()[:10] for word in text.split(' ')), ' ', '  ', '\n']
  for _ in range(count):
    yield ''.join(parts[i] for i in rng.integers(len(parts), size=rng.integers(12)))
  for _ in range(count // 4):  # any code points but the surrogates, which are no characters
    yield ''.join(chr(c) for c in rng.integers(0x110000, size=8) if not 0xD800 <= c < 0xE000)


def kept(tokenizer, text):
  """The text as the tokenizer keeps it: Qwen's brings it to NFC, which is no loss we can mend."""
  assert tokenizer.normalizer in ('', 'NFC')
  return unicodedata.normalize('NFC', text) if tokenizer.normalizer else text


def test_ids_spell_the_text(tokenizer):
  for text in [*STRANGE, *PROMPTS.values(), *map(join_steps, SOLUTIONS), *fuzzed(400)]:
    ids = tokenizer.encode(text)
    assert b''.join(tokenizer.pieces[i] for i in ids) == kept(tokenizer, text).encode()
    assert tokenizer.decode(ids) == kept(tokenizer, text)


def library(kind, folder):
  """What the tokenizer's own library encodes, as text without special tokens, and decodes."""
  if kind.endswith('.model'):
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / 'tokenizer.model'))
    return processor.encode, processor.decode, processor.vocab_size()
  own = tokenizers.Tokenizer.from_file(str(folder / 'tokenizer.json'))
  own.encode_special_tokens = True
  return (
    lambda text: own.encode(text, add_special_tokens=False).ids,
    own.decode,
    len(own.get_vocab()),
  )


def test_decoding_is_that_of_the_library(kind, folders, tokenizer):
  """But for the space that some put before a text and take away again."""
  _, decode, size = library(kind, folders[kind])
  rng, compared = np.random.default_rng(0), 0
  rows = [
    tokenizer.encode(text)
    for text in (*PROMPTS.values(), *map(join_steps, SOLUTIONS), *fuzzed(100))
  ]
  rows += [rng.integers(size, size=rng.integers(1, 9)).tolist() for _ in range(600)]
  for ids in rows:
    # What libraries make of an unknown token differs, and a space as a byte is none that they put
    # there.
    ids = [i for i in ids if tokenizer.pieces[i] and tokenizer.pieces[i] != b' ']
    ours = tokenizer.decode(ids)
    if not {'\ufffd', '▁'} & set(ours):  # they differ in how many of those they write
      assert decode(ids) == (ours.removeprefix(' ') if kind in PREFIXED else ours)
      compared += 1
  assert compared > 200


def test_encoding_is_that_of_the_library(kind, folders, tokenizer):
  """The space that some put before a text aside. Unigram and SentencePiece have no such words for
  special tokens."""
  encode, _, _ = library(kind, folders[kind])
  space = ' ' if kind in PREFIXED else ''
  typed = ['a <|im_end|>\n<|eot_id|>', '</s><eos>'] if kind in JSON and kind != 'unigram' else []
  for text in [*PROMPTS.values(), *map(join_steps, SOLUTIONS), *typed]:
    text = text.strip(' ')
    assert tokenizer.encode(space + text) == encode(text)


def test_the_table_has_the_rows_of_the_model(tokenizer):
  table, length = tokenizer.bytes_table(rows=tokenizer.vocab_size + 7)
  assert (
    len(table) == len(length) == tokenizer.vocab_size + 7
    and not length[-7:].any()
    and not table[-7:].any()
  )
  for i, piece in enumerate(tokenizer.pieces):
    assert table[i, : length[i]].tobytes() == piece
  with pytest.raises(ValueError, match=f'rows={tokenizer.vocab_size - 1} cannot hold'):
    tokenizer.bytes_table(rows=tokenizer.vocab_size - 1)


# --- steps ---


@pytest.fixture(scope='module', params=[*ENDS, 'ours'])
def any_tokenizer(request, folders, tmp_path_factory):
  if request.param != 'ours':
    return pretrained.load(folders[request.param])
  path = tmp_path_factory.mktemp('ours') / 'tokenizer.model'
  return Tokenizer.train([*corpus(), *map(join_steps, SOLUTIONS)], path, vocab_size=450)


@pytest.fixture(scope='module')
def cut(any_tokenizer):
  """What cuts ids into steps as sampling does."""
  sampling = Sampling(eos_id=any_tokenizer.end_ids, delimiter_id=any_tokenizer.delimiter_ids)
  closes = np.asarray(sampling.closes(jnp.arange(any_tokenizer.vocab_size)))

  def cut(ids):
    ends = [0, *(n + 1 for n, i in enumerate(ids) if closes[i])]
    assert ends[-1] == len(ids)
    return [ids[start:end] for start, end in zip(ends, ends[1:])]

  return cut


def test_learned_steps_are_cut_as_sampled_ones(any_tokenizer, cut):
  for steps in [*SOLUTIONS, [''], ['', '', '1']]:
    parts = any_tokenizer.encode_steps(steps)
    assert cut([i for part in parts for i in part]) == parts and len(parts) == len(steps)
    for step, part in zip(steps[:-1], parts):
      assert part == any_tokenizer.encode(step + DELIMITER)
      assert any_tokenizer.decode(part) == step + DELIMITER and any_tokenizer.pieces[
        part[-1]
      ].endswith(b'\n')
    assert parts[-1] == [*any_tokenizer.encode(steps[-1]), any_tokenizer.eos_id]


def test_steps_survive_their_text(any_tokenizer):
  """What a policy says, written down and learned again, is the same tokens with the same
  borders."""
  for steps in SOLUTIONS:
    parts = any_tokenizer.encode_steps(steps)
    text = any_tokenizer.decode([i for part in parts for i in part])
    assert split_steps(text) == steps and any_tokenizer.encode_steps(split_steps(text)) == parts


def test_a_row_is_a_prompt_and_what_sampling_makes_of_it(any_tokenizer, cut):
  """The delimiter is the same tokens at train and at score time, and the prompt's end does not
  merge with a step."""
  demonstrations = [
    pipeline.Demonstration(Problem(prompt), steps)
    for prompt in PROMPTS.values()
    for steps in SOLUTIONS
  ]
  prompt, _ = pipeline.encode_problems(
    any_tokenizer, [d.problem for d in demonstrations], prompt_length=256
  )
  for n, demonstration in enumerate(demonstrations):
    row = jax.tree.map(
      lambda x: x[0], pipeline.instruction_rows(any_tokenizer, [demonstration], row_length=512)
    )
    tokens, mask = row.tokens[: row.length], row.mask[: row.length]
    assert tokens[~mask].tolist() == prompt.tokens[n, : prompt.length[n]].tolist()
    assert cut(tokens[mask].tolist()) == any_tokenizer.encode_steps(demonstration.steps)


def test_steps_are_checked_at_their_exact_bounds(any_tokenizer):
  demonstrations = [pipeline.Demonstration(Problem('a\n'), steps) for steps in SOLUTIONS]
  longest = max(len(ids) for steps in SOLUTIONS for ids in any_tokenizer.encode_steps(steps))
  pipeline.check_steps(any_tokenizer, demonstrations, step_length=longest, max_steps=5)
  with pytest.raises(ValueError, match=f'has {longest} tokens with its end'):
    pipeline.check_steps(any_tokenizer, demonstrations, step_length=longest - 1, max_steps=5)


def test_newlines_merge_with_their_neighbours(folders):
  """Without this the laws above would hold of any encoding of whole solutions."""
  merged = []
  for kind in ENDS:
    tokenizer = pretrained.load(folders[kind])
    whole = [tokenizer.encode(join_steps(steps)) for steps in SOLUTIONS]
    merged += [kind] * any(
      w != [i for part in map(tokenizer.encode, _closed(steps)) for i in part]
      for w, steps in zip(whole, SOLUTIONS)
    )
  assert {'gpt2', 'qwen2', 'llama3', 'gemma'} <= set(merged)
  assert len(pretrained.load(folders['qwen2']).delimiter_ids) > 5


def _closed(steps):
  return [*(step + DELIMITER for step in steps[:-1]), steps[-1]]


# --- special tokens ---


def test_ends_and_padding(kind, tokenizer):
  assert tokenizer.end_ids == tuple(tokenizer.added[text] for text in ENDS[kind])
  assert not any(tokenizer.pieces[i] for i in (*tokenizer.end_ids, tokenizer.pad_id))
  pad = {'qwen2': '<|endoftext|>', 'gemma': '<pad>', 'gemma.model': '<pad>'}.get(
    kind, ENDS[kind][0]
  )
  assert tokenizer.pad_id == tokenizer.added[pad]


def test_no_special_token_comes_of_text(tokenizer):
  special = {i for i in tokenizer.added.values() if not tokenizer.pieces[i]}
  for text in [*tokenizer.added, ''.join(tokenizer.added), *STRANGE, *fuzzed(200)]:
    assert not special & set(tokenizer.encode(text))


def test_prompts_begin_as_the_library_begins_a_text(kind, tokenizer):
  start = {'llama3': '<|begin_of_text|>', 'gemma': '<bos>', 'gemma.model': '<bos>'}.get(kind, '<s>')
  start = [] if kind in ('gpt2', 'qwen2', 'unigram') else [tokenizer.added[start]]
  for text in (*PROMPTS.values(), 'a</s>b<|eot_id|>c<eos>d<|im_end|>'):
    (ids,) = tokenizer.encode_prompts([text])
    assert ids[: len(start)] == start
    assert tokenizer.decode(ids).removeprefix(' ' if kind in PREFIXED else '') == text
    assert not any(not tokenizer.pieces[i] for i in ids[len(start) :])


@pytest.mark.parametrize('kind', JSON, indirect=True)
def test_prompts_are_those_of_transformers(kind, folders, tokenizer):
  encode, _, _ = library(kind, folders[kind])
  for text, wanted in zip(PROMPTS.values(), talks.stored()['prompts'][kind], strict=True):
    named = lambda names: [tokenizer.added[name] for name in names]
    (ids,) = tokenizer.encode_prompts([text])
    assert ids == [*named(wanted['before']), *encode(text), *named(wanted['behind'])]
    assert tokenizer.decode(tokenizer.encode(text)) == wanted['text']


def test_nothing_is_unknown_where_bytes_are_tokens(tokenizer):
  assert tokenizer.unknown_characters([*STRANGE, *corpus(), *fuzzed(50)]) == []


def test_a_vocabulary_without_bytes_tells_what_it_lacks(tmp_path):
  vocabulary = {'<unk>': 0, 'a': 1, '▁': 2, '\n': 3, '</s>': 4}
  spec = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, [], unk_token='<unk>'))
  spec.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
  spec.decoder = tokenizers.decoders.Metaspace()
  spec.add_special_tokens(['<unk>', '</s>'])
  spec.save(str(tmp_path / 'tokenizer.json'))
  (tmp_path / 'tokenizer_config.json').write_text('{"eos_token": "</s>"}')
  tokenizer = pretrained.load(tmp_path)
  assert tokenizer.unknown_characters(['a b\n', 'é▁']) == ['b', 'é', '▁']
  with pytest.raises(ValueError, match=r"no token for \['b'\]"):
    pipeline.check_tokenizer(tokenizer, ['ab'])


# --- files ---


def test_a_file_is_as_good_as_its_folder(kind, folders, tokenizer):
  name = 'tokenizer.model' if kind.endswith('.model') else 'tokenizer.json'
  named = pretrained.load(folders[kind] / name)
  assert named.pieces == tokenizer.pieces and named.end_ids == tokenizer.end_ids


def test_a_lone_model_file_tells_its_own_end(folders, tmp_path):
  (tmp_path / 'spiece.model').write_bytes(
    (folders['llama2.model'] / 'tokenizer.model').read_bytes()
  )
  tokenizer = pretrained.load(tmp_path)
  assert (
    tokenizer.end_ids == (2,) and tokenizer.pad_id == 2 and tokenizer.encode_prompts([''])[0] == [1]
  )
