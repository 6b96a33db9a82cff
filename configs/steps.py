r"""A critic that learns which step is wrong from labelled steps: planted errors of the task's own.

  python -m experiments.o1 --config=configs/quickstart.py --workdir=runs/quickstart
  python -m experiments.o1 --config=configs/steps.py --workdir=runs/steps
  python -m experiments.judge planted --workdir=runs/steps

It starts from the policy of runs/quickstart after its stage initialise, which is shared and not
copied. Labels of a file take the place of planted ones by
`--config.steps.source=processbench --config.steps.file=FILE`, whose solutions must be of the task
that the tokenizer knows.
"""

from ml_collections import ConfigDict

from configs import quickstart


def get_config(argument: str = '') -> ConfigDict:
  """The quickstart's policy with a critic of steps; `:smoke` is tiny, for tests."""
  if argument not in ('', 'smoke'):
    raise ValueError(f'the argument {argument!r} is unknown: give none, or smoke')
  c = quickstart.get_config(argument)
  c.stages = ('steps', 'evaluate', 'report')
  c.steps = ConfigDict(
    dict(
      kind='label',
      start='runs/quickstart:initialise',
      source='planted',
      file='',  # of another source
      solutions=0,  # the first so many; 0 = one for each training problem, or all of the file
      neutral='half',  # a neutral step is half right; or 'right', or 'masked'
      # The critic has a trunk of its own. Where it shares the policy's, that learns too, and
      # `keep` is the weight of the KL that holds it.
      learns=('critic',),
      keep=0.0,
      updates=240,
      batch=12,
      optimizer=c.reward.optimizer,
    )
  )
  if argument == 'smoke':
    c.steps.updates, c.steps.batch = 4, 8
  del c.reward, c.learn, c.control, c.control_flops
  c.evaluate.policies = ConfigDict(dict(initialised=dict(stages=('steps',), searches=('chains',))))
  c.evaluate.aggregate = 'min'  # a solution is as good as its worst step
  return c
