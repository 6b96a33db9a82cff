"""One job on its way: what all of its stages share."""

import dataclasses
import json
import pathlib

from o1jax.training.build import Experiment, abstract_params, build
from o1jax.training.checkpoint import Checkpoints
from o1jax.training.config import ConfigDict
from o1jax.training.metrics import MetricsWriter
from o1jax.training.programs import Programs
from o1jax.training.workdir import write_atomic
from o1jax.types import Params


@dataclasses.dataclass(frozen=True)
class Run:
  """The experiment, its folder, its metrics and its compiled programs."""

  experiment: Experiment
  workdir: pathlib.Path
  writer: MetricsWriter
  programs: Programs

  @classmethod
  def start(cls, config: ConfigDict, workdir: pathlib.Path) -> 'Run':
    """The run of a config in its workdir. ConfigError where its pieces do not fit; nothing was compiled."""
    experiment = build(config, workdir)
    return cls(experiment, workdir, MetricsWriter(workdir), Programs(experiment))

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

  def made(self, stage: str) -> bool:
    """Whether the stage has ended."""
    return (self.workdir / 'checkpoints' / f'{stage}_params').exists()

  def write_data(self, name: str, data) -> None:
    """Leaves report/data/NAME.json for the report."""
    folder = self.workdir / 'report' / 'data'
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / f'{name}.json', json.dumps(data))
