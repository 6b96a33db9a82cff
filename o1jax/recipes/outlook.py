"""What a job is about to do, in two lines: told before it begins, so that nobody has to guess."""

import math
import time
from collections.abc import Sequence

import jax

from o1jax.model.compute import token_flops
from o1jax.recipes.build import abstract_params
from o1jax.recipes.experiment import Experiment
from o1jax.recipes.searches import Row, rows_of, tokens_of_a_step
from o1jax.recipes.spending import tokens_expected
from o1jax.runtime.config import ConfigDict
from o1jax.search import SEARCHES

# The quickstart's 25 TFLOPs took 8 minutes, compiling left out, on 2 cores that reach 300 GFLOP/s.
_REACHED = 0.18


def setting(config: ConfigDict, workdir: str) -> str:
  """Where a job runs, what it works on and which stages it is asked for. Needs no data."""
  device = jax.devices()[0]
  count = jax.device_count()
  return (
    f'{config.task.name} in {workdir}: {", ".join(config.stages)}; on {count} '
    f'device{"s" * (count > 1)} ({device.device_kind}), jax {jax.__version__}'
  )


def outlook(experiment: Experiment, due: Sequence[str]) -> str:
  """The size of the model and the data, and the work of the stages that are due."""
  data, params = experiment.data, abstract_params(experiment)
  count = sum(math.prod(x.shape) for x in jax.tree.leaves(params))
  sizes = [
    (len(data.instruction.length), 'rows of demonstrations'),
    (len(data.texts), 'texts'),
    (len(data.pool[0].length), 'problems to learn from'),
    (len(data.test[0].length), 'to be tested on'),
  ]
  told = ', '.join(f'{size:,} {words}' for size, words in sizes if size)
  work = sum(flops(experiment, stage) for stage in due)
  lines = f'{count:,} parameters; {told}; roughly {work:.1g} FLOPs to do'
  if jax.default_backend() != 'cpu':
    return lines
  minutes = seconds(work) / 60
  took = f'{minutes:.0f} min' if minutes >= 1 else 'less than a minute'
  return f'{lines}, {took} at the speed of this machine now, and compiling'


def flops(experiment: Experiment, stage: str) -> float:
  """About as many FLOPs as a stage takes, from its settings alone; 0 for one that reports."""
  config, shapes = experiment.config, experiment.config.shapes
  model = experiment.model.config
  steps = tokens_of_a_step(experiment)
  if stage == 'initialise':
    tokens = sum(config[name].updates * config[name].batch for name in ('pretrain', 'instruct'))
    return 3 * tokens * shapes.row_length * _token(model, shapes.row_length, critic=False)
  if stage == 'evaluate':
    policies = config.evaluate.policies
    solution = steps * shapes.max_steps / 2
    spent = len(policies) * solution  # one greedy solution each
    spent += sum(_spent(experiment, row) for name in policies for row in rows_of(config, name))
    asked = (experiment.data.asked(split) for split in config.evaluate.splits)
    problems = sum(len(one.problems) for one in asked)
    return problems * spent * _token(model, shapes.max_steps * steps)
  section = config.get(stage, {})
  if 'search' in section:
    search, method = section.search, SEARCHES[section.search.method]
    grown = method.steps(
      search.units,
      candidates=search.get('candidates', 1),
      max_steps=shapes.max_steps / 2,
      **method.own(search),
    )
    solved = section.updates * section.batch * grown * steps
    length = shapes.max_steps * steps
    policy, both = (_token(model, length, critic=critic) for critic in (False, True))
    # Chains are sampled without the critic, and what does not learn is not asked.
    of_role = dict(policy=policy, critic=both - policy)
    learned = 3 * sum(of_role[role] for role in section.learns)
    if not model.own_critic and 'policy' not in section.learns:
      learned += policy  # a critic reads the trunk that it shares
    return solved * ((both if method.guided else policy) + section.passes * learned)
  if 'updates' in section:
    tokens = section.updates * section.batch * shapes.row_length
    return 3 * tokens * _token(model, shapes.row_length, critic=False)
  return 0.0


def seconds(work: float) -> float:
  """About as long as so many FLOPs take on this CPU: measured on one product of matrices, of whose
  speed a job reaches `_REACHED`."""
  x = jax.numpy.ones((1024, 1024))
  product = jax.jit(lambda x: x @ x).lower(x).compile()
  times = []
  for _ in range(5):
    began = time.perf_counter()
    product(x).block_until_ready()
    times.append(time.perf_counter() - began)
  return work * min(times) / (2 * 1024**3) / _REACHED


def _spent(experiment, row: Row) -> float:
  """Tokens that a row of searches may spend on a problem. Chains are sampled once for all."""
  if row.search.chains:
    return tokens_expected(experiment, row, row.most) * len(row.draws)
  return sum(
    budget.tokens or tokens_expected(experiment, row, budget.units) for budget in row.budgets
  )


def _token(model, length, *, critic=True) -> float:
  """FLOPs of a token, midway in a text of so many."""
  return float(token_flops(model, length / 2, critic=critic))
