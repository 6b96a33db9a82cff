"""The main job: the stages of a config, such as initialise, reward, learn, evaluate, report.

  python -m experiments.o1 --config=configs/quickstart.py --workdir=runs/quickstart
  [--config.a.b=value]

The same command again goes on where it stopped. Stages that are done are not done again.
"""

from absl import app, flags

from experiments.door import ConfigFlag
from experiments.job import run, working
from o1jax.recipes.settings import complete

_CONFIG = ConfigFlag('what to run', complete)
_WORKDIR = flags.DEFINE_string('workdir', None, 'folder of the run; made if need be')
_COORDINATOR = flags.DEFINE_string(
  'coordinator',
  '',
  'of several processes: host:port of the first, or auto on Cloud '
  'TPU VMs; SLURM and GKE tell it themselves',
)
_PROCESSES = flags.DEFINE_integer('processes', 0, 'how many, with --coordinator')
_PROCESS = flags.DEFINE_integer('process', -1, 'which of them this is, from 0, with --coordinator')
flags.mark_flags_as_required(['config', 'workdir'])
parse_flags = _CONFIG.parse


def main(argv):
  if len(argv) > 1:
    app.usage(
      shorthelp=True, detailed_error=f'unexpected arguments: {" ".join(argv[1:])}', exitcode=2
    )
  joining = _COORDINATOR.value, _PROCESSES.value, _PROCESS.value
  with working(_WORKDIR.value, host_calls=_CONFIG.value.verifier.where == 'host', joining=joining):
    run(_CONFIG.value, _WORKDIR.value)


if __name__ == '__main__':
  app.run(main, flags_parser=parse_flags)
