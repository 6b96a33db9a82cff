"""Speed of search and learning at the size that experiments/LOG.md quotes.

`python -m experiments.benchmark --config=configs/benchmark.py --workdir=runs/benchmark`

Section `peers` needs `pip install -e '.[parity]'`. `--config.trained=DIR` of a finished job times
its policy too.
"""

from ml_collections import ConfigDict


def get_config(argument: str = '') -> ConfigDict:
  """The benchmark; `:smoke` measures next to nothing, for tests."""
  if argument not in ('', 'smoke'):
    raise ValueError(f'the argument {argument!r} is unknown: give none, or smoke')
  c = ConfigDict()
  c.sections = ('search', 'learn', 'memory', 'growth', 'peers')
  c.trained = ''  # workdir of a finished experiments.o1 job, whose policy is timed as well
  c.repeats = 7
  c.profile = False  # trace a search and the learning from it to WORKDIR/profile
  c.fast_compile = False  # fewer passes of XLA, whose programs run slower: for tests
  c.model = ConfigDict(dict(variant='0.5m', vocab_size=512, changes=dict(own_critic=False)))
  c.sizes = ConfigDict(
    dict(batch=64, candidates=4, simulations=32, step_length=16, max_steps=8, prompt_length=16)
  )
  c.samples = 4  # N of best-of-N, the peer's too
  c.limits = ConfigDict(dict(matmul=(1024, 2048, 4096), megabytes=1000))
  c.peers = ConfigDict(dict(problems=2))  # of the peer's MCTS
  c.growth = ConfigDict(
    dict(
      batch=(8, 32, 128, 256),
      simulations=(8, 32, 128),
      candidates=(2, 4, 8, 16),
      max_steps=(4, 8, 16),
      width=(64, 128, 256),
    )
  )
  if argument == 'smoke':
    smoke(c)
  return c


def smoke(c: ConfigDict) -> None:
  """Shrinks every size."""
  c.repeats, c.fast_compile = 1, True
  c.sections = ('search', 'learn', 'memory', 'growth')
  c.model.variant, c.model.changes.layers = 'nano', 1
  c.model.vocab_size = 16
  c.sizes = ConfigDict(
    dict(batch=4, candidates=2, simulations=3, step_length=3, max_steps=3, prompt_length=4)
  )
  c.limits = ConfigDict(dict(matmul=(64,), megabytes=1))
  c.growth = ConfigDict(dict(simulations=(3, 6)))
