"""The stages of the main job, in the paper's order: initialise, reward, learn (search and learn), evaluate, report."""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp

from o1jax.data import pipeline
from o1jax.evaluation.accuracy import Evaluator, Readout
from o1jax.evaluation.statistics import wilson_interval
from o1jax.learning.optimizer import build_optimizer, init_state
from o1jax.learning.schedule import ever_plateaued
from o1jax.learning.supervised import supervised_update
from o1jax.training.build import (
  Experiment,
  abstract_params,
  fresh_params,
  fused_update,
  test_search,
  weights,
)
from o1jax.training.checkpoint import Checkpoints
from o1jax.training.loop import run_updates
from o1jax.training.metrics import MetricsWriter, read_metrics
from o1jax.training.workdir import write_atomic
from o1jax.types import Params

GREEDY = Readout('greedy', 1, 'first')


@dataclasses.dataclass(frozen=True)
class Run:
  """One job on its way: the experiment, its folder and its metrics."""

  experiment: Experiment
  workdir: pathlib.Path
  writer: MetricsWriter
  _kept: dict = dataclasses.field(default_factory=dict)

  def once(self, name, make):
    """`make()` the first time, and what it made from then on: a compiled search serves every policy of the run."""
    if name not in self._kept:
      self._kept[name] = make()
    return self._kept[name]

  def finish(self, stage: str, params: Params) -> None:
    """Keeps the parameters a stage ends with, for the stages after it."""
    final = Checkpoints(self.workdir / 'checkpoints' / f'{stage}_params')
    final.save(0, params.replace(reference=None))
    final.close()

  def params(self, stage: str) -> Params:
    """The parameters a stage ended with."""
    final = Checkpoints(self.workdir / 'checkpoints' / f'{stage}_params')
    params = final.restore(abstract_params(self.experiment))
    final.close()
    return params


def initialise(run: Run) -> None:
  """Policy initialisation: pre-training on plain text, then instruction tuning on few demonstrations."""
  e, config = run.experiment, run.experiment.config
  section = config.pretrain
  stream = pipeline.batches(_plain(run), batch_size=section.batch, seed=config.seed)
  params = supervise(run, fresh_params(e), stream, section, stage='pretrain')
  params = supervise(run, params, _demonstrations(run), config.instruct, stage='instruct')
  run.finish('initialise', params)


def supervise(run: Run, params: Params, stream, section, *, stage: str, after=None, after_every: int = 0) -> Params:
  """Next-token training of `params` on a stream of batches, by a config section."""
  optimizer = build_optimizer(steps=section.updates, **section.optimizer.to_dict())
  step = supervised_update(run.experiment.model, optimizer)
  state = run_updates(
    init_state(params, optimizer),
    lambda state, number: step(state, stream(number)),
    stage=stage,
    updates=section.updates,
    workdir=run.workdir,
    writer=run.writer,
    save_every=run.experiment.config.save_every,
    show=('loss', 'token_accuracy'),
    after=after,
    after_every=after_every,
  )
  return state.params


def reward(run: Run) -> None:
  """Process reward: the critic learns P(correct | prefix) from the outcomes of sampled solutions.

  The policy is held by its KL to itself, so that this stage changes what is known of it and not what it does.
  """
  section = run.experiment.config.reward
  params = run.params('initialise')
  update, optimizer = fused_update(run.experiment, section)
  state = init_state(params.replace(reference=jax.tree.map(jnp.copy, params.policy)), optimizer)
  fixed, pool = weights(section.weights), _pool(run)
  state = run_updates(
    state,
    lambda state, _: update(state, *pool, run.experiment.key, fixed),
    stage='reward',
    updates=section.updates,
    workdir=run.workdir,
    writer=run.writer,
    save_every=run.experiment.config.save_every,
    show=('loss_value', 'accuracy', 'solved'),
  )
  run.finish('reward', state.params)


def learn(run: Run) -> None:
  """Search and learn; beside it, as the control, supervised training for as many optimizer steps."""
  section = run.experiment.config.learn
  run.finish('learn', search_and_learn(run))
  if section.control:
    settings = run.experiment.config.instruct.copy_and_resolve_references()
    settings.updates = section.updates * section.minibatches
    curve = Curve(run, 'supervised control', stage='control')
    every = section.validate_every * section.minibatches
    params = supervise(run, run.params('reward'), _demonstrations(run), settings, stage='control', after=curve.measure,
                       after_every=every)  # fmt: skip
    run.finish('control', params)


