"""The main job on its smoke config: what it leaves, that it goes on where it stopped, and what it
refuses."""

import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import pytest
from safetensors import safe_open

from experiments.benchmark.trained import trained_rows
from o1jax.recipes import answers, outlook
from o1jax.recipes.looking import load_run
from o1jax.runtime.config import ConfigError
from o1jax.runtime.metrics import METRICS, describe
from o1jax.runtime.workdir import load_config, stage_file
from o1jax.text.tokenizer import Tokenizer
from o1jax.types import Problem
from tests import jobs

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = '--config=configs/quickstart.py:smoke'


def job(workdir, *arguments, **how):
  return jobs.run('experiments.o1', CONFIG, f'--workdir={workdir}', *arguments, **how)


def rows(workdir):
  with open(workdir / 'results.csv', newline='') as file:
    return list(csv.DictReader(file))


def timeless(workdir):
  return [row | {'seconds': ''} for row in rows(workdir)]


def metrics(workdir):
  return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def states(workdir):
  """The checksums of all that a job has saved."""
  found = {}
  for path in workdir.glob('checkpoints/*/*/record/metadata'):
    leaves = json.loads(path.read_text())['leaves']
    found[path.parts[-4], path.parts[-3]] = {name: leaf[-1] for name, leaf in leaves.items()}
  return found


def test_the_run_leaves_what_it_promises(run):
  workdir, done = run
  assert (workdir / 'results.csv').read_text().startswith('stage,task,method,budget,units,')
  for name in (
    'config.json',
    'versions.json',
    'tokenizer.model',
    'problems.csv.gz',
    'report/index.html',
    'tensorboard',
    'checkpoints',
  ):
    assert (workdir / name).exists(), name
  assert [entry['judge'] for entry in json.loads((workdir / 'judges.json').read_text())] == [
    'countdown on devices'
  ]
  assert 'index.html' in done.stdout and 'gumbel' in done.stdout
  assert {row['stage'] for row in rows(workdir)} == {'initialised', 'learned', 'control'}


def test_every_update_is_in_the_metrics_once(run):
  config = json.loads((run[0] / 'config.json').read_text())
  for stage, updates in (
    ('pretrain', config['pretrain']['updates']),
    ('learn', config['learn']['updates']),
  ):
    assert [row['update'] for row in metrics(run[0]) if row['stage'] == stage] == list(
      range(1, updates + 1)
    )


def test_every_metric_says_what_it_means_and_no_other_is_described(run):
  names = {name for row in metrics(run[0]) for name in row}
  assert sorted(name for name in names if not describe(name)) == []
  logged = {'loss_*' if name.startswith('loss_') else name for name in names}
  assert logged == METRICS.keys()


def test_a_job_tells_at_first_what_it_is_about_to_do(run):
  first, second, *rest = run[1].stderr.splitlines()
  assert first.startswith(f'countdown in {run[0]}: initialise, ') and '2 devices' in first
  assert ' parameters; ' in second and '64 problems to learn from' in second
  billed = {}
  for row in metrics(run[0]):
    stage = {'pretrain': 'initialise', 'instruct': 'initialise'}.get(row['stage'], row['stage'])
    billed[stage] = billed.get(stage, 0) + row['flops']
  billed['learn'] += billed.pop('control')
  experiment = load_run(run[0]).experiment
  for stage, flops in billed.items():
    # An untrained policy fills its steps, where demonstrations do not.
    assert flops / 8 < outlook.flops(experiment, stage) < 3 * flops, stage


def test_policy_gradient_takes_over_when_cloning_gains_nothing(run):
  assert [row['policy_gradient'] for row in metrics(run[0]) if row['stage'] == 'learn'] == [0, 1]


