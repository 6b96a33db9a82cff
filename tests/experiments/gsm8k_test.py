"""The recipe for a checkpoint and a GSM8K file, from import to report, with a random Qwen2 of two
layers."""

import csv
import json
import random

import pytest

from tests import checkpoints, jobs
from tests.data import formats

CONFIG = '--config=configs/gsm8k.py:smoke'


@pytest.fixture(scope='module')
def material(tmp_path_factory):
  """Flags that name a checkpoint's folder and two GSM8K files."""
  folder = tmp_path_factory.mktemp('material')
  checkpoints.write_qwen2(folder / 'model')
  rng = random.Random(0)
  for name, count in (('train', 80), ('test', 12)):
    rows = [formats.gsm8k(formats.solved(rng)) for _ in range(count)]
    (folder / f'{name}.jsonl').write_text(formats.lines(rows))
  return [
    f'--config.model.pretrained={folder / "model"}',
    f'--config.task.train={folder / "train.jsonl"}',
    f'--config.task.test={folder / "test.jsonl"}',
  ]


@pytest.mark.long
def test_from_import_to_report(material, tmp_path):
  done = jobs.run('experiments.o1', CONFIG, f'--workdir={tmp_path / "run"}', *material, devices=1)
  assert done.returncode == 0, done.stderr[-3000:]
  with open(tmp_path / 'run' / 'results.csv', newline='') as file:
    rows = list(csv.DictReader(file))
  assert {row['stage'] for row in rows} == {'initialised', 'learned'} and {
    row['task'] for row in rows
  } == {'gsm8k'}
  assert (tmp_path / 'run' / 'report' / 'index.html').exists()
  (entry,) = json.loads((tmp_path / 'run' / 'judges.json').read_text())
  assert entry['judge'] == 'math-verify on the host'
  learned = [
    json.loads(line) for line in (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()
  ]
  # The checkpoint was trained before.
  assert {row['stage'] for row in learned} == {
    'reward',
    'learn',
  }


@pytest.mark.parametrize(
  'flag, word',
  [
    ('--config.model.pretrained=/nowhere', '/nowhere'),
    ('--config.model.pretrained=', 'names no folder'),
    ('--config.task.train=', 'config.task.train'),
    ('--config.task.test=/nowhere.jsonl', 'nowhere.jsonl'),
    ('--config.verifier.where=device', 'config.verifier.where=host'),
    ('--config.verifier.by=code', "not judged by 'code'"),
  ],
)
def test_what_is_missing_is_told_in_a_line(material, tmp_path, flag, word):
  done = jobs.run(
    'experiments.o1', CONFIG, f'--workdir={tmp_path / "run"}', *material, flag, devices=1
  )
  (told,) = [line for line in done.stderr.splitlines() if line.startswith('error:')]
  assert done.returncode == 1 and word in told and 'Traceback' not in done.stderr
