"""What a config is made of: data, tokenizer, model and verifier."""

import dataclasses
import datetime
import functools
import hashlib
import itertools
import pathlib
import shutil
from collections.abc import Callable
from typing import NamedTuple

import jax

from o1jax.data import pipeline
from o1jax.data.problems import read_gsm8k, read_math
from o1jax.data.programs import read_apps, read_mbpp
from o1jax.decode.world import World, text_world
from o1jax.model.transformer import LanguageModel
from o1jax.model.variants import ModelConfig, variant
from o1jax.recipes.pretrained import check_policy, shape_of
from o1jax.runtime.config import ConfigDict, ConfigError, require
from o1jax.runtime.mesh import cores
from o1jax.runtime.storage import writing
from o1jax.search.choose import choose
from o1jax.tasks import calculator, cipher, countdown, gym, programs, questions
from o1jax.text import chat, pretrained
from o1jax.text.steps import Behaviours
from o1jax.text.tokenizer import Tokenizer
from o1jax.types import Array, Prompt, Reference, Sequences, Task, Verifier
from o1jax.verify import code, math
from o1jax.verify import sandbox as sandboxes
from o1jax.verify.host import HostVerifier
from o1jax.verify.outcome import outcome

TASKS = {
  'countdown': countdown.task,
  'calculator': calculator.task,
  'cipher': cipher.task,
  'gym': gym.task,
}
# Published data: what makes a task of it, and the reader of a split.
PUBLISHED = {
  'gsm8k': (questions.task, lambda split: read_gsm8k),
  'math': (questions.task, lambda split: read_math),
  'mbpp': (
    programs.task,
    lambda split: functools.partial(read_mbpp, split=split, check=code.parse),
  ),
  'apps': (programs.task, lambda split: functools.partial(read_apps, check=code.parse)),
}
JUDGES = ('task', 'math', 'code')
# What a run keeps of a checkpoint that it starts from, so that it can go on without.
_KEPT = (
  'config.json',
  'model.json',
  'tokenizer.json',
  'tokenizer.model',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'generation_config.json',
  'chat_template.jinja',
)


class Data(NamedTuple):
  """What a run learns from and is measured on."""

  texts: list[str]
  instruction: Sequences  # the demonstrations as rows
  pool: tuple[Prompt, Reference]  # training problems without demonstrations
  validation: tuple[Prompt, Reference]
  test: tuple[Prompt, Reference]
  test_prompts: list[str]
  fixed: tuple[Prompt, Reference] | None  # the task's fixed problems


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
  """A config as functions and data."""

  config: ConfigDict
  task: Task
  tokenizer: Tokenizer
  load: Callable[[], Data]
  model: LanguageModel
  choose: Callable  # `search.choose.choose`, of solutions as the task has them
  verifier: Verifier
  world: World | None  # what is said after a step
  key: Array

  @functools.cached_property
  def data(self) -> Data:
    """Made when it is first asked for: one question to a run needs none of it."""
    return self.load()


def assemble(config: ConfigDict, workdir: pathlib.Path) -> Experiment:
  """Data, tokenizer, model and verifier of a config; data and tokenizer are made once and kept in
  the workdir.

  Raises:
    ValueError: the pieces do not fit each other.
    StorageError: data or tokenizer cannot be written.
  """
  task = build_task(config)
  require(
    config.model.pretrained or 'variant' in config.model,
    'config.model.pretrained names no folder, and the config has no shape of its own: give that of '
    'a checkpoint',
  )
  if config.model.pretrained:
    _keep_pretrained(config, workdir)
  material = functools.cache(functools.partial(_material, config, task, workdir))
  tokenizer = _tokenizer(config, workdir, material)
  shape = model_shape(config, tokenizer, workdir)
  table = tokenizer.bytes_table(rows=shape.vocab_size)
  verifier = _verifier(config, task, table)
  return Experiment(
    config=config,
    task=task,
    tokenizer=tokenizer,
    load=functools.partial(_data, config, task, tokenizer, material),
    model=LanguageModel(shape),
    choose=functools.partial(choose, table=table, marker=task.marker, reads=task.reads),
    verifier=verifier,
    world=_world(task, tokenizer, table),
    key=jax.random.key(config.seed),
  )