def test_results_are_billed_and_bounded(run):
  found = rows(run[0])
  for row in found:
    assert 0 <= float(row['ci_low']) <= float(row['accuracy']) <= float(row['ci_high']) <= 1
    assert float(row['flops']) > float(row['tokens']) > 0
  name = lambda row: row['method'].partition(':')[0]  # without what weighs solutions
  mine = {
    (name(r), int(r['budget']) or int(r['units'])): (int(r['units']), float(r['tokens']))
    for r in found
    if r['stage'] == 'learned'
  }
  one, two, small, large = (
    mine[key] for key in (('majority', 100), ('majority', 200), ('gumbel', 4), ('gumbel', 300))
  )
  assert two == (2, pytest.approx(2 * one[1])) and one[0] == 1
  # Of the trees that it had room for none spends nearer to 300 tokens.
  assert small[0] == 4 and large[0] in (3, 4) and abs(large[1] - 300) <= abs(small[1] - 300)
  spent = json.loads((run[0] / 'report/data/spending.json').read_text())
  assert spent.keys() == {'initialised', 'learned', 'control'} and spent['control'] == {}
  assert spent['learned']['chains'] == [[n, pytest.approx(x)] for n, x in (one, two)]
  assert spent['learned']['gumbel'] == [[n, pytest.approx(x)] for n, x in (large, small)]


@pytest.mark.long
def test_what_is_measured_again_is_the_same_row(run, tmp_path):
  workdir = shutil.copytree(run[0], tmp_path / 'run')
  stage_file(workdir, 'evaluate').unlink()
  again = job(workdir, "--config.stages=('evaluate',)")
  assert again.returncode == 0, again.stderr
  assert timeless(workdir) == timeless(run[0])


@pytest.mark.long
def test_a_verifier_that_does_not_answer_ends_the_job_in_a_line_and_nothing_is_lost(run, tmp_path):
  workdir = shutil.copytree(run[0], tmp_path / 'run')
  stage_file(workdir, 'reward').unlink()
  for name in ('reward', 'reward_params'):
    shutil.rmtree(workdir / 'checkpoints' / name)
  ended = job(
    workdir,
    '--config.verifier.where=host',
    '--config.verifier.patience=1e-6',
    "--config.stages=('reward',)",
  )
  assert ended.returncode == 1 and 'Traceback' not in ended.stderr
  assert 'error: reward: the verifier on the host has not judged' in ended.stderr.splitlines()[-1]
  assert 'no checkpoint of this stage is on disk' in ended.stderr.splitlines()[-1]
  assert load_run(workdir).made('initialise') and not load_run(workdir).made('reward')


def test_the_same_command_does_nothing_again_and_another_config_is_refused(run):
  before = (run[0] / 'results.csv').read_text(), (run[0] / 'metrics.jsonl').read_text()
  again = job(run[0])
  assert again.returncode == 0 and 'learn: done before' in again.stderr
  assert before == ((run[0] / 'results.csv').read_text(), (run[0] / 'metrics.jsonl').read_text())
  other = job(run[0], '--config.learn.updates=3')
  assert (
    other.returncode == 1 and 'learn.updates' in other.stderr and 'Traceback' not in other.stderr
  )


@pytest.mark.long
def test_the_second_job_of_the_same_shapes_compiles_nothing(run, tmp_path):
  again = job(tmp_path / 'again', forked=False, JAX_DEBUG_LOG_MODULES='jax._src.compiler')
  assert again.returncode == 0
  assert again.stderr.count('Persistent compilation cache hit for') > 50
  assert 'CACHE MISS' not in again.stderr and 'Not writing' not in again.stderr
  assert timeless(tmp_path / 'again') == timeless(run[0])
  assert states(tmp_path / 'again') == states(run[0]) and ('learn', '2') in states(run[0])


