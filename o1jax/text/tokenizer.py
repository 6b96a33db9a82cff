"""A SentencePiece tokenizer whose token boundaries respect steps: tags and the delimiter are one token each."""

import dataclasses
import functools
import io
import pathlib
import re
from collections.abc import Iterable, Sequence

import numpy as np
import sentencepiece

from o1jax.text import steps

_SPACE = '▁'  # SentencePiece writes a space as this character, so a literal one must not reach it
_SYMBOLS = re.compile('|'.join(map(re.escape, steps.SYMBOLS)))
_MOST_PIECES = 1 << 20  # 'as many as there are characters': the character model stops there by itself


@dataclasses.dataclass(frozen=True)
class Tokenizer:
  """Text <-> ids.

  Laws: `decode(encode(x)) == x` for any text; `encode` of a solution is the concatenation of `encode` of its steps,
  each with its delimiter; the unknown token is never emitted (unseen characters fall back to bytes).
  """

  processor: sentencepiece.SentencePieceProcessor

  @classmethod
  def load(cls, path) -> 'Tokenizer':
    """Reads the model file that `train` wrote. Raises ValueError when it lacks a symbol of the step format."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=pathlib.Path(path).read_bytes())
    missing = [s for s in steps.SYMBOLS if processor.piece_to_id(s) == processor.unk_id()]
    if missing:
      raise ValueError(f'the tokenizer {path} has no token for {missing}: train it with Tokenizer.train.')
    return cls(processor)

  @classmethod
  def train(cls, corpus: Iterable[str], path, *, vocab_size: int | None = None) -> 'Tokenizer':
    """Trains on `corpus`, writes the model to `path` and returns it. The same corpus gives the same file.

    Digits are never merged, nor anything across a space, a tag or the delimiter; unseen characters become bytes
    (256 tokens are set aside for that); text is not normalised.

    Args:
      corpus: texts; solutions and prompts as the policy will see them.
      path: file to write.
      vocab_size: most tokens: byte-pair merges are made until it is reached or none is left. None makes none, so the
        vocabulary is the characters of the corpus, the smallest possible.

    Raises:
      ValueError: where `vocab_size` cannot hold the characters of the corpus, or the corpus is empty.
    """
    texts = [text for text in corpus if text]
    if not texts:
      raise ValueError('cannot train a tokenizer on an empty corpus: give it some texts of the task.')
    if vocab_size is not None:
      least = len(cls(_fit(texts, 'char', _MOST_PIECES)).pieces)
      if vocab_size < least:
        raise ValueError(f'vocab_size={vocab_size} cannot hold the characters of the corpus: give at least {least}, '
                         'or None for the smallest vocabulary.')
    processor = _fit(texts, 'bpe', vocab_size) if vocab_size else _fit(texts, 'char', _MOST_PIECES)
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(processor.serialized_model_proto())
    return cls(processor)

  def encode(self, text: str) -> list[int]:
    """Text -> ids, without an end token."""
    literal = [self.processor.piece_to_id(f'<0x{byte:02X}>') for byte in _SPACE.encode()]
    first, *rest = self.processor.encode(text.split(_SPACE))
    return first + [i for part in rest for i in (*literal, *part)]

  def decode(self, ids: Sequence[int]) -> str:
    """Ids -> text. Control tokens have no text; bytes that are not UTF-8 become U+FFFD."""
    return b''.join(self.pieces[int(i)] for i in ids).decode('utf-8', errors='replace')

  @functools.cached_property
  def pieces(self) -> list[bytes]:
    """The exact bytes of each token; control tokens have none."""
    def piece(i):
      if self.processor.is_control(i) or self.processor.is_unknown(i):
        return b''
      text = self.processor.id_to_piece(i)
      return bytes([int(text[3:5], 16)]) if self.processor.is_byte(i) else text.replace(_SPACE, ' ').encode()

    return [piece(i) for i in range(self.processor.vocab_size())]

  def unknown_characters(self, texts: Iterable[str]) -> list[str]:
    """The characters of `texts`, symbols of the step format aside, that have no token and are spelled in bytes."""
    seen = set().union(*(_SYMBOLS.sub('', text) for text in texts))
    known = lambda char: self.processor.piece_to_id(char.replace(' ', _SPACE)) != self.processor.unk_id()
    return sorted(char for char in seen if char == _SPACE or not known(char))

  def bytes_table(self) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of every token, for verifiers that read bytes.

    Returns:
      bytes uint8 [V, M], right-padded with 0 (M is the longest token), and lengths int32 [V].
    """
    table = np.zeros((self.vocab_size, max(map(len, self.pieces))), np.uint8)
    for row, piece in zip(table, self.pieces):
      row[:len(piece)] = list(piece)
    return table, np.array([len(piece) for piece in self.pieces], np.int32)

  @property
  def vocab_size(self) -> int:
    return self.processor.vocab_size()

  @property
  def pad_id(self) -> int:
    return self.processor.pad_id()

  @property
  def eos_id(self) -> int:
    return self.processor.eos_id()

  @property
  def delimiter_id(self) -> int:
    return self.processor.piece_to_id(steps.DELIMITER)

  @property
  def answer_id(self) -> int:
    return self.processor.piece_to_id(steps.ANSWER)


def _fit(texts: Sequence[str], kind: str, vocab_size: int) -> sentencepiece.SentencePieceProcessor:
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(texts), model_writer=model, model_type=kind, vocab_size=vocab_size,
      hard_vocab_limit=False,  # a vocabulary larger than the corpus can fill is cut, not refused
      user_defined_symbols=list(steps.SYMBOLS), pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
      split_digits=True, byte_fallback=True, character_coverage=1.0, max_sentence_length=1 << 20,
      normalization_rule_name='identity', add_dummy_prefix=False, remove_extra_whitespaces=False,
      num_threads=1, minloglevel=2)
  return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
