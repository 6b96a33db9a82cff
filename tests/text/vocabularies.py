"""Small tokenizers of every kind, trained here and written to folders as checkpoints have them,
with chat templates."""

import functools
import io
import json

import sentencepiece
import tokenizers

decoders, models, normalizers = tokenizers.decoders, tokenizers.models, tokenizers.normalizers
pre_tokenizers, processors, trainers = (
  tokenizers.pre_tokenizers,
  tokenizers.processors,
  tokenizers.trainers,
)

# The formats of the models' own templates (special tokens, blanks, order), in words of ours.
CHATML = """
{%- if tools %}
  {{- '<|im_start|>system\\n' + messages[0].content + '\\n\\n# Tools\\n<tools>' }}
  {%- for tool in tools %}{{- '\\n' + tool | tojson }}{%- endfor %}
  {{- '\\n</tools>\\nCall one between <tool_call> and </tool_call>.<|im_end|>\\n' }}
{%- elif messages[0].role != 'system' %}
  {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
  {%- if tools and loop.first %}{%- continue %}{%- endif %}
  {%- set content = message.content %}
  {%- if message.role == 'assistant' and '</think>' in content %}
    {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
  {%- endif %}
  {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
  {{- '<|im_start|>assistant\\n' }}
  {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}
"""
HEADERS = """
{{- bos_token }}
{%- set system = '' %}
{%- if messages[0]['role'] == 'system' %}
  {%- set system = messages[0]['content'] | trim %}
  {%- set messages = messages[1:] %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday: ' + strftime_now('%d %b %Y') + '\\n\\n' + system }}
{{- '<|eot_id|>' }}
{%- for message in messages %}
  {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}
"""
INST = """
{%- set ns = namespace(system='') %}
{%- if messages[0].role == 'system' %}
  {%- set ns.system = messages[0].content + '\\n\\n' %}{%- set messages = messages[1:] %}
{%- endif %}
{{- bos_token }}
{%- for message in messages %}
  {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}
    {{- raise_exception('Roles must alternate: user, assistant, user, ...') }}
  {%- endif %}
  {%- if message.role == 'user' %}
    {{- '[INST] ' + (ns.system if loop.last else '') + message.content + ' [/INST]' }}
  {%- else %}
    {{- ' ' + message.content + eos_token }}
  {%- endif %}
{%- endfor %}
"""
TURNS = """
{{- bos_token }}
{%- if messages[0].role == 'system' %}{{- raise_exception('System role not supported') }}{%- endif %}
{% for message in messages %}
  {%- set role = 'model' if message.role == 'assistant' else message.role -%}
{{ '<start_of_turn>' + role + '\\n' + message.content | trim + '<end_of_turn>\\n' }}
{%- endfor -%}
{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}
"""

QWEN = (
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| "
  r'?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+'
  r'|\s+(?!\S)|\s+'
)
LLAMA3 = QWEN.replace(r'|\p{N}|', r'|\p{N}{1,3}|')
_QWEN_SPECIAL = ['<|endoftext|>', '<|im_start|>', '<|im_end|>']
_LLAMA3_SPECIAL = [
  '<|begin_of_text|>',
  '<|end_of_text|>',
  '<|start_header_id|>',
  '<|end_header_id|>',
  '<|eom_id|>',
  '<|eot_id|>',
]

# What learned text ends with, and all ends, of the folder as it is and under its chat template.
ENDS = {
  'gpt2': ['<|endoftext|>'],
  'qwen2': ['<|im_end|>', '<|endoftext|>'],
  'llama3': ['<|eot_id|>', '<|end_of_text|>', '<|eom_id|>'],
  'llama2': ['</s>'],
  'mistral': ['</s>'],
  'gemma': ['<eos>'],
  'unigram': ['</s>'],
  'llama2.model': ['</s>'],
  'gemma.model': ['<eos>', '<end_of_turn>'],
  'unigram.model': ['</s>'],
  'plain.model': ['</s>'],
}
JSON = [kind for kind in ENDS if not kind.endswith('.model')]
# Those whose libraries add a space.
PREFIXED = [
  'llama2',
  'mistral',
  'unigram',
  'llama2.model',
  'unigram.model',
]
TEMPLATES = {
  'qwen2': CHATML,
  'llama3': HEADERS,
  'mistral': INST,
  'gemma': TURNS,
  'llama2': INST,
  'gemma.model': TURNS,
}

