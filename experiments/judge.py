"""Judges a run's critic by labelled steps: does it see which step of a solution is wrong?

  python -m experiments.judge planted --workdir=runs/quickstart
  python -m experiments.judge gsm8k.json --workdir=runs/gsm8k --format=processbench

It prints, by the number of the step, how well the critic's scores tell right steps from wrong ones
(AUC) and whether they can be believed (calibration error), and how often the first step that it
takes for wrong is the first wrong one (F1 as ProcessBench has it, arXiv:2412.06559). `planted`
stands for solutions of the run's own test problems, in every second of which one step was made
wrong. Those of a file must be of the task that the run's tokenizer knows. The numbers go to
report/data/judge.json of the run, or to `--out`.
"""

import json
import math
import pathlib
import sys
import warnings

from absl import app, flags, logging

from experiments.cache import open_cache
from o1jax.data import LABELS
from o1jax.evaluation.judging import report_text, summary
from o1jax.recipes.judging import keep, open_judge, read_labels, score
from o1jax.runtime.checkpoint import quiet_orbax
from o1jax.runtime.config import ConfigError, require
from o1jax.runtime.mesh import prepare_cpu
from o1jax.runtime.storage import StorageError, writing
from o1jax.runtime.workdir import write_atomic

_FILES = [name for name, row in LABELS.items() if not row.made]
_MADE = [name for name, row in LABELS.items() if row.made]

_WORKDIR = flags.DEFINE_string('workdir', None, 'folder of a run')
_FORMAT = flags.DEFINE_enum('format', None, _FILES, f'of the file; by default {_FILES[0]}')
_POLICY = flags.DEFINE_string(
  'policy', None, 'a name in config.evaluate.policies; by default learned, or initialised before'
)
_THRESHOLD = flags.DEFINE_float(
  'threshold',
  None,
  'below it a step counts as wrong; by default the best on half of the prompts, which are then '
  'left out',
  lower_bound=0,
  upper_bound=1,
)
_MOST = flags.DEFINE_integer('most', 0, 'judge the first so many solutions; 0 = all', lower_bound=0)
_SKIP_BAD = flags.DEFINE_bool('skip_bad', False, 'count malformed records instead of refusing them')
_OUT = flags.DEFINE_string('out', None, 'JSON file for the numbers, in place of the run')


def judge(asked: str) -> None:
  """Prints and keeps what the critic's scores of a file, or of what a made source gives, are
  worth."""
  made = asked in _MADE
  source = asked if made else _FORMAT.value or _FILES[0]
  _require_free(_OUT.value)
  one = open_judge(_WORKDIR.value, policy=_POLICY.value)
  e = one.run.experiment
  solutions = read_labels(
    e,
    source,
    '' if made else asked,
    problems=lambda: e.data.test_problems,
    most=_MOST.value,
    skip_bad=_SKIP_BAD.value,
  )
  scored, left_out = score(e, one.params, solutions)
  found = dict(source=pathlib.Path(asked).name, file=asked, format=source)
  found |= dict(policy=one.policy, stage=one.stage)
  found |= dict(left_out=left_out) | summary(scored, threshold=_THRESHOLD.value)
  print(f'{found["source"]} by the critic of {one.policy} (stage {one.stage})')
  print(report_text(found))
  if left_out:
    print(
      f'{left_out:,} solutions are left out: they take more than a row of '
      f'{e.config.shapes.row_length} tokens'
    )
  if _OUT.value:
    path = pathlib.Path(_OUT.value).expanduser()
    with writing(path):
      write_atomic(path, json.dumps(found))
  else:
    path = keep(one.run, found)
  print(f'numbers: {path}')


def _require_free(out: str | None) -> None:
  """Refuses to write the numbers over a file that holds something else."""
  path = pathlib.Path(out).expanduser() if out else None
  if path and path.exists():
    try:
      known = json.loads(path.read_text())
    except (OSError, ValueError):
      known = None
    require(
      isinstance(known, dict) and {'source', 'policy', 'stage'} <= known.keys(),
      f'--out={out} is there and holds no numbers of a judge: give another file',
    )


def main(argv):
  if len(argv) != 2:
    sys.exit(f'error: {len(argv) - 1} files: give one, or {" or ".join(_MADE)}')
  if _THRESHOLD.value is not None and math.isnan(_THRESHOLD.value):
    sys.exit('error: --threshold=nan: give a number in [0, 1]')
  if argv[1] in _MADE and _FORMAT.value:
    sys.exit(f'error: {argv[1]} is no file: drop --format={_FORMAT.value}')
  warnings.filterwarnings('ignore', module='orbax')
  logging.set_verbosity(logging.WARNING)
  quiet_orbax()
  try:
    prepare_cpu()
    open_cache()
    judge(argv[1])
  except (ConfigError, StorageError) as error:
    sys.exit(f'error: {error}')


if __name__ == '__main__':
  flags.mark_flags_as_required(['workdir'])
  app.run(main)
