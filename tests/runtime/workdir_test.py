"""Workdirs: a run is continued by its own config only, and nothing of anyone else is touched."""

import json
import os
import shutil
import stat
import subprocess

import pytest
from ml_collections import ConfigDict

from o1jax.runtime import workdir as workdirs
from o1jax.runtime.config import ConfigError
from o1jax.runtime.workdir import (
  alone,
  git_revision,
  load_config,
  mark_stage_done,
  open_workdir,
  opening,
  stage_done,
  write_atomic,
)


def example(candidates=4, stages=('a', 'b')):
  return ConfigDict({'search': {'candidates': candidates}, 'stages': stages})


def snapshot(folder):
  return {
    path.relative_to(folder): path.read_bytes() for path in folder.rglob('*') if path.is_file()
  }


def refusal(path, config):
  with pytest.raises(ConfigError) as error:
    open_workdir(path, config)
  assert '\n' not in str(error.value)
  assert str(path) in str(error.value) and '--workdir' in str(error.value)
  return str(error.value)


def test_a_new_run_records_its_config_and_versions(tmp_path):
  workdir = open_workdir(tmp_path / 'runs' / 'first', example())
  assert workdir == (tmp_path / 'runs' / 'first').resolve()
  assert load_config(workdir) == example().lock()
  (entry,) = json.loads((workdir / 'versions.json').read_text())
  assert {
    'python',
    'jax',
    'jaxlib',
    'flax',
    'optax',
    'orbax-checkpoint',
    'mctx',
    'o1jax',
    'platform',
    'backend',
    'device_kind',
    'device_count',
    'git_revision',
    'git_dirty',
    'since',
  } == entry.keys()
  assert entry['backend'] == 'cpu' and entry['device_count'] >= 1
  assert sorted(path.name for path in workdir.iterdir()) == ['config.json', 'versions.json']


def test_opening_again_changes_nothing_and_stages_are_free(tmp_path):
  open_workdir(tmp_path, example())
  before = snapshot(tmp_path)
  open_workdir(tmp_path, example(stages=('b',)))
  assert snapshot(tmp_path) == before


def test_a_change_of_version_adds_an_entry(tmp_path, monkeypatch):
  open_workdir(tmp_path, example())
  monkeypatch.setattr(workdirs, '_version', lambda package: '99.0')
  open_workdir(tmp_path, example())
  old, new = json.loads((tmp_path / 'versions.json').read_text())
  assert old['jax'] != '99.0' and new['jax'] == '99.0'


@pytest.mark.parametrize(
  'result', ['done/a', 'checkpoints/a/3/x', 'checkpoints/a/damaged/3/x', 'results.csv']
)
def test_another_config_is_refused_with_key_and_both_values(tmp_path, result):
  open_workdir(tmp_path, example(candidates=4))
  (tmp_path / result).parent.mkdir(parents=True, exist_ok=True)
  (tmp_path / result).write_text('')
  before = snapshot(tmp_path)
  message = refusal(tmp_path, example(candidates=8))
  assert 'search.candidates was 4 and is now 8' in message
  assert snapshot(tmp_path) == before


def test_what_holds_no_result_is_replaced_but_for_what_a_run_does_not_make(tmp_path):
  open_workdir(tmp_path, example(candidates=4))
  (tmp_path / 'notes.txt').write_text('mine')
  for name in ('data/task/a', 'metrics.jsonl', 'checkpoints/a/3.orbax-checkpoint-tmp/x'):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text('')
  open_workdir(tmp_path, example(candidates=8))
  assert load_config(tmp_path).search.candidates == 8
  left = sorted(path.name for path in tmp_path.iterdir())
  assert left == ['config.json', 'notes.txt', 'versions.json']


@pytest.mark.parametrize('there', [False, True])
def test_what_fails_while_it_is_checked_leaves_the_folder_as_it_was(tmp_path, there):
  workdir = tmp_path / 'runs' / 'new'
  if there:
    (open_workdir(workdir, example(candidates=4)) / 'notes.txt').write_text('mine')
  before = snapshot(tmp_path)
  for failure in (ValueError, KeyboardInterrupt):
    with pytest.raises(failure), opening(workdir, example(candidates=8)) as (_, place):
      (place / 'data').mkdir()
      (place / 'data' / 'made').write_text('')
      raise failure
    assert snapshot(tmp_path) == before
    assert workdir.exists() == (tmp_path / 'runs').exists() == there


def test_what_was_made_for_the_checks_is_the_runs_once_they_pass(tmp_path):
  (tmp_path / '.draft').mkdir()
  (tmp_path / '.draft' / 'data').write_text('of a process that was killed')
  for text in ('new', 'kept'):
    with opening(tmp_path, example()) as (workdir, place):
      assert (place == workdir) == (text == 'kept')
      assert not (tmp_path / 'data').exists() or text == 'kept'
      (place / 'data').write_text(text)
    assert (tmp_path / 'data').read_text() == text
  assert sorted(path.name for path in tmp_path.iterdir()) == [
    'config.json',
    'data',
    'versions.json',
  ]


