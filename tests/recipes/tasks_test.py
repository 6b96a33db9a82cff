"""The tables of tasks, formats and judges: a row is all that a config needs to have one."""

import functools
import random

import pytest

from configs import mixture, quickstart
from o1jax.data import FORMATS
from o1jax.recipes.experiment import build_task
from o1jax.runtime.config import ConfigError, flatten
from o1jax.tasks import TASKS
from o1jax.verify import JUDGES
from tests.data import formats


@pytest.mark.parametrize('name', [name for name, row in TASKS.items() if not row.mixes])
def test_a_task_is_made_of_its_name_and_what_has_no_default(name):
  config = quickstart.get_config()
  config.task = dict(name=name) | (dict(family='mini_sudoku') if name == 'gym' else {})
  if name == 'gym':
    pytest.importorskip('reasoning_gym', reason='needs the extra "tasks"')
  task = build_task(config)
  assert task.name.startswith(name) and set(task.judges) <= set(JUDGES)
  config.task = dict(config.task) | TASKS[name].defaults
  assert set(flatten(config)) >= {
    f'task.{key}' for key in TASKS[name].defaults if key != 'behaviours'
  }
  assert build_task(config).problems('train', 3, 0) == task.problems('train', 3, 0)


DRAWN = {
  'gsm8k': lambda rng, i: formats.gsm8k(formats.solved(rng)),
  'math': lambda rng, i: formats.math(formats.solved(rng, subject='Algebra', level=1)),
  'mbpp': lambda rng, i: formats.program(rng) | {'task_id': 460 + i},
  'apps': lambda rng, i: formats.script(rng) | {'problem_id': i},
}


@pytest.mark.parametrize('name', FORMATS)
def test_a_format_is_made_of_its_files_alone(name, tmp_path):
  config = quickstart.get_config()
  config.task = dict(name=name)
  with pytest.raises(ConfigError, match=f'config.task.train names no file of {name}'):
    build_task(config)
  rng = random.Random(0)
  (tmp_path / 'all').write_text(formats.lines([DRAWN[name](rng, i) for i in range(120)]))
  config.task = dict(name=name, train=str(tmp_path / 'all'), test=str(tmp_path / 'all'))
  task = build_task(config)
  # A question of the test is in no other split, so one file for both leaves none to train on,
  # unless the format itself says which of its records are for what.
  assert task.problems('test', 30, 0) and set(task.judges) <= set(JUDGES)
  with pytest.raises(ValueError, match='has (\\d+) problems in split') as error:
    task.problems('train', 1000, 0)
  assert ('has 0 problems' in str(error.value)) == ('split' not in FORMATS[name].needs)


def mixed(**changes):
  config = mixture.get_config('smoke')
  config.task.update(changes)
  return build_task(config)


def test_a_mixture_is_made_of_sections_and_its_parts_have_their_names():
  task = mixed()
  assert [part.name for part in task.parts] == ['countdown', 'cipher']
  counts = [sum(p.task == i for p in task.problems('train', 30, 0)) for i in (0, 1)]
  assert counts == [15, 15] and task.verify is not None and task.judges == ('task',)
  config = quickstart.get_config()
  parts = dict(easy=dict(name='countdown', numbers=2), hard=dict(name='countdown'))
  config.task = dict(name='mixture', parts=tuple(parts), shares=(1.0, 1.0), **parts)
  easy, hard = build_task(config).parts
  assert (easy.name, hard.name) == ('easy', 'hard')
  assert [len(part.problems('train', 1, 0)[0].numbers) for part in (easy, hard)] == [3, 4]


@pytest.mark.parametrize(
  'make, words',
  [
    (functools.partial(mixed, parts=('countdown', 'none')), r"parts names \['none'\]"),
    (functools.partial(mixed, shares=(0.5,)), 'give one share above 0'),
    (functools.partial(mixed, parts=('countdown',)), r"parts does not name \['cipher'\]"),
    (functools.partial(mixed, cipher=dict(name='chess')), "config.task.cipher.name is 'chess'"),
    (functools.partial(mixed, cipher=dict(name='cipher', sides=3)), "unexpected keyword .*'sides'"),
  ],
)
def test_what_does_not_fit_is_told_with_its_place(make, words):
  with pytest.raises(ValueError, match=words) as error:
    make()
  assert '\n' not in str(error.value)
