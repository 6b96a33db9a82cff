"""The compiled programs of a job, made ahead of their use and side by side: XLA takes one core for each."""

import functools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from o1jax.evaluation.accuracy import Evaluator, Readout, equal_batches
from o1jax.fused import problem_keys
from o1jax.learning.optimizer import build_optimizer, init_state
from o1jax.learning.supervised import supervised_update
from o1jax.training.build import Experiment, abstract_params, fused_mesh, fused_update, test_search, weights
from o1jax.training.config import ConfigDict
from o1jax.training.mesh import by_problem, data_mesh, everywhere, placed, spread
from o1jax.types import Params, TrainState

GREEDY = Readout('greedy', 1, 'first')
SAMPLED = ('majority', 'best', 'weighted')


class Program(NamedTuple):
  """A compiled update (state, *data) -> (state, metrics), the optimizer inside it, and where the state lies."""

  update: Callable
  optimizer: optax.GradientTransformation
  sharding: jax.sharding.Sharding


class Search(NamedTuple):
  """A test-time search and what is read off it."""

  method: str
  budget: int
  readouts: tuple[Readout, ...]
  greedy: bool = False

  @property
  def spend(self) -> int | None:
    """What to tell its evaluator: tree searches of all budgets share one."""
    return None if self.method == 'best_of_n' else self.budget


GREEDY_SEARCH = Search('best_of_n', 1, (GREEDY,), greedy=True)


