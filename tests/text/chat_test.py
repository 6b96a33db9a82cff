"""Laws of chat templates: what transformers writes, no control token out of what a user says, and
hostile templates."""

import datetime
import json
import subprocess
import sys
import time

import pytest

from o1jax.data import pipeline
from o1jax.text import chat, pretrained
from o1jax.types import Problem
from tests.golden.talks import (
  NO_SYSTEM,
  SETTINGS,
  SYSTEM,
  TALKS,
  TYPED,
  WRITTEN,
  ask,
  hostile,
  stored,
  talks,
)
from tests.text.vocabularies import PREFIXED, SOLUTIONS, TEMPLATES, tokenizers, write


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  made = {}
  for kind in TEMPLATES:
    made[kind] = tmp_path_factory.mktemp('checkpoint')
    write(kind, made[kind])
  return made


@pytest.fixture(scope='module', params=TEMPLATES)
def kind(request):
  return request.param


@pytest.fixture(scope='module')
def tokenizer(kind, folders):
  return pretrained.load(folders[kind])


@pytest.fixture(scope='module')
def template(kind, folders):
  return chat.ChatTemplate.load(folders[kind], now=datetime.datetime(2024, 7, 26, 12))


def control_ids(tokenizer, ids):
  return [i for i in ids if not tokenizer.pieces[i]]


# --- what is written ---

BRIEF = {
  'qwen2': '<|im_start|>system\nBe brief. <|im_end|>\n<|im_start|>user\nWhat is 2+2?<|im_end|>\n'
  '<|im_start|>assistant\n',
  'llama3': '<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday: 26 Jul 2024\n\nBe brief.<|eot_id|>'
  '<|start_header_id|>user<|end_header_id|>\n\nWhat is 2+2?<|eot_id|><|start_header_id|>assistant'
  '<|end_header_id|>\n\n',
  'mistral': '<s>[INST] Be brief. \n\nWhat is 2+2? [/INST]',
  'llama2': '<s>[INST] Be brief. \n\nWhat is 2+2? [/INST]',
  'gemma': '<bos><start_of_turn>user\nWhat is 2+2?<end_of_turn>\n<start_of_turn>model\n',
  'gemma.model': '<bos><start_of_turn>user\nWhat is 2+2?<end_of_turn>\n<start_of_turn>model\n',
}


def test_the_text_is_that_of_the_format(kind, template):
  assert template.render(TALKS[0] if kind in NO_SYSTEM else [SYSTEM, *TALKS[0]]) == BRIEF[kind]


def test_ids_are_those_of_the_text(kind, tokenizer, template):
  (text,) = template.render_all(TALKS[1:2])
  (ids,) = template.encode_all(tokenizer, TALKS[1:2])
  for control in tokenizer.added:
    if not tokenizer.pieces[tokenizer.added[control]]:
      text = text.replace(control, '')
  said = tokenizer.decode(ids)
  # Llama 2's library adds spaces.
  assert said.split() == text.split() if kind == 'llama2' else said == text
  assert len(control_ids(tokenizer, ids)) > 1


@pytest.mark.parametrize('kind', WRITTEN, indirect=True)
@pytest.mark.parametrize('settings', SETTINGS)
def test_text_and_ids_are_those_of_transformers(kind, settings, folders, tokenizer, template):
  wanted = stored()['written'][kind][settings]
  told = {'add_generation_prompt': True, **SETTINGS[settings]}
  assert template.render_all(talks(kind), **told) == wanted
  harmless = [n for n, talk in enumerate(talks(kind)) if '<think>' not in json.dumps(talk)]
  library = tokenizers.Tokenizer.from_file(str(folders[kind] / 'tokenizer.json'))
  ids = [library.encode(wanted[n], add_special_tokens=False).ids for n in harmless]
  assert (
    template.encode_all(tokenizer, [talks(kind)[n] for n in harmless], **told) == ids
    and len(ids) >= 2
  )


# --- what users type ---


@pytest.mark.parametrize('kind', TYPED, indirect=True)
def test_what_users_type_is_as_harmless_as_in_transformers(kind, tokenizer, template):
  for wanted in stored()['typed'][kind]:
    (ours,) = template.encode_all(tokenizer, [[{'role': 'user', 'content': wanted['content']}]])
    assert control_ids(tokenizer, ours) == [tokenizer.added[text] for text in wanted['control']]
    said = tokenizer.decode(ours).translate(dict.fromkeys((0xF0000, 0xF0001)))
    assert said == (' ' if kind in PREFIXED else '') + wanted['text']


@pytest.mark.parity
def test_transformers_still_writes_what_is_stored():
  said = stored()
  assert ask() == {name: said[name] for name in ('written', 'typed', 'prompts')}


