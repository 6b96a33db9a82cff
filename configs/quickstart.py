"""Countdown with three numbers on a laptop: the whole roadmap in minutes.

`python -m experiments.o1 --config=configs/quickstart.py --workdir=runs/quickstart`

One seed on 2 CPU cores (experiments/LOG.md), 15 minutes: greedy 25 %; at 400 tokens a problem
majority vote 47 %, a vote weighted by the critic 52 %, a guided tree that samples nothing twice
70 %. Search-and-learn raised greedy from 25 to 31 %, and the supervised control ended at 25 %.
"""

from ml_collections import ConfigDict

from o1jax.learning import LOSSES, credit_defaults, loss_defaults

# No step is sampled twice. A chain begins where another right solution is likely, and stops where
# it is less so. Validation problems of four numbers chose the settings (experiments/LOG.md).
TREE = dict(method='without_replacement', breadth=0.5, prior=0.1)


def get_config(argument: str = '') -> ConfigDict:
  """The main job; `:smoke` is the same job made tiny, for tests."""
  if argument not in ('', 'smoke'):
    raise ValueError(f'the argument {argument!r} is unknown: give none, or smoke')
  c = ConfigDict()
  c.seed = 0
  c.stages = ('initialise', 'reward', 'learn', 'control', 'evaluate', 'report')
  running(c)
  problems(c)
  policy(c)
  c.pretrain = supervised(updates=1200, learning_rate=2e-2, adam_learning_rate=5e-3)
  c.instruct = supervised(updates=480, learning_rate=1.2e-2, adam_learning_rate=3e-3)
  c.instruct.rehearsal = 0.5  # share of each batch that is plain text again
  rewarding(c)
  learning(c)
  controls(c, flops=1600)
  measuring(c)
  if argument == 'smoke':
    smoke(c)
  return c


def problems(c: ConfigDict) -> None:
  """Countdown with three numbers: what is asked, and how it is written."""
  c.task = ConfigDict(
    dict(
      name='countdown',
      numbers=3,
      max_number=12,
      max_target=100,
      fact_share=0.25,
      behaviours=dict(
        analysis=0.1, decomposition=0.1, evaluation=1.0, dead_end=0.4, max_dead_ends=1
      ),
    )
  )
  c.data = ConfigDict(
    dict(demonstrations=1000, texts=20_000, pool=1300, validation=256, test=457, test_targets=55)
  )
  c.tokenizer = ConfigDict(dict(vocab_size=320))
  c.shapes = ConfigDict(dict(prompt_length=16, step_length=18, max_steps=12, row_length=160))


def policy(c: ConfigDict) -> None:
  """What answers, and how it is sampled."""
  c.model = ConfigDict(
    dict(
      pretrained='',
      variant='0.5m',
      changes=dict(own_critic=True, critic_layers=2, kv_heads=1),
    )
  )
  c.sampling = ConfigDict(dict(granularity='line', temperature=0.8, top_k=0, top_p=1.0))


def rewarding(c: ConfigDict) -> None:
  """What the critic learns: of each step, whether the target can still be reached from there."""
  c.reward = searching(updates=176, learning_rate=5e-3, weights=dict(value=1.0, token_value=1.0))
  c.reward.start = 'initialise'
  # On a trunk of its own it learns more from as many solutions, and the policy stays what it was
  # (experiments/LOG.md).
  c.reward.learns = ('critic',)
  c.reward.credit.value = 'reachable'
  # Its loss stands still for 1,000 steps and more before it falls, so it takes many. With half as
  # many solutions in a minibatch, one seed of two learned less. With four passes it learns the
  # problems by heart.
  c.reward.minibatches, c.reward.passes = 8, 2
  c.reward.losses.token_value.clip = 1.0  # its labels are exact, so nothing holds it back


