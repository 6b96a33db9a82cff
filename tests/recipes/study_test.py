"""A study's config becomes ordinary runs, and what they found one verdict; what cannot work is one
line."""

import importlib

import numpy as np
import pytest

from configs import quickstart
from o1jax.evaluation.equal_compute import FAILS, HOLDS, UNDECIDED
from o1jax.evaluation.problems import FILE, append_problems
from o1jax.evaluation.results import append_results
from o1jax.evaluation.studies import CLAIMS, Verdict
from o1jax.evaluation.studies.evidence import Grid
from o1jax.evaluation.study_page import NUMBERS, About, Part, study_text, total, write_study
from o1jax.recipes import study
from o1jax.recipes.searches import check_searches
from o1jax.runtime.config import ConfigDict, ConfigError, config_to_json
from tests.evaluation.studies.made import evidence, measure
from tests.evaluation.studies.power_law_test import SAMPLES, drawn

NAMES = ('coverage', 'verifier', 'budget', 'difficulty', 'guided')


def config(name='coverage', argument='smoke', **starts):
  found = importlib.import_module(f'configs.studies.{name}').get_config(argument)
  found.starts = ConfigDict(starts) if starts else found.starts
  return study.completed(found)


def trained(folder, seed=0):
  """The folder of a run, as far as a study reads it before it begins."""
  told = quickstart.get_config('smoke')
  told.seed = seed
  folder.mkdir(parents=True)
  (folder / 'config.json').write_text(config_to_json(told))
  return folder


def ended(folder, stage):
  """A stage of a run has ended, as it looks from outside."""
  (folder / 'checkpoints' / f'{stage}_params' / '0').mkdir(parents=True)


def refusal(found, workdir, seeds=1):
  with pytest.raises(ConfigError) as error:
    study.jobs(found, workdir, seeds)
  assert '\n' not in str(error.value)
  return str(error.value)


@pytest.mark.parametrize('argument', ['', 'smoke'])
@pytest.mark.parametrize('name', NAMES)
def test_every_study_becomes_runs_that_train_nothing(name, argument, tmp_path):
  place = trained(tmp_path / 'start')
  found = config(name, argument, **dict.fromkeys(config(name).starts, f'{place}:reward'))
  made = study.jobs(found, tmp_path / 'out', 1)
  for job in made:
    assert tuple(job.config.stages) == ('evaluate', 'report') and 'learn' not in job.config
    assert job.config.evaluate.policies.reward.stages == (f'{place}:reward',)
    assert tuple(job.config.evaluate.policies.reward.searches) == tuple(found.evaluate.searches)
    assert job.config.task == study.complete(quickstart.get_config('smoke')).task
    check_searches(job.config)


def test_each_seed_has_a_run_of_its_own(tmp_path):
  places = [trained(tmp_path / f'q{seed}', seed) for seed in range(2)]
  made = study.jobs(config(countdown=f'{tmp_path}/q{{seed}}:reward'), tmp_path / 'out', 2)
  assert [job.workdir for job in made] == [
    tmp_path / 'out' / 'countdown' / f'seed-{n}' for n in range(2)
  ]
  assert [job.config.seed for job in made] == [0, 1]
  both = config(one=f'{places[0]}:reward', two=f'{places[1]}:reward', three='')
  assert [job.workdir for job in study.jobs(both, tmp_path / 'out', 1)] == [
    tmp_path / 'out' / name / f'seed-{n}' for n, name in enumerate(('one', 'two'))
  ]


def test_starts_that_cannot_be_are_one_line(tmp_path):
  place = trained(tmp_path / 'q0')
  trained(tmp_path / 'q1')
  assert 'give at least one, as FOLDER:STAGE' in refusal(config(countdown=''), tmp_path / 'out')
  words = refusal(config(countdown=f'{place}:reward'), tmp_path / 'out', 2)
  assert '--seeds=2 asks for several: write {seed}' in words
  assert 'names no run' in refusal(config(countdown='reward'), tmp_path / 'out')
  assert 'holds no run' in refusal(config(countdown='none:reward'), tmp_path / 'out')
  words = refusal(config(countdown=f'{tmp_path}/q{{seed}}:reward'), tmp_path / 'out', 2)
  assert 'two of its runs have the same seed' in words
  assert 'is a run: give another folder' in refusal(config(countdown=f'{place}:reward'), place)