@pytest.mark.long
def test_ablations_share_a_start_and_do_not_run_its_stages_again(run, tmp_path):
  before = {path: path.stat().st_mtime_ns for path in run[0].rglob('*') if path.is_file()}
  curves = []
  for name, mix in (('gradient', ()), ('entropy', ('entropy=1',))):
    workdir = tmp_path / name
    done = jobs.run(
      'experiments.o1',
      '--config=configs/ablation.py:smoke',
      f'--workdir={workdir}',
      f'--config.learn.start={run[0]}:reward',
      *(f'--config.learn.weights.{weight}' for weight in mix),
    )
    assert done.returncode == 0, done.stderr
    assert {row['stage'] for row in metrics(workdir)} == {'learn'}
    assert sorted(path.name for path in (workdir / 'checkpoints').iterdir()) == [
      'learn',
      'learn_params',
    ]
    assert not (workdir / 'tokenizer.model').exists() and not (workdir / 'data').exists()
    assert {row['stage'] for row in rows(workdir)} == {'learned'}
    curves.append(
      [p['accuracy'] for p in json.loads((workdir / 'report/data/train_curve.json').read_text())]
    )
    assert load_run(workdir).policies() == {'learned': 'learn'}
  # Both begin where the start ended.
  assert curves[0][0] == curves[1][0]
  assert [row['loss'] for row in metrics(tmp_path / 'entropy')] != [
    row['loss'] for row in metrics(tmp_path / 'gradient')
  ]
  assert before == {path: path.stat().st_mtime_ns for path in run[0].rglob('*') if path.is_file()}
  other = jobs.run(
    'experiments.o1',
    '--config=configs/ablation.py:smoke',
    f'--workdir={tmp_path / "other"}',
    f'--config.learn.start={run[0]}:reward',
    '--config.shapes.max_steps=7',
  )
  assert other.returncode == 1 and 'shapes.max_steps is 6 there and 7 here' in other.stderr
  assert not (tmp_path / 'other').exists()


@pytest.mark.long
def test_the_benchmark_times_its_policy(run):
  workdir, _ = run
  times = trained_rows(workdir, dict(float32=lambda: 1.0), samples=2, repeats=1)
  assert [(r.name, r.shape['method']) for r in times] == [
    (f'trained_{name}', method)
    for method in ('gumbel', 'best_of_n')
    for name in ('tokens_per_second', 'utilisation', 'problems_per_second')
  ]
  assert all(r.value > 0 and r.shape['policy'] == 'learn' for r in times)
  # A forced step would have made all tokens that there is room for.
  shapes, (prompt, _) = load_config(workdir).shapes, load_run(workdir).experiment.data.test
  room = 2 * prompt.length.shape[0] * shapes.max_steps * shapes.step_length
  assert times[3].shape['tokens'] < room


@pytest.mark.parametrize(
  'flags, shown, spent',
  [
    ([], 'the critic gives it', '2 chains (best_of_n, learned policy)'),
    pytest.param(
      ['--show=steps', '--units=3', '--method=best_of_n'],
      '%  ',
      '3 chains (best_of_n, learned policy)',
      marks=pytest.mark.long,
    ),
    (
      # As the run has measured: a chain took it about 69 tokens.
      ['--show=tree', '--method=best_of_n', '--policy=initialised', '--tokens=276'],
      ' make 24 from 3,5,7',
      '4 chains (best_of_n, initialised policy)',
    ),
  ],
)
def test_a_question_is_answered_with_its_bill(run, flags, shown, spent):
  done = jobs.run('experiments.solve', f'--workdir={run[0]}', 'make 24 from 3 5 7', *flags)
  assert done.returncode == 0, done.stderr
  assert done.stdout.startswith('make 24 from 3,5,7\nnote: no way leads to 24\n\nanswer: ')
  assert f'spent: {spent}, ' in done.stdout and 'FLOPs' in done.stdout
  assert shown in done.stdout or 'none found' in done.stdout
  assert ('(asked: 276 on average)' in done.stdout) == ('--tokens=276' in flags)
  assert ('visits: simulations through a step' in done.stdout) == ('--show=tree' in flags)
  assert ('●' in done.stdout) == ('--show=tree' in flags and 'none found' not in done.stdout)


def test_tokens_are_asked_of_what_was_measured(run):
  flags = f'--workdir={run[0]}', 'make 24 from 3 5 7', '--tokens=300', '--method=beam'
  done = jobs.run('experiments.solve', *flags)
  (line,) = done.stderr.splitlines()
  assert done.returncode == 1 and 'has not measured what beam spends' in line


