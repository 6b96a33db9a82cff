r"""Compiles a job's updates for absent TPUs, and says what each chip would hold, do and send.

  pip install -e '.[aot]'
  python -m experiments.aot --config=configs/scaling.py --topology=v5e:4x4 \
    [--programs=fused] [--config.mesh.fsdp=4]

It needs no TPU. `--out=FILE.json` keeps the numbers. See docs/SCALING.md.
"""

import json
import os
import pathlib
import sys
import warnings

# Set before jax is imported: libtpu must only compile.
os.environ.update(
  JAX_PLATFORMS='cpu',
  TPU_SKIP_MDS_QUERY='1',
  ALLOW_MULTIPLE_LIBTPU_LOAD='1',
  TPU_WORKER_HOSTNAMES='localhost',
  TPU_ACCELERATOR_TYPE='v5litepod-16',
)

from absl import app, flags, logging  # noqa: E402

from experiments.aot.programs import PROGRAMS, run  # noqa: E402
from experiments.door import ConfigFlag  # noqa: E402
from o1jax.recipes.settings import complete  # noqa: E402
from o1jax.runtime.config import ConfigError  # noqa: E402
from o1jax.runtime.storage import StorageError, writing  # noqa: E402

_CONFIG = ConfigFlag('the job', complete)
_TOPOLOGY = flags.DEFINE_string('topology', None, 'such as v5e:4x4, v5p:2x2x4, v6e:16x16')
_PROGRAMS = flags.DEFINE_list('programs', list(PROGRAMS), 'what to compile: fused, supervised')
_OUT = flags.DEFINE_string('out', '', 'file for the numbers as JSON; empty = none')


def main(argv):
  if len(argv) > 1:
    app.usage(
      shorthelp=True, detailed_error=f'unexpected arguments: {" ".join(argv[1:])}', exitcode=2
    )
  warnings.filterwarnings('ignore', module='orbax')
  logging.set_verbosity(logging.WARNING)
  try:
    if _OUT.value:
      with writing(out := pathlib.Path(_OUT.value)):
        # A path that cannot be written fails before all the compiling.
        out.write_text('[]\n')
    rows = run(_CONFIG.value, _TOPOLOGY.value, _PROGRAMS.value)
  except (ConfigError, StorageError) as error:
    sys.exit(f'error: {error}')
  if _OUT.value:
    out.write_text(json.dumps(rows, indent=2) + '\n')


if __name__ == '__main__':
  flags.mark_flags_as_required(['config', 'topology'])
  app.run(main, flags_parser=_CONFIG.parse)
