"""Several finished runs as one table and one page: seeds of a config, or searches of one policy.

  python -m experiments.compare runs/seed0 runs/seed1 runs/seed2 [--out=runs/comparison]

It prints the table, and leaves `index.html` and `comparison.csv` in the folder `--out`.
"""

import pathlib
import sys

from absl import app, flags

from o1jax.evaluation.comparison import CSV, write_comparison
from o1jax.evaluation.words import result_text
from o1jax.recipes.together import together
from o1jax.runtime.config import ConfigError
from o1jax.runtime.workdir import require_free

_OUT = flags.DEFINE_string('out', 'runs/comparison', 'folder for the page and the table')


def main(argv):
  if len(argv) < 2:
    app.usage(shorthelp=True, detailed_error='give the workdirs of one run or more', exitcode=2)
  out = pathlib.Path(_OUT.value).expanduser()
  try:
    require_free(out, CSV, '--out')
    found = together(argv[1:])
    path = write_comparison(out, *found)
  except ConfigError as error:
    sys.exit(f'error: {error}')
  except OSError as error:
    sys.exit(f'error: {error.filename or out} cannot be read or written: {error.strerror}')
  print(result_text(found.rows, found.table))
  print(f'\npage: {path}')


if __name__ == '__main__':
  app.run(main)
