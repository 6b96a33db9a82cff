"""What a config is made of: data, tokenizer, model and verifier."""

import dataclasses
import datetime
import functools
import hashlib
import pathlib
import shutil
from collections.abc import Callable
from typing import NamedTuple

import jax

from o1jax.data import FORMATS, pipeline
from o1jax.decode.world import World, text_world
from o1jax.evaluation.splits import VALIDATION
from o1jax.model.transformer import LanguageModel
from o1jax.model.variants import ModelConfig, variant
from o1jax.recipes.pretrained import check_policy, shape_of
from o1jax.reward.known import Texts
from o1jax.runtime.config import ConfigDict, ConfigError, require
from o1jax.runtime.mesh import cores
from o1jax.runtime.storage import writing
from o1jax.search.choose import choose
from o1jax.tasks import TASKS
from o1jax.text import chat, pretrained
from o1jax.text.steps import Behaviours
from o1jax.text.tokenizer import Tokenizer
from o1jax.types import Array, OutcomeFn, Problem, Prompt, Reference, Sequences, Task, Verifier
from o1jax.verify import JUDGES, code
from o1jax.verify.host import HostVerifier
from o1jax.verify.launch import SandboxError
from o1jax.verify.outcome import oracle, outcome

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


class Asked(NamedTuple):
  """The problems of a split, and the same as arrays."""

  split: str  # of `evaluation.splits`
  problems: list[Problem]
  data: tuple[Prompt, Reference]


class Data(NamedTuple):
  """What a run learns from and is measured on."""

  texts: list[str]
  instruction: Sequences  # the demonstrations as rows
  pool: tuple[Prompt, Reference]  # training problems without demonstrations
  validation: tuple[Prompt, Reference]
  test: tuple[Prompt, Reference]
  test_problems: list[Problem]
  fixed: tuple[Prompt, Reference] | None  # the task's fixed problems
  validation_problems: list[Problem]

  def asked(self, split: str) -> Asked:
    """What is measured on a split."""
    if split == VALIDATION:
      return Asked(split, self.validation_problems, self.validation)
    return Asked(split, self.test_problems, self.test)


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
  oracle: OutcomeFn | None  # verdicts on prefixes too, where the task can tell
  world: World | None  # what is said after a step
  texts: Texts  # how scores read what is written
  key: Array

  @functools.cached_property
  def data(self) -> Data:
    """Made when it is first asked for, since a run that is asked one question needs none of it."""
    return self.load()


def assemble(config: ConfigDict, workdir: pathlib.Path, *, seed: int | None = None) -> Experiment:
  """Data, tokenizer, model and verifier of a config; data and tokenizer are made once and kept in
  the workdir.

  Args:
    config: complete.
    workdir: of the run, or of the one whose data it shares.
    seed: of the data; None = the config's.

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
    require(
      'chat' in config.tokenizer,
      f'config.model.pretrained={config.model.pretrained} is a checkpoint, and config.tokenizer '
      'does not say how it is asked (chat, system, instruction, now): begin with configs/gsm8k.py',
    )
    _keep_pretrained(config, workdir)
  seed = config.seed if seed is None else seed
  material = functools.cache(functools.partial(_material, config, task, workdir, seed))
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
    choose=functools.partial(
      choose,
      table=table,
      marker=tuple(part.marker for part in task.each()),
      reads=tuple(part.reads for part in task.each()),
    ),
    verifier=verifier,
    oracle=_oracle(task, verifier, table),
    world=_world(task, tokenizer, table),
    texts=Texts(task, table, tokenizer.encode),
    key=jax.random.key(config.seed),
  )


def _oracle(task: Task, verifier: Verifier, table) -> OutcomeFn | None:
  if task.reachable is None:
    return None
  return functools.partial(oracle, outcome=verifier.outcome, reachable=task.reachable, table=table)


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
  encode = functools.partial(
    pipeline.encode_problems, tokenizer, prompt_length=shapes.prompt_length
  )
  return Data(
    texts,
    pipeline.instruction_rows(tokenizer, demonstrations, row_length=shapes.row_length),
    *(encode(problems[split]) for split in ('pool', 'validation', 'test')),
    test_problems=problems['test'],
    fixed=encode(list(task.fixed)) if task.fixed else None,
    validation_problems=problems['validation'],
  )


def _tokenizer(config, workdir, material) -> Tokenizer:
  """That of the checkpoint that the run starts from, or one of its own, trained on what the run
  learns from."""
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
  """The shape of the config's model. Its vocabulary has the tokenizer's size, unless `changes`
  gives a larger one. Where the run starts from a checkpoint, the shape is the checkpoint's, and
  `changes` say how it is computed."""
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
  try:
    return variant(config.model.variant, size, unused=size - tokenizer.vocab_size, **changes)
  except ValueError as error:
    raise ConfigError(f'config.model: {error}') from None


def build_task(config: ConfigDict) -> Task:
  """The config's task. ConfigError for an unknown name or setting."""
  return _task(config.task.to_dict(), 'config.task')


