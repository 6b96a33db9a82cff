"""The vocabularies of other libraries: the exact bytes of every token, and text to ids without an
added space.

`tokenizer.json` is the format of Hugging Face's `tokenizers`, `.model` that of SentencePiece.
"""

import json
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, NamedTuple

import sentencepiece

from o1jax.text import spm

_BYTE = re.compile('<0x[0-9A-F]{2}>')


class Vocabulary(NamedTuple):
  """What a file says of a tokenizer. `tokenizer.Tokenizer` explains the other fields."""

  encode: Callable[[str], list[int]]
  parse: Callable[[str], list[int]]
  pieces: list[bytes]
  added: dict[str, int]
  start: tuple[int, ...]  # the special tokens before a text
  control: dict[str, int]  # those of 'bos_token', 'eos_token', 'pad_token' that the file names
  normalizer: str


def read_json(path: pathlib.Path) -> Vocabulary:
  """Reads a `tokenizer.json`: byte-level BPE, or BPE or unigram that write a space as '▁'.

  Raises:
    ValueError: it cannot be read, or is of another kind.
    ImportError: `tokenizers` is not installed.
  """
  try:
    from tokenizers import Tokenizer
  except ImportError:
    raise ImportError(f"{path} needs the library tokenizers: pip install -e '.[hf]'") from None
  try:
    spec = json.loads(path.read_bytes())
    spec |= dict(truncation=None, padding=None)
    spec['model']['dropout'] = None  # it would leave out merges at random
    library, exact = (
      Tokenizer.from_str(json.dumps(spec)),
      Tokenizer.from_str(json.dumps(_without_prefix(spec))),
    )
  except Exception as error:  # the library raises nothing more specific
    raise ValueError(
      f'{path} is no tokenizer.json that the library tokenizers can read: {error}'
    ) from None
  exact.encode_special_tokens = True
  tokens = library.get_added_tokens_decoder()
  added = {token.content: i for i, token in tokens.items()}
  special = {i for i, token in tokens.items() if token.special}
  pieces = _json_pieces(path, spec, library.get_vocab(), added, special)
  run = lambda text: exact.encode(text, add_special_tokens=False).ids
  normalize = lambda text: (
    exact.normalizer.normalize_str(text).replace(spm.SPACE, ' ') if exact.normalizer else text
  )
  model = spec['model']
  unknown = model.get('unk_id', library.token_to_id(model.get('unk_token') or ''))
  if unknown is not None:
    pieces[unknown] = b''
  encode = _exact(run, pieces, normalize, unknown)
  if not _byte_level(spec):
    encode = spm.encoder(encode, library.token_to_id)
  ids = library.encode('a').ids
  return Vocabulary(
    encode=encode,
    parse=lambda text: library.encode(text, add_special_tokens=False).ids,
    pieces=pieces,
    added=added,
    start=tuple(ids[: next((n for n, i in enumerate(ids) if i not in special), 0)]),
    control={},
    normalizer='+'.join(_kinds(spec.get('normalizer'), but=_is_space)),
  )


def read_model(path: pathlib.Path, added: Mapping[str, int], special: Set[str]) -> Vocabulary:
  """Reads a SentencePiece `.model`.

  Args:
    path: of the file.
    added: texts that a folder names as tokens, and their ids. They may lie beyond the tokens of the
      file.
    special: which of them are no text.

  Raises:
    ValueError: it is no SentencePiece model.
  """
  from sentencepiece import sentencepiece_model_pb2 as format_pb2

  try:
    proto = format_pb2.ModelProto.FromString(path.read_bytes())
    rules = proto.normalizer_spec
    rules.add_dummy_prefix = False
    processor = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
  except Exception as error:  # protobuf and sentencepiece have errors of their own
    raise ValueError(
      f'{path} is no SentencePiece model ({error}). Some models name a file of another format so: '
      'take their tokenizer.json.'
    ) from None
  pieces = spm.pieces(processor)
  pieces += [b''] * (1 + max(added.values(), default=-1) - len(pieces))
  for text, i in added.items():
    pieces[i] = b'' if text in special else pieces[i] or text.encode()
  control = {
    processor.id_to_piece(i): i for i in range(processor.vocab_size()) if processor.is_control(i)
  }
  added = {**control, **added}
  normalize = lambda text: processor.normalize(text).replace(spm.SPACE, ' ')
  encode = spm.encoder(
    _exact(processor.encode, pieces, normalize, processor.unk_id()), processor.piece_to_id
  )
  ids = dict(
    bos_token=processor.bos_id(), eos_token=processor.eos_id(), pad_token=processor.pad_id()
  )
  named = {name: i for name, i in ids.items() if i >= 0}
  lossy = {
    rules.name: rules.name != 'identity',
    'remove_extra_whitespaces': rules.remove_extra_whitespaces,
  }
  return Vocabulary(
    encode=encode,
    parse=lambda text: split_parse(text, encode, added),
    pieces=pieces,
    added=added,
    start=(named['bos_token'],) if 'bos_token' in named else (),
    control=named,
    normalizer='+'.join(name for name, holds in lossy.items() if holds),
  )


