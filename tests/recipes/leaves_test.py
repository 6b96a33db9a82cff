"""Every setting of the quickstart changes something that a run does, or is refused while it cannot.

What a setting changes is looked for where it would show: in the equations of a program, dead ones
left out, in the data, and in what a stage asks of its loop. Nothing is compiled.
"""

import functools
import hashlib
import types

import jax
import numpy as np
import pytest
from jax.interpreters import partial_eval

import o1jax.recipes
from configs import quickstart
from experiments import job
from o1jax.keys import of_problems
from o1jax.recipes import build as build_lib
from o1jax.recipes import graph, programs, stages
from o1jax.recipes.build import abstract_params, build
from o1jax.recipes.idle import idle
from o1jax.recipes.run import Run
from o1jax.recipes.searches import CHAINS, Search, row_of, rows_of, searches_of
from o1jax.recipes.settings import complete, kind_of
from o1jax.recipes.spending import answer_units
from o1jax.runtime.config import ConfigError, flatten, unflatten
from o1jax.runtime.mesh import build_mesh
from o1jax.search import STOPS

# Other values, by the end of a setting's name, where twice the number will not do.
OTHERS = {
  'advantage': 'critic',
  'aggregate': 'min',
  'answer.search': 'gumbel',
  'by': 'math',
  'granularity': 'tokens',
  'guide': 'confidence',
  'kind': 'report',
  'learns': ('policy', 'critic'),
  'method': 'puct',
  'minibatches': 1,
  'model.pretrained': 'nowhere',
  'optimizer.name': 'adamw',
  'rehearsal': 0.25,
  'sandbox': 'namespaces',
  'start': 'control',
  'stop.rule': 'value',
  'stop.gate': 0.5,
  'stop.share': 0.5,
  'allocate.rule': 'hardest',
  'allocate.by': 'value',
  'below': 0.5,
  'of_best': 0.5,
  'sure': 0.5,
  'control_flops.start': 'initialise',
  'control.start': 'initialise',
  'task.name': 'cipher',
  'task.numbers': 4,
  'token_value.clip': 0.5,  # no two values are further apart than 1, so 1 and 2 are alike
  'top_p': 0.5,
  'unjudged': 0.5,
  'credit.value': 'td',
  'draw.name': 'learnability',
  'lambda_': 0.5,
  'label_smoothing': 0.25,
  'splits': ('validation',),
  'variant': '0.5m',
  'warmup': 1,
  'weigh': 'confidence',
  'where': 'host',
}
# What a setting that the quickstart leaves idle needs to be read, by the beginning of its name.
TREES = {'search.method': 'gumbel', 'search.candidates': 2, 'search.verify_leaves': True}
WAKING = {
  'losses.dpo': {'weights.dpo': 1.0},
  'losses.sibling_dpo': {'weights.sibling_dpo': 1.0} | TREES,
  'losses.token_value': {'weights.token_value': 1.0},
  'losses.gradient': {'weights.gradient': 1.0},
  'credit.advantage': {'weights.gradient': 1.0},
  'credit.normalise': {'weights.gradient': 1.0},
  'credit.lambda_': {'credit.value': 'td', 'weights.value': 1.0},
  'credit.soft': {
    **{'credit.value': 'first_error', 'weights.value': 1.0},
    **{'search.method': 'bisection', 'search.verify_leaves': True},
  },
}


def small():
  """All settings of the quickstart, made small."""
  config = quickstart.get_config('smoke')
  config.task.behaviours.dead_end, config.shapes.max_steps = 0.4, 16
  config.evaluate.policies.initialised.searches += ('tree',)
  return flatten(complete(config))


LEAVES = small()
IDLE = sorted(each.key for each in idle(unflatten(LEAVES)))


def other(key):
  """Another value of a setting."""
  value, named = LEAVES[key], [end for end in OTHERS if f'.{key}'.endswith(f'.{end}')]
  if named:
    return OTHERS[max(named, key=len)]
  if isinstance(value, bool):
    return not value
  if isinstance(value, int | float):
    return type(value)(2 * value or 1)
  assert isinstance(value, tuple), f'say in OTHERS what else {key}={value} could be'
  return value[:-1] or (1,)


