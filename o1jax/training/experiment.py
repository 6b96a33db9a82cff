"""What a config is made of: data, tokenizer, model and verifier."""

import functools
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax

from o1jax.data import builder, pipeline
from o1jax.model.transformer import LanguageModel
from o1jax.model.variants import ModelConfig, variant
from o1jax.reward.host import HostVerifier, VerifierError
from o1jax.reward.outcome import outcome
from o1jax.tasks import cipher, countdown
from o1jax.text.steps import Behaviours
from o1jax.text.tokenizer import Tokenizer
from o1jax.training.config import ConfigDict, require
from o1jax.training.mesh import cores
from o1jax.training.storage import writing
from o1jax.types import Array, OutcomeFn, Prompt, Reference, Sequences, Task

TASKS = {'countdown': countdown.task, 'cipher': cipher.task}


class Data(NamedTuple):
  """What a run learns from and is measured on."""

  texts: list[str]
  instruction: Sequences  # the demonstrations as rows
  pool: tuple[Prompt, Reference]  # training problems without demonstrations
  validation: tuple[Prompt, Reference]
  test: tuple[Prompt, Reference]
  test_prompts: list[str]
  fixed: tuple[Prompt, Reference] | None  # the task's fixed problems


class Experiment(NamedTuple):
  """A config as functions and data."""

  config: ConfigDict
  task: Task
  tokenizer: Tokenizer
  data: Data
  model: LanguageModel
  table: tuple  # bytes of every token
  outcome: OutcomeFn
  failure: Callable[[], VerifierError | None]  # why there are no verdicts, see `reward.host`
  key: Array


def assemble(config: ConfigDict, workdir: pathlib.Path) -> Experiment:
  """Data, tokenizer, model and verifier of a config; data and tokenizer are made once and kept in the workdir.

  Raises:
    ValueError: the pieces do not fit each other.
    StorageError: data or tokenizer cannot be written.
  """
  task = build_task(config)
  texts, demonstrations, problems = _data(config, task, workdir)
  path = workdir / 'tokenizer.model'
  if not path.exists():
    draft = workdir / '.tokenizer.model.draft'
    with writing(path):
      Tokenizer.train(pipeline.corpus(texts, demonstrations), draft, vocab_size=config.tokenizer.vocab_size or None)
      draft.replace(path)
  tokenizer = Tokenizer.load(path)
  shapes = config.shapes
  pipeline.check_steps(tokenizer, demonstrations, step_length=shapes.step_length, max_steps=shapes.max_steps)
  encode = functools.partial(pipeline.encode_problems, tokenizer, prompt_length=shapes.prompt_length)
  data = Data(
    texts,
    pipeline.instruction_rows(tokenizer, demonstrations, row_length=shapes.row_length),
    *(encode(problems[split]) for split in ('pool', 'validation', 'test')),
    test_prompts=[problem.prompt for problem in problems['test']],
    fixed=encode(list(task.fixed)) if task.fixed else None,
  )
  shape = model_shape(config, tokenizer)
  judge, failure = _judge(config, task)
  return Experiment(
    config=config,
    task=task,
    tokenizer=tokenizer,
    data=data,
    model=LanguageModel(shape),
    table=tokenizer.bytes_table(),
    outcome=functools.partial(judge, table=tokenizer.bytes_table()),
    failure=failure,
    key=jax.random.key(config.seed),
  )


def model_shape(config: ConfigDict, tokenizer: Tokenizer) -> ModelConfig:
  """The config's model, with a vocabulary of the tokenizer's size unless `changes` gives a larger one."""
  changes = config.model.changes.to_dict()
  size = changes.pop('vocab_size', tokenizer.vocab_size)
  require(size >= tokenizer.vocab_size, f'config.model.changes.vocab_size={size} is less than the '
          f'{tokenizer.vocab_size} tokens of the tokenizer: raise it, or leave it out')
  return variant(config.model.variant, size, unused=size - tokenizer.vocab_size, **changes)


def build_task(config: ConfigDict) -> Task:
  """The config's task with its behaviours. ConfigError for an unknown name or setting."""
  settings = config.task.to_dict()
  name = settings.pop('name')
  require(name in TASKS, f'config.task.name is {name!r}: choose one of {", ".join(TASKS)}')
  behaviours = Behaviours(**settings.pop('behaviours'))
  return TASKS[name](behaviours=behaviours, **settings)


def _judge(config, task):
  """The verdicts of the config's verifier on nodes, and what says why there are none."""
  settings = config.verifier.to_dict()
  where, settings['workers'] = settings.pop('where'), settings['workers'] or cores()
  require(where in ('device', 'host'), f'config.verifier.where is {where!r}: choose device or host')
  if where == 'device':
    return functools.partial(outcome, verify=task.verify), lambda: None
  verifier = HostVerifier(task.check, **settings)
  return verifier.outcome, lambda: verifier.failure


def _data(config, task, workdir):
  """Demonstrations come first in the training split, so the pool after them shares none of their problems."""
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
