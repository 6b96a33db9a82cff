"""Two tasks for one policy: countdown with three numbers, and short sentences of the cipher.

`python -m experiments.o1 --config=configs/mixture.py --workdir=runs/mixture`. Each problem is
demonstrated, verified and counted as its own task does it, and the table of results has rows for
each task beside those of the mixture.
"""

from ml_collections import ConfigDict

from configs import cipher, quickstart


def get_config(argument: str = '') -> ConfigDict:
  """The quickstart's job on both tasks; `:smoke` is the same job made tiny, for tests."""
  if argument not in ('', 'smoke'):
    raise ValueError(
      f'configs/mixture.py:{argument} is unknown; use mixture.py or mixture.py:smoke'
    )
  c = quickstart.get_config()
  sentences = cipher.get_config().task
  sentences.max_words = 2
  c.task = ConfigDict(
    dict(
      name='mixture',
      parts=('countdown', 'cipher'),
      shares=(0.5, 0.5),
      countdown=c.task,
      cipher=sentences,
    )
  )
  c.data = ConfigDict(
    dict(demonstrations=2000, texts=30_000, pool=2000, validation=256, test=512, test_targets=0)
  )
  c.tokenizer.vocab_size = 0  # a merged token would hide the letters of the cipher
  c.shapes = ConfigDict(dict(prompt_length=68, step_length=64, max_steps=12, row_length=288))
  for section in (c.reward, c.learn):
    section.tokens = 192
  if argument == 'smoke':
    parts = c.task
    c.task = parts.countdown
    quickstart.smoke(c)
    c.task = parts
    c.task.cipher.behaviours.dead_end = 0.0
    c.task.cipher.max_letters = 4
    c.data.test_targets = 0
  return c
