"""Where nothing may be skipped, a skipped test or file is a failure: a missing package cannot hide."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

CONFTEST = pathlib.Path(__file__).parent / 'conftest.py'
TESTS = """
import pytest
def test_asks(): pytest.skip('no such thing')
@pytest.mark.skipif(True, reason='no such system')
def test_is_told(): pass
@pytest.mark.xfail
def test_fails(): assert 0
def test_passes(): pass
"""


def outcomes(folder, no_skips):
  """How many tests of a folder ended in which way, by the last line of pytest."""
  shutil.copy(CONFTEST, folder)
  done = subprocess.run(
    [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-c', os.devnull, str(folder)],
    cwd=folder,
    capture_output=True,
    text=True,
    env=os.environ | {'O1JAX_TESTS_NO_SKIPS': no_skips, 'PYTEST_ADDOPTS': ''},
  )
  last = done.stdout.strip().splitlines()[-1]
  return {word: int(count) for count, word in re.findall(r'(\d+) (\w+)', last.partition(' in ')[0])}


def test_a_skipped_test_fails_only_where_none_may_be(tmp_path):
  (tmp_path / 'test_some.py').write_text(TESTS)
  assert outcomes(tmp_path, '') == dict(passed=1, skipped=2, xfailed=1)
  found = outcomes(tmp_path, '1')
  assert found.pop('failed') + found.pop('error', 0) == 2 and found == dict(passed=1, xfailed=1)


def test_a_skipped_file_fails_too(tmp_path):
  (tmp_path / 'test_some.py').write_text("import pytest\npytest.importorskip('nothing_like_it')")
  assert outcomes(tmp_path, '') == dict(skipped=1)
  assert outcomes(tmp_path, '1') == dict(error=1)
