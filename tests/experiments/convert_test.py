"""A model of Hugging Face becomes one of ours and one of theirs again, by the script."""

import json
import re

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests import jobs
from tests.golden import models


def convert(source, target, *flags):
  return jobs.run('experiments.convert', f'--from={source}', f'--to={target}', *flags, devices=1)


@pytest.fixture(scope='module')
def qwen(tmp_path_factory):
  folder = tmp_path_factory.mktemp('qwen')
  models.write('qwen2', folder, vocab_size=211, num_hidden_layers=2, max_position_embeddings=777)
  (folder / 'tokenizer_config.json').write_text('{}')
  return folder


@pytest.mark.parametrize('flag', ['nocompare', pytest.param('compare', marks=pytest.mark.parity)])
def test_there_and_back(flag, qwen, tmp_path):
  first = convert(qwen, tmp_path / 'ours', f'--{flag}')
  assert first.returncode == 0, first.stderr
  second = convert(tmp_path / 'ours', tmp_path / 'theirs', f'--{flag}')
  assert second.returncode == 0, second.stderr
  for told in (first.stdout, second.stdout):
    assert 'parameters read' in told
    assert ('32 greedy tokens are the same' in told) == (flag == 'compare')
  before, after = (
    load_file(folder / 'model.safetensors') for folder in (qwen, tmp_path / 'theirs')
  )
  assert set(before) == set(after)
  for name, weight in before.items():
    np.testing.assert_array_equal(weight, after[name])
  settings = json.loads((tmp_path / 'theirs' / 'config.json').read_text())
  assert (
    settings['max_position_embeddings'] == 777
    and (tmp_path / 'theirs' / 'tokenizer_config.json').exists()
  )


def test_the_host_holds_little_beside_the_parameters(tmp_path):
  """At most 1.3 times the largest tensor, in float32."""
  rows = 2**20
  weights = models.write('llama-3.2, tied', tmp_path / 'theirs', vocab_size=rows)
  largest = max(weight.nbytes for weight in weights.values())
  done = convert(tmp_path / 'theirs', tmp_path / 'ours', '--nocompare')
  assert done.returncode == 0, done.stderr
  (over,) = re.findall(r'held ([\d,]+) MB', done.stdout)
  assert int(over.replace(',', '')) < 1.3 * largest / 2**20


def test_what_cannot_be_converted_is_told_in_a_line(qwen, tmp_path):
  (tmp_path / 'full').mkdir()
  (tmp_path / 'full' / 'mine.txt').write_text('mine')
  (tmp_path / 'odd').mkdir()
  (tmp_path / 'odd' / 'config.json').write_text('{"model_type": "mamba"}')
  for source, target, word in (
    (qwen, tmp_path / 'full', 'not empty'),
    (tmp_path / 'nowhere', tmp_path / 'new', 'nowhere'),
    (tmp_path / 'odd', tmp_path / 'new', 'mamba'),
  ):
    done = convert(source, target)
    (told,) = [line for line in done.stderr.splitlines() if line.startswith('error:')]
    assert done.returncode == 1 and word in told and 'Traceback' not in done.stderr
  assert (tmp_path / 'full' / 'mine.txt').read_text() == 'mine' and not (tmp_path / 'new').exists()
