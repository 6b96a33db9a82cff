"""What the evaluation makes of a run's problems."""

from types import SimpleNamespace

import numpy as np
import pytest

from o1jax.evaluation.tree_view import DrawnNode
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


@pytest.mark.parametrize('text, answer', [('<answer>24', '24'), ('24', ''), ('<answer>', '')])
def test_a_path_is_chosen_only_where_it_ends_in_an_answer(monkeypatch, text, answer):
  def drawn_nodes(tree, decode, *, chosen, prompt):
    root = DrawnNode(0, -1, prompt, 0, 0.5, 0.5, False, None, chosen is not None)
    return [root, DrawnNode(1, 0, text, 0, 0.5, 0.5, True, False, chosen == 1)]

  monkeypatch.setattr(measure, 'drawn_nodes', drawn_nodes)
  tree = SimpleNamespace(
    outcome=np.zeros((1, 1)),
    mask=np.ones((1, 1), bool),
    terminal=np.ones((1, 1), bool),
    unjudged=np.zeros((1, 1), bool),
  )
  monkeypatch.setattr(measure.jax.tree, 'map', lambda _, tree: tree)
  task = SimpleNamespace(marker='<answer>')
  run = SimpleNamespace(
    experiment=SimpleNamespace(task=task, tokenizer=SimpleNamespace(decode=lambda _: 'asked'))
  )
  prompt = Prompt(tokens=np.zeros((1, 3), int), length=np.array([3]))
  found = measure.picture(run, tree, np.array([1]), prompt, 0)
  assert found.answer == answer
  assert [node.chosen for node in found.nodes] == [bool(answer)] * 2
