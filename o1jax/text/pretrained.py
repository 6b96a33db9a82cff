"""Tokenizers that come with a checkpoint in Hugging Face's layout: a folder of files, or a single
file."""

import dataclasses
import json
import pathlib
from typing import Any

from o1jax.files import is_pointer
from o1jax.text.tokenizer import Tokenizer
from o1jax.text.vocabulary import Vocabulary, read_json, read_model

NAMES = ('bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token')


def load(path) -> Tokenizer:
  """Reads the tokenizer of a folder or of a single file. In a folder `tokenizer.json` comes first,
  then `tokenizer.model`, then the only `*.model`.

  What these files leave open about special tokens is read from the files beside them:
  `tokenizer_config.json`, `special_tokens_map.json`, `added_tokens.json`, `generation_config.json`
  and `config.json`. A solution ends at the `eos_token` and at every `eos_token_id`; learned text
  ends with the first of them. Prompts begin with the start token, if the tokenizer puts one before
  a text.

  Raises:
    ValueError: there is no tokenizer, or one of another kind, or a damaged file, or a Git-LFS
      pointer in its place. Or it has no end token, names a token that does not exist, or cannot
      write a newline.
    ImportError: `tokenizers` is not installed.
  """
  file = _find(pathlib.Path(path))
  folder = file.parent
  settings = read_settings(folder)
  _check_pointer(file)
  if file.suffix == '.json':
    vocabulary = read_json(file)
  else:
    vocabulary = read_model(file, *_added(folder, settings))
  texts = {i: text for text, i in vocabulary.added.items()}
  named = {name: texts[i] for name, i in vocabulary.control.items()} | {
    name: settings[name] for name in NAMES if isinstance(settings.get(name), str)
  }
  ends = _ends(folder, vocabulary, named)
  for i in ends:
    vocabulary.pieces[i] = b''  # even where the files do not call it special
  start = _start(folder, vocabulary, named, settings)
  pad = _ids(settings.get('pad_token_id')) or [
    vocabulary.added.get(named.get('pad_token'), ends[0])
  ]
  tokenizer = Tokenizer(
    encode=vocabulary.encode,
    pieces=vocabulary.pieces,
    end_ids=ends,
    pad_id=pad[0],
    parse=vocabulary.parse,
    added=vocabulary.added,
    normalizer=vocabulary.normalizer,
  )
  if tokenizer.decode(tokenizer.encode('\n')) != '\n':
    raise ValueError(
      f'the tokenizer {file} cannot write a newline, which closes a step (it brings text to the '
      f'form {vocabulary.normalizer or "of its tokens"}): take a model with another.'
    )
  return dataclasses.replace(
    tokenizer, frame=lambda prompts: [_framed(tokenizer, start, text) for text in prompts]
  )


def read_settings(folder: pathlib.Path) -> dict[str, Any]:
  """What the JSON files of a folder say of its tokenizer. `tokenizer_config.json` comes before all
  others.

  Raises:
    ValueError: a file is damaged, or a Git-LFS pointer in its place.
  """
  told = {}
  for name in (
    'config.json',
    'generation_config.json',
    'special_tokens_map.json',
    'tokenizer_config.json',
  ):
    told |= read_object(folder / name)
  plain = lambda value: (
    value['content'] if isinstance(value, dict) and 'content' in value else value
  )
  return {key: plain(value) for key, value in told.items() if value is not None}


def read_object(path: pathlib.Path) -> dict[str, Any]:
  """A JSON object, empty where there is no file. Raises ValueError as `read_settings` does."""
  if not path.exists():
    return {}
  _check_pointer(path)
  try:
    told = json.loads(path.read_bytes())
  except ValueError as error:
    raise ValueError(f'{path} is no JSON ({error}): fetch it again.') from None
  if not isinstance(told, dict):
    raise ValueError(f'{path} holds a {type(told).__name__} and no object: fetch it again.')
  return told


def _find(path: pathlib.Path) -> pathlib.Path:
  if path.is_file():
    if path.suffix not in ('.json', '.model'):
      raise ValueError(
        f'the tokenizer {path} is of a kind that is not known: give a tokenizer.json or a .model '
        'file.'
      )
    return path
  models = (
    [path / 'tokenizer.model']
    if (path / 'tokenizer.model').exists()
    else sorted(path.glob('*.model'))
  )
  found = [path / 'tokenizer.json'] if (path / 'tokenizer.json').exists() else models
  if len(found) != 1:
    there = ' and '.join(file.name for file in found) or 'neither tokenizer.json nor a .model file'
    raise ValueError(
      f'no tokenizer in {path}, where there is {there}: name the file. (transformers writes a '
      'tokenizer.json from other formats: AutoTokenizer.from_pretrained(...).save_pretrained(...).)'
    )
  return found[0]


def _check_pointer(path):
  if is_pointer(path):
    raise ValueError(
      f'{path} is a Git-LFS pointer and not the file itself: run `git lfs pull` where it came from.'
    )


def _added(folder, settings):
  """(text -> id, the texts that are special) of the tokens that a folder adds to a `.model`."""
  described = {int(i): token for i, token in settings.get('added_tokens_decoder', {}).items()}
  added = read_object(folder / 'added_tokens.json') | {
    token['content']: i for i, token in described.items()
  }
  special = {token['content'] for token in described.values() if token.get('special')}
  return added, special | {settings[name] for name in NAMES if settings.get(name) in added}


def _ids(value) -> list[int]:
  """The ids under an `..._token_id`: a number, several, or none; a negative one means none too."""
  return [
    i for i in (value if isinstance(value, list) else [value]) if isinstance(i, int) and i >= 0
  ]


def _ends(folder, vocabulary: Vocabulary, named) -> tuple[int, ...]:
  first = named.get('eos_token')
  if first is not None and first not in vocabulary.added:
    raise ValueError(
      f'the eos_token {first!r} of {folder} is no token of its tokenizer: are the files of one '
      'model?'
    )
  told = [
    _ids(read_object(folder / name).get('eos_token_id'))
    for name in ('generation_config.json', 'config.json')
  ]
  ends = tuple(
    dict.fromkeys([*([vocabulary.added[first]] if first else []), *(told[0] or told[1])])
  )
  if not ends:
    raise ValueError(
      f'no end token in {folder}: tokenizer_config.json has no eos_token, and '
      'generation_config.json no eos_token_id: write one of them.'
    )
  beyond = [i for i in ends if i >= len(vocabulary.pieces)]
  if beyond:
    raise ValueError(
      f'{folder} names the end token {beyond[0]}, and its tokenizer has {len(vocabulary.pieces)} '
      'tokens: are the files of one model?'
    )
  return ends


def _start(folder, vocabulary, named, settings) -> tuple[int, ...]:
  wanted = settings.get('add_bos_token')
  if wanted is None:
    return vocabulary.start
  if wanted and named.get('bos_token') not in vocabulary.added:
    raise ValueError(
      f'{folder} asks for a start token (add_bos_token), and its bos_token '
      f'{named.get("bos_token")!r} is no token of its tokenizer: are the files of one model?'
    )
  return (vocabulary.added[named['bos_token']],) if wanted else ()


def _framed(tokenizer, start, text):
  """A prompt as its library encodes it. Special tokens that a user types are spelled as text."""
  typed = any(name in text for name, i in tokenizer.added.items() if not tokenizer.pieces[i])
  return [*start, *(tokenizer.encode(text) if typed else tokenizer.parse(text))]
