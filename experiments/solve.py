"""Answers questions with a trained run.

  python -m experiments.solve --workdir=runs/quickstart "make 26 from 3 5 7" [--budget=64]
  [--show=answer|steps|tree]
  python -m experiments.solve --workdir=runs/quickstart --interactive

It shows the answer, a summary of the thinking and what it cost; `--show=steps` the steps that led
to the answer, and `--show=tree` all that was searched. With `--interactive` it takes one question a
line, from a terminal or a pipe.
"""

import functools
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax.numpy as jnp
from absl import app, flags, logging

from experiments.cache import open_cache
from o1jax.data.pipeline import encode_problems
from o1jax.evaluation.tree_view import DrawnNode, tree_text
from o1jax.recipes.build import POLICIES
from o1jax.recipes.experiment import build_task
from o1jax.recipes.measure import Picture, load_run, picture, search_one
from o1jax.recipes.run import Run, config_of
from o1jax.runtime.checkpoint import quiet_orbax
from o1jax.runtime.config import ConfigError, require
from o1jax.runtime.mesh import prepare_cpu
from o1jax.runtime.storage import StorageError
from o1jax.search import SEARCHES
from o1jax.text.steps import TAGS
from o1jax.types import Params, Problem, Prompt, Reference, Task
from o1jax.verify.host import VerifierError

SHOWN = ('answer', 'steps', 'tree')
QUIT = ('quit', 'exit', ':quit', ':q')
HINT = (
  f'one question a line; {", ".join(f":{name}" for name in SHOWN)} say what is shown; quit or '
  'Ctrl-D ends'
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'folder of a run')
_BUDGET = flags.DEFINE_integer(
  'budget', 0, 'simulations or samples; 0 = those of the config', lower_bound=0
)
_METHOD = flags.DEFINE_enum(
  'method', None, list(SEARCHES), 'of search; by default that of the config'
)
_POLICY = flags.DEFINE_enum(
  'policy', None, list(POLICIES), 'by default the last one that the run has made'
)
_SHOW = flags.DEFINE_enum('show', 'answer', SHOWN, 'how much of the thinking')
_INTERACTIVE = flags.DEFINE_bool('interactive', False, 'take one question a line until told to end')


class Solver(NamedTuple):
  """A policy of a run and the search by which it answers."""

  run: Run
  policy: str
  params: Params
  method: str
  budget: int

  def __call__(self, problem: Problem, *, show: str) -> str:
    """What there is to say of a problem, as text. ConfigError where it is too long for the run."""
    prompt, reference = _encode(self.run, problem)
    verdicts = search_one(
      self.run, self.params, prompt, reference, method=self.method, budget=self.budget
    )
    found = picture(self.run, verdicts.trees, verdicts.chosen, prompt, 0)
    thought = [node for node in found.nodes if node.chosen and node.parent >= 0]
    lines = [found.prompt, *([f'note: {problem.note}'] if problem.note else []), '']
    judged = bool(thought) and thought[-1].correct is not None
    lines.append(_answer(found, known=judged and bool(problem.text or problem.numbers)))
    if show == 'tree':
      lines += [*([] if thought else [_summary(found, thought)]), '', tree_text(found.nodes)]
    else:
      lines += _steps(thought) if show == 'steps' and thought else [_summary(found, thought)]
    unit = SEARCHES[self.method].unit
    lines.append(
      f'\nspent: {self.budget} {unit} ({self.method}, {self.policy} policy), '
      f'{int(verdicts.tokens[0]):,} tokens, {float(verdicts.flops[0]):.2g} FLOPs, '
      f'{float(verdicts.seconds[0]):.2g} s'
    )
    return '\n'.join(lines)


def read_question(task: Task, question: str) -> Problem:
  """What a person asks, as a problem of the task. ConfigError where the task cannot take it."""
  require(task.ask is not None, f'the task {task.name!r} takes no questions')
  try:
    question.encode()
  except UnicodeEncodeError:
    raise ConfigError('the question is no UTF-8 text: ask another, or set the locale') from None
  try:
    return task.ask(question)
  except ValueError as error:
    raise ConfigError(str(error)) from None


