"""The tests run on the CPU, as eight devices whatever the machine has, and open no windows."""

import atexit
import gc
import importlib.metadata
import os
import pathlib
import shutil
import tempfile

import pytest

# Tests compile much and compute little. XLA ends a process for a flag that it does not know, and
# later ones have only the fusion emitters, which take most of the time of compiling.
_FLAGS = ['--xla_backend_optimization_level=0', '--xla_cpu_parallel_codegen_split_count=1']
if importlib.metadata.version('jaxlib').startswith('0.10.'):
  _FLAGS.append('--xla_cpu_use_fusion_emitters=false')

gc.set_threshold(50_000, 20, 20)  # tracing makes many objects that stay

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('JAX_NUM_CPU_DEVICES', '8')
os.environ.setdefault('MPLBACKEND', 'Agg')
os.environ.setdefault('XLA_FLAGS', ' '.join(_FLAGS))
if 'O1JAX_CACHE' not in os.environ:
  # Jobs of one session share what they compile, and leave the user's folder alone.
  os.environ['O1JAX_CACHE'] = tempfile.mkdtemp(prefix='programs')
  atexit.register(shutil.rmtree, os.environ['O1JAX_CACHE'], ignore_errors=True)


# `.ci/run` sets it: what cannot be tested there fails, but for what only root may do.
_NO_SKIPS = os.environ.get('O1JAX_TESTS_NO_SKIPS') == '1'


def _failed(report):
  """A report of a skipped test, or of a skipped file, as one of a failure."""
  if _NO_SKIPS and report.skipped and not hasattr(report, 'wasxfail'):
    *_, reason = report.longrepr if isinstance(report.longrepr, tuple) else (report.longrepr,)
    if os.getuid() == 0 or 'needs root' not in str(reason):
      report.outcome, report.longrepr = 'failed', f'no test may be skipped here. {reason}'
  return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
  return _failed((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
  return _failed((yield))


# A process may have so many memory maps (vm.max_map_count), a compiled program takes some twenty,
# and XLA ends the process where there are no more: one that ran most tests ended so.
_MAPS = 40_000


def pytest_runtest_setup(item):
  """Drops compiled programs before a file begins, where there are many."""
  maps = pathlib.Path('/proc/self/maps')
  if item.path != getattr(item.session, 'o1jax_file', None) and maps.exists():
    with maps.open('rb') as lines:
      if sum(1 for _ in lines) > _MAPS:
        import jax  # late: it reads the environment above

        jax.clear_caches()
        gc.collect()
  item.session.o1jax_file = item.path


def pytest_collection_modifyitems(items):
  """Folders of long tests first: a long file at the end would leave the other process without
  work."""
  rank = {'experiments': 0, 'runtime': 1, 'recipes': 1}
  items.sort(key=lambda item: rank.get(item.path.parent.name, 2))
