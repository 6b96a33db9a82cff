"""The rows of studies that are kept here have the verdicts that their page says."""

import pathlib

import pytest

from configs.studies import budget, coverage, difficulty, guided, verifier
from o1jax.recipes import study
from o1jax.recipes.settings import complete
from o1jax.runtime.workdir import load_config
from tests.marks import some

ROWS = pathlib.Path(__file__).parents[2] / 'experiments' / 'rows'
STUDIES = dict(
  budget=budget, coverage=coverage, difficulty=difficulty, guided=guided, verifier=verifier
)


def told():
  """(study, start, seeds, verdict) of each line of the table."""
  lines = (ROWS / 'README.md').read_text(encoding='utf-8').splitlines()
  cells = [[x.strip() for x in line.strip('|').split('|')] for line in lines if line[:1] == '|']
  return [(name, start, int(seeds), verdict) for name, start, seeds, verdict, *_ in cells[2:]]


def test_each_folder_is_told():
  assert sorted(f'{name}/{start}' for name, start, *_ in told()) == sorted(
    path.relative_to(ROWS).as_posix() for path in ROWS.glob('*/*')
  )


@pytest.mark.parametrize('name, start, seeds, verdict', some(told(), told()[0]))
def test_the_rows_have_the_verdict_that_is_told(name, start, seeds, verdict):
  folders = sorted((ROWS / name / start).iterdir())
  assert len(folders) == seeds
  jobs = [study.Job(start, folder, complete(load_config(folder))) for folder in folders]
  (found,) = study.judged(study.completed(STUDIES[name].get_config()), jobs)
  assert found.verdict.verdict == verdict
  assert len(set(found.together.table['problem'])) == 512
