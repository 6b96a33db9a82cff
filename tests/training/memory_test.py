"""Freed memory stays with the process: the same block, asked for again, does not fault page by page."""

import subprocess
import sys

import pytest

# A process of its own: the setting cannot be taken back, and other tests' threads would add faults.
_PROGRAM = """
import resource, sys
import numpy as np
if sys.argv[1] == 'keep':
  from o1jax.training.memory import keep_freed_memory
  assert keep_freed_memory() is True

def faults():
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  for _ in range(5):
    np.empty(48 << 20, np.uint8)[::4096] = 1
  return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
"""


def _faults(mode: str) -> int:
  done = subprocess.run([sys.executable, '-c', _PROGRAM, mode], capture_output=True, text=True, check=True)
  return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='the setting is for glibc')
def test_a_block_that_was_freed_is_not_mapped_afresh():
  # glibc always maps blocks over 32 MB unless told otherwise: faults of 4096-byte pages, or of a few huge ones.
  kept, default = _faults('keep'), _faults('default')
  assert kept < 5
  assert default >= 5