SOLUTIONS = [
  ['We have 12 apples and eat 5.', '12 - 5 = 7.', '', 'So 7 are left:  #### 7'],
  [
    'Let $x$ be the number;',
    '    x = \\frac{3}{4} + 1',
    'x ≈ 1.75 — so ',
    'the answer is \\boxed{\\frac{7}{4}}.',
  ],
  [' Step 1: 3*7=21 (left: 5,21)', 'Step 2: 5+21=26!', '<answer>5+3*7'],
  ['def f(x):', '  return x + 1', '', '\tprint(f(3)) # "4"', '4'],
  [
    'Natalia sold 48/2 = <<48/2=24>>24 clips in May.',
    'She sold 48+24 = <<48+24=72>>72 clips.',
    '72\r',
    '72',
  ],
  ['日本語のステップ。', 'étape deux…', 'готово ки', '🙂'],
]
PROMPTS = {
  'plain': 'make 26 from 3,5,7\n',
  'gsm8k': 'Natalia sold clips to 48 of her friends in April, and then half as many in May. How many?\n',
  'math': 'What is $\\left(\\frac{1}{2}\\right)^2$?  Express your answer\nas a common fraction. ',
  'code': 'def add(a, b):\n    """Adds.\n\n    >>> add(1, 2)\n    3\n    """\n',
  'empty lines': 'One.\n\n\nTwo:\n\n  three',
}


def corpus() -> list[str]:
  """What all are trained on."""
  lines = [line for solution in SOLUTIONS[:5] for line in solution] + list(PROMPTS.values())
  return [
    *['\n'.join(solution) for solution in SOLUTIONS[:5]],
    *PROMPTS.values(),
    *[f'{line}\n' for line in lines],
    *[f'{line}\n\n' for line in lines],
  ] * 3


def write(kind: str, folder) -> None:
  """A checkpoint's folder, but for its weights."""
  (folder / 'generation_config.json').write_text(json.dumps(_generation(kind)))
  if kind.endswith('.model'):
    (folder / 'tokenizer.model').write_bytes(_model(kind))
  else:
    (folder / 'tokenizer.json').write_text(_json(kind), encoding='utf-8')
  template = {'chat_template': TEMPLATES[kind]} if kind in TEMPLATES else {}
  config = {
    'tokenizer_class': 'PreTrainedTokenizerFast',
    'clean_up_tokenization_spaces': False,
    **template,
  }
  (folder / 'tokenizer_config.json').write_text(json.dumps(config | _named(kind)), encoding='utf-8')


def _named(kind):
  if kind == 'qwen2':
    return dict(
      eos_token='<|im_end|>', pad_token='<|endoftext|>', bos_token=None, add_bos_token=False
    )
  if kind == 'llama3':
    return dict(
      bos_token='<|begin_of_text|>', eos_token={'content': '<|eot_id|>', '__type': 'AddedToken'}
    )
  if kind == 'gpt2':
    return dict(bos_token='<|endoftext|>', eos_token='<|endoftext|>')
  if kind == 'gemma.model':
    added = {
      str(i): dict(content=text, special=True)
      for i, text in ((4, '<start_of_turn>'), (5, '<end_of_turn>'))
    }
    return dict(bos_token='<bos>', eos_token='<eos>', pad_token='<pad>', added_tokens_decoder=added)
  if kind == 'gemma':
    return dict(bos_token='<bos>', eos_token='<eos>', pad_token='<pad>', add_bos_token=True)
  return dict(bos_token='<s>', eos_token='</s>', unk_token='<unk>')


def _generation(kind):
  return {
    'qwen2': dict(eos_token_id=[2, 0], pad_token_id=0),
    'llama3': dict(eos_token_id=[1, 4, 5]),
    'gemma.model': dict(eos_token_id=[1, 5]),
    'llama2': dict(eos_token_id=2, pad_token_id=-1),
  }.get(kind, {})


@functools.cache
def _json(kind) -> str:
  if kind in ('gpt2', 'qwen2', 'llama3'):
    return _byte_level(kind).to_str()
  spec = json.loads((_unigram() if kind == 'unigram' else _spaced(kind)).to_str())
  spec['added_tokens'] = [
    token for token in spec['added_tokens'] if not token['content'].startswith('<0x')
  ]
  spec['model'] |= dict(
    byte_fallback=True, **({} if kind == 'unigram' else dict(fuse_unk=True, unk_token='<unk>'))
  )
  return json.dumps(spec, ensure_ascii=False)


