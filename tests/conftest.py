"""The tests run on the CPU, as eight devices whatever the machine has, and open no windows."""

import atexit
import gc
import importlib.metadata
import os
import shutil
import tempfile

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


def pytest_collection_modifyitems(items):
  """Folders of long tests first: a long file at the end would leave the other process without
  work."""
  rank = {'experiments': 0, 'runtime': 1, 'recipes': 1}
  items.sort(key=lambda item: rank.get(item.path.parent.name, 2))