def waking(key):
  """Settings under which an idle one is read."""
  stage, _, rest = key.partition('.')
  if stage == 'verifier':
    return {'verifier.where': 'host'}
  *above, name = key.split('.')
  if above[-1:] == ['stop']:
    rule = next(rule for rule, row in STOPS.items() if name in row.settings)
    return {'.'.join([*above, 'rule']): rule}
  if above[-1:] == ['allocate']:
    return {'.'.join([*above, 'rule']): 'hardest'}
  return {
    f'{stage}.{name}': x
    for start, changes in WAKING.items()
    if rest.startswith(start)
    for name, x in changes.items()
  }


def digest(tree):
  """Of the numbers and texts of a pytree."""
  found = []
  for leaf in jax.tree.leaves(tree):
    if jax.dtypes.issubdtype(getattr(leaf, 'dtype', np.int32), jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    found.append(leaf if isinstance(leaf, str) else (np.shape(leaf), np.asarray(leaf).tobytes()))
  return hashlib.sha256(repr(found).encode()).hexdigest()


def equations(function, *args):
  """The equations of a jitted function whose results are all asked for, as text."""
  jaxpr = function.trace(*args).jaxpr.jaxpr
  return str(partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars)))


class Watched(Run):
  """A run whose stages start from a name and leave nothing."""

  def start(self, stage):
    """What its config names."""
    return self.experiment.config[stage].start

  def finish(self, stage, params):
    """Nothing."""


def asked_of_the_loop(experiment, workdir, patch, stage):
  """What a stage tells its loop, and what its programs, which do nothing, are given in two
  updates."""
  told = []
  program = types.SimpleNamespace(
    start=lambda params: params,
    shardings=[()] * 9,
    update=lambda state, *data: (state, dict(data=digest(data))),
  )
  known = types.SimpleNamespace(
    searching=lambda _: program, supervised=lambda _: program, evaluator=lambda *_: None
  )

  def loop(
    start,
    update,
    *,
    keeping,
    batch,
    writer,
    workdir,
    show,
    failure=None,
    after=None,
    sharding,
    **how,
  ):
    told.append((start, how, keeping._replace(identity=None, notes=None, reads=None)))
    told.append((digest(batch(1, dict(problems=np.arange(3)))), update(None, 0), update(None, 1)))
    return types.SimpleNamespace(params='trained')

  def plateaued(accuracies, **settings):
    told.append(settings)
    return len(told) > 2  # from the second update on

  patch.setattr(stages, 'run_updates', loop)
  patch.setattr(stages, 'put_global', lambda data, shardings: data)
  patch.setattr(stages, 'ever_plateaued', plateaued)
  patch.setattr(stages, 'fresh_params', lambda experiment: 'fresh')
  patch.setattr(stages, 'with_trunk', lambda experiment, params: params)
  row = o1jax.recipes.STAGES[kind_of(experiment.config, stage)]
  row.run(Watched(experiment, workdir, None, known), stage)
  return repr(told)


def update_of(experiment, patch, name):
  """The equations of the update of a section."""

  def trace(experiment, mesh, build, start, *data):
    with jax.set_mesh(mesh):
      return equations(build(), jax.eval_shape(start, abstract_params(experiment)), *data)

  patch.setattr(programs, 'lower', trace)
  section = experiment.config[name]
  lower = programs.lower_searching if 'search' in section else programs.lower_supervised
  return lower(experiment, section, build_mesh(1, devices=jax.devices()[:1]))


def of_a_stage(experiment, workdir, patch, section):
  """What a section that trains shows in."""
  stage = 'initialise' if section in ('pretrain', 'instruct') else section
  return asked_of_the_loop(experiment, workdir, patch, stage) + update_of(
    experiment, patch, section
  )


def of_the_data(experiment, workdir, patch, section):
  """The tokenizer, all that is made of it, and a search of it."""
  tokenizer = (workdir / 'tokenizer.model').read_bytes()
  data = experiment.data._replace(test_problems=None), experiment.key
  return repr((tokenizer, digest(data))) + of_sampling(experiment, workdir, patch, section)


