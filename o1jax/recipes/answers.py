"""Answers of a run to questions of people: read, searched, and told."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax.numpy as jnp

from o1jax.data.pipeline import encode_problems
from o1jax.evaluation.tree_view import DrawnNode, tree_text
from o1jax.recipes import spending
from o1jax.recipes.experiment import build_task
from o1jax.recipes.looking import Picture, load_run, picture, search_one
from o1jax.recipes.run import Run
from o1jax.recipes.said import check_said
from o1jax.recipes.searches import Row, check_method, row_of, row_of_method
from o1jax.runtime.config import ConfigDict, ConfigError, require
from o1jax.search import SEARCHES
from o1jax.text.steps import TAGS
from o1jax.types import Params, Problem, Prompt, Reference, Task

SHOWN = ('answer', 'steps', 'tree')
QUIT = ('quit', 'exit', ':quit', ':q')
HINT = (
  f'one question a line; {", ".join(f":{name}" for name in SHOWN)} say what is shown; quit or '
  'Ctrl-D ends'
)

LEGEND = (
  'visits: simulations through a step; q: their mean return; critic: P(right) seen at the step;\n'
  '✓ ✗: the verdict'
)
CHOSEN = '●: the path of the answer'


class Solver(NamedTuple):
  """A policy of a run and the search by which it answers."""

  run: Run
  policy: str
  params: Params
  row: Row
  units: int
  asked: int = 0  # tokens on average that the units were found for; 0 = asked in units

  def __call__(self, problem: Problem, *, show: str) -> str:
    """What there is to say of a problem, as text. ConfigError where it is too long for the run."""
    prompt, reference = _encode(self.run, problem)
    verdicts = search_one(self.run, self.params, prompt, reference, row=self.row, units=self.units)
    found = picture(self.run, verdicts.trees, verdicts.chosen, prompt, 0)
    thought = [node for node in found.nodes if node.chosen and node.parent >= 0]
    lines = [found.prompt, *([f'note: {problem.note}'] if problem.note else []), '']
    judged = bool(thought) and thought[-1].correct is not None
    lines.append(_answer(found, known=judged and bool(problem.text or problem.numbers)))
    if show == 'tree':
      lines += [] if thought else [_summary(found, thought)]
      lines += ['', tree_text(found.nodes), '', LEGEND, *([CHOSEN] if thought else [])]
    else:
      lines += _steps(thought) if show == 'steps' and thought else [_summary(found, thought)]
    asked = f' (asked: {self.asked:,} on average)' if self.asked else ''
    lines.append(
      f'\nspent: {self.units} {SEARCHES[self.row.method].unit} ({self.row.method}, {self.policy} '
      f'policy), '
      f'{int(verdicts.tokens[0]):,} tokens{asked}, {float(verdicts.flops[0]):.2g} FLOPs, '
      f'{float(verdicts.seconds[0]):.2g} s'
    )
    return '\n'.join(lines)


def task_of(config: ConfigDict) -> Task:
  """The task of a run. ConfigError where it cannot be made, for want of a package too."""
  try:
    return build_task(config)
  except (ValueError, ImportError) as error:
    raise ConfigError(str(error)) from None


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


def open_solver(
  workdir: str,
  *,
  policy: str | None = None,
  method: str | None = None,
  tokens: int = 0,
  units: int = 0,
) -> Solver:
  """A policy of the run in a workdir with a search that spends these tokens or units a question.

  Args:
    workdir: of the run.
    policy: by default the last one that the run has made.
    method: of search; by default that of the config's `answer`.
    tokens: become units by what the run has measured; 0 = not asked.
    units: of the method; 0 = not asked. Without either it is what the config asks.

  Raises:
    ConfigError: the run has no such policy yet, or has not measured what the method spends.
  """
  run = load_run(workdir)
  made = run.policies()
  policy = policy or next((name for name in ('learned', *made) if name in made), None)
  known = ', '.join(run.experiment.config.evaluate.policies)
  wanted = f'policy {policy!r}' if policy else 'policy'
  way = f'choose from {", ".join(made)}, or ' if made else ''
  require(
    policy in made, f'{run.workdir} has no {wanted} to ask, of {known}: {way}run the job first'
  )
  config, spent = run.experiment.config, spending.read_spending(run)
  default = row_of(config, config.evaluate.answer.search)
  row = row_of_method(config, method) if method else default
  check_said(run.experiment, row.method, dict(row.settings), f'the search {row.method}')
  if tokens:
    units = spending.units_measured(spent, policy, row, tokens)
    require(
      units is not None,
      f'{run.workdir} has not measured what {row.method} spends, so --tokens={tokens} cannot be '
      f'told in {SEARCHES[row.method].unit}: give --units, or run its stage evaluate with a row of '
      'config.evaluate.searches of this method that a policy names',
    )
  asked = tokens or (0 if units else int(config.evaluate.answer.tokens))
  units = units or _units(run, policy, row, default, spent)
  said = ConfigDict(dict(row.settings) | dict(method=row.method))
  check_method(said, config, units, f'the search {row.method}')
  return Solver(run, policy, run.params(made[policy]), row, units, asked)


def _units(run, policy, row, default, spent):
  """What is spent where a person does not say: what the config asks, or as many tokens by another
  method."""
  asked, e = run.experiment.config.evaluate.answer, run.experiment
  if row == default:
    return spending.answer_units(run, row, policy, spent)
  tokens = asked.tokens or spending.tokens_expected(e, default, asked.units)
  measured = spending.units_measured(spent, policy, row, tokens)
  return measured or spending.units_expected(e, row, tokens)


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
      return f'no answer in {ended} solution{"s" * (ended > 1)} that ended: give more --tokens'
    return 'no solution was finished: give more --tokens'
  kinds = [
    next((name for name, tag in TAGS.items() if node.text.startswith(tag)), '') for node in thought
  ]
  told = [f'{kinds.count(kind)} {kind}' for kind in TAGS if kind in kinds]
  behind = f' ({", ".join(told)})' if told else ''
  return f'thought for {len(thought)} steps{behind}; the critic gives it {thought[-1].value:.0%}'


def _steps(thought: list[DrawnNode]) -> list[str]:
  return ['', *(f'{node.value:5.0%}  {node.text.rstrip()}' for node in thought)]