@pytest.mark.parametrize(
  'change, words',
  [
    (lambda c: c.update(judge=dict(name='none')), "config.judge.name is 'none': choose one of"),
    (lambda c: c.judge.update(other=1), 'power_law takes few, least, most, fit, apart'),
    (lambda c: c.__delattr__('claim'), 'the config has no claim: a study needs'),
    (lambda c: c.judge.update(few=0), 'config.judge.few=0: give a whole number from 1'),
    (
      lambda c: c.judge.update(few=1025),
      'judge.few=1025, and config.evaluate.searches samples 1024',
    ),
    (
      lambda c: c.judge.update(most=1025),
      'judge.most=1025, and config.evaluate.searches samples 1024',
    ),
    (
      lambda c: c.evaluate.searches.chains.update(draws=(0,)),
      'judge.most=1000, and config.evaluate.searches samples 64 solutions',
    ),
    (
      lambda c: c.judge.update(least=2000),
      'judge.least=2000, and config.evaluate.searches samples',
    ),
    (
      lambda c: c.evaluate.searches.update(more=c.evaluate.searches.chains),
      'config.evaluate.searches has chains, more: power_law reads one row alone',
    ),
    (
      lambda c: c.evaluate.searches.chains.update(method='gumbel'),
      'config.evaluate.searches.chains samples no solutions by themselves',
    ),
    (
      lambda c: c.evaluate.searches.chains.update(units=()),
      'config.evaluate.searches.chains samples no solutions by themselves',
    ),
    (lambda c: c.judge.update(fit=float('nan')), 'config.judge.fit=nan: give a number from 0'),
    (lambda c: c.judge.update(starts=2), 'config.judge.starts=2: give a whole number from 0 to 1'),
    (lambda c: c.evaluate.update(splits=('validation',)), 'so add test'),
  ],
)
def test_a_config_that_is_no_study_is_one_line(change, words):
  found = importlib.import_module('configs.studies.coverage').get_config()
  change(found)
  with pytest.raises(ConfigError, match=words.replace('.', r'\.')):
    study.completed(found)


@pytest.mark.parametrize(
  'name, change, words',
  [
    ('budget', lambda c: c.judge.update(falling='pcut'), "judge.falling is 'pcut': choose a row"),
    ('budget', lambda c: c.evaluate.searches.puct.update(units=(4,)), 'slopes needs 3 of it'),
    ('difficulty', lambda c: c.judge.update(predict=''), "judge.predict is '': choose a row"),
    ('difficulty', lambda c: c.evaluate.update(splits=('test',)), 'so add validation'),
  ],
)
def test_a_judge_is_given_the_searches_that_it_names(name, change, words):
  found = importlib.import_module(f'configs.studies.{name}').get_config('smoke')
  study.completed(found)
  change(found)
  with pytest.raises(ConfigError, match=words):
    study.completed(found)


def test_no_run_is_measured_before_all_are_checked(tmp_path):
  places = [trained(tmp_path / f'q{seed}', seed) for seed in range(2)]
  for place in places:
    (place / 'tokenizer.model').write_bytes(b'')
  made = study.jobs(config(countdown=f'{tmp_path}/q{{seed}}:reward'), tmp_path / 'out', 2)
  ended(places[0], 'reward')
  with pytest.raises(ConfigError, match='countdown, seed-1: evaluate has nothing to measure'):
    study.check(made)
  ended(places[1], 'reward')
  study.check(made)
  (wrong,) = study.jobs(config(countdown=f'{places[1]}:rewrad'), tmp_path / 'out', 1)
  with pytest.raises(ConfigError, match="countdown, seed-1: .*'rewrad', which is no stage"):
    study.check([made[0], wrong])


