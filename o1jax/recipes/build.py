"""Where configs become functions: the one place below which nothing reads a config."""

import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import optax
from jax.sharding import Mesh

import o1jax.recipes
from o1jax.decode.rules import Sampling
from o1jax.evaluation.splits import SPLITS, TEST
from o1jax.fused import search_and_learn
from o1jax.learning import OF_TASK
from o1jax.learning.optimizer import build_optimizer
from o1jax.model import forward
from o1jax.model.sharding import AXES, TENSOR
from o1jax.model.variants import ModelConfig
from o1jax.recipes.experiment import Experiment, assemble
from o1jax.recipes.growth import allocate_of, rule_of
from o1jax.recipes.idle import refuse_idle
from o1jax.recipes.objectives import (
  check_learning,
  credit_settings,
  draw,
  needs_oracle,
  objective,
  scores_read,
)
from o1jax.recipes.pretrained import load_policy
from o1jax.recipes.said import check_said
from o1jax.recipes.searches import Search, check_method, check_searches
from o1jax.recipes.settings import complete, kind_of
from o1jax.reward import OUTCOME
from o1jax.reward.guide import ORACLE, names
from o1jax.reward.process import AGGREGATES
from o1jax.reward.written import changing, rows_of
from o1jax.runtime.config import ConfigDict, ConfigError, require, within
from o1jax.runtime.mesh import build_mesh, sharded_search, state_sharding, with_sharding
from o1jax.search import SEARCHES, STOPS
from o1jax.search import run as search_run
from o1jax.search.allocate import SIGNALS
from o1jax.types import Array, Params, Prompt, Reference, Tree


def build(
  config: ConfigDict,
  workdir: pathlib.Path,
  *,
  devices: Sequence[jax.Device] | None = None,
  seed: int | None = None,
  looking: bool = False,
) -> Experiment:
  """What a config asks for, as `assemble` makes it, for some devices or all that there are.

  looking: the config is that of a run, so it was checked before; its data are made when they are
  asked for.

  Raises:
    ConfigError: the pieces do not fit each other; nothing was compiled.
    StorageError: data or tokenizer cannot be written.
  """
  try:
    experiment = assemble(complete(config), workdir, seed=seed)
    if not looking:
      check(experiment, devices)
    return experiment
  except ConfigError:
    raise
  except ValueError as error:
    raise ConfigError(str(error)) from None


def check(experiment: Experiment, devices: Sequence[jax.Device] | None = None) -> None:
  """Builds, without compiling, all that the stages will build, so that a setting that cannot work
  fails here."""
  config = experiment.config
  with within('sampling'):
    sampling(experiment)
  build_mesh(
    experiment.data.validation[0].length.shape[0], **config.mesh, devices=devices
  )  # searched in one go
  names = [name for name, section in config.items() if isinstance(section, ConfigDict)]
  for name in dict.fromkeys([*config.stages, *names]):
    row = o1jax.recipes.STAGES.get(kind_of(config, name))
    if row:
      with within(name):
        row.check(experiment, name, devices)
  refuse_idle(config)


def check_initialise(experiment: Experiment, name: str, devices) -> None:
  """Refuses settings of the sections pretrain and instruct."""
  for part in ('pretrain', 'instruct'):
    with within(part):
      check_supervised(experiment, part, devices)


def check_supervised(experiment: Experiment, name: str, devices) -> None:
  """Refuses settings of a section that trains on text."""
  section = experiment.config[name]
  share = section.get('rehearsal', 0.0)
  require(0 <= share < 1, f'config.{name}.rehearsal={share}: give a share, in [0, 1)')
  _require_least(name, section, batch=1, updates=0, validate_every=0)
  build_optimizer(steps=section.updates, **section.optimizer.to_dict())
  supervised_mesh(experiment.config, section, devices)