def open_solver(workdir: str) -> Solver:
  """The policy and search that the flags ask for, of the run in a workdir.

  Raises:
    ConfigError: a flag does not fit the run, or it has no policy yet.
  """
  run = load_run(workdir)
  made = [name for name in ('initialised', 'learned') if run.made(POLICIES[name])]
  policy = _POLICY.value or (made[-1] if made else None)
  require(
    policy is not None and run.made(POLICIES[policy]),
    f'{run.workdir} has no {policy or "policy"} to ask: run the job first',
  )
  search = run.experiment.config.evaluate.search
  return Solver(
    run,
    policy,
    run.params(POLICIES[policy]),
    _METHOD.value or search.method,
    _BUDGET.value or search.budget,
  )


def converse(
  lines: Iterator[str], answer: Callable[..., str], *, show: str, say=print, complain=print
) -> None:
  """Answers a question a line until the lines end or say so.

  Args:
    lines: what a person types.
    answer: (question, show) -> text. A ConfigError of it is told, and the next line is read.
    show: what is shown at first; a line such as ':tree' changes it.
    say: takes each answer.
    complain: takes each error.
  """
  for line in lines:
    word = line.strip()
    if word.lower() in QUIT:
      return
    if word[:1] == ':':
      if word[1:] in SHOWN:
        show = word[1:]
      else:
        complain(f'error: {word!r:.60} is no command: {HINT}')
    elif word:
      try:
        say(answer(line, show=show) + '\n')
      except ConfigError as error:
        complain(f'error: {error}')


def _encode(run: Run, problem: Problem) -> tuple[Prompt, Reference]:
  """The problem as arrays. References differ in width by steps of 64 bytes, so that other questions
  need no other program."""
  e, room = run.experiment, run.experiment.config.shapes.prompt_length
  (tokens,) = e.tokenizer.encode_prompts([problem.prompt])
  require(
    len(tokens) <= room,
    f'the question takes {len(tokens)} tokens, and this run reads up to {room}: ask a shorter one',
  )
  try:
    prompt, reference = encode_problems(e.tokenizer, [problem], prompt_length=room)
  except ValueError as error:
    raise ConfigError(str(error)) from None
  wider = -reference.text.shape[1] % 64
  return prompt, reference.replace(text=jnp.pad(reference.text, ((0, 0), (0, wider))))


def _answer(found: Picture, *, known: bool) -> str:
  if not found.answer:
    return 'answer: none found'
  verdict = 'not verified'
  if known:
    verdict = f'{"right" if found.correct else "wrong"}, by the verifier'
  below = '\n' if '\n' in found.answer else ''
  return f'answer: {below}{found.answer} ({verdict})'


def _summary(found: Picture, thought: list[DrawnNode]) -> str:
  if not thought:
    ended = sum(node.terminal for node in found.nodes)
    if ended:
      return f'no answer in {ended} solution{"s" * (ended > 1)} that ended: raise --budget'
    return 'no solution was finished: raise --budget'
  kinds = [
    next((name for name, tag in TAGS.items() if node.text.startswith(tag)), '') for node in thought
  ]
  told = [f'{kinds.count(kind)} {kind}' for kind in TAGS if kind in kinds]
  behind = f' ({", ".join(told)})' if told else ''
  return f'thought for {len(thought)} steps{behind}; the critic gives it {thought[-1].value:.0%}'


def _steps(thought: list[DrawnNode]) -> list[str]:
  return ['', *(f'{node.value:5.0%}  {node.text.rstrip()}' for node in thought)]


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
  warnings.filterwarnings('ignore', module='orbax')
  logging.set_verbosity(logging.WARNING)
  quiet_orbax()
  try:
    config = config_of(_WORKDIR.value)
    task = build_task(config)
    # A question is read before anything is built.
    read = functools.partial(read_question, task)
    problem = None if _INTERACTIVE.value else read(argv[1])
    prepare_cpu(host_calls=config.verifier.where == 'host')
    open_cache()
    solver = open_solver(_WORKDIR.value)
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
