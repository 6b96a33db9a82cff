"""Countdown with a calculator: a task whose world answers.

  python -m experiments.o1 --config=configs/calculator.py --workdir=runs/calculator

The policy may ask `calc 7*8`, and reads `= 56`, which no loss trains (experiments/LOG.md has the
numbers). `:smoke` is the same job made tiny, for tests.
"""

from ml_collections import ConfigDict

from configs import quickstart


def get_config(argument: str = '') -> ConfigDict:
  """The quickstart, with steps that ask and room for what is said."""
  c = quickstart.get_config(argument)
  c.task.name = 'calculator'
  # A question and what is said to it are one step; there are two moves, and two more after a dead
  # end.
  c.shapes.prompt_length = 20  # a tokenizer of other texts has other tokens
  c.shapes.step_length += 8
  c.shapes.max_steps += 2 if argument == 'smoke' else 4
  c.shapes.row_length = 224
  c.reward.tokens = c.learn.tokens = 176
  if argument != 'smoke':  # a solution takes about 150 tokens
    for row in c.evaluate.searches.values():
      row.tokens = (150, 300, 600, 1200, 2400)
    c.evaluate.answer.tokens = 1500
  return c
