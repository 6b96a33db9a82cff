"""The command line: what a config file, or a flag over it, gets wrong is one line with the way
out."""

import pathlib
import sys

import pytest
from absl import flags

import configs
from configs import quickstart
from experiments.door import HOME, ConfigFlag, UsageError, load, read_command
from tests import jobs

QUICK = '--config=configs/quickstart.py'


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
  """A current folder other than the repository's."""
  monkeypatch.chdir(tmp_path)
  return tmp_path


def refusal(*argv):
  with pytest.raises((UsageError, flags.Error)) as error:
    read_command(['o1', *argv])
  assert '\n' not in str(error.value)
  return str(error.value)


@pytest.mark.parametrize(
  'argv, rest',
  [
    (
      [QUICK, '--workdir=x', '--config.learn.batch=16', '--config.profile'],
      [QUICK, '--workdir=x'],
    ),
    (
      ['--config', 'configs/quickstart.py', '--config.learn.batch', '16', '--config.profile', 'up'],
      [QUICK, 'up'],
    ),
    (
      ['--config.learn.batch=16', '--workdir', 'x', '--config.profile=True', QUICK],
      [QUICK, '--workdir', 'x'],
    ),
  ],
)
def test_overrides_change_their_keys_and_nothing_else(argv, rest):
  config, left = read_command(['o1', *argv])
  expected = quickstart.get_config()
  expected.learn.batch, expected.profile = 16, True
  assert config == expected.lock() and config.is_locked
  assert left == ['o1', *rest]


def test_a_command_line_without_a_file_is_left_as_it_is():
  argv = ['o1', '--workdir=x', 'question']
  assert read_command(argv) == (None, argv)


def test_a_config_is_found_beside_the_installed_package(elsewhere):
  assert load('configs/quickstart.py:smoke') == quickstart.get_config('smoke').lock()
  (elsewhere / 'configs').mkdir()
  (elsewhere / 'configs' / 'quickstart.py').write_text(
    'from ml_collections import ConfigDict\ndef get_config():\n  return ConfigDict(dict(mine=1))\n'
  )
  assert load('configs/quickstart.py').to_dict() == dict(mine=1)


def test_a_job_starts_from_any_folder(elsewhere):
  done = jobs.run(
    'experiments.o1', f'{QUICK}:smoke', '--workdir=run', '--config.learn.search.method=astar'
  )
  assert done.returncode == 1 and 'astar' in done.stderr and 'Traceback' not in done.stderr


@pytest.mark.parametrize(
  'argv, words',
  [
    ([f'{QUICK}:big'], ('quickstart.py:big', "'big' is unknown", 'none, or smoke')),
    (['--config=configs/cipher.py:smoke'], ('no argument', 'use --config=configs/cipher.py')),
    (['--config=configs/countdown.py:big'], ("'big' is unknown", 'none, or laptop')),
    (['--config=configs/gsm8k.py:7b'], ("'7b' is unknown", 'qwen2.5-0.5b')),
    (['--config=configs/quikstart.py'], ('no file', str(HOME), 'such as configs/quickstart.py')),
    (['--config=/nowhere/mine.py'], ('/nowhere/mine.py', 'such as configs/')),
    ([QUICK, '--config.learn.updatez=3'], ('configs/quickstart.py', "mean 'learn.updates'?")),
    ([QUICK, '--config.lern.updates=3'], ("no key 'lern.updates'", "mean 'learn.updates'?")),
    ([QUICK, '--config.min_gain=3'], ("no key 'min_gain'", "mean 'learn.min_gain'?")),
    ([QUICK, '--config.model.changes.qq=3'], ('model.changes has critic_layers, kv_heads, own',)),
    ([QUICK, '--config.seed.low=3'], ('--config.seed.low', 'seed', 'is 0')),
    ([QUICK, '--config.learn.batch=abc'], ('learn.batch=abc', 'a whole number', '(64)')),
    ([QUICK, '--config.learn.batch=1.5'], ('learn.batch=1.5', 'a whole number', '(64)')),
    ([QUICK, '--config.sampling.temperature=hot'], ('temperature=hot', 'a number', '(0.8)')),
    ([QUICK, '--config.profile=perhaps'], ('profile=perhaps', 'True or False')),
    ([QUICK, '--config.learn=3'], ('learn=3', 'is a section', 'warmup_weights')),
    ([QUICK, '--config.seed'], ('config.seed', 'a whole number')),
  ],
)
def test_a_mistake_on_the_command_line_is_one_line(argv, words):
  line = refusal(*argv)
  assert all(word in line for word in words), line


FILES = {
  'syntax': ('def get_config(:\n', ('line 1', 'SyntaxError')),
  'empty': ('x = 1\n', ('no function get_config',)),
  'three': ('def get_config():\n  return 3\n', ('gives a int', 'ConfigDict')),
  'absent': ('\nimport nowhere_at_all\n', ("'nowhere_at_all'", 'install', str(HOME))),
  'needs': ('def get_config(size):\n  return size\n', ('needs an argument', 'needs.py:argument')),
  'wrong': ('def get_config():\n  a = 1\n  return b\n', ('line 3', "name 'b'", 'mend')),
  'typed': ('def get_config():\n  return 1 + "a"\n', ('line 2', 'TypeError', 'mend')),
}


@pytest.mark.parametrize('name', FILES)
def test_whatever_a_config_file_raises_is_one_line(elsewhere, name):
  text, words = FILES[name]
  pathlib.Path(f'{name}.py').write_text(text)
  line = refusal(f'--config={name}.py')
  assert all(word in line for word in (f'--config={name}.py', *words)), line


def test_another_package_named_configs_is_told_with_the_way_out(elsewhere, monkeypatch):
  monkeypatch.setitem(sys.modules, 'configs.quickstart', None)
  monkeypatch.delattr(configs, 'quickstart')
  line = refusal('--config=configs/cipher.py')
  assert 'configs.quickstart' in line and f'pip install -e {HOME}' in line


@pytest.mark.parametrize('argv', [[QUICK, '--wrokdir=x'], [QUICK, '--workdir'], []])
def test_what_absl_refuses_is_one_line_with_code_1(argv):
  values = flags.FlagValues()
  flag = ConfigFlag('what to run', values=values)
  flags.DEFINE_string('workdir', None, '', flag_values=values)
  flags.mark_flags_as_required(['config', 'workdir'], flag_values=values)
  with pytest.raises(SystemExit) as end:
    flag.parse(['o1', *argv])
  assert str(end.value).startswith('error: ') and '\n' not in str(end.value)