class Programs:
  """The programs of a run, each compiled once: by `ahead` on other threads, or by the first who asks.

  A program is known by what it is made from, so that stages with equal settings share it.
  """

  def __init__(self, experiment: Experiment):
    """Compiles nothing yet."""
    self._experiment, self._made = experiment, {}
    self._pool = ThreadPoolExecutor(os.cpu_count())

  def supervised(self, stage: str) -> Program:
    """The update of 'pretrain', 'instruct' or 'control'."""
    return self.once(*self._supervised(stage))

  def searching(self, stage: str) -> Program:
    """The fused update of 'reward' or 'learn'."""
    return self.once(*self._searching(stage))

  def evaluator(self, search: Search, split: str = 'test') -> Evaluator:
    """Of a test-time search by the config, for the problems of a split."""
    return self.once(*self._evaluator(search, split))

  def sampler(self) -> Callable:
    """(params, keys, prompts of the validation split) -> Tree: one sampled solution a problem."""
    return self.once(*self._sampler())

  def once(self, name, make: Callable):
    """`make()` the first time and what it made from then on; an error in it is raised again to all who ask."""
    if name not in self._made:
      self._made[name] = make()
    made = self._made[name]
    return made.result() if isinstance(made, Future) else made

  def ahead(self, stages: Iterable[str]) -> None:
    """Starts compiling what some stages of the job will ask for, in the order in which they will."""
    for stage in stages:
      for name, make in self._of_stage(stage):
        if name not in self._made:
          self._made[name] = self._pool.submit(make)

  def close(self) -> None:
    """Drops what `ahead` has not begun."""
    self._pool.shutdown(wait=False, cancel_futures=True)

  def _of_stage(self, stage):
    config = self._experiment.config
    if stage == 'initialise':
      return [self._supervised('pretrain'), self._supervised('instruct')]
    if stage == 'reward':
      return [self._searching('reward')]
    if stage == 'learn':
      control = [self._supervised('control')] if config.learn.control else []
      return [self._evaluator(GREEDY_SEARCH, 'validation'), self._searching('learn'), *control]
    if stage == 'evaluate':
      searches = [search for policy in config.evaluate.policies for search in searches_of(config, policy)]
      return [*(self._evaluator(search, 'test') for search in searches), self._sampler()]
    return []

  # Each of these gives the name of a program and what makes it.

  def _supervised(self, stage):
    e, section = self._experiment, supervised_section(self._experiment.config, stage)
    settings = dict(steps=section.updates, **section.optimizer.to_dict())

    def make():
      optimizer = build_optimizer(**settings)
      # Its operations are large: a CPU's cores share each of them better than they would the batch.
      mesh = data_mesh(1 if jax.default_backend() == 'cpu' else section.batch)
      whole = everywhere(mesh)
      state = jax.eval_shape(lambda params: init_state(params, optimizer), abstract_params(e))
      rows = jax.tree.map(lambda x: jax.ShapeDtypeStruct((section.batch, *x.shape[1:]), x.dtype), e.data.instruction)
      update = supervised_update(e.model, optimizer, sharding=whole)
      return Program(update.lower(placed(state, whole), placed(rows, by_problem(mesh))).compile(), optimizer, whole)

    return ('supervised', section.batch, *sorted(settings.items())), make

  def _searching(self, stage):
    e, section = self._experiment, self._experiment.config[stage]

    def make():
      update, optimizer = fused_update(e, section)
      state = jax.eval_shape(lambda params: searching_state(params, section, optimizer), abstract_params(e))
      whole = everywhere(fused_mesh(section))
      lowered = update.lower(*placed((state, *e.data.pool, e.key, weights(section.weights)), whole))
      return Program(lowered.compile(), optimizer, whole)

    return stage, make

  def _evaluator(self, search, split):
    e, section = self._experiment, self._experiment.config.evaluate
    problems = getattr(e.data, split)
    budgets = tree_budgets(e.config) if search.spend else ()
    width = search.budget if search.method == 'best_of_n' else section.search.candidates
    batch = equal_batches(problems[0].length.shape[0], max(section.rows // width, 1), of=jax.device_count())

    def make():
      evaluator = Evaluator(
        e.model.config,
        test_search(e, search.method, budgets or search.budget, greedy=search.greedy),
        outcome=e.outcome,
        table=e.table,
        readouts=list(search.readouts),
        aggregate=section.aggregate,
        batch=batch,
        spread=functools.partial(spread, mesh=data_mesh(batch)),
        budgets=budgets,
      )
      evaluator.compile(abstract_params(e), *problems)
      return evaluator

    shapes = tuple(x.shape[1:] for x in jax.tree.leaves(problems))  # a text is as wide as the longest of its split
    # The readouts of tree searches differ by their budgets alone.
    return (search._replace(budget=budgets, readouts=()) if budgets else search, batch, shapes), make

  def _sampler(self):
    e = self._experiment
    prompt, _ = e.data.validation

    def make():
      keys = problem_keys(e.key, prompt.length.shape[0])
      search = spread(test_search(e, 'best_of_n', 1), data_mesh(prompt.length.shape[0]))
      run = jax.jit(search).lower(abstract_params(e), keys, prompt).compile()
      return lambda *args: run(*jax.device_put(args, run.input_shardings[0]))

    return 'sample', make


def supervised_section(config: ConfigDict, stage: str) -> ConfigDict:
  """The config of 'pretrain', 'instruct' or 'control': instruction tuning for as many optimizer steps as 'learn'."""
  if stage != 'control':
    return config[stage]
  section = config.instruct.copy_and_resolve_references()
  section.updates = config.learn.updates * config.learn.minibatches
  return section


def searching_state(params: Params, section: ConfigDict, optimizer: optax.GradientTransformation) -> TrainState:
  """Where a stage of searching and learning starts. The frozen policy is kept only where a KL to it has weight."""
  held = section.weights.kl or section.get('warmup_weights', section.weights).kl
  reference = jax.tree.map(jnp.copy, params.policy) if held else None
  return init_state(params.replace(reference=reference), optimizer)


def tree_budgets(config: ConfigDict) -> tuple[int, ...]:
  """All that the config's policies spend on tree searches, ascending."""
  return tuple(sorted({n for policy in config.evaluate.policies.values() for n in policy.simulations}))


def searches_of(config: ConfigDict, policy: str) -> list[Search]:
  """The searches by which the config measures a policy."""
  section = config.evaluate
  budgets = section.policies[policy]
  searches = [GREEDY_SEARCH]
  if budgets.samples:
    readouts = [Readout(rule, n, rule, n) for n in budgets.samples for rule in SAMPLED]
    searches.append(Search('best_of_n', max(budgets.samples), tuple(readouts)))
  for method in section.tree_methods:
    searches += [Search(method, n, (Readout(f'mcts_{method}', n, section.rule),)) for n in budgets.simulations]
  return searches
