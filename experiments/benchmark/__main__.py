r"""How fast search and learning are on this machine, against its limit and against what is used
today.

  python -m experiments.benchmark --config=configs/benchmark.py --workdir=runs/benchmark \
    [--config.a.b=value]

Prints a table and writes WORKDIR/benchmark.json, a list of {"name", "value", "unit", "shape",
"low", "high"}: medians of repeats, and their quartiles.
"""

import importlib.util
import json
import pathlib
import sys
from collections.abc import Iterable, Sequence

import jax
from absl import app, flags, logging

from experiments.benchmark import growth, learning, limits, peers, searching, trained
from experiments.benchmark.timing import Row
from experiments.benchmark.work import Sizes, make
from experiments.door import ConfigFlag
from o1jax.model.variants import variant
from o1jax.runtime.config import ConfigError, require
from o1jax.runtime.memory import keep_freed_memory
from o1jax.runtime.mesh import prepare_cpu
from o1jax.runtime.profile import trace
from o1jax.runtime.workdir import open_workdir, write_atomic

SECTIONS = ('search', 'learn', 'memory', 'growth', 'peers')

_CONFIG = ConfigFlag('what to measure')
_WORKDIR = flags.DEFINE_string('workdir', None, 'folder of the results; made if need be')
flags.mark_flags_as_required(['config', 'workdir'])


def measure(config, workdir: pathlib.Path) -> list[Row]:
  """All rows of the sections that the config names, each printed as soon as it is known."""
  check_sections(config.sections)
  try:
    model = variant(config.model.variant, config.model.vocab_size, **config.model.changes.to_dict())
  except ValueError as error:
    raise ConfigError(str(error)) from None
  sizes, repeats = Sizes(**config.sizes), config.repeats
  rows = []

  def add(more: Iterable[Row]):
    for row in more:
      rows.append(row)
      print(line(row), flush=True)

  peaks = {
    dtype: limits.matmul_peak(dtype, config.limits.matmul, repeats=repeats)
    for dtype in ('float32', 'bfloat16')
  }
  add([*peaks.values(), limits.memory_bandwidth(config.limits.megabytes, repeats=repeats)])
  limits_by_type = {
    dtype: limits.matmul_rate(dtype, row.shape['size']) for dtype, row in peaks.items()
  }
  limit = limits_by_type[model.dtype]
  work = make(model, sizes)
  if 'search' in config.sections:
    add(searching.decode_rows(work, limit, repeats=repeats))
    add(searching.best_of_n_rows(work, config.samples, limit, repeats=repeats))
    add(searching.mcts_rows(work, limit, repeats=repeats))
  if config.trained:
    add(
      trained.trained_rows(config.trained, limits_by_type, samples=config.samples, repeats=repeats)
    )
  if 'learn' in config.sections:
    add(learning.learning_rows(work, limit, repeats=repeats))
    add([learning.tree_speedup(work, repeats=repeats)])
    add(learning.fused_rows(work, repeats=repeats))
  if 'memory' in config.sections:
    add(searching.memory_rows(work))
  if 'growth' in config.sections:
    add(growth.growth_rows(model, sizes, config.growth.to_dict(), repeats=repeats))
  if 'peers' in config.sections:
    add(
      peers.peer_rows(
        work, problems=config.peers.problems, samples=config.samples, repeats=min(repeats, 3)
      )
    )
  if config.profile:
    for name, call in (
      ('search', lambda: work.mcts(work.params)),
      ('learn', learning.learner(work)),
    ):
      jax.block_until_ready(call())
      with trace(workdir / 'profile' / name):
        jax.block_until_ready(call())
  return rows


def check_sections(sections: Sequence[str]) -> None:
  """Refuses sections that there are not, or that lack their libraries."""
  unknown = [name for name in sections if name not in SECTIONS]
  require(not unknown, f'config.sections names {unknown}: choose from {", ".join(SECTIONS)}')
  missing = [name for name in ('torch', 'transformers') if importlib.util.find_spec(name) is None]
  require(
    'peers' not in sections or not missing,
    f'config.sections names peers, which needs {" and ".join(missing)}: pip install -e '
    '".[parity]", or leave it out',
  )


def line(row: Row) -> str:
  """A row for people: its name, its median and quartiles, and the size that distinguishes it from
  similar rows."""
  told = row.shape.get('axis')
  size = f'{told}={row.shape[told]}' if told in row.shape else ''
  size = (
    size
    or row.shape.get('method')
    or (row.shape['dtype'] if row.name == 'matmul_peak_gflops' else '')
  )
  return (
    f'{row.name:32} {row.value:12.4g}  [{row.low:.4g}, {row.high:.4g}]  {row.unit}  {size}'.rstrip()
  )


def main(argv):
  if len(argv) > 1:
    app.usage(
      shorthelp=True, detailed_error=f'unexpected arguments: {" ".join(argv[1:])}', exitcode=2
    )
  logging.set_verbosity(logging.WARNING)  # jax reports every kind of device that is not there
  keep_freed_memory()
  prepare_cpu()
  try:
    config = _CONFIG.value
    workdir: pathlib.Path = open_workdir(_WORKDIR.value, config)
    print(
      f'{jax.devices()[0].device_kind}, {jax.device_count()} device(s), jax {jax.__version__}',
      file=sys.stderr,
    )
    jax.config.update('jax_disable_most_optimizations', config.fast_compile)
    rows = measure(config, workdir)
  except ConfigError as error:
    sys.exit(f'error: {error}')
  write_atomic(
    workdir / 'benchmark.json', json.dumps([row._asdict() for row in rows], indent=2) + '\n'
  )
  print(f'written: {workdir / "benchmark.json"}')


if __name__ == '__main__':
  app.run(main, flags_parser=_CONFIG.parse)
