"""One problem of a run, searched and drawn."""

from types import SimpleNamespace

import numpy as np
import pytest

from configs import quickstart
from o1jax.evaluation.accuracy import Readout
from o1jax.evaluation.tree_view import DrawnNode
from o1jax.recipes import looking
from o1jax.recipes.experiment import Asked
from o1jax.recipes.settings import complete
from o1jax.search import Budget
from o1jax.types import Prompt


def test_each_fixed_problem_is_searched_alone(monkeypatch):
  tokens = np.arange(6).reshape(2, 3)
  problems = Prompt(tokens=tokens, length=np.array([3, 2])), np.array([7, 8])
  config = complete(quickstart.get_config('smoke'))
  run = SimpleNamespace(
    experiment=SimpleNamespace(data=SimpleNamespace(fixed=problems), config=config)
  )

  def draw(_, params, prompt, reference, *, units):
    assert units == 2  # as the config asks
    assert params == 'params' and prompt.tokens.shape == (1, 3)
    answer = f'{prompt.tokens.tolist()} {prompt.length.tolist()} {reference.tolist()}'
    return looking.Picture(prompt='asked', answer=answer, correct=reference[0] == 8, nodes=[])

  monkeypatch.setattr(looking, 'draw', draw)
  assert looking.solve_fixed(run, 'learned', 'params', {}) == [
    dict(policy='learned', prompt='asked', answer='[[0, 1, 2]] [3] [7]', verdict=False),
    dict(policy='learned', prompt='asked', answer='[[3, 4, 5]] [2] [8]', verdict=True),
  ]


def test_a_task_without_fixed_problems_has_none_to_show():
  data = SimpleNamespace(fixed=None)
  run = SimpleNamespace(experiment=SimpleNamespace(data=data, config=None))
  assert looking.solve_fixed(run, 'learned', None, {}) == []


@pytest.mark.parametrize('text, answer', [('<answer>24', '24'), ('24', ''), ('<answer>', '')])
def test_a_path_is_chosen_only_where_it_ends_in_an_answer(monkeypatch, text, answer):
  def drawn_nodes(tree, decode, *, chosen, prompt):
    root = DrawnNode(0, -1, prompt, 0, 0.5, 0.5, False, None, chosen is not None)
    return [root, DrawnNode(1, 0, text, 0, 0.5, 0.5, True, False, chosen == 1)]

  monkeypatch.setattr(looking, 'drawn_nodes', drawn_nodes)
  tree = SimpleNamespace(
    outcome=np.zeros((1, 1)),
    mask=np.ones((1, 1), bool),
    terminal=np.ones((1, 1), bool),
    unjudged=np.zeros((1, 1), bool),
  )
  monkeypatch.setattr(looking.jax.tree, 'map', lambda _, tree: tree)
  task = SimpleNamespace(marker='<answer>')
  run = SimpleNamespace(
    experiment=SimpleNamespace(task=task, tokenizer=SimpleNamespace(decode=lambda _: 'asked'))
  )
  prompt = Prompt(tokens=np.zeros((1, 3), int), length=np.array([3]))
  found = looking.picture(run, tree, np.array([1]), prompt, 0)
  assert found.answer == answer
  assert [node.chosen for node in found.nodes] == [bool(answer)] * 2


class TestDrawn:
  @pytest.mark.parametrize(
    'right, expected',
    [
      ([1, 1, 0, 0], [(0, 'first test problem'), (2, 'this search answers wrongly')]),
      ([0, 1, 1, 0], [(0, 'first test problem'), (1, 'this search answers rightly')]),
      ([0, 0, 0, 0], [(0, 'first test problem')]),
    ],
  )
  def test_are_the_first_problem_and_the_first_that_ends_otherwise(
    self, monkeypatch, right, expected
  ):
    answers = SimpleNamespace(correct=np.array([*right, 1, 0], bool))
    searched = SimpleNamespace(
      answers={Readout('gumbel', 'weighted', Budget(100, 5)): answers},
      tokens=np.arange(6.0),
      chosen=np.arange(6),
      trees=SimpleNamespace(mask=np.ones((4, 2, 2))),
    )
    monkeypatch.setattr(
      looking,
      'picture',
      lambda run, trees, chosen, prompt, i: looking.Picture(f'{i}', 'answer', bool(right[i]), []),
    )
    written = {}
    run = SimpleNamespace(write_data=written.__setitem__)
    looking.draw_search(run, 'learned', Asked('test', [], (None, None)), searched)
    assert [int(tree['prompt']) for tree in written['tree']] == [i for i, _ in expected]
    for tree, (_, words) in zip(written['tree'], expected, strict=True):
      assert tree['picked'].startswith('the first test problem') and words in tree['picked']
      spent = [tree[key] for key in ('method', 'units', 'asked', 'tokens')]
      assert spent == ['gumbel', 5, 100, float(tree['prompt'])]
    assert [tree['verdict'] for tree in written['tree']] == [bool(right[i]) for i, _ in expected]