def _byte_level(kind):
  made = tokenizers.Tokenizer(models.BPE(ignore_merges=kind == 'llama3'))
  split = {'qwen2': QWEN, 'llama3': LLAMA3}.get(kind)
  level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split is None)
  made.pre_tokenizer = (
    level
    if split is None
    else pre_tokenizers.Sequence([pre_tokenizers.Split(tokenizers.Regex(split), 'isolated'), level])
  )
  made.normalizer = normalizers.NFC() if kind == 'qwen2' else None
  made.decoder = decoders.ByteLevel()
  special = {'qwen2': _QWEN_SPECIAL, 'llama3': _LLAMA3_SPECIAL, 'gpt2': ['<|endoftext|>']}[kind]
  made.train_from_iterator(
    corpus(),
    trainers.BpeTrainer(
      vocab_size=480,
      special_tokens=special,
      initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
      show_progress=False,
    ),
  )
  if kind == 'qwen2':
    words = ('<tool_call>', '</tool_call>', '<think>', '</think>')
    made.add_tokens([tokenizers.AddedToken(text, normalized=False) for text in words])
  if kind == 'llama3':
    made.post_processor = processors.Sequence(
      [
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(
          single='<|begin_of_text|> $A', special_tokens=[('<|begin_of_text|>', 0)]
        ),
      ]
    )
  return made


_BYTES = [f'<0x{byte:02X}>' for byte in range(256)]


def _spaced(kind):
  """BPE with '▁' for a space and bytes for what is rare; a newline is a byte, but for Gemma."""
  made = tokenizers.Tokenizer(models.BPE(unk_token='<unk>'))
  strip, special = [decoders.Strip(' ', 1, 0)], ['<unk>', '<s>', '</s>']
  if kind == 'gemma':
    made.normalizer = normalizers.Replace(' ', '▁')
    made.pre_tokenizer = pre_tokenizers.Split(' ', 'merged_with_previous')
    strip, special = [], ['<pad>', '<eos>', '<bos>', '<unk>', '<start_of_turn>', '<end_of_turn>']
  elif kind == 'llama2':
    made.normalizer = normalizers.Sequence(
      [normalizers.Prepend('▁'), normalizers.Replace(' ', '▁')]
    )
  else:
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme='first', split=False)
    special += ['[INST]', '[/INST]']
  made.decoder = decoders.Sequence(
    [decoders.Replace('▁', ' '), decoders.ByteFallback(), decoders.Fuse(), *strip]
  )
  texts = corpus() if kind == 'gemma' else [line for text in corpus() for line in text.split('\n')]
  made.train_from_iterator(
    texts,
    trainers.BpeTrainer(
      vocab_size=600, special_tokens=[*special, *_BYTES], show_progress=False, max_token_length=12
    ),
  )
  start = special[2 if kind == 'gemma' else 1]
  made.post_processor = processors.TemplateProcessing(
    single=f'{start} $A', special_tokens=[(start, made.token_to_id(start))]
  )
  if kind == 'gemma':
    made.add_tokens(
      [tokenizers.AddedToken(text, normalized=False) for text in ('\n\n', '\n\n\n', '▁▁', '▁▁▁')]
    )
  return made


def _unigram():
  made = tokenizers.Tokenizer(models.Unigram())
  made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme='always')
  made.decoder = decoders.Metaspace()
  lines = [line for text in corpus() for line in text.split('\n')]
  made.train_from_iterator(
    lines,
    trainers.UnigramTrainer(
      vocab_size=600,
      special_tokens=['<unk>', '<s>', '</s>', *_BYTES],
      unk_token='<unk>',
      show_progress=False,
    ),
  )
  made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
  return made


@functools.cache
def _model(kind) -> bytes:
  gemma, out = kind == 'gemma.model', io.BytesIO()
  ids = (
    dict(pad_id=0, eos_id=1, bos_id=2, unk_id=3) if gemma else dict(unk_id=0, bos_id=1, eos_id=2)
  )
  names = dict(bos_piece='<bos>', eos_piece='<eos>') if gemma else {}
  texts = corpus() if gemma else [line for text in corpus() for line in text.split('\n') if line]
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(texts),
    model_writer=out,
    vocab_size=420,
    hard_vocab_limit=False,
    byte_fallback=True,
    model_type='unigram' if kind in ('unigram.model', 'plain.model') else 'bpe',
    character_coverage=1.0,
    add_dummy_prefix=kind in PREFIXED,
    normalization_rule_name='identity',
    remove_extra_whitespaces=False,
    user_defined_symbols=['<start_of_turn>', '<end_of_turn>', '\n', '\n\n', '▁▁'] if gemma else [],
    split_digits=True,
    num_threads=1,
    minloglevel=2,
    **ids,
    **names,
  )
  return out.getvalue()
