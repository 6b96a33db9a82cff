"""Chat templates: messages as the text, and the tokens, that an instruction-tuned model expects."""

import dataclasses
import datetime
import functools
import json
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from o1jax.text import pretrained
from o1jax.text.tokenizer import Tokenizer
from o1jax.text.vocabulary import any_of, split_parse

INSTRUCTION = r'Reason step by step, one step per line, and put the final answer in \boxed{}.'
CHARACTERS = 1 << 26  # the most that a template may write in one call
MEMORY = 1 << 30  # address space of the process that renders, bytes

Message = Mapping[str, Any]  # 'role', 'content', and whatever else a template reads


@dataclasses.dataclass(frozen=True)
class ChatTemplate:
  """A jinja2 template of a model's chat format.

  Attributes:
    source: the template.
    variables: what it may read besides the messages: 'bos_token' and other texts of special tokens.
    now: the time that the template is told (`strftime_now`), which appears in some prompts; None =
      the time of the call. A run sets it, because its prompts would change from day to day
      otherwise.
    seconds: for all conversations of a call.
  """

  source: str
  variables: Mapping[str, str] = dataclasses.field(default_factory=dict)
  now: datetime.datetime | None = None
  seconds: float = 60.0

  @classmethod
  def load(cls, folder, *, name: str = 'default', **settings) -> 'ChatTemplate':
    """Reads the template of a checkpoint's folder. `chat_template.jinja` comes before the one in
    `tokenizer_config.json`.

    Args:
      folder: of the checkpoint.
      name: which template, where there are several.
      **settings: `now`, `seconds`.

    Raises:
      ValueError: there is no template of that name, or a file is damaged.
    """
    folder = pathlib.Path(folder)
    told = pretrained.read_settings(folder)
    found = told.get('chat_template', {})
    found = (
      {'default': found} if isinstance(found, str) else {t['name']: t['template'] for t in found}
    )
    files = {'default': folder / 'chat_template.jinja'} | {
      path.stem: path for path in (folder / 'additional_chat_templates').glob('*.jinja')
    }
    found |= {
      name: path.read_text(encoding='utf-8') for name, path in files.items() if path.exists()
    }
    if name not in found:
      there = f'but {", ".join(sorted(found))}' if found else 'and no other: it may be a base model'
      raise ValueError(f'there is no chat template {name!r} in {folder}, {there}.')
    texts = {key: told[key] for key in pretrained.NAMES if isinstance(told.get(key), str)}
    return cls(found[name], texts, **settings)

  def render(self, messages: Sequence[Message], **settings) -> str:
    """One conversation as text; see `render_all`."""
    return self.render_all([messages], **settings)[0]

  def render_all(
    self,
    conversations: Sequence[Sequence[Message]],
    *,
    add_generation_prompt: bool = True,
    tools: Sequence[Mapping] | None = None,
    **variables,
  ) -> list[str]:
    """Conversations as texts, as `apply_chat_template` of transformers writes them.

    The template runs in a process of its own (`o1jax.text.render`), which takes some tenths of a
    second to start. So it pays to render many conversations in one call.

    Args:
      conversations: messages, made of JSON's types. Keys without a value (None) are left out.
      add_generation_prompt: end with what opens the assistant's turn.
      tools: JSON schemas of functions.
      **variables: what else the template reads; they take precedence over `self.variables`.

    Raises:
      ValueError: the template refuses the messages, is wrong, does something forbidden, or takes
        too long.
    """
    common = dict(add_generation_prompt=add_generation_prompt, tools=tools, documents=None)
    common |= {**self.variables, **variables}
    kept = [
      [{k: v for k, v in message.items() if v is not None} for message in talk]
      for talk in conversations
    ]
    return _told(
      dict(
        template=self.source,
        conversations=[common | dict(messages=messages) for messages in kept],
        now=(self.now or datetime.datetime.now()).isoformat(),
        characters=CHARACTERS,
      ),
      self.seconds,
    )

  def encode_all(
    self,
    tokenizer: Tokenizer,
    conversations: Sequence[Sequence[Message]],
    *,
    tools: Sequence[Mapping] | None = None,
    **settings,
  ) -> list[list[int]]:
    """Conversations as ids. A control token that the template writes becomes a token. One that a
    message holds becomes text.

    Control tokens are all special tokens, and the other added ones that the template contains,
    except blanks. Where a message holds the text of one, we put marks around it before the template
    sees it. What stands between marks is encoded as text (transformers calls that
    `sanitize_control_tokens`).

    Raises:
      ValueError: as in `render_all`.
    """
    control = [
      text
      for text, i in tokenizer.added.items()
      if not tokenizer.pieces[i] or text in self.source and not text.isspace()
    ]
    first, last = _unused(_json([conversations, tools, settings]) + self.source)
    found = re.compile(any_of(control) or '(?!)')
    mark = functools.partial(_marked, found, f'{first}\\g<0>{last}')
    texts = self.render_all(mark(conversations), tools=mark(tools), **mark(settings))
    return [_encode(tokenizer, text, found.pattern, first, last) for text in texts]