def _world(task: Task, tokenizer: Tokenizer, table) -> World | None:
  if task.world is None:
    return None
  return text_world(
    task.world.answer,
    table,
    tokenizer.characters(),
    reads=task.world.reads,
    tokens=task.world.says,
  )


def _data(config, task, tokenizer, material) -> Data:
  """What a run learns from and is measured on, as arrays."""
  texts, demonstrations, problems = material()
  shapes = config.shapes
  sizes = dict(step_length=shapes.step_length, max_steps=shapes.max_steps)
  if config.model.pretrained:
    demonstrations = pipeline.fitting(
      tokenizer, demonstrations, **sizes, row_length=shapes.row_length
    )
  else:
    says = task.world.says if task.world else 0
    pipeline.check_steps(tokenizer, demonstrations, **sizes, says=says)
  if config.verifier.by == 'code':
    _check_tests(task, itertools.chain(*problems.values()))
  encode = functools.partial(
    pipeline.encode_problems, tokenizer, prompt_length=shapes.prompt_length
  )
  return Data(
    texts,
    pipeline.instruction_rows(tokenizer, demonstrations, row_length=shapes.row_length),
    *(encode(problems[split]) for split in ('pool', 'validation', 'test')),
    test_prompts=[problem.prompt for problem in problems['test']],
    fixed=encode(list(task.fixed)) if task.fixed else None,
  )


def _tokenizer(config, workdir, material) -> Tokenizer:
  """That of the checkpoint that the run starts from, or one of its own, trained on
  what the run learns from."""
  path = workdir / 'tokenizer.model'
  if config.model.pretrained:
    tokenizer = pretrained.load(workdir / 'pretrained')
    settings = config.tokenizer
    if not settings.chat:
      return tokenizer
    template = chat.ChatTemplate.load(
      workdir / 'pretrained', now=datetime.datetime.fromisoformat(settings.now)
    )
    return chat.chatting(
      tokenizer, template, system=settings.system, instruction=settings.instruction
    )
  if not path.exists():
    draft = workdir / '.tokenizer.model.draft'
    texts, demonstrations, _ = material()
    corpus = pipeline.corpus(texts, demonstrations)
    with writing(path):
      Tokenizer.train(corpus, draft, vocab_size=config.tokenizer.vocab_size or None)
      draft.replace(path)
  return Tokenizer.load(path)


def tokenizer_digest(workdir: pathlib.Path) -> str:
  """What tells the tokenizer of a run from others."""
  kept = sorted((workdir / 'pretrained').glob('*')) or [workdir / 'tokenizer.model']
  return hashlib.sha256(b''.join(path.read_bytes() for path in kept)).hexdigest()


def _keep_pretrained(config, workdir):
  source, kept = pathlib.Path(config.model.pretrained).expanduser(), workdir / 'pretrained'
  if kept.exists():
    return
  require(
    source.is_dir(),
    f'config.model.pretrained={source} is no folder: give that of a model of transformers, or '
    'what experiments.convert made of one',
  )
  check_policy(source, shape_of(source))
  draft = workdir / '.pretrained.draft'
  with writing(kept):
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    for name in _KEPT:
      if (source / name).exists():
        shutil.copy(source / name, draft / name)
    draft.rename(kept)


def model_shape(config: ConfigDict, tokenizer: Tokenizer, workdir: pathlib.Path) -> ModelConfig:
  """The config's model, with a vocabulary of the tokenizer's size unless `changes` gives a larger
  one; or that of the checkpoint that the run starts from, in which `changes` are to how it is
  computed."""
  changes = config.model.changes.to_dict()
  if config.model.pretrained:
    shape = shape_of(workdir / 'pretrained', **changes)
    require(
      shape.vocab_size >= tokenizer.vocab_size,
      f'the model of {config.model.pretrained} has {shape.vocab_size} '
      f'tokens and its tokenizer {tokenizer.vocab_size}: they are of different models',
    )
    return dataclasses.replace(shape, unused=shape.vocab_size - tokenizer.vocab_size)
  size = changes.pop('vocab_size', tokenizer.vocab_size)
  require(
    size >= tokenizer.vocab_size,
    f'config.model.changes.vocab_size={size} is less than the '
    f'{tokenizer.vocab_size} tokens of the tokenizer: raise it, or leave it out',
  )
  return variant(config.model.variant, size, unused=size - tokenizer.vocab_size, **changes)


