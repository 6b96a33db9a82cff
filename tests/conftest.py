"""The tests run on the CPU, as eight devices whatever the machine has, and open no windows."""

import os

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('JAX_NUM_CPU_DEVICES', '8')
os.environ.setdefault('MPLBACKEND', 'Agg')
# Tests compile much and compute little.
os.environ.setdefault('XLA_FLAGS', '--xla_backend_optimization_level=0')