def messages(question: str, *, system: str = '', instruction: str = INSTRUCTION) -> list[Message]:
  """A question as a conversation, without the blanks around it. The instruction follows on a line
  of its own.

  Without `system` there is no system message, and without `instruction` no such line.
  """
  said = '\n'.join(part for part in (question.strip(), instruction) if part)
  return [
    *([dict(role='system', content=system)] if system else []),
    dict(role='user', content=said),
  ]


def chatting(
  tokenizer: Tokenizer,
  template: ChatTemplate,
  *,
  system: str = '',
  instruction: str = INSTRUCTION,
  **variables,
) -> Tokenizer:
  """The tokenizer of a policy that is asked through a chat template.

  Its `encode_prompts` turns every question into a conversation. A solution ends with the token that
  the template writes after the assistant's turn, and the policy learns to end it so.

  Args:
    tokenizer: of `pretrained.load`.
    template: of the same model.
    system, instruction: see `messages`.
    **variables: what else the template reads, e.g. `enable_thinking=False`.

  Raises:
    ValueError: the template refuses such messages (some know no system message).
  """
  ask = functools.partial(messages, system=system, instruction=instruction)
  answer = 'The answer.'
  said = [*ask('A question?'), dict(role='assistant', content=answer)]
  _, *tail = template.render(said, add_generation_prompt=False, **variables).split(answer)
  after = [
    i
    for part in tail
    for i in split_parse(part, tokenizer.encode, tokenizer.added)
    if not tokenizer.pieces[i]
  ]
  ends = tuple(dict.fromkeys([*after[:1], *tokenizer.end_ids]))

  def frame(questions):
    return template.encode_all(tokenizer, [ask(question) for question in questions], **variables)

  return dataclasses.replace(tokenizer, end_ids=ends, frame=frame)


def _told(asked, seconds) -> list[str]:
  """The answer of the process that renders."""
  limits = dict(RLIMIT_AS=MEMORY, RLIMIT_CPU=int(seconds) + 1, RLIMIT_NOFILE=0, RLIMIT_NPROC=0)
  # Only this much of the environment, which has secrets.
  env = dict(PYTHONPATH=os.pathsep.join(map(str, sys.path)))
  command = [sys.executable, '-m', 'o1jax.text.render']
  words = _json(asked | dict(limits=limits)).encode('utf-8', 'surrogatepass')
  try:
    done = subprocess.run(command, input=words, env=env, capture_output=True, timeout=seconds)
  except subprocess.TimeoutExpired:
    raise ValueError(
      f'the chat template took more than {seconds:g} s: it may never end. Give it more '
      '(`seconds`), or fewer conversations at a time.'
    ) from None
  trouble = done.stderr.decode(errors='replace').strip()
  if done.returncode and "No module named 'jinja2'" in trouble:
    raise ImportError("chat templates need the library jinja2: pip install -e '.[hf]'")
  ended = f'its process ended with status {done.returncode} {trouble.splitlines()[-1:]}'
  said = dict(error=ended) if done.returncode else json.loads(done.stdout)
  if 'error' in said:
    raise ValueError(f'the chat template cannot write these messages: {said["error"]}')
  return said['texts']


def _json(value) -> str:
  try:
    return json.dumps(value, ensure_ascii=False)
  except TypeError as error:
    raise ValueError(
      f'messages for a chat template are made of text, numbers, lists and dicts: {error}.'
    ) from None


def _as_text(tokenizer, control) -> list[int]:
  """Ids that spell a control token. Where a token exists for its text too, the text is spelled by
  characters."""
  ids = tokenizer.encode(control)
  if tokenizer.added[control] in ids:
    ids = [i for char in control for i in tokenizer.encode(char)]
  if tokenizer.added[control] in ids:
    raise ValueError(
      f'a message holds {control!r}, which the tokenizer can write as a control token only: leave '
      'it out.'
    )
  return ids


def _unused(text: str) -> tuple[str, str]:
  """Two characters for private use (plane 15 of Unicode) that a text does not hold."""
  free = (chr(code) for code in range(0xF0000, 0xFFFFE) if chr(code) not in text)
  return next(free), next(free)


def _marked(pattern: re.Pattern, mark: str, value):
  """Messages in which every text is marked where the pattern is found."""
  if isinstance(value, str):
    return pattern.sub(mark, value)
  if isinstance(value, Mapping):
    return {key: _marked(pattern, mark, inner) for key, inner in value.items()}
  return (
    [_marked(pattern, mark, inner) for inner in value] if isinstance(value, list | tuple) else value
  )


def _encode(tokenizer, text, control, first, last) -> list[int]:
  """Ids of a text with marks. A mark whose other half is lost still splits the text."""
  start, *rest = re.split(f'{first}({control}){last}|[{first}{last}]', text)
  ids = (tokenizer.parse or tokenizer.encode)(start) if start else []
  for n, part in enumerate(rest):
    if not part:
      continue
    if n % 2:  # between marks
      ids += split_parse(part, tokenizer.encode, tokenizer.added)
    else:
      ids += _as_text(tokenizer, part)
  return ids