def check_searching(experiment: Experiment, name: str, devices) -> None:
  """Refuses settings of a stage that searches and learns."""
  config, section = experiment.config, experiment.config[name]
  problems = experiment.data.pool[0].length.shape[0]
  require(
    section.batch <= problems,
    f'config.{name}.batch={section.batch} is more than the {problems} problems of the pool: give '
    'a smaller batch, or raise config.data.pool',
  )
  of = f'config.{name}.search'
  check_method(section.search, config, section.search.units, of)
  require(
    not SEARCHES[section.search.method].turns,
    f'{of}.method={section.search.method!r} asks several prompts of a problem, and losses read '
    f'one: use one of {", ".join(n for n, row in SEARCHES.items() if not row.turns)}',
  )
  check_said(experiment, section.search.method, section.search, of)
  require(section.search.units >= 1, f'{of}.units={section.search.units}: give at least 1')
  require(
    section.search.get('verify_leaves', False) or not SEARCHES[section.search.method].told,
    f'{of}.verify_leaves=False leaves {section.search.method} without the verdicts that it grows '
    'by: set it True',
  )
  _require_least(name, section, batch=1, minibatches=1, passes=1, updates_per_call=1, updates=0)
  divides = [('updates_per_call', 'updates'), ('minibatches', 'batch')]
  if 'validate_every' in section:
    _require_least(name, section, validate_every=1)
    divides.append(('updates_per_call', 'validate_every'))
  for part, whole in divides:
    require(
      section[whole] % section[part] == 0,
      f'config.{name}.{part}={section[part]} does not divide config.{name}.{whole}='
      f'{section[whole]}: give a divisor, or 1',
    )
  told = frozenset(OF_TASK) if experiment.oracle else frozenset()
  check_learning(name, section, search_provides(section.search) | told)
  check_scores(experiment, scores_read(section), f'config.{name}.credit.reward')
  fused_update(experiment, section)
  check_mesh(experiment.model.config, fused_mesh(config, section, devices))


def _require_least(name, section, **least):
  for size, low in least.items():
    given = section.get(size, low)
    require(given >= low, f'config.{name}.{size}={given}: give at least {low}')


def check_evaluate(experiment: Experiment, name: str, devices) -> None:
  """Refuses settings of the measurement."""
  config, section = experiment.config, experiment.config.evaluate
  require(name == 'evaluate', f'config.{name}.kind=evaluate: name that stage evaluate')
  check_searches(config)
  for row, search in config.evaluate.searches.items():
    require(
      experiment.oracle is not None or ORACLE not in names(search.guide),
      f'config.evaluate.searches.{row}.guide={search.guide!r}: the task {experiment.task.name!r} '
      f'cannot tell of a prefix whether it can still become right, so it has no {ORACLE}',
    )
    of = f'config.evaluate.searches.{row}'
    check_said(experiment, search.method, search, of)
    check_scores(experiment, names(search.guide), f'{of}.guide={search.guide!r}')
    weigh = search.get('weigh', '')
    if weigh:
      check_scores(experiment, names(weigh), f'{of}.weigh={weigh!r}')
    rule = rule_of(search)
    check_scores(experiment, STOPS[rule].reads, f'{of}.stop.rule={rule!r}')
    for by in {dict(allocate_of(search)).get('by')} - {None}:
      check_scores(experiment, SIGNALS[by].reads, f'{of}.allocate.by={by!r}')
    moving = ', '.join(changing(names(search.guide)))
    require(
      not (search.flips and moving),
      f'{of}.flips={search.flips}: the guide reads {moving}, which changes as a tree grows, so a '
      'flip of it has no meaning: set flips=0',
    )
  require(section.rows >= 1, f'config.evaluate.rows={section.rows}: give at least 1')
  splits = tuple(section.splits)
  require(
    0 < len(splits) == len(set(splits)) and set(splits) <= set(SPLITS),
    f'config.evaluate.splits={splits}: choose from {", ".join(SPLITS)}, at least one',
  )
  require(
    splits[-1] == TEST or TEST not in splits,
    f'config.evaluate.splits={splits}: the last one is drawn and calibrated, so name {TEST} last',
  )
  require(
    section.aggregate in AGGREGATES,
    f'config.evaluate.aggregate is {section.aggregate!r}: choose one of {", ".join(AGGREGATES)}',
  )


