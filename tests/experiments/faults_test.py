"""Twenty kills at random moments, and other faults: the job ends as if nothing had happened, bit
for bit."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from experiments import faults

pytestmark = pytest.mark.long
ROOT = pathlib.Path(__file__).parents[2]
KILLS = 20
ENV = os.environ | {'JAX_NUM_CPU_DEVICES': '2'}  # as on a small machine


@pytest.fixture(scope='module')
def survived(tmp_path_factory):
  """The folder of the jobs, the rows of the table printed, and its last line."""
  workdir = tmp_path_factory.mktemp('faults')
  command = [sys.executable, '-m', 'experiments.faults', f'--workdir={workdir}', f'--kills={KILLS}']
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=850, env=ENV)
  assert done.returncode == 0, done.stdout + done.stderr
  _, *rows, last = done.stdout.splitlines()
  return workdir, [row.split() for row in rows], last


def final_parameters(workdir):
  folders = sorted(workdir.glob('checkpoints/*_params/0/state'))
  return {folder.parts[-3]: ocp.StandardCheckpointHandler().restore(folder) for folder in folders}


@pytest.mark.timeout(900)
def test_all_faults_befell_the_jobs_and_some_while_saving(survived):
  _, rows, last = survived
  kinds = [row[1] for row in rows]
  assert kinds.count('kill') == KILLS and set(kinds) == {'kill', *faults.OTHERS}
  assert len({(row[3], row[4]) for row in rows}) >= 5  # moments in different updates
  assert [row[5] for row in rows].count('yes') >= 3
  assert 'ended as the one in peace' in last


def test_the_jobs_ended_alike_and_with_each_update_once(survived):
  peace, *others = sorted(
    (path for path in survived[0].iterdir() if (path / 'done').exists()),
    key=lambda path: path.name != 'peace',
  )
  expected = final_parameters(peace)
  assert set(expected) == {'initialise_params', 'reward_params', 'learn_params'} and others
  for workdir in others:
    jax.tree.map(np.testing.assert_array_equal, final_parameters(workdir), expected)
    rows = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    config = json.loads((workdir / 'config.json').read_text())
    for stage in ('pretrain', 'instruct', 'reward', 'learn'):
      updates = list(range(1, config[stage]['updates'] + 1))
      assert [row['update'] for row in rows if row['stage'] == stage] == updates


def test_a_job_that_ends_otherwise_is_told_from_the_others(survived):
  expected = faults.outcome(survived[0] / 'peace')
  assert expected == faults.outcome(survived[0] / 'faults1')
  record = survived[0] / 'faults1' / 'checkpoints' / 'learn_params' / '0' / 'record' / 'metadata'
  text = record.read_text()
  leaves = json.loads(text)['leaves']
  name = next(iter(leaves))
  record.write_text(text.replace(str(leaves[name][2]), str(leaves[name][2] + 1)))
  changed = faults.outcome(survived[0] / 'faults1')
  record.write_text(text)
  assert [part for part in expected if changed[part] != expected[part]] == ['parameters']
