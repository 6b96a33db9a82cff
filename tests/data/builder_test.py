"""Data on disk comes back as it was, without TensorFlow."""

import subprocess
import sys

import pytest

from o1jax.data import builder, pipeline
from o1jax.tasks import calculator, cipher, countdown
from o1jax.text.steps import Behaviours

TASKS = {'countdown': countdown, 'cipher': cipher, 'calculator': calculator}
COUNTS = {'train': 25, 'validation': 5}


@pytest.fixture(scope='module', params=['countdown', 'cipher', 'calculator'])
def written(request, tmp_path_factory):
  task = TASKS[request.param].task()
  folder = tmp_path_factory.mktemp('data')
  builder.write(task, folder, counts=COUNTS, texts=12, seed=4)
  return task, folder


def test_what_is_read_is_what_was_generated(written):
  task, folder = written
  for split, count in COUNTS.items():
    expected = pipeline.demonstrate(task, task.problems(split, count, 4), seed=4)
    found = builder.read(task.name, folder, split)
    assert found == expected
    # What was given is told from what was not.
    assert all(type(a) is type(b) for x, y in zip(found, expected) for a, b in zip(x[1], y[1]))
  assert builder.read_text(task.name, folder) == pipeline.plain_text(task, 12, seed=4)


def test_the_same_again_is_kept_and_other_settings_are_refused(written):
  task, folder = written
  files = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob('*.array_record*'))
  assert len(files) == 3
  builder.write(task, folder, counts=COUNTS, texts=12, seed=4)
  assert (
    sorted((path, path.stat().st_mtime_ns) for path in folder.rglob('*.array_record*')) == files
  )
  other = TASKS[task.name].task(behaviours=Behaviours(dead_end=1))
  for changed, seed in [(task, 5), (other, 4)]:
    with pytest.raises(ValueError, match='holds data of other settings: choose another data_dir'):
      builder.write(changed, folder, counts=COUNTS, texts=12, seed=seed)


def test_what_is_not_there_is_named(written, tmp_path):
  task, folder = written
  with pytest.raises(
    ValueError, match=r"no split 'test': it has \['plain_text', 'train', 'validation'\]"
  ):
    builder.read(task.name, folder, 'test')
  with pytest.raises(ValueError, match="holds no data of a task 'countdown'"):
    builder.read('countdown', tmp_path, 'train')


def test_no_tensorflow(tmp_path):
  # TensorFlow is made impossible to import, in a fresh interpreter: it may be installed where the
  # tests run.
  code = f"""
import sys
from importlib.machinery import PathFinder
class Hiding:
  def find_spec(name, path=None, target=None):
    return None if name.split('.')[0] == 'tensorflow' else PathFinder.find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
from o1jax.data import builder
from o1jax.tasks import countdown
builder.write(countdown.task(), {str(tmp_path)!r}, counts={{'test': 3}}, texts=2)
assert len(builder.read('countdown', {str(tmp_path)!r}, 'test')) == 3
assert 'tensorflow' not in sys.modules
"""
  result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
  assert result.returncode == 0, result.stderr
  assert result.stdout == ''