def measured(job, rates):
  """Leaves what the run of a job would have found."""
  right = np.random.default_rng(job.config.seed).binomial(SAMPLES, rates) / SAMPLES
  found = [measure('first', 64, right, rate=right, seed=job.config.seed)]
  told = evidence(dict(chains=(('first',), False)), found, samples=SAMPLES)
  job.workdir.mkdir(parents=True)
  (job.workdir / 'config.json').write_text(config_to_json(job.config))
  append_results(job.workdir / 'results.csv', [found[0].row])
  append_problems(job.workdir / FILE, [told.table])


def test_what_the_runs_found_is_merged_judged_and_written(tmp_path):
  for seed in range(2):
    trained(tmp_path / f'q{seed}', seed)
  found = config('coverage', '', countdown=f'{tmp_path}/q{{seed}}:reward')
  made = study.jobs(found, tmp_path / 'out', 2)
  for job in made:
    measured(job, drawn(0.5, 2.0))
  (one,) = study.judged(found, made)
  assert len(one.together.rows) == 2 and study.overall(found, [one]) == one.verdict.verdict
  about = About('coverage', found.claim, 'a <b>', found.criterion, 'python -m x')
  runs = [('seed-0', 0, dict(device_count=2, device_kind='cpu', git_revision='abcdefghi'))]
  cells = ('1.1e8', '+3.1 [1.0, 5.2] against majority vote'), ('2.0e8', '–')
  verdict = one.verdict._replace(grids=(Grid('t', ('FLOPs', 'lead'), cells),))
  part = Part('countdown', verdict, one.together.rows, one.together.table, runs)
  path = write_study(tmp_path / 'out', about, HOLDS, [part])
  text = path.read_text()
  for told in (found.claim, found.criterion, 'a &lt;b&gt;', 'abcdefg', '2 cpu', 'python -m x'):
    assert told in text
  # A column stands as its cells do: words to the left, numbers to the right.
  assert '<td class="">1.1e8</td><td class="word">+3.1' in text
  assert '<td class="word">–</td>' in text
  assert 'href="seed-0/problems.csv.gz"' in text and text.count('<svg') == 1
  assert '"verdict": "holds"' in (tmp_path / 'out' / NUMBERS).read_text()
  assert study_text(about, HOLDS, [part]).endswith('verdict: holds')
  # All solutions are paid for, not those of a readout alone.
  assert total(one.together.table, 0, 'tokens') == pytest.approx(2000 * 64 * SAMPLES / 64)


def test_a_judge_that_cannot_work_says_of_which_start(tmp_path):
  place = trained(tmp_path / 'q0')
  found = config('coverage', '', countdown=f'{place}:reward').unlock()
  made = study.jobs(found, tmp_path / 'out', 1)
  measured(made[0], drawn(0.5, 2.0))
  found.judge.most = 5000
  with pytest.raises(ConfigError, match='countdown: a problem has 1024 samples'):
    study.judged(found, made)


@pytest.mark.parametrize(
  'verdicts, starts, needed, expected',
  [
    ((HOLDS, HOLDS), 2, 0, HOLDS),
    ((HOLDS, UNDECIDED), 2, 0, UNDECIDED),
    ((HOLDS, FAILS), 2, 0, FAILS),
    ((HOLDS, FAILS, HOLDS), 3, 2, HOLDS),
    ((HOLDS,), 3, 2, UNDECIDED),
    ((FAILS, FAILS), 3, 2, FAILS),
    ((FAILS,), 3, 2, UNDECIDED),
  ],
)
def test_the_verdict_over_starts_counts_those_not_given_as_open(verdicts, starts, needed, expected):
  found = [study.Judged('', None, None, Verdict(verdict, '')) for verdict in verdicts]
  told = ConfigDict(dict(judge=dict(starts=needed), starts={f'{i}': '' for i in range(starts)}))
  assert study.overall(told, found) == expected


def test_every_claim_has_a_study():
  assert {config(name).judge.name for name in NAMES} == set(CLAIMS)
