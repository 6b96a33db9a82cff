"""The stages that make parameters, in the paper's order: initialise, reward, learn (search and
learn); and supervised training, their control.

Each is a function (run, name): the section of that name has its settings, where there is one.
"""

import functools
import json

import jax
import numpy as np

from o1jax.data import pipeline
from o1jax.evaluation.statistics import wilson_interval
from o1jax.learning.schedule import ever_plateaued
from o1jax.model.sharding import put_global
from o1jax.recipes.build import fresh_params, with_trunk
from o1jax.recipes.objectives import weights
from o1jax.recipes.programs import Program
from o1jax.recipes.run import Run
from o1jax.recipes.searches import GREEDY, GREEDY_SEARCH
from o1jax.runtime.config import ConfigDict
from o1jax.runtime.loop import run_updates
from o1jax.runtime.metrics import read_metrics
from o1jax.types import Metrics, Params, Prompt, Reference


def initialise(run: Run, name: str) -> None:
  """Policy initialisation: pre-training on plain text, then instruction tuning on few
  demonstrations. A critic with a trunk of its own begins with what the policy has learned."""
  config, params = run.experiment.config, fresh_params(run.experiment)
  if config.pretrain.updates:
    stream = pipeline.batches(_plain(run), batch_size=config.pretrain.batch, seed=config.seed)
    params = _supervise(run, 'pretrain', params, stream)
  if config.instruct.updates:
    params = _supervise(run, 'instruct', params, _demonstrations(run, config.instruct))
  run.finish(name, with_trunk(run.experiment, params))


def supervised(run: Run, name: str) -> None:
  """Next-token training on demonstrations. As a control of `learn` it starts where that does."""
  section = run.experiment.config[name]
  curve = Curve(run, name) if section.validate_every else None
  run.finish(name, _supervise(run, name, run.start(name), _demonstrations(run, section), curve))


def _supervise(run, name, params, stream, curve=None) -> Params:
  """`params` after next-token training on a stream of batches."""
  show = ('loss', 'token_accuracy', 'validation_accuracy')
  return on_batches(run, name, run.programs.supervised(name), params, stream, show, curve)


def on_batches(
  run: Run, name: str, program: Program, params: Params, stream, show, curve=None
) -> Params:
  """`params` after the updates of a program on a stream of batches; see `pipeline.batches`."""
  section = run.experiment.config[name]
  state = run_updates(
    program.start(params),
    lambda state, number: program.update(state, put_global(stream(number), program.shardings[1])),
    updates=section.updates,
    batch=lambda number, _: stream(number),
    show=show,
    after=curve.measure if curve else None,
    after_every=section.validate_every if curve else 0,
    sharding=program.shardings[0],
    **run.how(name),
  )
  return state.params


def reward(run: Run, name: str) -> None:
  """Process reward: the critic learns P(correct | prefix) from the outcomes of sampled solutions.

  The KL holds the policy to what it was: this stage learns what the policy can do, and does not
  change what it does.
  """
  section, key = run.experiment.config[name], run.experiment.key
  program = run.programs.searching(name)
  data = put_global((*run.experiment.data.pool, key, weights(section)), program.shardings[1:])
  update = lambda state, _: program.update(state, *data)
  show = ('loss_value', 'right', 'solved')
  run.finish(name, _search_and_learn(run, name, program, update, show=show))


def learn(run: Run, name: str) -> None:
  """Search and learn: a warm-up by cloning until it stops paying on validation, then policy
  gradient; see `ever_plateaued`."""
  section, key = run.experiment.config[name], jax.random.fold_in(run.experiment.key, 1)
  program = run.programs.searching(name)
  curve = Curve(run, name)
  warm_up = weights(section, 'warmup_weights' if 'warmup_weights' in section else 'weights')
  *data, warm = put_global((*run.experiment.data.pool, key, warm_up), program.shardings[1:])
  main = put_global(weights(section), program.shardings[-1])

  def update(state, number):
    over = ever_plateaued(
      curve.accuracies(number), patience=section.patience, min_gain=section.min_gain
    )
    state, metrics = program.update(state, *data, main if over else warm)
    return state, metrics | {'policy_gradient': np.full(section.updates_per_call, over, np.float32)}

  show = ('validation_accuracy', 'right', 'solved', 'loss')
  watch = dict(after=curve.measure, after_every=section.validate_every)
  run.finish(name, _search_and_learn(run, name, program, update, show=show, **watch))


def _search_and_learn(run, name, program, update, **watch) -> Params:
  """The parameters after the updates of a stage, which draw their problems from the pool."""
  section = run.experiment.config[name]
  state = run_updates(
    program.start(run.start(name)),
    update,
    updates=section.updates,
    batch=functools.partial(problems_drawn, run.experiment.data.pool),
    updates_per_call=section.updates_per_call,
    sharding=program.shardings[0],
    failure=run.experiment.verifier.failure,
    **watch,
    **run.how(name),
  )
  return state.params


# What older runs call the curves of these stages.
_STAGES = {'greedy': 'learn', 'supervised control': 'control'}


class Curve:
  """Validation accuracy of greedy decoding during a stage, kept in report/data/train_curve.json."""

  def __init__(self, run: Run, stage: str):
    self._run, self._stage = run, stage
    self._path = run.workdir / 'report' / 'data' / 'train_curve.json'
    self._evaluate = run.programs.evaluator(GREEDY_SEARCH, run.experiment.data.validation)
    # All processes of a job decide by these; the file is the first one's.
    self._points = [p for p in self._written() if p['stage'] == stage]

  def accuracies(self, update: int) -> list[float]:
    """What was measured up to an update, oldest first."""
    return [p['accuracy'] for p in self._points if p['update'] <= update]

  def measure(self, state, values: dict) -> dict:
    """Adds the point of a state, whose update gave the metrics `values`. A point of the same update
    is replaced."""
    update = int(state.update)
    e = self._run.experiment
    verdicts = self._evaluate(state.params, *e.data.validation, e.key, readouts=[GREEDY])
    right = verdicts.judged(GREEDY)
    low, high = wilson_interval(int(right.sum()), len(right))
    point = dict(
      method=GREEDY.method,
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
    others = [p for p in self._written() if p['stage'] != self._stage]
    points = sorted([*others, *self._points], key=lambda p: (p['stage'], p['update']))
    self._run.write_data('train_curve', points)
    return {'validation_accuracy': point['accuracy']}

  def _written(self):
    points = json.loads(self._path.read_text()) if self._path.exists() else []
    return [dict(stage=_STAGES.get(p['method'], p['method'])) | p for p in points]


def _plain(run: Run):
  e = run.experiment
  return pipeline.plain_rows(e.tokenizer, e.data.texts, row_length=e.config.shapes.row_length)


def _demonstrations(run: Run, section: ConfigDict):
  """Batches of demonstrations with some plain text among them, so that the policy does not forget
  arithmetic while it learns the format."""
  e = run.experiment
  return pipeline.mixed_batches(
    e.data.instruction,
    _plain(run),
    batch_size=section.batch,
    share=section.rehearsal,
    seed=e.config.seed,
  )


def problems_drawn(
  pool: tuple[Prompt, Reference], number: int, metrics: Metrics
) -> dict[str, Prompt | Reference]:
  """The problems of the pool that an update, by its metrics, learned from."""
  prompt, reference = jax.tree.map(lambda x: x[metrics['problems']], pool)
  return {'prompt': prompt, 'reference': reference}
