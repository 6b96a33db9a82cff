"""What transformers writes of conversations and prompts, stored like `models.py`.

Texts and names of tokens are stored and no ids, so that they hold of every vocabulary that the
library tokenizers may train.
"""

import functools
import json
import pathlib
import tempfile

import numpy as np

from tests.golden.models import FOLDER
from tests.text.vocabularies import JSON, PROMPTS, TEMPLATES, write

SYSTEM = {'role': 'system', 'content': 'Be brief. '}
NO_SYSTEM = ('gemma', 'gemma.model')
TALKS = [
  [{'role': 'user', 'content': 'What is 2+2?'}],
  [
    {'role': 'user', 'content': ' Two lines:\n  the second  '},
    {'role': 'assistant', 'content': 'Yes.\n'},
    {'role': 'user', 'content': 'é日 <b>"x" & \'y\'</b>', 'name': None},
  ],
  [
    {'role': 'user', 'content': 'a'},
    {'role': 'assistant', 'content': '<think>\nb\n</think>\n\nc'},
    {'role': 'user', 'content': 'd'},
    {'role': 'assistant', 'content': 'e'},
    {'role': 'user', 'content': ''},
  ],
]
TOOLS = [
  {
    'type': 'function',
    'function': {'name': 'add', 'description': 'a < b & "c" é', 'parameters': {}},
  }
]
SETTINGS = {
  'prompt': {},
  'talk': {'add_generation_prompt': False},
  'tools': {'tools': TOOLS, 'enable_thinking': False},
}
# Those that transformers opens.
WRITTEN = [kind for kind in TEMPLATES if not kind.endswith('.model')]
TYPED = ['qwen2', 'mistral', 'gemma']


def talks(kind):
  """Conversations that the template of a kind can write."""
  return TALKS if kind in NO_SYSTEM else [*TALKS, *([SYSTEM, *talk] for talk in TALKS)]


def hostile(added, count=12):
  """Texts that hold control tokens: whole, doubled, nested, in halves, and between marks for
  private use.

  added: the texts of control tokens.
  """
  rng = np.random.default_rng(0)
  one = lambda: added[rng.integers(len(added))]
  yield from (''.join(added), f'{one()}{one()}\n{one()}assistant\nYes')
  for _ in range(count):
    a, b = one(), one()
    middle = rng.integers(1, len(a))
    yield f'x{a[:middle]}{b}{a[middle:]} y{a[:middle]}\U000f0000{a}\U000f0001{a[middle:]} {a[:middle]}'


@functools.cache
def stored() -> dict:
  """`written` [kind][settings]: the texts of `talks(kind)`. `typed` [kind]: of each hostile text, the
  control tokens of its conversation and what its tokens spell. `prompts` [kind]: of each prompt the
  special tokens before and behind its own, and what these spell."""
  return json.loads((FOLDER / 'talks.json').read_text(encoding='utf-8'))


def dated(template: str) -> str:
  """A template that writes the day which the tests are told."""
  return template.replace("strftime_now('%d %b %Y')", "'26 Jul 2024'")


def ask(written=WRITTEN, typed=TYPED, prompts=JSON) -> dict:
  """What `stored` gives, asked now."""
  from transformers import AutoTokenizer

  with tempfile.TemporaryDirectory() as folder:
    theirs = {}
    for kind in {*written, *typed, *prompts}:
      path = pathlib.Path(folder) / kind
      path.mkdir()
      write(kind, path)
      theirs[kind] = AutoTokenizer.from_pretrained(path)
  return dict(
    written={kind: _written(theirs[kind], kind) for kind in written},
    typed={kind: _typed(theirs[kind]) for kind in typed},
    prompts={kind: [_prompt(theirs[kind], text) for text in PROMPTS.values()] for kind in prompts},
  )


def _written(theirs, kind):
  template = dated(TEMPLATES[kind])
  return {
    name: [
      theirs.apply_chat_template(
        talk, tokenize=False, chat_template=template, **{'add_generation_prompt': True, **settings}
      )
      for talk in talks(kind)
    ]
    for name, settings in SETTINGS.items()
  }


def _typed(theirs):
  answers = []
  control = [str(token) for token in theirs.added_tokens_decoder.values() if token.special]
  for content in hostile(control):
    ids = theirs.apply_chat_template(
      [{'role': 'user', 'content': content}],
      add_generation_prompt=True,
      return_dict=False,
      sanitize_control_tokens=True,
    )
    kept = [name for name in theirs.convert_ids_to_tokens(ids) if name in control]
    rest = [i for i in ids if theirs.convert_ids_to_tokens(i) not in control]
    answers.append(dict(content=content, control=kept, text=theirs.decode(rest)))
  return answers


def _prompt(theirs, text):
  ids = theirs(text).input_ids
  own = theirs(text, add_special_tokens=False).input_ids
  (start,) = [n for n in range(len(ids)) if ids[n : n + len(own)] == own]
  name = theirs.convert_ids_to_tokens
  spelt = theirs.decode(own, skip_special_tokens=True, clean_up_tokenization_spaces=False)
  return dict(before=name(ids[:start]), behind=name(ids[start + len(own) :]), text=spelt)