def test_questions_are_answered_one_by_one_through_a_pipe(run):
  asked = (
    b'make 24 from 3 5 7\n\nhello\n:tree\n24 from 3 5 8\n:all\n\xff\nquit\nmake 9 from 2 3 4\n'
  )
  done = subprocess.run(
    [sys.executable, '-m', 'experiments.solve', f'--workdir={run[0]}', '--interactive'],
    input=asked,
    capture_output=True,
    env={**os.environ, 'JAX_NUM_CPU_DEVICES': '2'},
    cwd=ROOT,
  )
  told, errors = done.stdout.decode(), done.stderr.decode().splitlines()
  assert done.returncode == 0, errors
  assert told.count('answer: ') == told.count('spent: ') == 2
  assert told.index('from 3,5,7') < told.index('from 3,5,8') < told.index('visits')
  assert [line[:14] for line in errors if line.startswith('error: ')] == [
    "error: 'hello'",
    "error: ':all' ",
    "error: '\ufffd' can",
  ]


@pytest.fixture(scope='module')
def theirs(run, tmp_path_factory):
  """The folder for transformers that a run becomes."""
  target = tmp_path_factory.mktemp('theirs') / 'model'
  done = jobs.run(
    'experiments.convert',
    f'--from={run[0]}',
    f'--to={target}',
    '--policy=initialised',
    '--nocompare',
    devices=1,
  )
  assert done.returncode == 0, done.stderr
  return target


def test_a_run_becomes_a_folder_of_transformers(run, theirs):
  ours = Tokenizer.load(run[0] / 'tokenizer.model')
  assert Tokenizer.load(theirs / 'tokenizer.model').pieces == ours.pieces
  config, told = (
    json.loads((theirs / name).read_text()) for name in ('config.json', 'generation_config.json')
  )
  assert told == dict(eos_token_id=[ours.eos_id], pad_token_id=ours.pad_id, bos_token_id=None)
  with safe_open(theirs / 'model.safetensors', 'np') as file:
    rows, width = file.get_slice('model.embed_tokens.weight').get_shape()
  assert rows == config['vocab_size'] >= ours.vocab_size and width == config['hidden_size']


@pytest.mark.parity
def test_transformers_goes_on_with_a_run(run, theirs, tmp_path):
  import transformers

  done = jobs.run('experiments.convert', f'--from={theirs}', f'--to={tmp_path / "ours"}', devices=1)
  assert done.returncode == 0 and '32 greedy tokens are the same' in done.stdout, done.stderr
  ours = Tokenizer.load(run[0] / 'tokenizer.model')
  tokenizer = transformers.AutoTokenizer.from_pretrained(theirs)
  text = 'make 24 from 3,5,7\n<analysis>reach 24\n3+5=8;7 ü'
  assert tokenizer.encode(text) == ours.encode(text) and tokenizer.decode(ours.encode(text)) == text
  model = transformers.AutoModelForCausalLM.from_pretrained(theirs)
  told = model.generation_config
  assert (told.eos_token_id, told.pad_token_id) == ([ours.eos_id], ours.pad_id)


@pytest.mark.parametrize(
  'question, word',
  [
    ('make 24', 'ask such as "make 12 from 3 4 5"'),
    ('make 2.5 from 3 5 7', 'ask such as "make 12 from 3 4 5"'),
    ('make 24 from 3 5 7', 'has no policy to ask, of'),
  ],
)
def test_what_cannot_be_asked_is_told_in_a_line_before_anything_is_built(
  run, tmp_path, question, word
):
  for name in ('config.json', 'tokenizer.model'):
    shutil.copy(run[0] / name, tmp_path / name)
  # A question is refused without a device, and without a policy.
  no_device = {} if 'policy' in word else dict(JAX_PLATFORMS='none')
  done = jobs.run('experiments.solve', f'--workdir={tmp_path}', question, **no_device)
  (line,) = done.stderr.splitlines()
  assert done.returncode == 1 and line.startswith('error: ') and word in line
  assert sorted(path.name for path in tmp_path.iterdir()) == ['config.json', 'tokenizer.model']


def test_questions_of_other_lengths_need_no_other_program(run):
  run = load_run(run[0])

  def shapes(text):
    arrays = answers._encode(run, Problem(prompt='make 9 from 2,3,4\n', text=text))
    return [x.shape for x in jax.tree.leaves(arrays)]

  assert shapes('') == shapes('a') == shapes('a' * 64) != shapes('a' * 65)
  with pytest.raises(ConfigError, match='tokens, and this run reads up to 16: ask a shorter one'):
    answers._encode(run, Problem(prompt='make 9 from 2,3,4 ' * 9 + '\n'))