def of_sampling(experiment, workdir, patch, section):
  """The equations of two sampled chains."""
  prompt, _ = experiment.data.validation
  keys = of_problems(experiment.key, len(prompt.length))
  search = jax.jit(build_lib.test_search(experiment, Search(CHAINS, 2)))
  return equations(search, abstract_params(experiment), keys, prompt)


def of_the_verifier(experiment, workdir, patch, section):
  """What the processes of a verifier are told, if it has any."""
  host = getattr(experiment.verifier.outcome.func, '__self__', None)
  told = host and (host._told, host._patience, host._count, host._share)
  return repr((experiment.verifier.name, told))


def of_the_evaluation(experiment, workdir, patch, section):
  """What is measured, by which programs, and what answers questions."""
  config, made = experiment.config, programs.Programs(experiment)
  found = [kind_of(config, section), graph.measured(config)]
  for policy in config.evaluate.policies:
    found.append(rows_of(config, policy))
    for search in searches_of(config, policy):
      for split in config.evaluate.splits:
        found.append((split, made.for_evaluator(search, experiment.data.asked(split).data)[0]))
      found.append(programs.reading(experiment, search).choose.keywords['aggregate'])
  answer = row_of(config, config.evaluate.answer.search)
  asked = answer_units(types.SimpleNamespace(experiment=experiment), answer, '', {})
  return repr((found, answer, asked))


def of_the_job(experiment, workdir, patch, section):
  """What is set before anything is made."""

  def enough(*_):
    raise InterruptedError

  patch.setattr(job.Run, 'open', enough)
  patch.setattr(job, 'say', lambda words: None)
  name = 'jax_disable_most_optimizations'
  before = jax.config.values[name]
  try:
    with pytest.raises(InterruptedError):
      job.run(experiment.config, str(workdir))
    return repr(jax.config.values[name])
  finally:
    jax.config.update(name, before)


SHOWS = {
  **dict.fromkeys(('seed', 'task', 'data', 'tokenizer', 'shapes'), of_the_data),
  **dict.fromkeys(
    ('pretrain', 'instruct', 'reward', 'learn', 'control', 'control_flops'), of_a_stage
  ),
  **dict.fromkeys(
    ('checkpoint', 'skip_limit', 'profile'),
    lambda experiment, workdir, patch, section: asked_of_the_loop(
      experiment, workdir, patch, 'learn'
    ),
  ),
  'model': lambda experiment, *_: repr(abstract_params(experiment)),
  'sampling': of_sampling,
  'verifier': of_the_verifier,
  'mesh': lambda experiment, *_: repr(build_mesh(16, **experiment.config.mesh).shape),
  'stages': lambda experiment, *_: repr(graph.in_order(experiment.config)),
  'evaluate': of_the_evaluation,
  'fast_compile': of_the_job,
}


def shown(values, section, workdir):
  """All that the settings of a section show in."""
  experiment = build(unflatten(values), workdir)
  with pytest.MonkeyPatch.context() as patch:
    return SHOWS[section](experiment, workdir, patch, section)


@pytest.fixture(scope='module')
def usual(tmp_path_factory):
  """(settings as pairs, section) -> what they show in; each is looked for once."""
  return functools.cache(
    lambda changes, section: shown(
      LEAVES | dict(changes), section, tmp_path_factory.mktemp('usual')
    )
  )


@pytest.mark.long
@pytest.mark.parametrize('key', LEAVES)
def test_every_setting_has_an_effect(key, usual, tmp_path):
  changes, section = waking(key) if key in IDLE else {}, key.split('.')[0]
  before = usual(tuple(changes.items()), section)
  try:
    after = shown(LEAVES | changes | {key: other(key)}, section, tmp_path)
  except ConfigError as error:
    # It is read, and this value cannot work, or cannot yet.
    assert key in str(error) or section in str(error) and 'no effect' not in str(error)
    return
  assert after != before


@pytest.mark.parametrize('key', IDLE)
def test_a_setting_that_has_no_effect_is_refused(key, tmp_path):
  with pytest.raises(ConfigError, match=f'config.{key}=.* has no effect: .*, or leave it at'):
    build(unflatten(LEAVES | {key: other(key)}), tmp_path)
