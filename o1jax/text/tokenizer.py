"""A tokenizer as data: how text becomes ids, what each token spells, and where steps and solutions
end. Also how to train our own.

`o1jax.text.pretrained` reads those of other libraries.
"""

import dataclasses
import functools
import io
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import sentencepiece

from o1jax.text import spm, steps

_SYMBOLS = re.compile('|'.join(map(re.escape, steps.SYMBOLS)))
# Stands for 'as many as there are characters', where the character model stops by itself.
_MOST_PIECES = 1 << 20


@dataclasses.dataclass(frozen=True, eq=False)
class Tokenizer:
  """Text <-> ids.

  Laws: `decode(encode(x)) == x` for any part of any text (no space is added), unless there is a
  `normalizer`. A step that `encode_steps` made holds the delimiter only in its last token. `encode`
  never returns a special token.

  Attributes:
    encode: text -> ids, without an end token. What looks like a special token is spelled as text.
    pieces: the exact bytes of each token. Special tokens have none, because a verifier reads text
      and they are no part of it.
    end_ids: the tokens that end a solution. Learned text ends with the first.
    pad_id: fills rows after their text.
    own: character -> True where it has a token of its own; None = every character that can be
      spelled is fine.
    parse: text -> ids as its own library makes them. Added tokens stand for themselves, and the
      library may add a space before the text. Use it for what a template writes, never for what a
      user writes. None = `encode`.
    added: the text of each added token, special or not, and its id.
    frame: prompts -> ids, where a policy is to read more than their text: a start token, or a chat.
    normalizer: the form that text is brought to first, e.g. 'NFC'; '' = none.
  """

  encode: Callable[[str], list[int]]
  pieces: Sequence[bytes]
  end_ids: tuple[int, ...]
  pad_id: int
  own: Callable[[str], bool] | None = None
  parse: Callable[[str], list[int]] | None = None
  added: Mapping[str, int] = dataclasses.field(default_factory=dict)
  frame: Callable[[Sequence[str]], list[list[int]]] | None = None
  normalizer: str = ''

  @classmethod
  def load(cls, path) -> 'Tokenizer':
    """Reads the model file that `train` wrote. Raises ValueError when it lacks a symbol of the step
    format."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=pathlib.Path(path).read_bytes())
    missing = [s for s in steps.SYMBOLS if processor.piece_to_id(s) == processor.unk_id()]
    if missing:
      raise ValueError(
        f'the tokenizer {path} has no token for {missing}: train it with Tokenizer.train.'
      )
    return _ours(processor)

  @classmethod
  def train(cls, corpus: Iterable[str], path, *, vocab_size: int | None = None) -> 'Tokenizer':
    """Trains on `corpus`, writes the model to `path` and returns it. The same corpus gives the same
    file.

    Digits are never merged, nor anything across a space, a tag or the delimiter. So `encode` of a
    solution is the concatenation of its steps. Unseen characters become bytes, for which 256 tokens
    are reserved, never the unknown token. Text is not normalised.

    Args:
      corpus: texts; solutions and prompts as the policy will see them.
      path: file to write.
      vocab_size: most tokens. Byte-pair merges are made until it is reached or none is left. None
        makes no merges, so the vocabulary is the characters of the corpus, the smallest possible.

    Raises:
      ValueError: `vocab_size` cannot hold the characters of the corpus, or the corpus is empty.
    """
    texts = [text for text in corpus if text]
    if not texts:
      raise ValueError(
        'cannot train a tokenizer on an empty corpus: give it some texts of the task.'
      )
    if vocab_size is not None:
      least = _fit(texts, 'char', _MOST_PIECES).vocab_size()
      if vocab_size < least:
        raise ValueError(
          f'vocab_size={vocab_size} cannot hold the characters of the corpus: give at least '
          f'{least}, or None for the smallest vocabulary.'
        )
    processor = _fit(texts, 'bpe', vocab_size) if vocab_size else _fit(texts, 'char', _MOST_PIECES)
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(processor.serialized_model_proto())
    return _ours(processor)

  def encode_prompts(self, texts: Sequence[str]) -> list[list[int]]:
    """The ids that a policy is asked, text by text, with what `frame` puts around it."""
    return [self.encode(text) for text in texts] if self.frame is None else self.frame(texts)

  def encode_steps(self, parts: Sequence[str]) -> list[list[int]]:
    """The ids of each step of a solution. The delimiter closes each, and the end token the last.

    A `steps.Given` line is spelled in characters, as a world says it. Each step is encoded by
    itself. So its border is where a policy that samples step after step
    would close it: in many vocabularies a newline merges with its neighbours.

    Raises:
      ValueError: a step holds the delimiter.
    """
    steps.join_steps(parts)
    *early, last = parts or ['']
    return [*map(self._encode_line, early), [*self.encode(last), self.eos_id]]

  def _encode_line(self, step: str) -> list[int]:
    line = step + steps.DELIMITER
    return self.spell(line) if isinstance(step, steps.Given) else self.encode(line)

  def spell(self, text: str) -> list[int]:
    """The ids of an ASCII text, a character each.

    Raises:
      ValueError: for a character that has no token of its own.
    """
    characters = self.characters()
    ids = [int(characters[ord(character)]) for character in text]
    if -1 in ids:
      raise ValueError(
        f'the tokenizer has no token of its own for {text[ids.index(-1)]!r}, and what a world says '
        'is spelled in characters: use a tokenizer that has all of ASCII'
      )
    return ids

  def characters(self) -> np.ndarray:
    """The token of each byte, int [256]; -1 where no token is that byte alone."""
    found = {piece: i for i, piece in reversed(list(enumerate(self.pieces))) if len(piece) == 1}
    return np.array([found.get(bytes([byte]), -1) for byte in range(256)])

  def decode(self, ids: Sequence[int]) -> str:
    """Ids -> text. Special tokens have no text; bytes that are not UTF-8 become U+FFFD."""
    return b''.join(self.pieces[int(i)] for i in ids).decode('utf-8', errors='replace')

  def unknown_characters(self, texts: Iterable[str]) -> list[str]:
    """The characters of `texts` that have no token, without the symbols of the step format; see
    `own`."""
    seen = set().union(*(_SYMBOLS.sub('', text) for text in texts))
    known = self.own or (
      lambda char: char == '\ufffd' or self.decode(self.encode(char)).strip('\ufffd')
    )
    return sorted(char for char in seen if not known(char))

  def bytes_table(self, *, rows: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of every token, for verifiers that read bytes.

    Args:
      rows: of the table, where a model has more rows than there are tokens. The rows after the
        tokens are empty.

    Returns:
      bytes uint8 [V, M], right-padded with 0 (M is the longest token), and lengths int32 [V].

    Raises:
      ValueError: there are fewer rows than tokens.
    """
    rows = self.vocab_size if rows is None else rows
    if rows < self.vocab_size:
      raise ValueError(
        f'a table of rows={rows} cannot hold the {self.vocab_size} tokens of the tokenizer: is it '
        'that of another model?'
      )
    table, length = np.zeros((rows, max(map(len, self.pieces))), np.uint8), np.zeros(rows, np.int32)
    for i, piece in enumerate(self.pieces):
      table[i, : len(piece)] = list(piece)
      length[i] = len(piece)
    return table, length

  @property
  def vocab_size(self) -> int:
    """One more than the largest id; a model may have more rows."""
    return len(self.pieces)

  @property
  def eos_id(self) -> int:
    """The token that learned text ends with."""
    return self.end_ids[0]

  @functools.cached_property
  def delimiter_ids(self) -> tuple[int, ...]:
    r"""The tokens that close a step: all that hold the delimiter. There may be many ('\n', '.\n',
    '\n\n')."""
    return tuple(i for i, piece in enumerate(self.pieces) if steps.DELIMITER.encode() in piece)


def _ours(processor: sentencepiece.SentencePieceProcessor) -> Tokenizer:
  own = lambda char: (
    char != spm.SPACE and processor.piece_to_id(char.replace(' ', spm.SPACE)) != processor.unk_id()
  )
  return Tokenizer(
    encode=spm.encoder(processor.encode, processor.piece_to_id),
    pieces=spm.pieces(processor),
    end_ids=(processor.eos_id(),),
    pad_id=processor.pad_id(),
    own=own,
  )


def _fit(texts: Sequence[str], kind: str, vocab_size: int) -> sentencepiece.SentencePieceProcessor:
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(texts),
    model_writer=model,
    model_type=kind,
    vocab_size=vocab_size,
    hard_vocab_limit=False,  # a vocabulary larger than the corpus can fill is cut, not refused
    user_defined_symbols=list(steps.SYMBOLS),
    pad_id=0,
    eos_id=1,
    unk_id=2,
    bos_id=-1,
    split_digits=True,
    byte_fallback=True,
    character_coverage=1.0,
    max_sentence_length=1 << 20,
    normalization_rule_name='identity',
    add_dummy_prefix=False,
    remove_extra_whitespaces=False,
    num_threads=1,
    minloglevel=2,
  )
  return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
