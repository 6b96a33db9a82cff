r"""A study: one command measures what a claim needs, judges it by a criterion that was written
before, and writes a page.

  python -m experiments.study --config=configs/studies/coverage.py --workdir=runs/coverage \
    --config.starts.countdown='runs/seed-{seed}:reward' --seeds=3

A study branches from trained runs and trains nothing. Each seed is an ordinary run in
WORKDIR/START/seed-N, which the same command again goes on with. The page is WORKDIR/index.html.
"""

import contextlib
import json
import os
import pathlib
import shlex
import sys
import time

from absl import app, flags

from experiments import job
from experiments.door import ConfigFlag
from o1jax.evaluation.study_page import About, Part, study_text, write_study
from o1jax.recipes import study
from o1jax.runtime.config import ConfigError

_CONFIG = ConfigFlag('the study', study.completed)
_WORKDIR = flags.DEFINE_string('workdir', None, 'folder of the study; made if need be')
_SEEDS = flags.DEFINE_integer('seeds', 1, 'how many trained runs, from seed 0', lower_bound=1)
flags.mark_flags_as_required(['config', 'workdir'])
parse_flags = _CONFIG.parse


def main(argv):
  if len(argv) > 1:
    app.usage(
      shorthelp=True, detailed_error=f'unexpected arguments: {" ".join(argv[1:])}', exitcode=2
    )
  try:
    jobs = study.jobs(_CONFIG.value, _WORKDIR.value, _SEEDS.value)
    study.check(jobs)
  except ConfigError as error:
    sys.exit(f'error: {error}')
  host = any(one.config.verifier.where == 'host' for one in jobs)
  with job.working(_WORKDIR.value, host_calls=host):
    began = time.monotonic()
    for one in jobs:
      # The report of a run is of its folder. What a study finds is printed at the end.
      with contextlib.redirect_stdout(sys.stderr):
        job.run(one.config, str(one.workdir))
    job.say(f'all runs: {time.monotonic() - began:.0f} s')
    _tell(jobs)


def _tell(jobs):
  """Judges, prints and writes the page."""
  config, out = _CONFIG.value, pathlib.Path(_WORKDIR.value).expanduser()
  found = study.judged(config, jobs)
  command = shlex.join(['python', '-m', 'experiments.study', *sys.argv[1:]])
  name = pathlib.Path(flags.FLAGS.config.partition(':')[0]).stem
  about = About(name, config.claim, config.source, config.criterion, command)
  parts = []
  for one in found:
    mine = [each for each in jobs if each.start == one.start]
    runs = [(os.path.relpath(m.workdir, out), m.config.seed, _versions(m.workdir)) for m in mine]
    parts.append(Part(one.start, one.verdict, one.together.rows, one.together.table, runs))
  verdict = study.overall(config, found)
  page = write_study(out, about, verdict, parts)
  print(study_text(about, verdict, parts))
  print(f'\npage: {page}')


def _versions(workdir):
  return json.loads((workdir / 'versions.json').read_text())[-1]


if __name__ == '__main__':
  app.run(main, flags_parser=parse_flags)
