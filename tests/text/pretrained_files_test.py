"""Folders whose tokenizer cannot be read are refused in one line that says what is wrong."""

import io
import json

import pytest
import sentencepiece

from o1jax.text import pretrained
from tests.text.vocabularies import corpus, tokenizers, write


def _change(name, **changes):
  def change(folder):
    told = json.loads((folder / name).read_bytes())
    (folder / name).write_text(
      json.dumps({k: v for k, v in (told | changes).items() if v is not ...})
    )

  return change


def _write(name, text):
  return lambda folder: (folder / name).write_text(text)


def _both(*changes):
  return lambda folder: [change(folder) for change in changes]


@pytest.mark.parametrize(
  'base, change, message',
  [
    (
      'qwen2',
      lambda folder: (folder / 'tokenizer.json').unlink(),
      'no tokenizer in .* neither tokenizer.json nor a',
    ),
    (
      'qwen2',
      _both(
        lambda folder: (folder / 'tokenizer.json').unlink(),
        _write('a.model', ''),
        _write('b.model', ''),
      ),
      'a.model and b.model: name the file',
    ),
    (
      'qwen2',
      _write('tokenizer.json', 'version https://git-lfs.github.com/spec/v1\noid sha256:1\n'),
      'git lfs pull',
    ),
    (
      'llama2.model',
      _write('tokenizer.model', 'version https://git-lfs.github.com/spec/v1\n'),
      'git lfs pull',
    ),
    (
      'qwen2',
      _write('tokenizer_config.json', 'version https://git-lfs.github.com/spec/v1\n'),
      'json is a Git-LFS',
    ),
    (
      'qwen2',
      _write('tokenizer.json', '{"version": '),
      'is no tokenizer.json that the library tokenizers can read',
    ),
    ('qwen2', _write('tokenizer_config.json', '{"eos'), r'tokenizer_config.json is no JSON \('),
    (
      'qwen2',
      _write('generation_config.json', '[1]'),
      'generation_config.json holds a list and no object',
    ),
    ('llama2.model', _write('tokenizer.model', 'IQ== 0\nIg== 1\n'), 'is no SentencePiece model'),
    (
      'qwen2',
      _both(
        _change('tokenizer_config.json', eos_token=...),
        _change('generation_config.json', eos_token_id=...),
      ),
      'no end token in .*: tokenizer_config.json has no eos_token',
    ),
    (
      'qwen2',
      _change('tokenizer_config.json', eos_token='<|nothing|>'),
      r"eos_token '<\|nothing\|>' of .* is no token",
    ),
    (
      'qwen2',
      _change('generation_config.json', eos_token_id=[2, 151645]),
      'names the end token 151645, and its tok',
    ),
    (
      'llama2',
      _change('tokenizer_config.json', add_bos_token=True, bos_token='<b>'),
      "its bos_token '<b>' is no token",
    ),
  ],
)
def test_what_is_wrong_is_told_in_one_line(base, change, message, tmp_path):
  write(base, tmp_path)
  change(tmp_path)
  with pytest.raises(ValueError, match=message) as raised:
    pretrained.load(tmp_path)
  assert '\n' not in str(raised.value)


def test_other_kinds_are_refused(tmp_path):
  with pytest.raises(ValueError, match='of a kind that is not known'):
    pretrained.load(_write('merges.txt', 'a b')(tmp_path) and tmp_path / 'merges.txt')
  own = tokenizers.Tokenizer(tokenizers.models.WordPiece({'[UNK]': 0, 'a': 1}, unk_token='[UNK]'))
  own.decoder = tokenizers.decoders.WordPiece()
  own.save(str(tmp_path / 'tokenizer.json'))
  with pytest.raises(ValueError, match='holds a WordPiece model with the decoder WordPiece'):
    pretrained.load(tmp_path)


def test_a_vocabulary_without_newlines_is_refused(tmp_path):
  out = io.BytesIO()
  # T5's, which makes a newline a space.
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(corpus()),
    model_writer=out,
    vocab_size=300,
    hard_vocab_limit=False,
    minloglevel=2,
    normalization_rule_name='nmt_nfkc',
  )
  (tmp_path / 'spiece.model').write_bytes(out.getvalue())
  with pytest.raises(
    ValueError,
    match=r'cannot write a newline, .* \(it brings text to the form nmt_nfkc\+remove_ext',
  ):
    pretrained.load(tmp_path)
