"""A finished run for whatever looks at one."""

import pytest

from tests import jobs


@pytest.fixture(scope='session')
def run(tmp_path_factory):
  """The workdir of a finished smoke run, and what it printed."""
  workdir = tmp_path_factory.mktemp('run') / 'smoke'
  done = jobs.run(
    *('experiments.o1', '--config=configs/quickstart.py:smoke', f'--workdir={workdir}'),
    forked=False,
  )
  assert done.returncode == 0, done.stderr
  return workdir, done