def search_and_learn(run: Run) -> Params:
  """Cloning warm-up until it stops paying on validation, then policy gradient; see `ever_plateaued`."""
  e, section = run.experiment, run.experiment.config.learn
  params = run.params('reward')
  update, optimizer = fused_update(e, section)
  warm, main = weights(section.warmup_weights), weights(section.weights)
  reference = jax.tree.map(jnp.copy, params.policy) if section.weights.kl or section.warmup_weights.kl else None
  curve, pool = Curve(run, 'greedy', stage='learn'), _pool(run)

  def step(state, number):
    over = ever_plateaued(curve.accuracies(number), patience=section.patience, min_gain=section.min_gain)
    state, metrics = update(state, *pool, jax.random.fold_in(e.key, 1), main if over else warm)
    return state, metrics | {'policy_gradient': jnp.float32(over)}

  state = run_updates(
    init_state(params.replace(reference=reference), optimizer),
    step,
    stage='learn',
    updates=section.updates,
    workdir=run.workdir,
    writer=run.writer,
    save_every=e.config.save_every,
    show=('accuracy', 'solved', 'loss'),
    after=curve.measure,
    after_every=section.validate_every,
  )
  return state.params


class Curve:
  """Validation accuracy of greedy decoding during a stage, kept in report/data/train_curve.json."""

  def __init__(self, run: Run, method: str, *, stage: str):
    self._run, self._method, self._stage = run, method, stage
    self._path = run.workdir / 'report' / 'data' / 'train_curve.json'
    self._evaluate = build_evaluator(run, 'best_of_n', 1, [GREEDY], True)

  def accuracies(self, update: int) -> list[float]:
    """What was measured up to an update, oldest first."""
    return [p['accuracy'] for p in self._points() if p['method'] == self._method and p['update'] <= update]

  def measure(self, state, values: dict) -> dict:
    """Adds the point of a state, whose update gave the metrics `values`. A point of the same update is replaced."""
    update = int(state.update)
    e = self._run.experiment
    right = self._evaluate(state.params, *e.data.validation, e.key).correct[GREEDY]
    low, high = wilson_interval(int(right.sum()), len(right))
    point = dict(method=self._method, update=update, accuracy=float(right.mean()), ci_low=low, ci_high=high)
    before = [row for row in read_metrics(self._run.workdir, self._stage) if row['update'] < update]
    for cost in ('flops', 'tokens'):
      point[cost] = float(sum(row[cost] for row in before) + values.get(cost, 0))
    others = [p for p in self._points() if (p['method'], p['update']) != (self._method, update)]
    points = sorted([*others, point], key=lambda p: (p['method'], p['update']))
    write_data(self._run, 'train_curve', points)
    return {'validation_accuracy': point['accuracy']}

  def _points(self):
    return json.loads(self._path.read_text()) if self._path.exists() else []


def write_data(run: Run, name: str, data) -> None:
  """Leaves report/data/NAME.json for the report."""
  folder = run.workdir / 'report' / 'data'
  folder.mkdir(parents=True, exist_ok=True)
  write_atomic(folder / f'{name}.json', json.dumps(data))


def build_evaluator(run: Run, method: str, budget: int, readouts: list[Readout], greedy: bool) -> Evaluator:
  """An evaluator of one test-time search by the config, compiled once a run; `rows` bounds what a batch decodes."""
  e, section = run.experiment, run.experiment.config.evaluate
  width = budget if method == 'best_of_n' else section.search.candidates

  def make():
    search = test_search(e, method, budget, greedy=greedy)
    batch = max(section.rows // width, 1)
    return Evaluator(e.model.config, search, outcome=e.outcome, table=e.table, readouts=readouts,
                     aggregate=section.aggregate, batch=batch, at_once=section.at_once)  # fmt: skip

  return run.once((method, budget, tuple(readouts), greedy), make)


def _plain(run: Run):
  e = run.experiment
  return pipeline.plain_rows(e.tokenizer, e.data.texts, row_length=e.config.shapes.row_length)


def _demonstrations(run: Run):
  """Batches of demonstrations with some plain text among them, lest arithmetic be forgotten for format."""
  e, section = run.experiment, run.experiment.config.instruct
  return pipeline.mixed_batches(
    e.data.instruction, _plain(run), batch_size=section.batch, share=section.rehearsal, seed=e.config.seed
  )


def _pool(run: Run):
  return jax.tree.map(jnp.asarray, run.experiment.data.pool)