@pytest.mark.parametrize('begun', [False, True])
def test_of_two_jobs_the_second_is_refused_and_disturbs_nothing(tmp_path, begun):
  workdir = tmp_path / 'run'
  if begun:
    open_workdir(workdir, example())
  with opening(workdir, example()) as (_, place):
    (place / 'tokenizer.model').write_text('half')
    with pytest.raises(ConfigError, match=f'another job works in {workdir}: let it end, stop it'):
      open_workdir(workdir, example())
    assert (place / 'tokenizer.model').read_text() == 'half'
  with alone(workdir), pytest.raises(ConfigError, match='another job'):
    open_workdir(workdir, example())
  open_workdir(workdir, example())


def test_a_folder_of_someone_else_is_refused_and_left_alone(tmp_path):
  (tmp_path / 'thesis.tex').write_text('ten years of work')
  before = snapshot(tmp_path)
  assert 'thesis.tex' in refusal(tmp_path, example())
  assert snapshot(tmp_path) == before


def test_an_empty_folder_or_an_interrupted_first_write_is_not_someone_else(tmp_path):
  (tmp_path / '.config.json.draft').write_text('{"sear')
  assert load_config(open_workdir(tmp_path, example())) == example().lock()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
  (tmp_path / 'file').write_text('')
  assert 'cannot be used' in refusal(tmp_path / 'file', example())
  assert 'cannot be used' in refusal(tmp_path / 'file' / 'run', example())

  # As root, permission bits forbid nothing, so the system's answer is played.
  def forbidden(path, text):
    raise PermissionError(13, 'Permission denied')

  monkeypatch.setattr(workdirs, 'write_atomic', forbidden)
  assert 'Permission denied' in refusal(tmp_path / 'run', example())


def test_a_damaged_or_missing_config_is_refused(tmp_path):
  (tmp_path / 'config.json').write_text('{"search": ')
  refusal(tmp_path, example())
  with pytest.raises(ConfigError, match='cannot be read'):
    load_config(tmp_path / 'nowhere')


def test_stages_are_done_once_marked(tmp_path):
  assert not stage_done(tmp_path, 'pretrain')
  mark_stage_done(tmp_path, 'pretrain')
  mark_stage_done(tmp_path, 'pretrain')
  assert stage_done(tmp_path, 'pretrain') and not stage_done(tmp_path, 'pre')


def test_an_interrupted_write_leaves_the_old_text(tmp_path, monkeypatch):
  path = tmp_path / 'a.json'
  write_atomic(path, 'old')

  def crash(self, target):
    raise KeyboardInterrupt

  monkeypatch.setattr(type(path), 'replace', crash)
  with pytest.raises(KeyboardInterrupt):
    write_atomic(path, 'new')
  assert path.read_text() == 'old'


def test_a_text_is_on_disk_before_its_name_is_and_then_the_name(tmp_path, monkeypatch):
  done, replace, sync = [], type(tmp_path).replace, os.fsync
  noted = lambda what, action: lambda *given: [done.append(what(given)), action(*given)]
  kind = lambda given: 'folder' if stat.S_ISDIR(os.fstat(*given).st_mode) else 'file'
  monkeypatch.setattr(os, 'fsync', noted(kind, sync))
  monkeypatch.setattr(type(tmp_path), 'replace', noted(lambda given: 'name', replace))
  write_atomic(tmp_path / 'a.json', 'new')
  assert done == ['file', 'name', 'folder'] and (tmp_path / 'a.json').read_text() == 'new'


@pytest.mark.skipif(shutil.which('git') is None, reason='needs git')
def test_the_revision_is_that_of_the_tracked_code(tmp_path):
  def git(*arguments):
    command = (
      'git',
      '-C',
      str(tmp_path),
      '-c',
      'user.name=a',
      '-c',
      'user.email=a@b.c',
      *arguments,
    )
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

  package = tmp_path / 'package'
  package.mkdir()
  (package / '__init__.py').write_text('')
  assert git_revision(package) == ('unknown', None)
  git('init')
  git('commit', '--allow-empty', '-m', 'none of it')
  assert git_revision(package) == ('unknown', None)  # lies in a repository that does not track it
  git('add', '.')
  git('commit', '-m', 'first')
  assert git_revision(package) == (git('rev-parse', 'HEAD'), False)
  (package / '__init__.py').write_text('x = 1')
  assert git_revision(package) == (git('rev-parse', 'HEAD'), True)
