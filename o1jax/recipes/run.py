"""One job on its way: what all of its stages share."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import o1jax.recipes
from o1jax.evaluation.problems import FILE, read_problems
from o1jax.evaluation.results import read_results
from o1jax.recipes import graph
from o1jax.recipes.build import abstract_params, build
from o1jax.recipes.experiment import Experiment
from o1jax.recipes.identity import changes, complete_identity
from o1jax.recipes.programs import Programs
from o1jax.recipes.settings import complete, kind_of
from o1jax.runtime.checkpoint import Checkpoints
from o1jax.runtime.config import ConfigDict, ConfigError, require
from o1jax.runtime.loop import Keeping
from o1jax.runtime.metrics import MetricsWriter
from o1jax.runtime.processes import agree, first, in_turn, once
from o1jax.runtime.storage import StorageError, together
from o1jax.runtime.workdir import (
  load_config,
  mark_stage_done,
  opening,
  record,
  stage_done,
  stage_file,
  stage_note,
  versions,
  write_atomic,
)
from o1jax.types import Params


@dataclasses.dataclass(frozen=True)
class Run:
  """The experiment, its folder, its metrics and its compiled programs."""

  experiment: Experiment
  workdir: pathlib.Path
  writer: MetricsWriter
  programs: Programs
  looking: bool = False

  @classmethod
  def open(cls, config: ConfigDict, workdir: str | pathlib.Path) -> 'Run':
    """The run of a config in a workdir that need not exist. See `opening` for what is left if it
    fails.

    Raises:
      ConfigError: its pieces do not fit, a stage starts from what is not there, or the workdir is
        of something else; nothing was compiled.
    """
    config = complete(config)
    graph.in_order(config)
    with opening(workdir, config, changes=changes) as (workdir, place):
      experiment = in_turn(lambda: _build(config, workdir, place))
      once(graph.require_starts, config, workdir)
      once(_require_readable, workdir)
    return cls._of(experiment, workdir)

  @classmethod
  def look(cls, workdir: str | pathlib.Path) -> 'Run':
    """The run in a workdir, to look at: whatever it has made stays as it is, damaged or not.

    Raises:
      ConfigError: there is none, or there are checkpoints of something else.
    """
    workdir = pathlib.Path(workdir).expanduser().resolve()
    config = config_of(workdir)
    build = lambda: _build(config, workdir, workdir, looking=True)
    return cls._of(in_turn(build), workdir, looking=True)

  @classmethod
  def _of(cls, experiment, workdir, *, looking=False):
    run = cls(experiment, workdir, MetricsWriter(workdir), Programs(experiment), looking)
    once(run._refuse_others)
    if not looking:
      once(
        record, workdir / 'judges.json', dict(judge=experiment.verifier.name), failed=StorageError
      )
    return run

  @functools.cached_property
  def keeping(self) -> Keeping:
    """When to save, when to give up, and what the checkpoints of this run record."""
    config = self.experiment.config
    return Keeping(
      **config.checkpoint.to_dict(),
      skip_limit=config.skip_limit,
      identity=graph.identity(config, self.workdir),
      notes=versions(),
      reads=complete_identity,
    )

  def how(self, stage: str) -> dict[str, Any]:
    """What `run_updates` asks of any stage of this run."""
    return dict(
      stage=stage,
      workdir=self.workdir,
      writer=self.writer,
      keeping=self.keeping,
      profile=self.experiment.config.profile,
    )

  def row(self, stage: str) -> 'o1jax.recipes.Stage':
    """The row of `recipes.STAGES` that a stage is of."""
    return o1jax.recipes.STAGES[kind_of(self.experiment.config, stage)]

  def done(self, stage: str) -> bool:
    """Whether a stage need not be run again. One that measures is run again where another policy
    has ended since. A report is always written anew."""
    needs = self.row(stage).needs
    if needs == 'results' or not stage_done(self.workdir, stage):
      return False
    measured = stage_note(self.workdir, stage)
    return needs != 'parameters' or not measured or json.loads(measured) == self.policies()

  def idle(self, stage: str) -> str:
    """Why a stage that makes parameters has no update to make, and what it ends with; '' where it
    has some."""
    config = self.experiment.config
    parts = {'': ('pretrain', 'instruct'), 'start': (stage,)}.get(self.row(stage).needs, ())
    if not parts or any(config[part].updates for part in parts):
      return ''
    told = ' and '.join(f'config.{part}.updates=0' for part in parts)
    start = graph.starts(config).get(stage) or config.model.pretrained
    return f'{told}, so it ends with ' + (f'what {start} has' if start else 'untrained parameters')

  def ahead(self, stages: Sequence[str]) -> None:
    """Starts compiling what some stages will ask for; those that have nothing to do ask for
    nothing."""
    self.programs.ahead([stage for stage in stages if not self.idle(stage)])

  def do(self, stage: str) -> None:
    """Runs a stage. One without updates compiles nothing."""
    row = self.row(stage)
    if row.needs == 'start' and self.idle(stage):
      self.finish(stage, self.start(stage))
    else:
      row.run(self, stage)
    note = json.dumps(self.policies()) if row.needs == 'parameters' else ''
    once(mark_stage_done, self.workdir, stage, note)

  def finish(self, stage: str, params: Params) -> None:
    """Keeps the parameters a stage ends with, for the stages after it. StorageError where that is
    not possible."""
    final = self._checkpoints(f'{stage}_params')
    final.save(0, params)
    final.close()

  def start(self, stage: str) -> Params:
    """The parameters that a stage starts from. ConfigError as `params`."""
    return self.params(self.experiment.config[stage].start)

  def params(self, stage: str) -> Params:
    """The parameters that a stage ended with, of this run or another (see `graph.reference`).

    Raises:
      ConfigError: there are none, or they are damaged; a stage of this run will then be ended again
        from its last checkpoint.
    """
    folder, name = graph.reference(stage)
    final = self._final(stage)
    params = final.restore(abstract_params(self.experiment))
    if params is None:
      if not self.looking and not folder:
        once(lambda: stage_file(self.workdir, name).unlink(missing_ok=True))
      raise ConfigError(
        f'{final.directory} holds no good parameters: run the same command again, with the stage '
        'that makes them, which goes on from its last checkpoint'
      )
    return params

  def made(self, stage: str) -> bool:
    """Whether a stage, of this run or another, has ended."""
    final = self._final(stage)
    return bool(agree(together(lambda: int(first() and final.latest_step() is not None))))

  def policies(self) -> dict[str, str]:
    """{policy: stage} of those that `graph.measured` names and that have ended."""
    named = graph.measured(self.experiment.config).items()
    found = {name: [stage for stage in stages if self.made(stage)] for name, stages in named}
    return {name: ended[0] for name, ended in found.items() if ended}

  def _final(self, stage):
    folder, name = graph.reference(stage)
    if not folder:
      return self._checkpoints(f'{name}_params')
    place = graph.find(folder, self.workdir)
    return Checkpoints(
      place / 'checkpoints' / f'{name}_params',
      looking=True,
      identity=graph.identity(complete(load_config(place)), place),
      reads=complete_identity,
    )

  def _checkpoints(self, name):
    return Checkpoints(
      self.workdir / 'checkpoints' / name,
      looking=self.looking,
      identity=self.keeping.identity,
      notes=self.keeping.notes,
      reads=complete_identity,
    )

  def _refuse_others(self):
    for folder in sorted((self.workdir / 'checkpoints').glob('*')):
      self._checkpoints(folder.name).refuse_others()

  def write_data(self, name: str, data) -> None:
    """Leaves report/data/NAME.json for the report; the first process of a job does. StorageError
    where it cannot."""
    path = self.workdir / 'report' / 'data' / f'{name}.json'
    once(write_atomic, path, json.dumps(data), failed=StorageError)


def _require_readable(workdir):
  """Refuses results that are damaged, before hours of measuring end in them."""
  for name, read in (('results.csv', read_results), (FILE, read_problems)):
    try:
      if (workdir / name).exists():
        read(workdir / name)
    except ValueError as error:
      raise ConfigError(' '.join(str(error).split())) from None


def config_of(workdir: str | pathlib.Path) -> ConfigDict:
  """The complete config of the run in a workdir. ConfigError where it holds none, or something
  else, such as a model."""
  config = load_config(workdir)
  lacks = [name for name in ('task', 'model', 'evaluate', 'stages') if name not in config]
  what = 'a model' if 'model_type' in config or 'architectures' in config else 'something else'
  require(
    not lacks,
    f'{workdir} holds {what}, not a run: its config.json has no {", ".join(lacks)}; pass the '
    'workdir of a run as --workdir',
  )
  return complete(config)


def _build(config, workdir, place, *, looking=False) -> Experiment:
  """The experiment of a config; what it makes, and does not share, goes to `place`."""
  home = graph.home(config, workdir)
  if home == workdir:
    return build(config, place, looking=looking)
  return build(config, home, seed=load_config(home).seed, looking=looking)