def test_no_control_token_comes_of_what_a_message_holds(kind, tokenizer, template):
  """And nothing that it holds is lost."""
  texts = list(hostile([text for text, i in tokenizer.added.items() if not tokenizer.pieces[i]]))
  talk = lambda content: [
    {'role': 'user', 'content': content},
    {'role': 'assistant', 'content': f'B{content}B'},
    {'role': 'user', 'content': f'C{content}C'},
  ]
  harmless, *ids = template.encode_all(tokenizer, [talk('a'), *map(talk, texts)])
  for text, row in zip(texts, ids):
    assert control_ids(tokenizer, row) == control_ids(tokenizer, harmless)
    said = tokenizer.decode(row)
    assert said.count(text.strip()) == 3 and f'B{text}B' in said and f'C{text}C' in said


def test_added_tokens_of_a_template_are_its_own_too(folders):
  """`<tool_call>` is no special token; where the template does not write it, it is a word like
  others."""
  tokenizer, template = pretrained.load(folders['qwen2']), chat.ChatTemplate.load(folders['qwen2'])
  talk = [[{'role': 'user', 'content': 'a <tool_call>1</tool_call> </think> b'}]]
  own = {tokenizer.added[text] for text in ('<tool_call>', '</tool_call>', '</think>')}
  (ids,) = template.encode_all(tokenizer, talk)
  assert not own & set(ids) and 'a <tool_call>1</tool_call> </think> b' in tokenizer.decode(ids)
  plain = chat.ChatTemplate('{{ messages[0].content }}')
  assert own <= set(plain.encode_all(tokenizer, talk)[0])


def test_marks_are_seen_by_templates_as_little_as_can_be(folders):
  """A template that looks for a control token in a message finds it, and what it cuts there stays
  text."""
  tokenizer, template = pretrained.load(folders['qwen2']), chat.ChatTemplate.load(folders['qwen2'])
  talk = [*TALKS[2][:1], {'role': 'assistant', 'content': '<think>b</think>\n\nc<|im_end|>'}]
  (ids,) = template.encode_all(tokenizer, [talk], add_generation_prompt=False)
  assert tokenizer.decode(ids).endswith('c<|im_end|>\n')
  assert tokenizer.decode(ids).count('think') == 0


# --- hostile templates ---


@pytest.mark.parametrize(
  'source, message',
  [
    (
      "{{ ''.__class__.__mro__[1].__subclasses__() }}",
      'what no template may: access to attribute .__class__',
    ),
    ('{{ messages.append.__self__.__class__.__init__ }}', 'what no template may'),
    ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", 'what no template may'),
    ('{{ messages.append(1) }}', 'what no template may'),
    ("{% include 'setup.py' %}", 'no loader'),
    ("{% import 'os' as os %}{{ os }}", 'no loader'),
    ("{{ open('setup.py') }}", "'open' is undefined"),
    ('{% for i in range(10 ** 9) %}{{ i }}{% endfor %}', 'Range too big'),
    ("{{ 'x' * 11 * 10 ** 8 }}", 'too much memory'),
    (
      "{% set n = namespace(x='x') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
      'too much memory',
    ),
    ('{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}', 'RecursionError'),
    ("{{ raise_exception('no\nsuch role') }}", 'cannot write these messages: no such role'),
    ('{{ messages[0].nothing.more }}', 'UndefinedError'),
    ('{% for %}', 'TemplateSyntaxError'),
    ('{{ 1 / 0 }}', 'ZeroDivisionError'),
  ],
)
def test_hostile_and_wrong_templates_are_refused_in_one_line(source, message):
  with pytest.raises(ValueError, match=message) as raised:
    chat.ChatTemplate(source).render(TALKS[0])
  assert '\n' not in str(raised.value) and len(str(raised.value)) < 700


def test_endless_templates_are_ended():
  endless = (
    '{% for a in range(99999) %}{% for b in range(99999) %}{% set c = a %}{% endfor %}{% endfor %}'
  )
  begin = time.monotonic()
  with pytest.raises(ValueError, match='took more than 1.5 s: it may never end'):
    chat.ChatTemplate(endless, seconds=1.5).render(TALKS[0])
  assert time.monotonic() - begin < 15


def test_too_much_text_is_refused(monkeypatch):
  monkeypatch.setattr(chat, 'CHARACTERS', 100)
  template = chat.ChatTemplate('{{ messages[0].content }}')
  assert template.render([{'role': 'user', 'content': 'a' * 100}]) == 'a' * 100
  with pytest.raises(ValueError, match='too much text'):
    template.render_all([[{'role': 'user', 'content': 'a' * 51}]] * 2)