def split_parse(
  text: str, encode: Callable[[str], list[int]], added: Mapping[str, int]
) -> list[int]:
  """Ids of a text in which added tokens stand for themselves. The text between them is encoded as
  it is."""
  if not added:
    return encode(text)
  parts = re.split(f'({any_of(added)})', text)
  return [
    i for n, part in enumerate(parts) if part for i in ([added[part]] if n % 2 else encode(part))
  ]


def any_of(texts: Sequence[str]) -> str:
  """A pattern that matches any of the texts, the longest where several begin at the same place."""
  return '|'.join(map(re.escape, sorted(texts, key=len, reverse=True)))


def _exact(run, pieces, normalize, unknown):
  """`run`, but the ids always spell the text.

  Some vocabularies read a part of the text as a token that is no text, or as a byte ('<0x41>').
  They never do that with single characters, so such a text is encoded character by character.
  """

  def encode(text):
    ids = run(text)
    said = b''.join(pieces[i] for i in ids)
    if said in (text.encode(), normalize(text).encode()):
      return ids
    apart = [i for char in text for i in run(char)]
    return ids if unknown in apart else apart

  return encode


def _json_pieces(path, spec, vocabulary, added, special):
  """The exact bytes of each id; ids without a token and special tokens have none."""
  kind, decoder = spec['model'].get('type', 'BPE'), _kinds(spec.get('decoder'))
  if kind not in ('BPE', 'Unigram') or not {'ByteLevel', 'Metaspace', 'Replace'} & set(decoder):
    raise ValueError(
      f'{path} holds a {kind} model with the decoder {"+".join(decoder) or None}, whose bytes are '
      'not '
      "known: byte-level BPE is, and BPE or unigram with '▁' for a space."
    )
  alphabet, fallback = _alphabet(), 'ByteFallback' in decoder or spec['model'].get('byte_fallback')
  pieces = [b''] * (1 + max(vocabulary.values()))
  for text, i in vocabulary.items():
    if i in special:
      continue
    if not _byte_level(spec):
      pieces[i] = spm.spelled(text, byte=bool(fallback and _BYTE.fullmatch(text)))
    elif text not in added and alphabet.keys() >= set(text):
      pieces[i] = bytes(alphabet[char] for char in text)
    else:
      pieces[i] = text.encode()
  return pieces


def _alphabet() -> dict[str, int]:
  """The characters by which byte-level vocabularies write bytes (openai/gpt-2, `bytes_to_unicode`):
  printable ones of Latin-1 as they are, the others from U+0100 on."""
  printable = [
    *range(ord('!'), ord('~') + 1),
    *range(ord('¡'), ord('¬') + 1),
    *range(ord('®'), ord('ÿ') + 1),
  ]
  others = [byte for byte in range(256) if byte not in printable]
  return {chr(byte): byte for byte in printable} | {
    chr(256 + n): byte for n, byte in enumerate(others)
  }


def _byte_level(spec):
  return 'ByteLevel' in _kinds(spec.get('decoder'))


def _without_prefix(spec: dict[str, Any]) -> dict[str, Any]:
  """The same tokenizer without the space that it puts before a text."""

  def mend(part):
    if part is None or part['type'] == 'Prepend':
      return None
    if part['type'] == 'Sequence':
      name = next(key for key in part if key != 'type')
      return part | {name: [kept for kept in map(mend, part[name]) if kept]}
    if part['type'] == 'Metaspace':
      return dict(
        type='Metaspace',
        replacement=part['replacement'],
        prepend_scheme='never',
        split=part.get('split', True),
      )
    return part | ({'add_prefix_space': False} if part['type'] == 'ByteLevel' else {})

  return spec | {name: mend(spec.get(name)) for name in ('normalizer', 'pre_tokenizer')}


def _kinds(part, but=lambda part: False) -> list[str]:
  """The types in a part of a `tokenizer.json`, which may be a sequence of parts."""
  if part is None or but(part):
    return []
  parts = (
    [value for value in part.values() if isinstance(value, list)]
    if part['type'] == 'Sequence'
    else []
  )
  return [kind for inner in parts[0] for kind in _kinds(inner, but)] if parts else [part['type']]


def _is_space(part):
  """Whether the part writes a space as '▁' or puts one before the text. Neither changes the
  text."""
  return part['type'] == 'Prepend' or part.get('pattern') == {'String': ' '}
