"""Answers questions with a trained run.

  python -m experiments.solve --workdir=runs/quickstart "make 24 from 2 3 4" [--tokens=1500]
  [--show=answer|steps|tree]
  python -m experiments.solve --workdir=runs/quickstart --interactive

It shows the answer, a summary of the thinking and what it cost; `--show=steps` the steps that led
to the answer, and `--show=tree` all that was searched. With `--interactive` it takes one question a
line, from a terminal or a pipe.
"""

import functools
import sys
import warnings
from collections.abc import Iterator

from absl import app, flags, logging

from experiments.cache import open_cache
from o1jax.recipes.answers import HINT, SHOWN, converse, open_solver, read_question, task_of
from o1jax.recipes.run import config_of
from o1jax.runtime.checkpoint import quiet_orbax
from o1jax.runtime.config import ConfigError
from o1jax.runtime.mesh import prepare_cpu
from o1jax.runtime.storage import StorageError
from o1jax.search import SEARCHES
from o1jax.verify.host import VerifierError

_WORKDIR = flags.DEFINE_string('workdir', None, 'folder of a run')
_TOKENS = flags.DEFINE_integer(
  'tokens', 0, 'to sample for a question; 0 = as the config says', lower_bound=0
)
_UNITS = flags.DEFINE_integer(
  'units', 0, 'simulations, beams or chains, in place of tokens', lower_bound=0
)
_METHOD = flags.DEFINE_enum(
  'method', None, list(SEARCHES), 'of search; by default that of the config'
)
_POLICY = flags.DEFINE_string(
  'policy', None, 'a name in config.evaluate.policies; by default learned, or initialised before'
)
_SHOW = flags.DEFINE_enum('show', 'answer', SHOWN, 'how much of the thinking')
_INTERACTIVE = flags.DEFINE_bool('interactive', False, 'take one question a line until told to end')


def _typed() -> Iterator[str]:
  """Lines as a person types them, behind a prompt where it is a terminal."""
  terminal = sys.stdin.isatty()
  if terminal:
    import readline  # noqa: F401  so that `input` knows the arrow keys
  else:
    sys.stdin.reconfigure(errors='replace')
  while True:
    try:
      yield input('> ' if terminal else '')
    except (EOFError, KeyboardInterrupt):
      if terminal:
        print()
      return


def main(argv):
  if len(argv) != 2 - _INTERACTIVE.value:
    wanted = 'no question with --interactive' if _INTERACTIVE.value else 'one question, in quotes'
    app.usage(shorthelp=True, detailed_error=f'give {wanted}', exitcode=2)
  if _TOKENS.value and _UNITS.value:
    app.usage(shorthelp=True, detailed_error='give --tokens or --units, not both', exitcode=2)
  warnings.filterwarnings('ignore', module='orbax')
  logging.set_verbosity(logging.WARNING)
  quiet_orbax()
  try:
    config = config_of(_WORKDIR.value)
    task = task_of(config)
    # A question is read before anything is built.
    read = functools.partial(read_question, task)
    problem = None if _INTERACTIVE.value else read(argv[1])
    prepare_cpu(host_calls=config.verifier.where == 'host')
    open_cache()
    solver = open_solver(
      _WORKDIR.value,
      policy=_POLICY.value,
      method=_METHOD.value,
      tokens=_TOKENS.value,
      units=_UNITS.value,
    )
    try:
      if problem:
        print(solver(problem, show=_SHOW.value))
        return
      print(HINT, file=sys.stderr)
      converse(
        _typed(),
        lambda question, show: solver(read(question), show=show),
        show=_SHOW.value,
        say=functools.partial(print, flush=True),
        complain=functools.partial(print, file=sys.stderr, flush=True),
      )
    finally:
      solver.run.programs.close()
  except (ConfigError, StorageError, VerifierError) as error:
    sys.exit(f'error: {error}')


if __name__ == '__main__':
  flags.mark_flags_as_required(['workdir'])
  app.run(main)
