"""Answers one question with a trained run.

  python -m experiments.solve --workdir=runs/quickstart "make 26 from 3 5 7" [--budget=64]
  [--show=answer|steps|tree]

It shows the answer, a summary of the thinking and what it cost; `--show=steps` the steps that led
to the answer, and `--show=tree` all that was searched.
"""

import sys
import warnings

from absl import app, flags, logging

from o1jax.data.pipeline import encode_problems
from o1jax.evaluation.tree_view import DrawnNode, tree_text
from o1jax.recipes.build import POLICIES
from o1jax.recipes.measure import load_run, picture, search_one
from o1jax.recipes.run import Run
from o1jax.runtime.checkpoint import quiet_orbax
from o1jax.runtime.config import ConfigError, require
from o1jax.runtime.mesh import prepare_cpu
from o1jax.runtime.storage import StorageError
from o1jax.runtime.workdir import load_config
from o1jax.search import SEARCHES
from o1jax.text.steps import TAGS
from o1jax.verify.host import VerifierError

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
_SHOW = flags.DEFINE_enum('show', 'answer', ('answer', 'steps', 'tree'), 'how much of the thinking')


def solve(run: Run, question: str) -> str:
  """What there is to say of a question, as text.

  Raises:
    ConfigError: the question, or a flag, does not fit the run; or it has no policy yet.
  """
  e, section = run.experiment, run.experiment.config.evaluate
  require(e.task.ask is not None, f'the task {e.task.name!r} takes no questions')
  try:
    problem = e.task.ask(question)
    prompt, reference = encode_problems(
      e.tokenizer, [problem], prompt_length=e.config.shapes.prompt_length
    )
  except ValueError as error:
    raise ConfigError(str(error)) from None
  made = [name for name in ('initialised', 'learned') if run.made(POLICIES[name])]
  policy = _POLICY.value or (made[-1] if made else None)
  require(
    policy is not None and run.made(POLICIES[policy]),
    f'{run.workdir} has no {policy or "policy"} to ask: run the job first',
  )
  method, budget = _METHOD.value or section.search.method, _BUDGET.value or section.search.budget
  params = run.params(POLICIES[policy])
  verdicts = search_one(run, params, prompt, reference, method=method, budget=budget)
  found = picture(run, verdicts.trees, verdicts.chosen, prompt, 0)
  thought = [node for node in found.nodes if node.chosen and node.parent >= 0]
  known = bool(problem.text or problem.numbers)
  verdict = _verdict(found.correct, known) if found.answer else ''
  answer = found.answer or 'none found'
  below = '\n' if '\n' in answer else ''
  lines = [f'{found.prompt}\n', f'answer: {below}{answer}{verdict}']
  lines += {
    'answer': [_summary(thought)],
    'steps': _steps(thought),
    'tree': ['', tree_text(found.nodes)],
  }[_SHOW.value]
  unit = SEARCHES[method].unit
  lines.append(
    f'\nspent: {budget} {unit} ({method}, {policy} policy), {int(verdicts.tokens[0]):,} tokens, '
    f'{float(verdicts.flops[0]):.2g} FLOPs, {verdicts.seconds:.2g} s'
  )
  return '\n'.join(lines)


def _verdict(correct, known):
  return f' ({"right" if correct else "wrong"}, by the verifier)' if known else ' (not verified)'


def _summary(thought: list[DrawnNode]) -> str:
  if not thought:
    return 'no solution was finished: raise --budget'
  kinds = [
    next((name for name, tag in TAGS.items() if node.text.startswith(tag)), '') for node in thought
  ]
  told = [f'{kinds.count(kind)} {kind}' for kind in TAGS if kind in kinds]
  behind = f' ({", ".join(told)})' if told else ''
  return f'thought for {len(thought)} steps{behind}; the critic gives it {thought[-1].value:.0%}'


def _steps(thought: list[DrawnNode]) -> list[str]:
  return (
    ['', *(f'{node.value:5.0%}  {node.text.rstrip()}' for node in thought)]
    if thought
    else [_summary(thought)]
  )


def main(argv):
  if len(argv) != 2:
    app.usage(shorthelp=True, detailed_error='give one question, in quotes', exitcode=2)
  warnings.filterwarnings('ignore', module='orbax')
  logging.set_verbosity(logging.WARNING)
  quiet_orbax()
  try:
    prepare_cpu(host_calls=load_config(_WORKDIR.value).verifier.where == 'host')
    run = load_run(_WORKDIR.value)
    try:
      print(solve(run, argv[1]))
    finally:
      run.programs.close()
  except (ConfigError, StorageError, VerifierError) as error:
    sys.exit(f'error: {error}')


if __name__ == '__main__':
  flags.mark_flags_as_required(['workdir'])
  app.run(main)
