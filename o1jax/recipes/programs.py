"""The compiled programs of a job, made ahead of their use and side by side: XLA takes one core for
each."""

import functools
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import jax
from jax.sharding import Mesh
from jax.stages import Lowered

import o1jax.recipes
from o1jax.evaluation.accuracy import Evaluator, Reading, equal_batches
from o1jax.keys import of_problems
from o1jax.learning.optimizer import build_optimizer, init_state
from o1jax.learning.supervised import supervised_update
from o1jax.model.compute import search_bill
from o1jax.model.sharding import put_global
from o1jax.recipes.build import (
  abstract_params,
  fused_mesh,
  fused_optimizer,
  fused_update,
  supervised_mesh,
  test_search,
)
from o1jax.recipes.experiment import Experiment
from o1jax.recipes.objectives import searching_state, weights
from o1jax.recipes.searches import CHAINS, GREEDY_SEARCH, Search, searches_of
from o1jax.recipes.settings import kind_of
from o1jax.reward import OUTCOME
from o1jax.reward.guide import ORACLE, names
from o1jax.reward.known import Known
from o1jax.reward.written import changing, renewed
from o1jax.runtime.config import ConfigDict
from o1jax.runtime.mesh import (
  build_mesh,
  cores,
  problem_sharding,
  problem_shards,
  replicated,
  sharded_search,
  state_sharding,
  with_sharding,
)
from o1jax.runtime.waiting import waiting
from o1jax.search import SEARCHES, STOPS
from o1jax.search.allocate import SIGNALS
from o1jax.types import OutcomeFn, Params, Prompt, Reference, TrainState
from o1jax.verify.outcome import solution_bytes


class Program(NamedTuple):
  """A compiled update (state, *data) -> (state, metrics), where the arrays of its arguments lie,
  and the state that it starts from, made of parameters that lie so."""

  update: Callable
  shardings: tuple
  start: Callable[[Params], TrainState]


class Programs:
  """The programs of a run, each compiled once: by `ahead` on other threads, or by the first who
  asks.

  A program is known by what it is made from, so that stages with equal settings share it.
  """

  def __init__(self, experiment: Experiment):
    """Compiles nothing yet."""
    self.experiment, self._made = experiment, {}
    self._pool = ThreadPoolExecutor(cores())

  def supervised(self, stage: str) -> Program:
    """The update of a section that trains on text."""
    return self.once(*self.for_supervised(stage))

  def searching(self, stage: str) -> Program:
    """The fused update of a stage that searches and learns."""
    return self.once(*self.for_searching(stage))

  def evaluator(self, search: Search, problems: tuple[Prompt, Reference]) -> Evaluator:
    """Of a test-time search by the config, for as many problems of these shapes."""
    return self.once(*self.for_evaluator(search, problems))

  def sampler(self) -> Callable:
    """(params, keys, prompts of the validation split) -> Tree: one sampled solution a problem."""
    return self.once(*self.for_sampler())

  def once(self, name, make: Callable):
    """`make()` the first time and what it made from then on; an error in it is raised again to all
    who ask."""
    made = self._made.get(name)
    if made is None or isinstance(made, Future) and not made.done():
      with waiting(f'compiling {_called(name)}'):
        made = self._made[name] = make() if made is None else made.result()
    return made.result() if isinstance(made, Future) else made

  def ahead(self, stages: Iterable[str]) -> None:
    """Starts compiling what some stages of the job will ask for, in the order in which they
    will."""
    # While grain is imported, imports of all threads are lazy (etils.epy.lazy_imports), and jax,
    # which imports as it traces, fails on them. So it is imported before the threads begin.
    import grain  # noqa: F401

    for stage in stages:
      for name, make in self._of_stage(stage):
        if name not in self._made:
          self._made[name] = self._pool.submit(make)

  def close(self) -> None:
    """Drops what `ahead` has not begun."""
    self._pool.shutdown(wait=False, cancel_futures=True)

  def _of_stage(self, stage):
    row = o1jax.recipes.STAGES[kind_of(self.experiment.config, stage)]
    return row.ahead(self, stage)

  def for_supervised(self, stage):
    """As `supervised`: the name of its program, and what makes it."""
    e, section = self.experiment, self.experiment.config[stage]

    def make():
      return compiled(*lower_supervised(e, section, supervised_mesh(e.config, section)))

    return ('supervised', section.batch, section.updates, *sorted(section.optimizer.items())), make

  def for_searching(self, stage):
    """As `searching`, see `for_supervised`."""
    e, section = self.experiment, self.experiment.config[stage]

    def make():
      return compiled(*lower_searching(e, section, fused_mesh(e.config, section)))

    return stage, make

  def for_evaluator(self, search, problems):
    """As `evaluator`, see `for_supervised`."""
    e = self.experiment
    width = search.most if search.chains else dict(search.settings).get('candidates', 1)
    most = max(e.config.evaluate.rows // width, 1)
    batch = equal_batches(
      problems[0].length.shape[0], most, of=problem_shards(build_mesh(**e.config.mesh))
    )

    def make():
      evaluator = Evaluator(
        test_search(e, search),
        reading(e, search),
        batch=batch,
        most=search.most if search.several else 0,
        told=answers_told(e, search),
        shard=functools.partial(sharded_search, e.model),
      )
      mesh = build_mesh(batch, **e.config.mesh)
      with jax.set_mesh(mesh):
        evaluator.compile(abstract_params(e, mesh), *problems)
      return evaluator

    shapes = tuple(
      x.shape[1:] for x in jax.tree.leaves(problems)
    )  # a text is as wide as the longest of its split
    return (search, batch, shapes), make

  def for_sampler(self):
    """As `sampler`, see `for_supervised`."""
    e = self.experiment
    prompt, _ = e.data.validation

    def make():
      keys = of_problems(e.key, prompt.length.shape[0])
      mesh = build_mesh(prompt.length.shape[0], **e.config.mesh)
      with jax.set_mesh(mesh):
        search = jax.jit(sharded_search(e.model, test_search(e, Search(CHAINS, 1))))
        run = search.lower(abstract_params(e, mesh), keys, prompt).compile()
      return lambda *args: run(*put_global(args, run.input_shardings[0]))

    return 'sample', make


def answers_told(experiment: Experiment, search: Search) -> dict[str, OutcomeFn]:
  """What a search is told of the answers, by its keyword: nothing, but for ceilings."""
  follows = {ORACLE: experiment.oracle} if ORACLE in names(search.guide) else {}
  stops = {OUTCOME: experiment.verifier.outcome} if STOPS[search.rule].told else {}
  return follows | stops


def _called(name) -> str:
  """A program of `Programs` in words."""
  kind = name[0] if isinstance(name, tuple) else name
  if isinstance(kind, Search):
    return 'greedy decoding' if kind.greedy else f'the search by {SEARCHES[kind.method].words}'
  kinds = {'supervised': 'the supervised update', 'sample': 'the sampling of solutions'}
  return kinds.get(kind, f'the update of {kind}')


def reading(experiment: Experiment, search: Search) -> Reading:
  """How the config has searched trees judged, answered and billed."""
  e, table, renew = experiment, experiment.texts.table, None
  if changing(names(search.chosen_by)):
    renew = functools.partial(renewed, known=Known(texts=e.texts), guide=search.chosen_by)
  return Reading(
    search.rules,
    verifier=e.verifier,
    choose=functools.partial(e.choose, aggregate=e.config.evaluate.aggregate, renew=renew),
    spell=functools.partial(
      solution_bytes, table=table, size=max(part.reads for part in e.task.each())
    ),
    cost=functools.partial(search_bill, e.model.config),
    ease=SIGNALS[search.ease].ease if search.ease else None,
    chains=search.chains,
  )


def lower_supervised(
  experiment: Experiment, section: ConfigDict, mesh: Mesh
) -> tuple[Lowered, Callable]:
  """The supervised update of a config section for the devices of a mesh, and what makes its first
  state."""
  e, optimizer = experiment, build_optimizer(steps=section.updates, **section.optimizer.to_dict())
  rows = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct((section.batch, *x.shape[1:]), x.dtype), e.data.instruction
  )
  build = functools.partial(supervised_update, e.model, optimizer)
  return lower(
    e,
    mesh,
    build,
    lambda params: init_state(params, optimizer),
    with_sharding(rows, problem_sharding(mesh)),
  )