def _task(settings, where) -> Task:
  """The task of a section, which is at `where` of the config."""
  require('name' in settings, f'{where} names no task: give {where}.name')
  name = settings.pop('name')
  known = TASKS | FORMATS
  require(name in known, f'{where}.name is {name!r}: choose one of {", ".join(known)}')
  row = known[name]
  settings = row.defaults | settings
  if name in FORMATS:
    return _published(name, row, settings, where)
  if row.mixes:
    settings = _parts(settings, where)
  try:
    if 'behaviours' in settings:
      settings['behaviours'] = Behaviours(**settings['behaviours'])
    return row.task(**settings)
  except TypeError as error:  # a setting that is missing, or none of this task
    raise ConfigError(f'{where} has no settings of the task {name!r}: {error}') from None
  except ConfigError:
    raise
  except ValueError as error:
    raise ConfigError(f'{where}: {error}') from None


def _published(name, row, settings, where):
  """The task of published problems, whose files a section names."""
  for split in ('train', 'test'):
    require(settings[split], f'{where}.{split} names no file of {name}: give its path')

  def read(split):
    told = {'split': split, 'check': code.parse}
    given = {need: told[need] for need in row.needs} | dict(skip_bad=settings['skip_bad'])
    return functools.partial(row.read, pathlib.Path(settings[split]).expanduser(), **given)

  return row.task(name=name, train=read('train'), test=read('test'))


def _parts(settings, where):
  """The settings of a mixture, in which each part is named and has a section of that name."""
  require('parts' in settings, f'{where} names no parts: give {where}.parts and {where}.shares')
  settings, names = dict(settings), settings['parts']
  missing = [name for name in names if name not in settings]
  require(not missing, f'{where}.parts names {missing}: give each a section of that name')
  idle = [
    name for name, section in settings.items() if isinstance(section, dict) and name not in names
  ]
  require(not idle, f'{where}.parts does not name {idle}: add them, or leave out their sections')
  parts = [_task(settings.pop(n), f'{where}.{n}')._replace(name=n) for n in dict.fromkeys(names)]
  return settings | dict(parts=parts)


def _verifier(config, task, table) -> Verifier:
  """What judges, by the config."""
  settings = config.verifier.to_dict()
  where, by, sandbox = (settings.pop(key) for key in ('where', 'by', 'sandbox'))
  require(where in ('device', 'host'), f'config.verifier.where is {where!r}: choose device or host')
  require(by in JUDGES, f'config.verifier.by is {by!r}: choose one of {", ".join(JUDGES)}')
  require(
    by in task.judges,
    f'answers of the task {task.name!r} are not judged by {by!r}: set config.verifier.by='
    f'{" or ".join(task.judges) or "something that all of its parts have"}',
  )
  if where == 'device':
    require(
      by == 'task' and task.verify is not None,
      f'answers of the task {task.name!r} are judged by {by} on the '
      'host alone: set config.verifier.where=host',
    )
    rule = functools.partial(outcome, verify=task.verify, table=table, size=task.reads)
    return Verifier(rule, name=f'{task.name} on devices')
  try:
    chosen = JUDGES[by].choose(task, sandbox)
  except (SandboxError, ValueError) as error:
    raise ConfigError(f'config.verifier.sandbox={sandbox!r}: {error}') from None
  settings['workers'] = settings['workers'] or cores()
  settings['seconds'] = max(settings['seconds'], chosen.seconds)
  host = HostVerifier(chosen.check, size=tuple(part.reads for part in task.each()), **settings)
  rule = functools.partial(host.outcome, table=table)
  return Verifier(rule, lambda: host.failure, f'{chosen.name} on the host')


def _material(config, task, workdir, seed):
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
      seed=seed,
    )
  train = task.problems('train', size.demonstrations + size.pool, seed)
  shown = {d.problem.prompt for d in builder.read(task.name, workdir / 'data', 'train')}
  pool = [problem for problem in train if problem.prompt not in shown]
  problems = {
    'pool': pool[: size.pool],
    'validation': task.problems('validation', size.validation, seed),
    # Targets that training never saw are the harder half of a test, where the task holds some out.
    'test': task.problems('test', size.test, seed)
    + (task.problems('test_targets', size.test_targets, seed) if size.test_targets else []),
  }
  held = {p.prompt for split in ('validation', 'test') for p in problems[split]}
  leaked = next((problem.prompt for problem in train if problem.prompt in held), None)
  require(
    leaked is None,
    f'config.task has {leaked!r} in training and in a test: choose settings, or files, that keep '
    'the parts of a mixture apart',
  )
  texts = builder.read_text(task.name, workdir / 'data')
  return texts, builder.read(task.name, workdir / 'data', 'train'), problems
