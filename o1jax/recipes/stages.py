"""The stages of the main job, in the paper's order: initialise, reward, learn (search and learn),
evaluate, report."""

import functools
import json

import jax
import numpy as np

from o1jax.data import pipeline
from o1jax.evaluation.statistics import wilson_interval
from o1jax.fused import problems_of_update
from o1jax.learning.schedule import ever_plateaued
from o1jax.model.sharding import put_global
from o1jax.recipes.build import fresh_params
from o1jax.recipes.objectives import weights
from o1jax.recipes.programs import GREEDY, GREEDY_SEARCH, supervised_section
from o1jax.recipes.run import Run
from o1jax.runtime.loop import run_updates
from o1jax.runtime.metrics import read_metrics
from o1jax.types import Params


def initialise(run: Run) -> None:
  """Policy initialisation: pre-training on plain text, then instruction tuning on few
  demonstrations."""
  config, params = run.experiment.config, fresh_params(run.experiment)
  if config.pretrain.updates:
    stream = pipeline.batches(_plain(run), batch_size=config.pretrain.batch, seed=config.seed)
    params = supervise(run, params, stream, stage='pretrain')
  if config.instruct.updates:
    params = supervise(run, params, _demonstrations(run), stage='instruct')
  run.finish('initialise', params)


def supervise(
  run: Run, params: Params, stream, *, stage: str, after=None, after_every: int = 0
) -> Params:
  """Next-token training of `params` on a stream of batches."""
  program = run.programs.supervised(stage)
  state = run_updates(
    program.start(params),
    lambda state, number: program.update(state, put_global(stream(number), program.shardings[1])),
    stage=stage,
    updates=supervised_section(run.experiment.config, stage).updates,
    workdir=run.workdir,
    writer=run.writer,
    keeping=run.keeping,
    batch=stream,
    show=('loss', 'token_accuracy', 'validation_accuracy'),
    after=after,
    after_every=after_every,
    sharding=program.shardings[0],
    profile=run.experiment.config.profile,
  )
  return state.params


def reward(run: Run) -> None:
  """Process reward: the critic learns P(correct | prefix) from the outcomes of sampled solutions.

  The policy is held by its KL to itself, so that this stage changes what is known of it and not
  what it does.
  """
  e, section = run.experiment, run.experiment.config.reward
  program = run.programs.searching('reward')
  problems = *e.data.pool, e.key
  data = put_global((*problems, weights(section)), program.shardings[1:])
  state = run_updates(
    program.start(run.params('initialise')),
    lambda state, _: program.update(state, *data),
    stage='reward',
    updates=section.updates,
    workdir=run.workdir,
    writer=run.writer,
    keeping=run.keeping,
    batch=functools.partial(_problems, *problems, section.batch),
    show=('loss_value', 'right', 'solved'),
    updates_per_call=section.updates_per_call,
    sharding=program.shardings[0],
    profile=e.config.profile,
    failure=e.verifier.failure,
  )
  run.finish('reward', state.params)


def learn(run: Run) -> None:
  """Search and learn; beside it, as the control, supervised training for as many optimizer
  steps."""
  section = run.experiment.config.learn
  run.finish('learn', search_and_learn(run))
  if section.control:
    curve = Curve(run, 'supervised control', stage='control')
    every = section.validate_every * section.minibatches
    params = supervise(
      run,
      run.params('reward'),
      _demonstrations(run),
      stage='control',
      after=curve.measure,
      after_every=every,
    )
    run.finish('control', params)


def search_and_learn(run: Run) -> Params:
  """Cloning warm-up until it stops paying on validation, then policy gradient; see
  `ever_plateaued`."""
  e, section = run.experiment, run.experiment.config.learn
  program = run.programs.searching('learn')
  curve = Curve(run, 'greedy', stage='learn')
  problems = *e.data.pool, jax.random.fold_in(e.key, 1)
  *data, warm = put_global((*problems, weights(section, 'warmup_weights')), program.shardings[1:])
  main = put_global(weights(section), program.shardings[-1])

  def step(state, number):
    over = ever_plateaued(
      curve.accuracies(number), patience=section.patience, min_gain=section.min_gain
    )
    state, metrics = program.update(state, *data, main if over else warm)
    return state, metrics | {'policy_gradient': np.full(section.updates_per_call, over, np.float32)}

  state = run_updates(
    program.start(run.params('reward')),
    step,
    stage='learn',
    updates=section.updates,
    workdir=run.workdir,
    writer=run.writer,
    keeping=run.keeping,
    batch=functools.partial(_problems, *problems, section.batch),
    show=('validation_accuracy', 'right', 'solved', 'loss'),
    after=curve.measure,
    after_every=section.validate_every,
    updates_per_call=section.updates_per_call,
    sharding=program.shardings[0],
    profile=e.config.profile,
    failure=e.verifier.failure,
  )
  return state.params


class Curve:
  """Validation accuracy of greedy decoding during a stage, kept in report/data/train_curve.json."""

  def __init__(self, run: Run, method: str, *, stage: str):
    self._run, self._method, self._stage = run, method, stage
    self._path = run.workdir / 'report' / 'data' / 'train_curve.json'
    self._evaluate = run.programs.evaluator(GREEDY_SEARCH, run.experiment.data.validation)
    # All processes of a job decide by these; the file is the first one's.
    self._points = [p for p in self._written() if p['method'] == method]

  def accuracies(self, update: int) -> list[float]:
    """What was measured up to an update, oldest first."""
    return [p['accuracy'] for p in self._points if p['update'] <= update]

  def measure(self, state, values: dict) -> dict:
    """Adds the point of a state, whose update gave the metrics `values`. A point of the same update
    is replaced."""
    update = int(state.update)
    e = self._run.experiment
    right = self._evaluate(state.params, *e.data.validation, e.key).judged(GREEDY)
    low, high = wilson_interval(int(right.sum()), len(right))
    point = dict(
      method=self._method,
      stage=self._stage,
      update=update,
      accuracy=float(right.mean()),
      ci_low=low,
      ci_high=high,
    )
    before = [row for row in read_metrics(self._run.workdir, self._stage) if row['update'] < update]
    for cost in ('flops', 'tokens'):
      point[cost] = float(sum(row[cost] for row in before) + values.get(cost, 0))
    self._points = [p for p in self._points if p['update'] < update] + [point]
    others = [p for p in self._written() if p['method'] != self._method]
    points = sorted([*others, *self._points], key=lambda p: (p['method'], p['update']))
    self._run.write_data('train_curve', points)
    return {'validation_accuracy': point['accuracy']}

  def _written(self):
    return json.loads(self._path.read_text()) if self._path.exists() else []


def _plain(run: Run):
  e = run.experiment
  return pipeline.plain_rows(e.tokenizer, e.data.texts, row_length=e.config.shapes.row_length)


def _demonstrations(run: Run):
  """Batches of demonstrations with some plain text among them, lest arithmetic be forgotten for
  format."""
  e, section = run.experiment, run.experiment.config.instruct
  return pipeline.mixed_batches(
    e.data.instruction,
    _plain(run),
    batch_size=section.batch,
    share=section.rehearsal,
    seed=e.config.seed,
  )


def _problems(prompts, references, key, count, update):
  """What a search-and-learn update draws from the pool."""
  prompt, reference, _ = problems_of_update(key, update, prompts, references, count)
  return {'prompt': prompt, 'reference': reference}
