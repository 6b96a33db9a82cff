"""What the evaluation makes of a run's problems."""

from types import SimpleNamespace

import numpy as np

from o1jax.recipes import measure
from o1jax.tasks import cipher
from o1jax.types import Prompt


def test_each_fixed_problem_is_searched_alone(monkeypatch):
  tokens = np.arange(6).reshape(2, 3)
  problems = Prompt(tokens=tokens, length=np.array([3, 2])), np.array([7, 8])
  run = SimpleNamespace(experiment=SimpleNamespace(data=SimpleNamespace(fixed=problems)))

  def draw(_, params, prompt, reference):
    assert params == 'params' and prompt.tokens.shape == (1, 3)
    answer = f'{prompt.tokens.tolist()} {prompt.length.tolist()} {reference.tolist()}'
    return measure.Picture(
      prompt='asked', answer=answer, correct=reference[0] == 8, nodes=[], wrong=0
    )

  monkeypatch.setattr(measure, 'draw', draw)
  assert measure.solve_fixed(run, 'learned', 'params') == [
    dict(policy='learned', prompt='asked', answer='[[0, 1, 2]] [3] [7]', verdict=False),
    dict(policy='learned', prompt='asked', answer='[[3, 4, 5]] [2] [8]', verdict=True),
  ]


def test_the_ciphers_sentences_are_fixed_problems():
  assert cipher.task().fixed == (cipher.EXAMPLE, cipher.STRAWBERRY)


def test_a_task_without_fixed_problems_has_none_to_show():
  run = SimpleNamespace(experiment=SimpleNamespace(data=SimpleNamespace(fixed=None)))
  assert measure.solve_fixed(run, 'learned', None) == []
