"""Compiles a job's updates for TPUs that are not here, and says what each chip would hold, do and send.

  pip install -e '.[tpu]'
  python -m experiments.aot --config=configs/scaling.py --topology=v5e:4x4 [--programs=fused] [--config.mesh.fsdp=4]

It needs no TPU. `--out=FILE.json` keeps the numbers. See docs/SCALING.md.
"""

import importlib.util
import json
import os
import pathlib
import re
import sys
import tempfile
import time
import warnings

# Before jax: libtpu is to compile and nothing else.
os.environ.update(
  JAX_PLATFORMS='cpu', TPU_SKIP_MDS_QUERY='1', ALLOW_MULTIPLE_LIBTPU_LOAD='1', TPU_WORKER_HOSTNAMES='localhost',
  TPU_ACCELERATOR_TYPE='v5litepod-16',
)  # fmt: skip

import jax  # noqa: E402
from absl import app, flags, logging  # noqa: E402
from ml_collections import config_flags  # noqa: E402

from experiments.aot import table  # noqa: E402
from experiments.aot.chips import devices_of  # noqa: E402
from experiments.door import parse_config  # noqa: E402
from o1jax.training.build import build, fused_mesh, supervised_mesh  # noqa: E402
from o1jax.training.config import ConfigError, check_config, require  # noqa: E402
from o1jax.training.programs import lower_searching, lower_supervised  # noqa: E402

PROGRAMS = ('fused', 'supervised')

_CONFIG = config_flags.DEFINE_config_file('config', None, 'the job', lock_config=True)
_TOPOLOGY = flags.DEFINE_string('topology', None, 'such as v5e:4x4, v5p:2x2x4, v6e:16x16')
_PROGRAMS = flags.DEFINE_list('programs', list(PROGRAMS), 'what to compile: fused, supervised')
_OUT = flags.DEFINE_string('out', '', 'file for the numbers as JSON; empty = none')


def run(config, topology: str, programs: list[str]) -> list[dict]:
  """Compiles the programs; prints and returns what is known of each."""
  unknown = [name for name in programs if name not in PROGRAMS]
  require(not unknown, f'--programs={",".join(unknown)}: choose from {", ".join(PROGRAMS)}')
  missing = importlib.util.find_spec('libtpu') is None
  require(not missing, "compiling for a TPU needs libtpu: pip install -e '.[tpu]' (no TPU is needed)")
  check_config(config)
  chip, devices = devices_of(topology)
  rows = []
  with tempfile.TemporaryDirectory() as folder:
    experiment = build(config, pathlib.Path(folder), devices=devices)
    for name in programs:
      if name == 'fused':
        section, mesh, lower = config.learn, fused_mesh(config, config.learn, devices), lower_searching
      else:
        section, mesh, lower = config.pretrain, supervised_mesh(config, config.pretrain, devices), lower_supervised
      began = time.monotonic()
      lowered, _ = lower(experiment, section, mesh)
      try:
        compiled = lowered.compile()
      except jax.errors.JaxRuntimeError as error:
        raise _too_large(error, name, topology) from None
      rows.append(table.describe(experiment, section, mesh, chip, compiled, program=name, topology=topology,
                                 seconds=time.monotonic() - began))  # fmt: skip
      print(table.text(rows[-1]), flush=True)
  return rows


def _too_large(error, program, topology) -> Exception:
  """What the compiler says of a program that does not fit, in one line; any other error as it is."""
  text = str(error)
  used = re.search(r'Used ([\d.]+\w) of ([\d.]+\w) hbm', text)
  if not used:
    return error
  buffers = re.findall(r'Size: ([\d.]+\w+)\s+(?:Operator: op_name="([^"]*)"\s+)?(?:\S.*\s+)*?Shape: (\S+?)\{', text)
  largest = '; '.join(f'{size} {shape} {scope[-60:]}'.strip() for size, scope, shape in buffers[:4])
  return ConfigError(
    f'the {program} update does not fit a chip of {topology}: it takes {used[1]} of {used[2]} of HBM. Largest: '
    f'{largest}. Raise config.mesh.fsdp or tensor, config.learn.minibatches, or take more chips'
  )


def main(argv):
  if len(argv) > 1:
    app.usage(shorthelp=True, detailed_error=f'unexpected arguments: {" ".join(argv[1:])}', exitcode=2)
  warnings.filterwarnings('ignore', module='orbax')
  logging.set_verbosity(logging.WARNING)
  try:
    rows = run(_CONFIG.value, _TOPOLOGY.value, _PROGRAMS.value)
  except ConfigError as error:
    sys.exit(f'error: {error}')
  if _OUT.value:
    pathlib.Path(_OUT.value).write_text(json.dumps(rows, indent=2) + '\n')


if __name__ == '__main__':
  flags.mark_flags_as_required(['config', 'topology'])
  app.run(main, flags_parser=lambda argv: parse_config(argv, _CONFIG))