def lower_searching(
  experiment: Experiment, section: ConfigDict, mesh: Mesh
) -> tuple[Lowered, Callable]:
  """The fused update of a config section for the devices of a mesh, and what makes its first
  state."""
  e, optimizer = experiment, fused_optimizer(section)
  data = with_sharding((*e.data.pool, e.key, weights(section)), replicated(mesh))
  start = functools.partial(
    searching_state, section=section, optimizer=optimizer, problems=e.data.pool[0].length.shape[0]
  )
  build = functools.partial(fused_update, e, section)
  return lower(e, mesh, build, start, *data)


def lower(
  experiment: Experiment, mesh: Mesh, build: Callable, start: Callable, *data
) -> tuple[Lowered, Callable]:
  """An update for the devices of a mesh, and what makes its first state.

  Args:
    experiment: whose parameters it changes.
    mesh: the devices.
    build: (sharding=) -> the jitted (state, *data) -> (state, metrics).
    start: (params) -> state.
    data: shapes, with how they are sharded.
  """
  params = abstract_params(experiment, mesh)
  shapes = jax.eval_shape(start, params)
  state = state_sharding(experiment.model, shapes, mesh)
  with jax.set_mesh(mesh):
    lowered = build(sharding=(state, replicated(mesh))).lower(with_sharding(shapes, state), *data)
  begin = jax.jit(start, out_shardings=state)
  shardings = jax.tree.map(lambda x: x.sharding, params)
  return lowered, lambda params: begin(put_global(params, shardings))


def compiled(lowered: Lowered, start: Callable) -> Program:
  """The program of what `lower` gives."""
  update = lowered.compile()
  return Program(update, update.input_shardings[0], start)


def ahead_of_initialise(programs: Programs, stage: str) -> list:
  """What a stage of this kind will ask for, as (name, make); so for the others below."""
  config = programs.experiment.config
  return [programs.for_supervised(n) for n in ('pretrain', 'instruct') if config[n].updates]


def ahead_of_supervised(programs: Programs, stage: str) -> list:
  """The update, and the search that validates."""
  section, problems = programs.experiment.config[stage], programs.experiment.data.validation
  watched = [programs.for_evaluator(GREEDY_SEARCH, problems)] if section.validate_every else []
  return [*watched, programs.for_supervised(stage)]


def ahead_of_searching(programs: Programs, stage: str) -> list:
  """The fused update."""
  return [programs.for_searching(stage)]


def ahead_of_learn(programs: Programs, stage: str) -> list:
  """The fused update, and the search that validates."""
  problems = programs.experiment.data.validation
  return [programs.for_evaluator(GREEDY_SEARCH, problems), programs.for_searching(stage)]


def ahead_of_evaluate(programs: Programs, stage: str) -> list:
  """The searches of all policies."""
  config, data = programs.experiment.config, programs.experiment.data
  searches = [search for name in config.evaluate.policies for search in searches_of(config, name)]
  asked = [data.asked(split).data for split in config.evaluate.splits]
  return [
    *(programs.for_evaluator(search, problems) for search in searches for problems in asked),
    programs.for_sampler(),
  ]