def check_scores(experiment: Experiment, scores: Sequence[str], where: str) -> None:
  """Refuses scores for which the task lacks something. where: the setting that reads them."""
  for name, row in rows_of(scores).items():
    lack = row.lacks(experiment.task)
    require(
      not lack,
      f'{where} reads the score {name}, for which the task {experiment.task.name!r} lacks {lack}: '
      f'leave {name} out',
    )


def check_mesh(shape: ModelConfig, mesh: Mesh) -> None:
  """Refuses a mesh that would split a head."""
  ways = mesh.shape[TENSOR]
  require(
    shape.heads % ways == 0 and shape.kv_heads % ways == 0,
    f'config.mesh splits {shape.heads} heads and {shape.kv_heads} key heads among tensor={ways} '
    f'devices: '
    'choose a divisor of both',
  )


def search_provides(search: ConfigDict) -> frozenset[str]:
  """What a search provides to losses, of `learning.NEEDS`."""
  row = SEARCHES[search.method]
  alone = row.independent and search.units == 1
  return row.provides - {'solutions'} if alone else row.provides


def sampling(experiment: Experiment, *, greedy: bool = False) -> Sampling:
  """The config's sampling of steps; greedy is the same at temperature 0."""
  settings = experiment.config.sampling.to_dict()
  if greedy:
    settings['temperature'] = 0.0
  tokenizer = experiment.tokenizer
  return Sampling(eos_id=tokenizer.end_ids, delimiter_id=tokenizer.delimiter_ids, **settings)


def test_search(experiment: Experiment, search: Search) -> Callable:
  """A search (params, keys, prompt) -> Tree of `forward.for_search` parameters. It has no way to
  see a reference.

  One that spends `several` numbers of units takes one more argument, how many. One that is told of
  the answers takes keywords, (tree, ids) -> verdicts: `oracle` to follow, `outcome` to stop.
  """
  run = _search(
    experiment,
    dict(search.settings),
    search.method,
    search.most,
    greedy=search.greedy,
    guide=search.guide,
    flips=search.flips,
    weigh=search.weigh,
    stop=dict(search.stop),
    prune=dict(search.prune),
    scores=SIGNALS[search.ease].reads if search.ease else (),
    **SEARCHES[search.method].quiet,
  )
  if search.several:
    return run
  return lambda params, keys, prompt, **told: run(params, keys, prompt, search.most, **told)


def train_search(
  experiment: Experiment, section: ConfigDict, *, scores: tuple[str, ...] = ()
) -> Callable:
  """A search (params, keys, prompt, reference) -> Tree, on which `scores` are written. With
  `verify_leaves` the finished nodes of a tree search are rewarded by the verifier."""
  verified = not SEARCHES[section.method].independent and section.verify_leaves
  search = _search(experiment, section, section.method, section.units, scores=scores)

  def train(params: Params, keys: Array, prompt: Prompt, reference: Reference) -> Tree:
    if not verified:
      return search(params, keys, prompt, section.units)
    outcome = functools.partial(experiment.verifier.outcome, reference)
    return search(params, keys, prompt, section.units, reward={OUTCOME: 1.0}, outcome=outcome)

  return train


def _search(experiment, section, method, most, *, greedy=False, **settings):
  shapes, row = experiment.config.shapes, SEARCHES[method]
  run = functools.partial(
    search_run,
    row,
    forward.decoder(experiment.model),
    most=most,
    candidates=section.get('candidates', 1),
    replacement=section.get('replacement', True),
    sampling=sampling(experiment, greedy=greedy),
    step_length=shapes.step_length,
    max_steps=shapes.max_steps,
    world=experiment.world,
    texts=experiment.texts,
    **(row.own(section) | settings),
  )
  return lambda params, keys, prompt, units, **given: run(
    params, keys, prompt, units=units, **given
  )