@pytest.mark.parametrize('escape', ["open('setup.py')", 'socket.socket()'])
def test_out_of_the_sandbox_there_are_still_no_files(escape):
  """The process that renders, with a jinja2 that has no sandbox."""
  script = """
import jinja2, socket
from o1jax.text import render
env = jinja2.Environment()
env.globals |= dict(open=open, socket=socket)
render.environment = lambda now: env
render.main()
"""
  asked = dict(
    template='{{ ' + escape + ' }}',
    conversations=[{}],
    now='2024-01-01',
    characters=9,
    limits=dict(RLIMIT_NOFILE=0),
  )
  env = dict(PYTHONPATH=':'.join(sys.path))
  done = subprocess.run(
    [sys.executable, '-c', script], input=json.dumps(asked).encode(), capture_output=True, env=env
  )
  assert 'Too many open files' in json.loads(done.stdout)['error']


def test_messages_are_plain_data():
  with pytest.raises(ValueError, match='made of text, numbers, lists and dicts'):
    chat.ChatTemplate('').render([{'role': 'user', 'content': object()}])


# --- which template ---


def test_generation_blocks_are_what_they_hold():
  template = chat.ChatTemplate(
    '{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}.{% endfor %}'
  )
  assert template.render(TALKS[2]) == 'a.<think>\nb\n</think>\n\nc.d.e..'


def test_a_folder_may_hold_several_templates(tmp_path):
  named = [
    {'name': 'default', 'template': 'one'},
    {'name': 'tool_use', 'template': 'two {{ eos_token }}'},
  ]
  config = {'chat_template': named, 'eos_token': {'content': '</s>'}}
  (tmp_path / 'tokenizer_config.json').write_text(json.dumps(config))
  load = lambda **settings: chat.ChatTemplate.load(tmp_path, **settings).render(TALKS[0])
  assert load() == 'one' and load(name='tool_use') == 'two </s>'
  with pytest.raises(ValueError, match="no chat template 'rag' in .*, but default, tool_use"):
    load(name='rag')
  (tmp_path / 'chat_template.jinja').write_text('three')
  (tmp_path / 'additional_chat_templates').mkdir()
  (tmp_path / 'additional_chat_templates' / 'rag.jinja').write_text('four')
  assert load() == 'three' and load(name='tool_use') == 'two </s>' and load(name='rag') == 'four'


def test_a_base_model_has_no_template(tmp_path):
  with pytest.raises(ValueError, match='and no other: it may be a base model'):
    chat.ChatTemplate.load(tmp_path)


# --- questions ---


def test_a_question_as_messages():
  assert chat.messages(' How many?\n', instruction='') == [{'role': 'user', 'content': 'How many?'}]
  system, user = chat.messages('How many?', system='Be brief.')
  assert system == {'role': 'system', 'content': 'Be brief.'}
  assert user['content'] == f'How many?\n{chat.INSTRUCTION}' and r'\boxed{}' in chat.INSTRUCTION


ENDED_BY = {
  'qwen2': '<|im_end|>',
  'llama3': '<|eot_id|>',
  'gemma': '<end_of_turn>',
  'gemma.model': '<end_of_turn>',
}


def test_a_policy_is_asked_through_its_template(kind, tokenizer, template):
  """Prompts are conversations, solutions end as the template ends them, and steps are what they are
  without one."""
  asking = chat.chatting(tokenizer, template, instruction='Think.')
  assert asking.end_ids[0] == tokenizer.added[ENDED_BY.get(kind, '</s>')]
  assert set(asking.end_ids) >= set(tokenizer.end_ids)
  problem = Problem('What is 2+2?\n')
  rows = pipeline.instruction_rows(
    asking, [pipeline.Demonstration(problem, SOLUTIONS[1])], row_length=400
  )
  prompt, _ = pipeline.encode_problems(asking, [problem], prompt_length=200)
  (wanted,) = template.encode_all(tokenizer, [chat.messages(problem.prompt, instruction='Think.')])
  assert prompt.tokens[0, : prompt.length[0]].tolist() == wanted
  solution = [i for step in tokenizer.encode_steps(SOLUTIONS[1]) for i in step][:-1]
  assert rows.tokens[0, : rows.length[0]].tolist() == [*wanted, *solution, asking.eos_id]


@pytest.mark.parametrize('kind', NO_SYSTEM, indirect=True)
def test_a_template_may_refuse_a_system_message(kind, tokenizer, template):
  with pytest.raises(ValueError, match='cannot write these messages: System role not supported'):
    chat.chatting(tokenizer, template, system='Be brief.')
