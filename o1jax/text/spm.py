"""SentencePiece vocabularies: text to ids and back to exact bytes."""

from collections.abc import Callable

import sentencepiece

SPACE = '▁'  # SentencePiece writes a space as this character, so a literal one must not reach it


def pieces(processor: sentencepiece.SentencePieceProcessor) -> list[bytes]:
  """The exact bytes of each token; control tokens and the unknown one have none."""

  def piece(i):
    if processor.is_control(i) or processor.is_unknown(i):
      return b''
    return spelled(processor.id_to_piece(i), byte=processor.is_byte(i))

  return [piece(i) for i in range(processor.vocab_size())]


def spelled(piece: str, *, byte: bool) -> bytes:
  """The bytes that a piece stands for; `byte` says that it is one of '<0x00>' to '<0xFF>'."""
  return bytes([int(piece[3:5], 16)]) if byte else piece.replace(SPACE, ' ').encode()


def encoder(
  run: Callable[[str], list[int]], piece_to_id: Callable[[str], int | None]
) -> Callable[[str], list[int]]:
  """`run` takes a literal '▁' for a space. This wraps it so that '▁' is spelled in bytes, or left
  out where the vocabulary has no bytes."""
  literal = [piece_to_id(f'<0x{byte:02X}>') for byte in SPACE.encode()]
  literal = [] if None in literal else literal

  def encode(text):
    first, *rest = map(run, text.split(SPACE))
    return first + [i for part in rest for i in (*literal, *part)]

  return encode