def fused_update(experiment: Experiment, section: ConfigDict, *, sharding: Any = None) -> Callable:
  """The jitted search-and-learn update of a config section; `sharding` of the state and the
  metrics."""
  search = train_search(experiment, section.search, scores=scores_read(section))
  return search_and_learn(
    experiment.model,
    search=sharded_search(experiment.model, search),
    outcome=experiment.verifier.outcome,
    oracle=experiment.oracle if needs_oracle(section) else None,
    optimizer=fused_optimizer(section),
    batch=section.batch,
    draw=draw(section),
    minibatches=section.minibatches,
    passes=section.passes,
    updates=section.updates_per_call,
    learns=tuple(section.learns),
    credit=credit_settings(section),
    objective=objective(section, temperature=experiment.config.sampling.temperature),
    sharding=sharding,
  )


def fused_optimizer(section: ConfigDict) -> optax.GradientTransformation:
  """The optimizer of a section that searches and learns, which steps once a minibatch."""
  steps = section.updates * section.minibatches * section.passes
  return build_optimizer(steps=steps, **section.optimizer.to_dict())


def fused_mesh(
  config: ConfigDict, section: ConfigDict, devices: Sequence[jax.Device] | None = None
) -> Mesh:
  """The devices of a fused update: each has as many problems of every minibatch."""
  return build_mesh(section.batch // section.minibatches, **config.mesh, devices=devices)


def supervised_mesh(
  config: ConfigDict, section: ConfigDict, devices: Sequence[jax.Device] | None = None
) -> Mesh:
  """The devices of supervised training. Its operations are large: where the config leaves it open,
  all cores of a CPU share each of them, which is faster than to share the batch."""
  left_open = tuple(config.mesh[axis] for axis in AXES) == (0, 1, 1) and jax.process_count() == 1
  if jax.default_backend() == 'cpu' and devices is None and left_open:
    return build_mesh(1, **config.mesh)
  return build_mesh(section.batch, **config.mesh, devices=devices)


def fresh_params(experiment: Experiment) -> Params:
  """Parameters to start from, as they lie at rest: those of the config's checkpoint, or untrained
  ones.

  What is untrained, such as a critic, is a function of the seed; a critic's own trunk is the
  policy's.

  Raises:
    ConfigError: the checkpoint is not what its config.json says.
    StorageError: it cannot be read.
  """
  init = lambda key: nn.unbox(forward.init(experiment.model, key))
  like = abstract_params(experiment)
  key = jax.random.fold_in(jax.random.key(experiment.config.seed), 0)

  def make(part):
    shardings = jax.tree.map(lambda x: x.sharding, part(like))
    return jax.jit(lambda: part(init(key)), out_shardings=shardings)()

  folder = experiment.config.model.pretrained
  if not folder:
    return with_trunk(experiment, make(lambda params: params))
  try:
    policy = load_policy(pathlib.Path(folder).expanduser(), experiment.model.config, like['policy'])
  except ValueError as error:
    raise ConfigError(f'config.model.pretrained={folder}: {error}') from None
  return with_trunk(experiment, dict(policy=policy, critic=make(lambda params: params['critic'])))


def with_trunk(experiment: Experiment, params: Params) -> Params:
  """Parameters whose critic, where it has a trunk of its own, has the first layers of the
  policy's."""
  config = experiment.model.config
  if not config.own_critic:
    return params
  trunk = params['policy']['trunk']
  mine = {name: trunk[name] for name in params['critic']['trunk']}
  if 'blocks' in mine:  # stacked
    mine['blocks'] = jax.tree.map(lambda x: x[: config.of_critic.layers], mine['blocks'])
  return params | dict(critic=params['critic'] | dict(trunk=jax.tree.map(jax.numpy.copy, mine)))


def abstract_params(experiment: Experiment, mesh: Mesh | None = None) -> Params:
  """Shapes and shardings of parameters, to restore into; by default on all devices."""
  shapes = jax.eval_shape(lambda key: nn.unbox(forward.init(experiment.model, key)), experiment.key)
  mesh = build_mesh(**experiment.config.mesh) if mesh is None else mesh
  return with_sharding(shapes, state_sharding(experiment.model, shapes, mesh))
