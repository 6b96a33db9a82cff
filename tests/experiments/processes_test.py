"""The main job by two processes of two devices each is that of one process with four; and who may
be one of several."""

import csv
import json
import socket

import numpy as np
import pytest

from tests import jobs

SMOKE = '--config=configs/quickstart.py:smoke'
# Every kind of program and every stage, and no more than that, with parameters split among all
# devices.
SMALL = (
  SMOKE,
  "--config.stages=('initialise', 'reward', 'learn', 'evaluate', 'report')",
  '--config.mesh.data=1',
  '--config.mesh.fsdp=-1',
  '--config.evaluate.policies.initialised.searches=()',
  "--config.evaluate.policies.learned.searches=('gumbel',)",  # of tokens, and of units
)


def start(workdir, *arguments, **how):
  return jobs.start('experiments.o1', f'--workdir={workdir}', *arguments, **how)


def free_port():
  with socket.socket() as one:
    one.bind(('localhost', 0))
    return one.getsockname()[1]


def metrics(workdir):
  return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def results(workdir):
  with open(workdir / 'results.csv', newline='') as file:
    return [row | {'seconds': ''} for row in csv.DictReader(file)]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_processes_do_what_one_does(tmp_path):
  together, alone = tmp_path / 'together', tmp_path / 'alone'
  # Verdicts are the host's here and the device's there.
  join = f'--coordinator=localhost:{free_port()}', '--processes=2', '--config.verifier.where=host'
  begun = [start(together, *SMALL, *join, f'--process={i}') for i in range(2)]
  begun.append(start(alone, *SMALL, devices=4))
  ended = [job.wait(timeout=850) for job in begun]
  for job in ended:
    assert job.returncode == 0, job.stderr
  told = [[line for line in job.stdout.splitlines() if 'Gloo' not in line] for job in ended]
  assert 'gumbel' in '\n'.join(told[0]) and told[1] == []
  one, two = metrics(alone), metrics(together)
  assert len(one) == 4 + 4 + 2 + 2 and [row['update'] for row in one] == [
    row['update'] for row in two
  ]
  for row, other in zip(one, two):
    assert row.keys() == other.keys()
    for name in row.keys() - {'stage', 'seconds', 'ratio_gap'}:  # the gap is a rounding itself
      np.testing.assert_allclose(row[name], other[name], rtol=1e-4, atol=1e-6, err_msg=name)
  assert results(alone) == results(together)
  assert json.loads((together / 'versions.json').read_text())[0]['device_count'] == 4


@pytest.mark.parametrize(
  'arguments, words',
  [
    (('--coordinator=localhost:1', '--processes=2'), '--process=-1'),
    (('--coordinator=localhost:1', '--processes=2', '--process=2'), '--process=2'),
    (('--processes=2', '--process=0'), 'needs --coordinator=HOST:PORT'),
    (('--config.mesh.data=3',), 'config.mesh has data=3'),
    (('--config.mesh.tensor=2',), 'tensor=2 devices: choose a divisor'),
    (('--config.mesh.data=-1', '--config.learn.batch=6'), '3 problems cannot be sharded'),
  ],
)
def test_what_cannot_be_is_one_line_before_anything_is_compiled(tmp_path, arguments, words):
  done = start(tmp_path, SMOKE, *arguments).wait(timeout=60)
  last = done.stderr.strip().splitlines()[-1]
  assert done.returncode == 1 and last.startswith('error: ') and words in last, done.stderr
  assert 'Traceback' not in done.stderr
