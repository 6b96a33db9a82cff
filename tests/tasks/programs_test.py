"""Questions that ask for a program: their demonstrations are fenced programs, and only a sandbox
can judge them."""

import numpy as np

from o1jax.data.problems import SolvedProblem
from o1jax.tasks import programs

PROGRAM = '```python\ndef {}(x):\n    return x\n```'
SOLVED = [
  SolvedProblem(f'Write f{i}.', tuple(PROGRAM.format(f'f{i}').split('\n')), '{}')
  for i in range(200)
]


def test_a_demonstration_is_the_fenced_program():
  task = programs.task(name='functions', train=lambda: SOLVED[10:], test=lambda: SOLVED[:10])
  assert {problem.prompt for problem in task.problems('test', 10, 0)} == {
    f'Write f{i}.\n' for i in range(10)
  }
  for problem in task.problems('train', 100, 0):
    name = problem.prompt.removeprefix('Write ').removesuffix('.\n')
    assert '\n'.join(task.demonstrate(problem, np.random.default_rng(0))) == PROGRAM.format(name)
  assert task.check is None and task.verify is None
