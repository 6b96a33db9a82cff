"""One job on its way: what all of its stages share."""

import dataclasses
import functools
import json
import pathlib

from o1jax.recipes.build import abstract_params, build
from o1jax.recipes.experiment import Experiment, tokenizer_digest
from o1jax.recipes.programs import Programs
from o1jax.runtime.checkpoint import Checkpoints
from o1jax.runtime.config import FREE_KEYS, ConfigDict, ConfigError, flatten, is_under, require
from o1jax.runtime.loop import Keeping
from o1jax.runtime.metrics import MetricsWriter
from o1jax.runtime.processes import agree, first, in_turn, once
from o1jax.runtime.storage import StorageError, together
from o1jax.runtime.workdir import (
  load_config,
  opening,
  record,
  stage_file,
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
      ConfigError: its pieces do not fit, or the workdir is of something else; nothing was compiled.
    """
    with opening(workdir, config) as (workdir, place):
      experiment = in_turn(lambda: build(config, place))
    return cls._of(experiment, workdir)

  @classmethod
  def look(cls, workdir: str | pathlib.Path) -> 'Run':
    """The run in a workdir, to look at: whatever it has made stays as it is, damaged or not.

    Raises:
      ConfigError: there is none, or there are checkpoints of something else.
    """
    workdir = pathlib.Path(workdir).expanduser().resolve()
    config = config_of(workdir)
    return cls._of(in_turn(lambda: build(config, workdir, looking=True)), workdir, looking=True)

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
    values = {
      f'config.{key}': value
      for key, value in flatten(config).items()
      if not is_under(key, FREE_KEYS)
    }
    identity = {**values, 'tokenizer': tokenizer_digest(self.workdir)}
    return Keeping(
      **config.checkpoint.to_dict(),
      skip_limit=config.skip_limit,
      identity=identity,
      notes=versions(),
    )

  def finish(self, stage: str, params: Params) -> None:
    """Keeps the parameters a stage ends with, for the stages after it. StorageError where that is
    not possible."""
    final = self._checkpoints(f'{stage}_params')
    final.save(0, params)
    final.close()

  def params(self, stage: str) -> Params:
    """The parameters a stage ended with.

    Raises:
      ConfigError: there are none, or they are damaged; the stage will then be ended again from its
        last checkpoint.
    """
    final = self._checkpoints(f'{stage}_params')
    params = final.restore(abstract_params(self.experiment))
    if params is None:
      if not self.looking:
        once(
          lambda: stage_file(self.workdir, 'learn' if stage == 'control' else stage).unlink(
            missing_ok=True
          )
        )
      raise ConfigError(
        f'{final.directory} holds no good parameters: run the same command again, with the stage '
        f'that '
        'makes them, which goes on from its last checkpoint'
      )
    return params

  def made(self, stage: str) -> bool:
    """Whether the stage has ended."""
    final = self._checkpoints(f'{stage}_params')
    return bool(agree(together(lambda: int(first() and final.latest_step() is not None))))

  def _checkpoints(self, name):
    return Checkpoints(
      self.workdir / 'checkpoints' / name,
      looking=self.looking,
      identity=self.keeping.identity,
      notes=self.keeping.notes,
    )

  def _refuse_others(self):
    for folder in sorted((self.workdir / 'checkpoints').glob('*')):
      self._checkpoints(folder.name).refuse_others()

  def write_data(self, name: str, data) -> None:
    """Leaves report/data/NAME.json for the report; the first process of a job does. StorageError
    where it cannot."""
    path = self.workdir / 'report' / 'data' / f'{name}.json'
    once(write_atomic, path, json.dumps(data), failed=StorageError)


def config_of(workdir: str | pathlib.Path) -> ConfigDict:
  """The config of the run in a workdir. ConfigError where it holds none, or something else, such as
  a model."""
  config = load_config(workdir)
  lacks = [name for name in ('task', 'model', 'evaluate', 'stages') if name not in config]
  what = 'a model' if 'model_type' in config or 'architectures' in config else 'something else'
  require(
    not lacks,
    f'{workdir} holds {what}, not a run: its config.json has no {", ".join(lacks)}; pass the '
    'workdir of a run as --workdir',
  )
  return config