def learning(c: ConfigDict) -> None:
  """Search and learn. The critic stays: what it learned of steps is true of any policy's."""
  # Policy gradient alone can lose on few chains what cloning won (experiments/LOG.md). So cloning
  # goes on beside it.
  mix = dict(gradient=1.0, clone=1.0)
  c.learn = searching(updates=80, learning_rate=3e-3, end_fraction=0.05, weights=mix)
  c.learn.start, c.learn.learns = 'reward', ('policy',)
  # More problems rather than more chains: cloning wants variety.
  c.learn.batch, c.learn.search.units = 64, 4
  c.learn.warmup_weights = losses(clone=1.0)
  c.learn.validate_every, c.learn.updates_per_call = 10, 5
  c.learn.patience = 2
  c.learn.min_gain = 0.02


def controls(c: ConfigDict, *, share: float = 1 / 128, flops: int = 0) -> None:
  """Supervised training where search and learn starts, at a `share` of instruction tuning's rates.

  `control` takes as many optimizer steps as `learn`, and `control_flops` takes `flops` steps, about
  as many FLOPs. The share was chosen on the validation set by configs/control.py: the larger it is,
  the more the policy loses (experiments/LOG.md).
  """
  steps = c.learn.updates * c.learn.minibatches * c.learn.passes
  for name, updates in (('control', steps), ('control_flops', flops)):
    section = c.instruct.copy_and_resolve_references()
    section.kind, section.start, section.updates = 'supervised', 'reward', updates
    section.validate_every = max(updates * c.learn.validate_every // c.learn.updates, 1)
    for rate in ('learning_rate', 'adam_learning_rate'):
      if rate in section.optimizer:
        section.optimizer[rate] *= share
    if updates:
      c[name] = section


def measuring(c: ConfigDict) -> None:
  """What is measured of which stage's parameters: of `stages` the first that has ended.

  Greedy decoding always is. Each search is asked for the same tokens a problem, since methods spend
  unlike amounts in their own units; `units` asks for those, where they must be exact. A program has
  room for `most` units, and `choices` tell how it chooses among the solutions that it found. Gumbel
  MCTS is asked where a policy names it; configs/searches.py asks every search.
  """
  tokens = (200, 400, 800, 1600)  # a solution takes about 100
  c.evaluate = ConfigDict(
    dict(
      policies=dict(
        initialised=dict(stages=('reward', 'initialise'), searches=('chains', 'tree')),
        learned=dict(stages=('learn',), searches=()),
        control=dict(stages=('control',), searches=()),
        control_flops=dict(stages=('control_flops',), searches=()),
      ),
      searches=dict(
        chains=dict(
          method='best_of_n',
          tokens=tokens,
          units=(),
          most=24,  # some seeds' policies write solutions of 70 tokens
          choices=('weighted', 'majority', 'best'),
          guide='prm * likelihood',
        ),
        gumbel=dict(
          method='gumbel',
          tokens=(400,),
          units=(),
          most=80,
          candidates=4,
          choices=('weighted',),
          weigh='prm * likelihood',
        ),
        tree=dict(
          **TREE,
          tokens=tokens,
          units=(),
          most=96,
          at_once=2,  # one at a time takes twice as long, and was no better on validation
          choices=('weighted',),
          weigh='prm * likelihood',
        ),
      ),
      # by which questions are answered and trees are drawn; one of tokens and units
      answer=dict(search='tree', tokens=1000, units=0),
      aggregate='last',
      splits=('test',),  # of 'validation' and 'test', whose problems are asked
      rows=128,  # divides validation and test: they share a program
    )
  )


def running(c: ConfigDict) -> None:
  """How the job runs, which changes little or nothing of what it learns."""
  # Devices: 0 = as many as divide the batch of a program, or all where there are several processes;
  # -1 = all that are left (docs/SCALING.md).
  c.mesh = ConfigDict(dict(data=0, fsdp=1, tensor=1))
  # Checkpoints: one each so many seconds, of which two stay, and one each so many updates, which
  # all stay; 0 = none.
  c.checkpoint = ConfigDict(dict(seconds=60.0, updates=0))
  # updates in a row whose loss is no number, and which are therefore skipped, that stop the run
  c.skip_limit = 10
  # Who judges: 'device' within the compiled programs, or 'host' in other processes (0 = as many as
  # cores), which costs time; there an answer that takes over `seconds` is wrong, and all answers of
  # a call have `patience` seconds. `memory`: GiB for an answer. `by`: the task's own check, 'math'
  # (numbers, units, LaTeX) or 'code' (unit tests, in `sandbox`: 'bubblewrap', 'namespaces', or
  # 'auto' for the one that works). `unjudged`: share of answers on which the host may have no
  # verdict, since its check raised an error; with more the job ends.
  c.verifier = ConfigDict(
    dict(
      where='device',
      by='task',
      sandbox='off',
      seconds=5.0,
      patience=600.0,
      workers=0,
      memory=1.0,
      unjudged=0.1,
    )
  )
  c.profile = False  # trace a few updates of each stage to WORKDIR/profile
  c.fast_compile = False  # fewer passes of XLA, whose programs run slower: for tiny jobs


def supervised(*, updates: int, learning_rate: float, adam_learning_rate: float) -> ConfigDict:
  """A stage of next-token prediction."""
  optimizer = dict(name='muon', learning_rate=learning_rate, adam_learning_rate=adam_learning_rate)
  return ConfigDict(dict(updates=updates, batch=12, optimizer=optimizer))


def searching(
  *, updates: int, learning_rate: float, weights: dict, end_fraction: float = 0.3
) -> ConfigDict:
  """A stage of searching and learning from the trees."""
  return ConfigDict(
    dict(
      updates=updates,
      batch=32,
      minibatches=4,
      passes=1,
      updates_per_call=4,
      tokens=112,
      draw=dict(name='uniform'),
      learns=('policy', 'critic'),
      optimizer=dict(
        name='muon',
        learning_rate=learning_rate,
        adam_learning_rate=learning_rate / 10,
        end_fraction=end_fraction,
      ),
      search=dict(method='best_of_n', units=8),
      credit=credit_defaults(),
      weights=losses(**weights),
      losses=loss_defaults(),
    )
  )


def losses(**weights) -> ConfigDict:
  """Loss weights; what is not named is 0."""
  return ConfigDict(dict.fromkeys(LOSSES, 0.0) | weights)


def smoke(c: ConfigDict) -> None:
  """Shrinks the job to about a minute, nearly all of it compiling; its accuracies mean nothing."""
  c.fast_compile = True
  c.task.behaviours.dead_end = 0.0
  c.shapes.max_steps = 6
  c.data = ConfigDict(
    dict(demonstrations=64, texts=256, pool=64, validation=16, test=8, test_targets=8)
  )
  c.model.variant, c.model.changes.layers, c.model.changes.critic_layers = 'nano', 1, 1
  for section in (c.pretrain, c.instruct, c.control, c.control_flops):
    section.updates, section.batch = 4, 8
    section.optimizer.update(c.instruct.optimizer)  # one program for all
  c.control.validate_every = c.control_flops.validate_every = 2
  for section in (c.reward, c.learn):
    section.updates, section.batch, section.minibatches, section.search.units = 2, 8, 2, 2
  c.learn.validate_every, c.learn.patience = 1, 1
  c.reward.updates_per_call, c.learn.updates_per_call = 2, 1
  for name in ('initialised', 'learned'):
    c.evaluate.policies[name].searches = ('chains', 'gumbel')
  c.evaluate.searches.chains.update(tokens=(100, 200), most=2)
  c.evaluate.searches.gumbel.update(tokens=(300,), units=(4,), most=6)
  c.evaluate.searches.tree.update(tokens=(), units=(3,), most=3)
  c.evaluate.answer.update(search='chains', tokens=0, units=2)
  c.evaluate.rows = 32