def build_task(config: ConfigDict) -> Task:
  """The config's task with its behaviours. ConfigError for an unknown name or setting."""
  settings = config.task.to_dict()
  name = settings.pop('name')
  if name in PUBLISHED:
    make, reader = PUBLISHED[name]
    for split in ('train', 'test'):
      require(settings[split], f'config.task.{split} names no file of {name}: give its path')
    read = lambda split: functools.partial(
      reader(split), pathlib.Path(settings[split]).expanduser(), skip_bad=settings['skip_bad']
    )
    return make(name=name, train=read('train'), test=read('test'))
  require(
    name in TASKS, f'config.task.name is {name!r}: choose one of {", ".join((*TASKS, *PUBLISHED))}'
  )
  behaviours = Behaviours(**settings.pop('behaviours'))
  return TASKS[name](behaviours=behaviours, **settings)


def _verifier(config, task, table) -> Verifier:
  """What judges, by the config."""
  settings = config.verifier.to_dict()
  where, by, sandbox = (settings.pop(key) for key in ('where', 'by', 'sandbox'))
  require(where in ('device', 'host'), f'config.verifier.where is {where!r}: choose device or host')
  require(by in JUDGES, f'config.verifier.by is {by!r}: choose one of {", ".join(JUDGES)}')
  if where == 'device':
    require(
      by == 'task' and task.verify is not None,
      f'answers of the task {task.name!r} are judged by {by} on the '
      'host alone: set config.verifier.where=host',
    )
    rule = functools.partial(outcome, verify=task.verify, table=table, size=task.reads)
    return Verifier(rule, name=f'{task.name} on devices')
  require(
    by == 'code' or task.check is not None,
    f'answers of the task {task.name!r} are programs: set '
    'config.verifier.by=code and name a sandbox',
  )
  check = {
    'task': lambda: task.check,
    'math': lambda: math.check,
    'code': lambda: _sandboxed(sandbox),
  }[by]()
  settings['workers'] = settings['workers'] or cores()
  if by == 'code':  # the sandbox has its own time limit, within which a slow start is not to count
    settings['seconds'] = max(settings['seconds'], sandboxes.LIMITS.seconds + 3 * sandboxes.STARTUP)
  host = HostVerifier(check, size=task.reads, **settings)
  name = {'task': task.name, 'math': 'math-verify'}.get(by)
  name = name or f'unit tests in {sandboxes.describe(sandboxes.choose(sandbox))}'
  rule = functools.partial(host.outcome, table=table)
  return Verifier(rule, lambda: host.failure, f'{name} on the host')


def _sandboxed(backend):
  try:
    return code.verifier(backend=backend)
  except (sandboxes.SandboxError, ValueError) as error:
    raise ConfigError(f'config.verifier.sandbox={backend!r}: {error}') from None


def _check_tests(task, problems):
  for problem in problems:
    try:
      code.parse(problem.text)
    except ValueError as error:
      raise ConfigError(
        f'config.verifier.by=code, but the task {task.name!r} has {error}'
      ) from None


def _material(config, task, workdir):
  """Demonstrations come first in the training split, so the pool after them shares none of their
  problems."""
  from o1jax.data import builder  # late: tensorflow_datasets takes half a second

  size = config.data
  with writing(workdir / 'data', RuntimeError):  # what array_record makes of a full disk
    builder.write(
      task,
      workdir / 'data',
      counts={'train': size.demonstrations},
      texts=size.texts,
      seed=config.seed,
    )
  train = task.problems('train', size.demonstrations + size.pool, config.seed)
  shown = {d.problem.prompt for d in builder.read(task.name, workdir / 'data', 'train')}
  pool = [problem for problem in train if problem.prompt not in shown]
  problems = {
    'pool': pool[: size.pool],
    'validation': task.problems('validation', size.validation, config.seed),
    # Targets that training never saw are the harder half of a test, where the task holds some out.
    'test': task.problems('test', size.test, config.seed)
    + (task.problems('test_targets', size.test_targets, config.seed) if size.test_targets else []),
  }
  texts = builder.read_text(task.name, workdir / 'data')
  return texts, builder.read(task.name, workdir / 'data', 'train'), problems
