"""The flag `--cache` of the experiments: where compiled programs are kept between jobs."""

import os
import sys

import jax
from absl import flags

from o1jax.runtime.cache import default_folder, forget_programs, keep_programs
from o1jax.runtime.processes import first
from o1jax.runtime.storage import StorageError

OFF = 'off'
_CACHE = flags.DEFINE_string(
  'cache',
  os.environ.get('O1JAX_CACHE', ''),
  'folder in which compiled programs are kept for later jobs; off = nowhere; by default '
  '$O1JAX_CACHE, or ~/.cache/o1jax/programs. It may be deleted at any time',
)


def open_cache() -> None:
  """Does what the flag says. Call it after the devices are prepared and before a program is made. A
  folder that cannot be used is a warning."""
  if _CACHE.value == OFF:
    forget_programs()
  elif _CACHE.value or not jax.config.jax_compilation_cache_dir:  # or who started it has chosen one
    try:
      keep_programs(_CACHE.value or default_folder())
    except StorageError as error:
      if first():
        print(f'warning: {error}; compiled programs are not kept (--cache=DIR)', file=sys.stderr)
